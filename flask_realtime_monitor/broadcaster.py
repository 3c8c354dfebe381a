"""One publisher for all viewers: look once a tick, encode once, write the same bytes to all.

The publisher is a thread (a greenlet once gevent has patched) that lives only while there are
viewers. It never waits for one of them, nor for the gate.
"""

from __future__ import annotations

import atexit
import os
import random
import threading
import time
from collections.abc import Callable
from math import inf
from weakref import ref

from . import sse
from .capacity import Capacity
from .channels import HEARTBEAT, SIGHTS, Channel, channels
from .config import Settings
from .credentials import Credential, Credentials, SignOuts
from .fanout import LOOK_S, SLICE_S, Fanout, Pace
from .guard import Guard
from .packet import Packet
from .picture import Picture
from .viewers import DetachedViewer, HeldViewer, Viewer
from .worker import Worker, is_told_to_stop, server_worker

_HOUSEKEEPING_S = 1.0  # between two looks at gates, renewals and stuck connections, at most
_LONGEST_TICK_S = 5.0
_RETRY_MS = (1000, 3500)
_SPREAD_MS = 2500  # of those who come again and again
_RESTART_MS = (200, 2700)
_MOST_FAREWELLS = 32
_BATCH = 16  # told the same farewell, in one go
_RENEW_S = 0.5
_AGAIN_MS = 1000
_ARRIVAL_S = 30.0  # between a place and the viewer who comes for it
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
        self._worker = worker
        self._guard = guard
        self._told = told
        self._lock = threading.Lock()
        self._arriving: dict[Viewer, float] = {}  # have a place, since when (monotonic)
        self._joining: dict[Viewer, None] = {}  # were told of, and are being taken in
        self._leaving: dict[Viewer, None] = {}  # were told bye, and are to be closed
        self._sign_outs = SignOuts()
        self._channels = channels(picture, worker.id, settings)
        self._wake = threading.Event()
        self._capacity = Capacity(settings.max_viewers)
        self._fanout = Fanout(self._left, self._wake.set, is_told_to_stop)
        self.credentials = Credentials(
            settings.reauthorize_interval, self._refused, self._guard.failed
        )
        self._publisher: threading.Thread | None = None
        self._renew_s = inf
        self._is_stopping = self._ends_at_exit = False
        self._housekeeping_s = min(_HOUSEKEEPING_S, settings.reauthorize_interval)
        self.interval_s = settings.update_interval
        self.events_dropped = 0

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return sum(len(channel.viewers) for channel in self._channels.values())

    @property
    def is_ending(self) -> bool:
        """Whether this worker goes, and takes no viewers any more."""
        return self._is_stopping or is_told_to_stop()

    def limit(self, is_detached: bool | None = None) -> int:
        """Return how many streams this worker takes, all together; see ``Capacity.limit``."""
        return self._capacity.limit(is_detached)

    # -- viewers -------------------------------------------------------------------------------

    def admit(self, viewer: Viewer, since_s: float = inf) -> bool:
        """Keep a place for a viewer who is about to come; False where there is none.

        Args:
            since_s: when the viewer's request began (monotonic): who has signed out meanwhile is
                to be told so.
        """
        is_detached = isinstance(viewer, DetachedViewer)
        self._free_lost()
        taken = self.viewers + len(self._arriving)
        if self.is_ending or taken >= self.limit(is_detached):
            return False
        self._capacity.take(is_detached)
        self._arriving[viewer] = time.monotonic()
        self.credentials.admit(viewer.pass_.credential)
        user = viewer.pass_.user
        if user is not None and self._sign_outs.was_since(user.id, since_s):
            viewer.pass_.credential.ended_by = "unauthorized"
        return True

    def _free_lost(self) -> None:
        """Free the places of those who did not come: a hook of the app's replaced the answer."""
        since_s = time.monotonic() - _ARRIVAL_S
        for viewer in [one for one, came_s in list(self._arriving.items()) if came_s < since_s]:
            if self._arriving.pop(viewer, _MISSING) is not _MISSING:
                self.credentials.release(viewer.pass_.credential)

    def join(self, viewer: Viewer, last_event_id: str) -> None:
        """Take in a viewer who has a place, and hand it its first events.

        Whatever is raised here, ``leave`` closes what the viewer has.
        """
        channel = self._channel_of(viewer.pass_.role)
        if self._arriving.pop(viewer, _MISSING) is _MISSING:  # too late: the place was given away
            self._say_last(viewer, self._bye("renew", _AGAIN_MS))
            self._end(viewer)
            return
        self._arriving[viewer] = inf  # it is here, and not lost however long this takes
        # Before it can leave, and not in the lock: who is told may ask for the picture, or wait.
        self._joining[viewer] = None
        self._told("connected", viewer)
        publisher = None
        try:
            with self._lock:
                publisher = self._take_in(viewer, channel, last_event_id)
        finally:
            if publisher is not None:
                # Not in the lock: to start is to wait, and all who come meanwhile would as well.
                self._start(publisher)
        self._joining.pop(viewer, None)
        if isinstance(viewer, DetachedViewer) and viewer.fd < 0:
            self._left(viewer)  # with the first write, maybe
            return
        reason = viewer.pass_.credential.ended_by
        if reason is not None:  # while it was on its way
            self._dismiss(viewer, self._bye(reason, _AGAIN_MS))

    def _take_in(
        self, viewer: Viewer, channel: Channel, last_event_id: str
    ) -> threading.Thread | None:
        """Do what needs the lock as a viewer joins; return a publisher that is to be started."""
        if not channel.viewers:
            channel.tick()
            channel.sent_s = time.monotonic()  # with what it begins with
        if isinstance(viewer, DetachedViewer):
            self._fanout.adopt(viewer)
        age_s = self._settings.stream_max_age
        viewer.ends_s = time.monotonic() + age_s * random.uniform(0.8, 1.2) if age_s else inf
        self._renew_s = min(self._renew_s, viewer.ends_s)
        self._arriving.pop(viewer, None)
        channel.viewers[viewer] = None
        if channel.timeline.is_forgetting:
            channel.fall_behind(viewer)  # it gets the new beginning, with all others
        else:
            self._give(viewer, channel.timeline.first(viewer.pass_.role, last_event_id))
        if not self._ends_at_exit:
            # A worker without requests may be gone before all have been told.
            self._ends_at_exit = True
            atexit.register(_at_exit, ref(self), os.getpid())
        if self._publisher is not None:
            return None
        self._publisher = threading.Thread(
            target=self._publish, name="realtime-monitor-publisher", daemon=True
        )
        return self._publisher

    def _start(self, publisher: threading.Thread) -> None:
        try:
            publisher.start()
        except RuntimeError:  # no thread is to be had; who comes next tries again
            self._publisher = None
            raise

    def opening(self) -> bytes:
        """Return a stream's first bytes: how long to wait when it is cut, for each another time."""
        return sse.retry(random.randint(*_RETRY_MS))

    def leave(self, viewer: Viewer) -> None:
        """A viewer's connection is closed, or it will not come after all."""
        was_told_of = self._joining.pop(viewer, _MISSING) is not _MISSING
        if self._arriving.pop(viewer, _MISSING) is not _MISSING:
            self.credentials.release(viewer.pass_.credential)
            if was_told_of:
                self._told("disconnected", viewer)
        elif self._forget_viewer(viewer):
            self._told("disconnected", viewer)
        self._end(viewer)

    def _left(self, viewer: DetachedViewer) -> None:
        """A viewer's connection was closed by its other end, or given up."""
        # Who is just taken in holds the lock, and looks itself afterwards.
        if viewer not in self._joining and self._forget_viewer(viewer):
            self._told("disconnected", viewer)

    def _forget_viewer(self, viewer: Viewer) -> bool:
        channel = self._channel_of(viewer.pass_.role)
        if channel.viewers.pop(viewer, _MISSING) is _MISSING:
            return False
        channel.behind.pop(viewer, None)
        self.credentials.release(viewer.pass_.credential)
        self._wake.set()
        return True

    def once(self, role: str) -> bytes:
        """Return a bounded answer, for a server that a stream would block."""
        channel = self._channel_of(role)
        with self._lock:
            if not channel.viewers or channel.timeline.is_forgetting:
                channel.tick()
            least_ms = max(1000, int(self._settings.update_interval * 1000))
            retry_ms = least_ms + random.randint(0, _SPREAD_MS)
            bye = self._bye("limit", retry_ms)
            return sse.retry(retry_ms) + channel.timeline.snapshot(role).form(0) + bye.form(0)

    def farewell(self) -> bytes:
        """Return the answer to who comes while the worker goes: to come again, to another."""
        return self._bye("restart", random.randint(*_RESTART_MS)).form(0)

    def sign_out(self, user_id: str) -> None:
        """End the streams of a user who has signed out anywhere."""
        self._sign_outs.note(user_id)
        for viewer in list(self._arriving):
            if viewer.pass_.user is not None and viewer.pass_.user.id == user_id:
                viewer.pass_.credential.ended_by = "unauthorized"
        for viewer in self._everybody():
            if viewer.pass_.user is not None and viewer.pass_.user.id == user_id:
                self._dismiss(viewer, self._bye("unauthorized", _AGAIN_MS))

    def forget(self) -> None:
        """Somebody was erased: every view begins anew, so that nothing of theirs stays."""
        for channel in self._channels.values():
            channel.timeline.forget()

    def stop(self, is_last: bool = False) -> None:
        """End all streams: the worker goes.

        Args:
            is_last: whether it goes now, and nobody else is to work meanwhile.
        """
        self._is_stopping = getattr(server_worker(), "alive", True) is False
        farewells = [
            self._bye("restart", random.randint(*_RESTART_MS))
            for _ in range(min(_MOST_FAREWELLS, self.viewers))
        ]
        pace, breathless = Pace(inf if is_last else SLICE_S), Pace(inf)
        # Nobody is closed before all are told, or the last would be told much later. Who is in a
        # batch is told before others may work, and nobody twice, should the worker end meanwhile.
        everybody = self._everybody()
        for number, at in enumerate(range(0, len(everybody), _BATCH)):
            bye = farewells[number % len(farewells)]
            batch = [one for one in everybody[at : at + _BATCH] if one not in self._leaving]
            self._leaving.update(dict.fromkeys(batch))
            for viewer in self._fanout.send_to_all(batch, bye, breathless):
                self._say_last(viewer, bye)
            pace.rest()
        for viewer in list(self._leaving):
            if self._leaving.pop(viewer, _MISSING) is not _MISSING:
                self._part(viewer)
            pace.rest()

    def _channel_of(self, role: str) -> Channel:
        return self._channels[SIGHTS[role]]

    def _everybody(self) -> list[Viewer]:
        return [viewer for one in self._channels.values() for viewer in list(one.viewers)]

    def _dismiss(self, viewer: Viewer, bye: Packet) -> None:
        if viewer not in self._leaving:
            self._say_last(viewer, bye)
            self._part(viewer)

    def _say_last(self, viewer: Viewer, bye: Packet) -> None:
        if isinstance(viewer, DetachedViewer):
            self._fanout.take_leave(viewer, bye)
        elif isinstance(viewer, HeldViewer):
            viewer.end(bye)

    def _part(self, viewer: Viewer) -> None:
        """Let go of a viewer to whom the last was said."""
        if self._forget_viewer(viewer):
            self._end(viewer)
            self._told("disconnected", viewer)

    def _refused(self, credential: Credential) -> None:
        """The gate says no to some who watch, or gives them another role."""
        for viewer in self._everybody():
            if viewer.pass_.credential is credential:
                self._dismiss(viewer, self._bye(credential.ended_by or "unauthorized", _AGAIN_MS))

    def _bye(self, reason: str, retry_ms: int) -> Packet:
        as_of = max(channel.timeline.as_of for channel in self._channels.values())
        said = {"reason": reason, "retry_ms": retry_ms, "as_of": as_of or time.time()}
        bye = sse.encode("bye", said)
        return Packet(sse.retry(retry_ms) + bye, is_last=True)

    def _give(self, viewer: Viewer, packet: Packet) -> bool:
        """Write to a viewer; False where it cannot take anything now."""
        if not len(packet):
            return True
        if isinstance(viewer, DetachedViewer):
            return self._fanout.send(viewer, packet)
        return viewer.take(packet)

    def _end(self, viewer: Viewer) -> None:
        if isinstance(viewer, DetachedViewer):
            self._fanout.end(viewer)
        elif isinstance(viewer, HeldViewer):
            viewer.end()

    def look(self) -> None:
        """Look whether the worker is to stop; called every 0.1 s."""
        self._fanout.look()

    # -- the publisher -------------------------------------------------------------------------

    def _publish(self) -> None:
        next_s = time.monotonic() + self.interval_s
        pid = os.getpid()
        while True:
            self._wait(min(next_s, self._quiet_until_s()))
            if os.getpid() != pid:  # gevent's greenlets go on in a fork, and its descriptors
                self._fanout.abandon()
                return
            self._fanout.serve()
            with self._lock:
                if not self.viewers:
                    self._fanout.rest()
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

    def _wait(self, until_s: float) -> None:
        """Wait for something that is due, or to be seen to in the connections."""
        # Where connections are ours, somebody looks out for a stop, and wakes us.
        is_watched = len(self._fanout) and not self._fanout.has_stuck
        most_s = self._housekeeping_s if is_watched else LOOK_S
        self._wake.wait(min(most_s, max(0.0, until_s - time.monotonic())))
        self._wake.clear()

    def _round(self, next_s: float) -> float:
        now_s = time.monotonic()
        self._renew(now_s)
        self.credentials.turn(now_s)
        self._fanout.drop_stuck(now_s)
        if now_s < next_s:
            self._reassure(now_s)
            return next_s
        began_s = time.thread_time()
        due: list[tuple[Channel, bool, list[Viewer], Packet | None]] = []
        with self._lock:
            watched = [one for one in self._channels.values() if one.viewers]
            frames = [channel.tick() for channel in watched]
            spent_s = time.thread_time() - began_s
            for channel, frame in zip(watched, frames, strict=True):
                to, packet = channel.addressed(frame, now_s, self._settings.heartbeat_interval)
                due.append((channel, frame is not None, to, packet))
        for channel, is_news, to, packet in due:
            spent_s += self._send(channel, to, packet, is_news)
        self._worker.spend(spent_s)
        # A tick may take a quarter of its interval; beyond that ticks become rarer.
        self.interval_s = min(
            max(self._settings.update_interval, spent_s * 4),
            max(_LONGEST_TICK_S, self._settings.update_interval),
        )
        # From now, not from when it began: the app may have held it up for seconds.
        return max(next_s + self.interval_s, time.monotonic() + self.interval_s / 2)

    def _quiet_until_s(self) -> float:
        heartbeat_s = self._settings.heartbeat_interval
        return min(one.quiet_until_s(heartbeat_s) for one in self._channels.values())

    def _reassure(self, now_s: float) -> None:
        """Send the heartbeats that are due between two ticks, which may be a minute apart."""
        for channel in self._channels.values():
            if now_s >= channel.quiet_until_s(self._settings.heartbeat_interval):
                channel.sent_s = now_s
                self._worker.spend(self._send(channel, list(channel.viewers), HEARTBEAT, False))

    def _renew(self, now_s: float) -> None:
        """Ask the browsers of old streams to come back with today's cookies."""
        if now_s < self._renew_s:
            return
        for viewer in [one for one in self._everybody() if one.ends_s <= now_s]:
            self._dismiss(viewer, self._bye("renew", random.randint(0, 1000)))
        first_s = min((one.ends_s for one in self._everybody()), default=inf)
        self._renew_s = max(first_s, now_s + _RENEW_S)

    def _send(
        self, channel: Channel, viewers: list[Viewer], packet: Packet | None, is_news: bool
    ) -> float:
        """Write to some of a channel, in slices; return the seconds it took."""
        snapshot = channel.timeline.snapshot
        pace = Pace()
        if packet is not None:
            viewers = self._fanout.send_to_all(viewers, packet, pace)
        for viewer in viewers:
            if viewer.is_behind:
                # What it skipped is made good by one snapshot, as soon as it can take it.
                if self._give(viewer, snapshot(viewer.pass_.role)):
                    channel.catch_up(viewer)
                else:
                    self.events_dropped += is_news
            elif (
                not self._give(viewer, packet or snapshot(viewer.pass_.role))
                and is_news
                and viewer in channel.viewers
            ):
                self.events_dropped += 1
                channel.fall_behind(viewer)
            pace.rest()
        return pace.total_s()


def _at_exit(find: ref[Broadcaster], pid: int) -> None:
    broadcaster = find()
    if broadcaster is not None and os.getpid() == pid:
        broadcaster.stop(is_last=True)
