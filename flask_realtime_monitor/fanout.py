"""The sockets of viewers whose connections are ours: one epoll descriptor watches them all.

Nothing here waits for a viewer. What the kernel does not take at once goes when there is room
again; who makes no room for 15 s is let go, and so is, by the kernel's own clock, who has vanished
without a word (TCP_USER_TIMEOUT, RFC 5482). A viewer has nothing to say: what it sends is read and
thrown away, and the end of it is the end of the stream.

It runs under gevent's loop, in slices of 2 ms: an ordinary request waits for no more than one.
"""

from __future__ import annotations

import _socket  # gevent's own would have its loop know of it
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from os import write
from posix import close  # gevent's, in its place, has the loop do it, in its next turn
from typing import Any

from .packet import FORMS, IN_STEP, Packet
from .viewers import DetachedViewer, Viewer
from .worker import note_signals, signal_pipe

SLICE_S = 0.002
LOOK_S = 0.1
_UNSEEN_S = 0.15
STUCK_S = 15.0

_NO_TIME_S = 1e-7  # not 0: gevent lets input and output in only where a timer is set
_SEND_BYTES = 32_768  # the kernel doubles it
_VANISHED_MS = 15_000
_MOST_SAID = 65_536
_BATCH = 1_024
_LOOK = 16  # at the clock, after so many writes
_MOST_DESCRIPTORS = 1_048_576
_READABLE = 1  # for gevent's loop
_IN, _OUT = select.POLLIN, select.POLLOUT  # the same bits as EPOLLIN and EPOLLOUT


class Pace:
    """Cuts work into slices, and counts what it takes.

    Args:
        slice_s: how long others may be kept waiting.
    """

    def __init__(self, slice_s: float = SLICE_S) -> None:
        self._slice_s = slice_s
        self._never = threading.Event()
        self._began_s = time.perf_counter()
        self.spent_s = 0.0

    def rest(self) -> bool:
        """Let others work, where this slice is over; tell whether it was."""
        took_s = time.perf_counter() - self._began_s
        if took_s <= self._slice_s:
            return False
        self.spent_s += took_s
        self._never.wait(_NO_TIME_S)
        self._began_s = time.perf_counter()
        return True

    def total_s(self) -> float:
        """Return what all slices have taken so far."""
        return self.spent_s + time.perf_counter() - self._began_s


