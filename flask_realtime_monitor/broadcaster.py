"""One publisher for all viewers: look once a tick, encode once, write the same bytes to all.

The publisher is a thread (a greenlet once gevent has patched) that lives only while there are
viewers. It never waits for one of them, nor for the gate.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from . import delta, sse
from .config import Settings
from .credentials import Credential, Credentials
from .fanout import Fanout, Pace, most_descriptors
from .guard import Guard
from .packet import Packet
from .picture import Picture
from .resumption import Place, parse
from .ring import Ring
from .viewers import DetachedViewer, Viewer
from .worker import Worker, is_told_to_stop, server_worker

_POLL_S = 0.1  # how soon a stop of the worker is seen
_RIDE_S = 10.0
_LONGEST_TICK_S = 5.0
_BASE_KEPT_S = 120.0
_RETRY_MS = (1000, 3500)
_RESTART_MS = (200, 2700)
_MOST_FAREWELLS = 32
_MOST_UPDATE_BYTES = 65_536
_ID_AND_NAME_BYTES = 128
_FORGOT_MARGIN_MS = 3000
_HEARTBEAT = Packet(sse.HEARTBEAT)
_NOTHING = Packet(b"")
_MISSING = object()


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
        self._arriving: dict[Viewer, None] = {}
        self._viewers: dict[Viewer, None] = {}
        self._behind: dict[Viewer, None] = {}
        self._fanout = Fanout(self._left)
        self.credentials = Credentials(
            settings.reauthorize_interval, self._refused, self._guard.failed
        )
        self._publisher: threading.Thread | None = None
        self._wake = threading.Event()
        self._ring = Ring()
        self._base: dict[str, Any] | None = None
        self._base_s = 0.0
        self._cursor = 0
        self._is_forgetting = False
        self._forgot_ms = 0
        self._resumed: dict[Place, Packet | None] = {}  # of this tick
        self._snapshots: dict[str, Packet] = {}
        self._snapshot_s = 0.0
        self._changed_since_snapshot = False
        self._rode: dict[str, Any] = {}
        self._rode_s = 0.0
        self._sent_s = 0.0
        self._is_stopping = False
        self.interval_s = settings.update_interval
        self.events_dropped = 0

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    @property
    def is_ending(self) -> bool:
        """Whether this worker goes, and takes no viewers any more."""
        return self._is_stopping or is_told_to_stop()

    def limit(self, is_detached: bool = True) -> int:
        """Return how many streams this worker takes, all together.

        Args:
            is_detached: whether they need a descriptor only, or a connection or thread of the
                server's, too.
        """
        return self._settings.max_viewers or derived_limit(is_detached)

    # -- viewers -------------------------------------------------------------------------------

    def admit(self, viewer: Viewer) -> bool:
        """Keep a place for a viewer who is about to come; False where there is none."""
        is_detached = isinstance(viewer, DetachedViewer)
        taken = len(self._viewers) + len(self._arriving)
        if self.is_ending or taken >= self.limit(is_detached):
            return False
        self._arriving[viewer] = None
        self.credentials.admit(viewer.pass_.credential)
        return True

    def join(self, viewer: Viewer, last_event_id: str, fd: int = -1) -> None:
        """Take in a viewer who has a place, and hand it its first events.

        Args:
            fd: the descriptor of its connection, where that is ours from now on.

        Raises:
            OSError: the descriptor is not fit for it, and still the caller's.
        """
        with self._lock:
            if not self._viewers:
                self._tick()
            if isinstance(viewer, DetachedViewer):
                self._fanout.adopt(viewer, fd)
            age_s = self._settings.stream_max_age
            viewer.ends_s = time.monotonic() + age_s * random.uniform(0.8, 1.2) if age_s else 0.0
            self._arriving.pop(viewer, None)
            self._viewers[viewer] = None
            if not self._is_forgetting:  # else it gets the new beginning with all others
                self._give(viewer, self._first(viewer, parse(last_event_id)))
            if self._publisher is None:
                self._publisher = threading.Thread(
                    target=self._publish, name="realtime-monitor-publisher", daemon=True
                )
                self._publisher.start()
        self._told("connected", viewer)

    def opening(self) -> bytes:
        """Return a stream's first bytes: how long to wait when it is cut, for each another time."""
        return sse.retry(random.randint(*_RETRY_MS))

    def leave(self, viewer: Viewer) -> None:
        """A viewer's connection is closed, or it will not come after all."""
        if self._arriving.pop(viewer, _MISSING) is not _MISSING:
            self.credentials.release(viewer.pass_.credential)
        elif self._forget_viewer(viewer):
            self._end(viewer, None)
            self._told("disconnected", viewer)

    def _left(self, viewer: DetachedViewer) -> None:
        """A viewer's connection was closed by its other end, or given up."""
        if self._forget_viewer(viewer):
            self._told("disconnected", viewer)

    def _forget_viewer(self, viewer: Viewer) -> bool:
        if self._viewers.pop(viewer, _MISSING) is _MISSING:
            return False
        self._behind.pop(viewer, None)
        self.credentials.release(viewer.pass_.credential)
        self._wake.set()
        return True

    def once(self, role: str) -> bytes:
        """Return a bounded answer, for a server that a stream would block."""
        with self._lock:
            if not self._viewers or self._is_forgetting:
                self._tick()
            retry_ms = max(1000, int(self._settings.update_interval * 1000))
            bye = self._bye("limit", retry_ms)
            return sse.retry(retry_ms) + self._snapshot(role).form(0) + bye.form(0)

    def farewell(self) -> bytes:
        """Return the answer to who comes while the worker goes: to come again, to another."""
        return self._bye("restart", random.randint(*_RESTART_MS)).form(0)

    def sign_out(self, user_id: str) -> None:
        """End the streams of a user who has signed out anywhere."""
        for viewer in list(self._viewers):
            if viewer.pass_.user is not None and viewer.pass_.user.id == user_id:
                self._dismiss(viewer, self._bye("unauthorized", 1000))

    def forget(self) -> None:
        """Somebody was erased: every view begins anew, so that nothing of theirs stays."""
        self._is_forgetting = True
        self._forgot_ms = int(time.time() * 1000)

    def stop(self) -> None:
        """End all streams: the worker goes."""
        self._is_stopping = getattr(server_worker(), "alive", True) is False
        farewells = [
            self._bye("restart", random.randint(*_RESTART_MS))
            for _ in range(min(_MOST_FAREWELLS, len(self._viewers)))
        ]
        pace = Pace()
        for number, viewer in enumerate(list(self._viewers)):
            self._dismiss(viewer, farewells[number % len(farewells)])
            pace.rest()

    def _dismiss(self, viewer: Viewer, bye: Packet) -> None:
        if self._forget_viewer(viewer):
            self._end(viewer, bye)
            self._told("disconnected", viewer)

    def _refused(self, credential: Credential) -> None:
        """The gate says no to some who watch."""
        for viewer in list(self._viewers):
            if viewer.pass_.credential is credential:
                self._dismiss(viewer, self._bye("unauthorized", 1000))

    def _bye(self, reason: str, retry_ms: int) -> Packet:
        as_of = self._base["as_of"] if self._base else time.time()
        bye = sse.encode("bye", {"reason": reason, "retry_ms": retry_ms, "as_of": as_of})
        return Packet(sse.retry(retry_ms) + bye, is_last=True)

    def _give(self, viewer: Viewer, packet: Packet) -> bool:
        """Write to a viewer; False where it cannot take anything now."""
        if not len(packet):
            return True
        if isinstance(viewer, DetachedViewer):
            return self._fanout.send(viewer, packet)
        return viewer.take(packet)

    def _end(self, viewer: Viewer, bye: Packet | None) -> None:
        if isinstance(viewer, DetachedViewer):
            self._fanout.end(viewer, bye)
        else:
            viewer.end(bye)

    # -- the publisher -------------------------------------------------------------------------

    def _publish(self) -> None:
        next_s = time.monotonic() + self.interval_s
        while True:
            self._wait(min(_POLL_S, next_s - time.monotonic()))
            with self._lock:
                if not self._viewers:
                    self._publisher = None
                    return
            try:
                if is_told_to_stop():
                    self.stop()
                else:
                    next_s = self._round(next_s)
            except Exception as error:  # one bad tick must not end the streams
                self._guard.failed("publish", error)
                next_s = time.monotonic() + self.interval_s

    def _wait(self, timeout_s: float) -> None:
        """Wait for the next tick, and see to the connections meanwhile."""
        if len(self._fanout):
            self._fanout.wait(timeout_s)
        else:
            self._wake.wait(max(0.0, timeout_s))
            self._wake.clear()

    def _round(self, next_s: float) -> float:
        now_s = time.monotonic()
        self._renew(now_s)
        self.credentials.turn(now_s)
        self._fanout.drop_stuck(now_s)
        if now_s < next_s:
            return next_s
        began_s = time.thread_time()
        with self._lock:
            frame = self._tick()
            tick_s = time.thread_time() - began_s
            viewers, packet = self._addressed(frame, now_s)
        spent_s = tick_s + self._send(viewers, packet, frame is not None)
        self._worker.spend(spent_s)
        # A tick may take a quarter of its interval; beyond that ticks become rarer.
        self.interval_s = min(
            max(self._settings.update_interval, spent_s * 4),
            max(_LONGEST_TICK_S, self._settings.update_interval),
        )
        return max(next_s + self.interval_s, now_s + self.interval_s / 2)

    def _renew(self, now_s: float) -> None:
        """Ask the browsers of old streams to come back with today's cookies."""
        if self._settings.stream_max_age:
            for viewer in [one for one in self._viewers if one.ends_s and now_s >= one.ends_s]:
                self._dismiss(viewer, self._bye("renew", random.randint(0, 1000)))

    def _tick(self) -> Packet | None:
        """Look at the picture; return a frame if it has changed."""
        now_s = time.monotonic()
        if now_s - self._base_s > _BASE_KEPT_S and not self._viewers:
            self._base = None
        before, after = self._base, self._picture.snapshot()
        self._base_s = now_s
        if before is None or self._is_forgetting:
            self._begin_anew(after, now_s)
            return None
        rides = now_s - self._rode_s >= _RIDE_S
        changed = delta.update(before, after, self._rode if rides else None)
        self._cursor = self._picture.cursor
        if changed is None:
            return None
        if rides:
            self._rode, self._rode_s = after, now_s
        self._base = after
        self._snapshots.clear()
        self._resumed.clear()
        self._changed_since_snapshot = True
        return self._framed(changed)

    def _framed(self, changed: dict[str, Any]) -> Packet:
        """Return an update's bytes and keep them; one that is too large becomes several events."""
        tick = self._next_tick(changed)
        whole = sse.encode("update", changed, self._event_id(tick))
        if len(whole) <= _MOST_UPDATE_BYTES:
            frame = Packet(whole)
            self._ring.add(tick, frame)
            return frame
        parts = delta.parts(changed, _MOST_UPDATE_BYTES - _ID_AND_NAME_BYTES)
        pieces = []
        for number, part in enumerate(parts, 1):
            # Who is cut off between two pieces goes on with the next here. No other worker knows
            # where that is: flagged as if requests were in flight, it gives a snapshot.
            is_last = number == len(parts)
            at = max(tick, self._ring.tick + 1) if is_last else self._ring.tick + 1
            pieces.append(sse.encode("update", part, self._event_id(at, not is_last)))
            self._ring.add(at, Packet(pieces[-1]))
        return Packet(b"".join(pieces))

    def _begin_anew(self, after: dict[str, Any], now_s: float) -> None:
        self._base = self._rode = after
        self._cursor = self._picture.cursor
        self._is_forgetting = False
        self._ring.clear(self._next_tick(after))
        self._snapshots.clear()
        self._resumed.clear()
        self._rode_s = self._snapshot_s = now_s
        self._behind.update(self._viewers)

    def _next_tick(self, after: dict[str, Any]) -> int:
        return max(self._ring.tick + 1, int(after["as_of"] * 1000))

    def _addressed(self, frame: Packet | None, now_s: float) -> tuple[list[Viewer], Packet | None]:
        """Return who gets something now, and what: None is a snapshot."""
        resync_s = self._settings.resync_interval
        is_due = bool(resync_s) and now_s - self._snapshot_s >= resync_s
        if is_due and self._changed_since_snapshot:
            self._snapshot_s, self._sent_s = now_s, now_s
            self._changed_since_snapshot = False
            if frame is None:  # its id is to be another than the last update's
                self._ring.add(self._ring.tick + 1, _NOTHING)
                self._snapshots.clear()
            return list(self._viewers), None
        if frame is not None:
            self._sent_s = now_s
            return list(self._viewers), frame
        if now_s - self._sent_s >= self._settings.heartbeat_interval:
            self._sent_s = now_s
            return list(self._viewers), _HEARTBEAT
        return list(self._behind), _NOTHING

    def _send(self, viewers: list[Viewer], packet: Packet | None, is_news: bool) -> float:
        """Write to all, in slices; return the seconds it took."""
        pace = Pace()
        give, behind, snapshot, rest = self._give, self._behind, self._snapshot, pace.rest
        for viewer in viewers:
            if viewer in behind:
                # What it skipped is made good by one snapshot, as soon as it can take it.
                if give(viewer, snapshot(viewer.pass_.role)):
                    behind.pop(viewer, None)
                else:
                    self.events_dropped += is_news
            elif (
                not give(viewer, snapshot(viewer.pass_.role) if packet is None else packet)
                and is_news
            ):
                self.events_dropped += 1
                if viewer in self._viewers:
                    behind[viewer] = None
            rest()
        return pace.total_s()

    def _snapshot(self, role: str) -> Packet:
        """Return the base as a snapshot event, encoded once a tick and role."""
        encoded = self._snapshots.get(role)
        if encoded is None:
            base = self._base or {}
            payload = {"as_of": base.get("as_of"), "role": role, **base}
            encoded = Packet(sse.encode("snapshot", payload, self._event_id(self._ring.tick)))
            self._snapshots[role] = encoded
        return encoded

    def _event_id(self, tick: int, has_in_flight: bool = False) -> str:
        has_in_flight = has_in_flight or bool(self._base and self._base["in_flight"])
        return str(Place(self._picture.epoch, self._cursor, tick, self._worker.id, has_in_flight))

    # -- going on ------------------------------------------------------------------------------

    def _first(self, viewer: Viewer, place: Place | None) -> Packet:
        """Return what a viewer begins with: what it has missed, or else everything."""
        if place is None or place.epoch != self._picture.epoch:
            return self._snapshot(viewer.pass_.role)
        if place.worker == self._worker.id:
            frames = self._ring.after(place.tick)
            if frames is not None:
                return Packet(b"".join(frame.form(0) for frame in frames))
        elif self._forgot_ms < place.tick - _FORGOT_MARGIN_MS:
            return self._from_elsewhere(place) or self._snapshot(viewer.pass_.role)
        return self._snapshot(viewer.pass_.role)

    def _from_elsewhere(self, place: Place) -> Packet | None:
        """Return the update from another worker's place; made once a tick and place."""
        if place not in self._resumed:
            update = self._base and self._picture.resumed(place, self._base, self._cursor)
            id = self._event_id(self._ring.tick)
            packet = Packet(sse.encode("update", update, id)) if update else None
            is_fit = packet is not None and len(packet) <= _MOST_UPDATE_BYTES
            self._resumed[place] = packet if is_fit else None
        return self._resumed[place]


def derived_limit(is_detached: bool) -> int:
    """Return how many streams leave the server enough for the app.

    Detached ones half of the descriptor limit. Others half of a gevent worker's connections, a
    quarter of a threaded worker's threads, at least 1; 100 where the server does not tell.
    """
    if is_detached:
        return max(1, most_descriptors() // 2)
    worker = server_worker()
    config = getattr(worker, "cfg", None)
    if config is None:
        return 100
    if "gevent" in type(worker).__module__:
        return max(1, int(config.worker_connections) // 2)
    return max(1, int(config.threads) // 4)
