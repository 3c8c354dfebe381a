"""One publisher for all viewers: look once a tick, encode once, write the same bytes to all.

The publisher is a thread (a greenlet once gevent has patched) that lives only while there are
viewers. A viewer is anything with ``write(bytes)``; here it is a shared-frame generator that the
server iterates.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import delta, sse
from .config import Settings
from .guard import Guard
from .models import User
from .picture import Picture
from .worker import Worker, is_told_to_stop, server_worker

_POLL_S = 0.1  # how soon a stop of the worker is seen
_RING_FRAMES = 64
_RING_BYTES = 2_000_000
_RIDE_S = 10.0
_LONGEST_TICK_S = 5.0
_BASE_KEPT_S = 120.0
_GATE_DEADLINE_S = 5.0
_MISSING = object()


class Frame(NamedTuple):
    """One tick's bytes; ``tick`` counts from 1."""

    tick: int
    data: bytes


class Viewer:
    """One open stream.

    Args:
        role: what the gate granted.
        user: who watches, None when that is unknown.
        recheck: asks the gate again about this viewer; True while it still says yes.
    """

    def __init__(self, role: str, user: User | None, recheck: Callable[[], bool]) -> None:
        self.role = role
        self.user = user
        self.recheck = recheck
        self.opened_s = time.monotonic()
        self.asked_s = self.opened_s
        self.is_asking = False
        self.ends_s = 0.0
        self.written_s = self.opened_s
        self.is_behind = False
        self._pending: deque[bytes] = deque()
        self._is_over = False
        self._ready = threading.Event()

    def write(self, data: bytes) -> bool:
        """Hand over bytes; False where the viewer still has a frame to read, and skips this."""
        if len(self._pending) > 1:
            return False
        self._pending.append(data)
        self._ready.set()
        return True

    def end(self, data: bytes = b"") -> None:
        """Hand over the last bytes; what was not read before them is dropped."""
        self._pending.clear()
        if data:
            self._pending.append(data)
        self._is_over = True
        self._ready.set()

    @property
    def is_idle(self) -> bool:
        """Whether all that was handed over has been taken."""
        return not self._pending

    def frames(self) -> Iterator[bytes]:
        """Yield what is handed over until the end."""
        while True:
            while self._pending:
                yield self._pending.popleft()
            if self._is_over:
                return
            self._ready.wait(60)
            self._ready.clear()