class Fanout:
    """Owns descriptors, from their adoption to their closing.

    Args:
        gone: called with a viewer who has left or was let go.
        ready: called, in gevent's loop, when there is something to ``serve``.
        is_due: asked by ``look``, and in the loop where nobody looks; ``ready`` follows a yes.
    """

    def __init__(
        self,
        gone: Callable[[DetachedViewer], None],
        ready: Callable[[], None],
        is_due: Callable[[], bool],
    ) -> None:
        self._gone = gone
        self._ready = ready
        self._is_due = is_due
        self._viewers: dict[int, DetachedViewer] = {}
        self._stuck: dict[DetachedViewer, None] = {}
        self._epoll: Any = None
        self._heard: Any = None
        self._timer: Any = None
        self._signals: Any = None

    def __len__(self) -> int:
        return len(self._viewers)

    def adopt(self, viewer: DetachedViewer) -> None:
        """Watch a viewer's connection from now on.

        Raises:
            OSError: the descriptor is not fit for it.
        """
        if self._epoll is None:
            self._open()
        self._epoll.register(viewer.fd, _IN)
        self._viewers[viewer.fd] = viewer
        if not self._timer.active:
            self._timer.start(self._ask)
        if not self._heard.active:
            self._heard.start(self._hear)
        if self._signals is not None and not self._signals.active:
            self._signals.start(self._hear_signal)

    def _open(self) -> None:
        # Only a server that runs gevent hands us connections, so it is there.
        from gevent import get_hub, monkey

        # gevent takes epoll away from those it cannot make wait; this one is only ever polled,
        # and the loop watches its descriptor. A greenlet of its own would cost more than that.
        self._epoll = monkey.get_original("select", "epoll")()
        loop = get_hub().loop
        self._heard = loop.io(self._epoll.fileno(), _READABLE)
        self._timer = loop.timer(_UNSEEN_S, _UNSEEN_S)
        pipe = signal_pipe()
        if pipe is not None:
            self._signals = loop.io(pipe, _READABLE)

    def _hear(self) -> None:
        self._heard.stop()  # or it would be called without end until somebody sees to it
        self._ready()

    def _hear_signal(self) -> None:
        note_signals()
        self._ask()

    def look(self) -> None:
        """Ask whether something is due: to be called every 0.1 s, of a loop that wakes anyway.

        An idle process is cold, and each time it wakes costs more than what it does then. Only
        while the caller is held up somewhere the loop's own timer asks.
        """
        if self._timer is not None and self._timer.active:
            self._timer.again(self._ask)
            self._ask()

    def _ask(self) -> None:
        if self._is_due():
            self._ready()

    # -- writing -------------------------------------------------------------------------------

    def send(self, viewer: DetachedViewer, packet: Packet) -> bool:
        """Write to a viewer; False where it has not taken the last packet yet, or has left."""
        if viewer.fd < 0:
            return False
        try:
            is_taken = viewer.take(packet)
        except OSError:
            self._leave(viewer)
            return False
        if viewer.rest is not None:
            self._wait_for(viewer)
        return is_taken

    def send_to_all(self, viewers: Iterable[Viewer], packet: Packet, pace: Pace) -> list[Viewer]:
        """Write one packet to many; return those who need a look of their own.

        As ``send`` for each, but written out: with thousands of viewers this is where time goes.
        It ends early where something is due: nobody waits for an update to be told ``bye``.
        """
        others: list[Viewer] = []
        forms: list[bytes | None] = [None] * FORMS
        step = IN_STEP if packet.is_frame else 0
        number = 0
        for viewer in viewers:
            if type(viewer) is not DetachedViewer or viewer.is_behind or viewer.rest is not None:
                others.append(viewer)
                continue
            fd = viewer.fd
            if fd < 0:
                continue
            form = viewer.form
            data = forms[form]
            if data is None:
                data = forms[form] = packet.form(form)
            if form & IN_STEP != step:
                viewer.form = form ^ IN_STEP
            try:
                done = write(fd, data)
            except BlockingIOError:
                done = 0
            except OSError:
                self._leave(viewer)
                continue
            if done != len(data):
                viewer.keep(data, done)
                self._wait_for(viewer)
            number += 1
            if not number % _LOOK and pace.rest() and self._is_due():
                break
        return others

    def _wait_for(self, viewer: DetachedViewer) -> None:
        if viewer not in self._stuck:
            self._stuck[viewer] = None
            self._epoll.modify(viewer.fd, _IN | _OUT)

    def take_leave(self, viewer: DetachedViewer, packet: Packet) -> None:
        """Write the last packet, where there is room for it."""
        if viewer.fd >= 0:
            with suppress(OSError):
                viewer.go_on()
                viewer.take(packet)

    def end(self, viewer: DetachedViewer) -> None:
        """Close, whatever has not been taken yet."""
        if viewer.fd >= 0:
            _say_end(viewer.fd)
            self._close(viewer)

    def _close(self, viewer: DetachedViewer) -> None:
        fd, viewer.fd = viewer.fd, -1
        viewer.rest = None
        self._stuck.pop(viewer, None)
        if self._viewers.pop(fd, None) is not None:
            with suppress(OSError):
                # By itself only the last copy's closing does that, and the app may have forked.
                self._epoll.unregister(fd)
        close(fd)

    def _leave(self, viewer: DetachedViewer) -> None:
        self._close(viewer)
        self._gone(viewer)

    def drop_stuck(self, now_s: float) -> None:
        """Let those go who have taken nothing for too long."""
        for viewer in [one for one in self._stuck if now_s - one.stuck_s > STUCK_S]:
            self._leave(viewer)

    # -- listening -----------------------------------------------------------------------------

    @property
    def has_stuck(self) -> bool:
        """Whether anybody has not taken all yet."""
        return bool(self._stuck)

    def rest(self) -> None:
        """Watch nothing while there are no viewers."""
        if not self._viewers:
            self.abandon()

    def abandon(self) -> None:
        """Watch nothing any more: in a fork the viewers are the parent's."""
        for watcher in (self._timer, self._heard, self._signals):
            if watcher is not None:
                watcher.stop()

    def serve(self) -> None:
        """See to who has left or has room again."""
        if self._heard is None or self._heard.active:
            return
        pace = Pace()
        while True:
            events = self._epoll.poll(0, _BATCH)
            for fd, what in events:
                viewer = self._viewers.get(fd)
                if viewer is not None:
                    self._serve(viewer, what)
                pace.rest()
            if len(events) < _BATCH:
                break
        if self._viewers:
            self._heard.start(self._hear)

    def _serve(self, viewer: DetachedViewer, what: int) -> None:
        try:
            if what & ~_OUT and not os.read(viewer.fd, _MOST_SAID):
                self._leave(viewer)
                return
            if what & _OUT:
                viewer.go_on()
                if viewer.rest is None:
                    self._stuck.pop(viewer, None)
                    self._epoll.modify(viewer.fd, _IN)
        except BlockingIOError:
            pass
        except OSError:
            self._leave(viewer)


def _say_end(fd: int) -> None:
    """Tell the other end that nothing more comes: a child of the app's may hold a copy of it."""
    # The kernel looks at the descriptor alone, whatever family it is said to be of.
    with suppress(OSError):
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
        try:
            connection.shutdown(_socket.SHUT_WR)
        finally:
            connection.detach()


def prepare(connection: Any) -> None:
    """Bound what the kernel keeps for a connection, and how long it waits for its peer."""
    options = (
        (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    )
    for level, name, value in options:
        with suppress(OSError):  # a Unix socket knows nothing of TCP
            connection.setsockopt(level, name, value)


def most_descriptors() -> int:
    """Return how many descriptors this process may have: ``raise_descriptors`` makes them so."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(limit, _MOST_DESCRIPTORS)


def raise_descriptors() -> None:
    """Raise the process's soft limit of descriptors to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