class Broadcaster:
    """Streams a picture to its viewers.

    Args:
        told: called with ("connected" or "disconnected", viewer) for the signals.
    """

    def __init__(
        self,
        settings: Settings,
        picture: Picture,
        worker: Worker,
        guard: Guard,
        told: Callable[[str, Viewer], None],
    ) -> None:
        self._settings = settings
        self._picture = picture
        self._worker = worker
        self._guard = guard
        self._told = told
        self._lock = threading.Lock()
        self._viewers: dict[Viewer, None] = {}
        self._publisher: threading.Thread | None = None
        self._wake = threading.Event()
        self._ring: deque[Frame] = deque()
        self._base: dict[str, Any] | None = None
        self._base_s = 0.0
        self._cursor = 0
        self._tick_number = 0
        self._is_forgetting = False
        self._snapshots: dict[str, bytes] = {}
        self._snapshot_s = 0.0
        self._changed_since_snapshot = False
        self._rode: dict[str, Any] = {}
        self._rode_s = 0.0
        self._is_stopping = False
        self.interval_s = settings.update_interval
        self.events_dropped = 0

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    def limit(self) -> int:
        """Return how many streams this worker takes."""
        return self._settings.max_viewers or derived_limit()

    # -- viewers -------------------------------------------------------------------------------

    def connect(self, viewer: Viewer, last_event_id: str) -> bool:
        """Take in a viewer and hand it its first bytes; False at the cap."""
        with self._lock:
            if self._is_stopping or len(self._viewers) >= self.limit():
                return False
            if not self._viewers:
                self._tick()
            first = self._missed(last_event_id)
            if first is None:
                first = self._snapshot(viewer.role)
            viewer.write(sse.retry(random.randint(1000, 3000)) + first)
            age_s = self._settings.stream_max_age
            viewer.ends_s = viewer.opened_s + age_s * random.uniform(0.8, 1.2) if age_s else 0.0
            self._viewers[viewer] = None
            if self._publisher is None:
                self._publisher = threading.Thread(
                    target=self._publish, name="realtime-monitor-publisher", daemon=True
                )
                self._publisher.start()
        self._told("connected", viewer)
        return True

    def leave(self, viewer: Viewer) -> None:
        """A viewer's connection is closed."""
        if self._viewers.pop(viewer, _MISSING) is not _MISSING:
            viewer.end()
            self._told("disconnected", viewer)
            self._wake.set()

    def once(self, role: str) -> bytes:
        """Return a bounded answer, for a server that a stream would block."""
        with self._lock:
            if not self._viewers:
                self._tick()
            retry_ms = int(self._settings.update_interval * 1000)
            return self._snapshot(role) + self._bye("limit", max(1000, retry_ms))

    def sign_out(self, user_id: str) -> None:
        """End the streams of a user who has signed out anywhere."""
        for viewer in list(self._viewers):
            if viewer.user is not None and viewer.user.id == user_id:
                self._dismiss(viewer, "unauthorized", 1000)

    def forget(self) -> None:
        """Somebody was erased: every view begins anew, so that nothing of theirs stays."""
        self._is_forgetting = True

    def stop(self) -> None:
        """End all streams: the worker goes."""
        self._is_stopping = True
        for viewer in list(self._viewers):
            self._dismiss(viewer, "restart", random.randint(200, 2000))

    def _dismiss(self, viewer: Viewer, reason: str, retry_ms: int) -> None:
        if self._viewers.pop(viewer, _MISSING) is not _MISSING:
            viewer.end(self._bye(reason, retry_ms))
            self._told("disconnected", viewer)

    def _bye(self, reason: str, retry_ms: int) -> bytes:
        as_of = self._base["as_of"] if self._base else None
        return sse.encode("bye", {"reason": reason, "retry_ms": retry_ms, "as_of": as_of})

    # -- the publisher -------------------------------------------------------------------------

    def _publish(self) -> None:
        next_s = time.monotonic() + self.interval_s
        while True:
            self._wake.wait(min(_POLL_S, max(0.0, next_s - time.monotonic())))
            self._wake.clear()
            with self._lock:
                if not self._viewers:
                    self._publisher = None
                    return
            if is_told_to_stop():
                self.stop()
                continue
            try:
                next_s = self._round(next_s)
            except Exception as error:  # one bad tick must not end the streams
                self._guard.failed("publish", error)
                next_s = time.monotonic() + self.interval_s

    def _round(self, next_s: float) -> float:
        now_s = time.monotonic()
        self._retire(now_s)
        if now_s >= next_s:
            began = time.thread_time()
            with self._lock:
                frame = self._tick()
                self._send(frame, now_s)
            spent_s = time.thread_time() - began
            self._worker.spend(spent_s)
            # A tick may take a quarter of its interval; beyond that ticks become rarer.
            self.interval_s = min(
                max(self._settings.update_interval, spent_s * 4),
                max(_LONGEST_TICK_S, self._settings.update_interval),
            )
            next_s = max(next_s + self.interval_s, now_s + self.interval_s / 2)
        return next_s

    def _tick(self) -> Frame | None:
        """Look at the picture; return a frame if it has changed."""
        now_s = time.monotonic()
        if now_s - self._base_s > _BASE_KEPT_S and not self._viewers:
            self._base = None
        before, after = self._base, self._picture.snapshot()
        self._base_s, self._cursor = now_s, self._picture.cursor
        if before is None or self._is_forgetting:
            self._begin_anew(after, now_s)
            return None
        rides = now_s - self._rode_s >= _RIDE_S
        changed = delta.update(before, after, self._rode if rides else None)
        if changed is None:
            return None
        if rides:
            self._rode, self._rode_s = after, now_s
        self._base = after
        self._tick_number += 1
        self._snapshots.clear()
        self._changed_since_snapshot = True
        frame = Frame(self._tick_number, sse.encode("update", changed, self._event_id()))
        self._ring.append(frame)
        while len(self._ring) > _RING_FRAMES or sum(len(f.data) for f in self._ring) > _RING_BYTES:
            self._ring.popleft()
        return frame

    def _begin_anew(self, after: dict[str, Any], now_s: float) -> None:
        self._base = self._rode = after
        self._is_forgetting = False
        self._tick_number += 1
        self._ring.clear()
        self._snapshots.clear()
        self._rode_s = self._snapshot_s = now_s
        for viewer in list(self._viewers):
            viewer.is_behind = True

    def _send(self, frame: Frame | None, now_s: float) -> None:
        resync_s = self._settings.resync_interval
        is_resync = (
            bool(resync_s) and self._changed_since_snapshot and now_s - self._snapshot_s >= resync_s
        )
        if is_resync:
            self._snapshot_s = now_s
            self._changed_since_snapshot = False
        heartbeat_s = self._settings.heartbeat_interval
        for viewer in list(self._viewers):
            if viewer.is_behind:
                # What it skipped is made good by one snapshot, as soon as it can take it.
                if viewer.is_idle and viewer.write(self._snapshot(viewer.role)):
                    viewer.is_behind = False
                    viewer.written_s = now_s
                elif frame is not None:
                    self.events_dropped += 1
                continue
            data = self._snapshot(viewer.role) if is_resync else frame and frame.data
            if data:
                if viewer.write(data):
                    viewer.written_s = now_s
                else:
                    viewer.is_behind = True
                    self.events_dropped += 1
            elif now_s - viewer.written_s >= heartbeat_s:
                viewer.write(sse.HEARTBEAT)
                viewer.written_s = now_s

    def _snapshot(self, role: str) -> bytes:
        """Return the base as a snapshot event, encoded once a tick and role."""
        encoded = self._snapshots.get(role)
        if encoded is None:
            base = self._base or {}
            payload = {"as_of": base.get("as_of"), "role": role, **base}
            encoded = self._snapshots[role] = sse.encode("snapshot", payload, self._event_id())
        return encoded

    def _event_id(self) -> str:
        return f"{self._picture.epoch}-{self._cursor}.{self._tick_number}.{self._worker.id}"

    def _missed(self, last_event_id: str) -> bytes | None:
        """Return the frames after an event id, None where only a snapshot will do."""
        epoch, _, rest = last_event_id.partition("-")
        _, _, place = rest.partition(".")
        tick, _, worker_id = place.partition(".")
        if epoch != self._picture.epoch or worker_id != self._worker.id:
            return None
        if not (tick.isascii() and tick.isdigit()):
            return None
        after = int(tick[:18])
        if after == self._tick_number:
            return b""
        frames = [frame for frame in self._ring if frame.tick > after]
        if not frames or frames[0].tick != after + 1:
            return None
        return b"".join(frame.data for frame in frames)

    # -- retirement ----------------------------------------------------------------------------

    def _retire(self, now_s: float) -> None:
        """End streams that are old enough, and ask the gate again about the others."""
        due = []
        for viewer in list(self._viewers):
            if viewer.is_asking:
                if now_s - viewer.asked_s > _GATE_DEADLINE_S:
                    self._dismiss(viewer, "unauthorized", 1000)
            elif viewer.ends_s and now_s >= viewer.ends_s:
                self._dismiss(viewer, "renew", random.randint(0, 1000))
            elif now_s - viewer.asked_s >= self._settings.reauthorize_interval:
                viewer.asked_s = now_s
                viewer.is_asking = True
                due.append(viewer)
        if due:
            # A gate may block or hang: it is asked in a thread of its own, with a deadline.
            for viewer in due:
                threading.Thread(target=self._ask, args=(viewer,), daemon=True).start()

    def _ask(self, viewer: Viewer) -> None:
        try:
            may_watch = viewer.recheck()
        except Exception as error:  # a gate that cannot be asked says no
            self._guard.failed("reauthorize", error)
            may_watch = False
        viewer.is_asking = False
        if not may_watch:
            self._dismiss(viewer, "unauthorized", 1000)


def derived_limit() -> int:
    """Return how many streams leave the server enough connections or threads for the app.

    Half of a gevent worker's connections, a quarter of a threaded worker's threads, at least 1;
    100 where the server does not tell.
    """
    worker = server_worker()
    config = getattr(worker, "cfg", None)
    if config is None:
        return 100
    if "gevent" in type(worker).__module__:
        return max(1, int(config.worker_connections) // 2)
    return max(1, int(config.threads) // 4)
