"""Who watches: the open streams, as the broadcaster knows them.

Two kinds: one whose connection is ours, written to without waiting, and one whose server iterates
a generator. Both take packets or say that they cannot yet.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from os import write
from typing import NamedTuple

from .credentials import Credential
from .models import User
from .packet import CHUNKED, GZIP, GZIP_HEAD, IN_STEP, Packet, deflated

_MOST_WAITING = 2


class Pass(NamedTuple):
    """What the gate let in: as whom, with what rights, by what right."""

    role: str
    user: User | None
    credential: Credential


class Viewer(ABC):
    """One open stream; few fields, for there may be many thousands.

    Args:
        pass_: what the gate said.
        form: the bits of the packets' form that its connection needs; IN_STEP comes and goes.
    """

    __slots__ = ("ends_s", "form", "is_behind", "pass_")

    def __init__(self, pass_: Pass, form: int) -> None:
        self.pass_ = pass_
        self.form = form
        self.ends_s = 0.0
        #: It has skipped something, and is to have a snapshot.
        self.is_behind = False

    def opening(self, first: bytes) -> bytes:
        """Return the first bytes of the body, as the server is to send them."""
        return GZIP_HEAD + deflated(first) if self.form & GZIP else first

    def take(self, packet: Packet) -> bool:
        """Take a packet; False where an earlier one is not through yet, and this is skipped.

        Raises:
            OSError: the connection is broken.
        """
        is_taken = self._take(packet.form(self.form))
        if is_taken and packet.is_frame:
            self.form |= IN_STEP
        else:
            self.form &= ~IN_STEP
        return is_taken

    @abstractmethod
    def _take(self, data: bytes) -> bool:
        """Take a packet's bytes, or none of them."""


class HeldViewer(Viewer):
    """A stream that the server's thread or greenlet iterates."""

    __slots__ = ("_is_over", "_ready", "_waiting")

    def __init__(self, pass_: Pass, form: int) -> None:
        super().__init__(pass_, form & ~CHUNKED)  # the server chunks what it is given
        self._waiting: deque[bytes] = deque()
        self._is_over = False
        self._ready = threading.Event()

    def _take(self, data: bytes) -> bool:
        """Hand bytes over to whoever iterates; False where two packets are waiting already."""
        if len(self._waiting) >= _MOST_WAITING:
            return False
        self._waiting.append(data)
        self._ready.set()
        return True

    def end(self, packet: Packet | None = None) -> None:
        """Hand the last packet over, once; what was not read before it is dropped."""
        if self._is_over:
            return
        self._waiting.clear()
        if packet is not None:
            self._waiting.append(packet.form(self.form))
        self._is_over = True
        self._ready.set()

    def frames(self) -> Iterator[bytes]:
        """Yield what is taken until the end."""
        while True:
            is_over = self._is_over  # before looking: the last packet comes first
            while True:
                try:
                    data = self._waiting.popleft()
                except IndexError:  # nothing, or another thread dropped it just now
                    break
                yield data
            if is_over:
                return
            self._ready.wait(60)
            self._ready.clear()


class DetachedViewer(Viewer):
    """A stream whose socket is ours: written to without waiting.

    ``fd`` is its descriptor, -1 once it is closed; ``rest`` what the kernel has not taken yet of a
    packet, since ``stuck_s`` (monotonic).
    """

    __slots__ = ("fd", "rest", "stuck_s")

    def __init__(self, pass_: Pass, form: int) -> None:
        super().__init__(pass_, form)
        self.fd = -1
        self.rest: memoryview | None = None
        self.stuck_s = 0.0

    def _take(self, data: bytes) -> bool:
        """Write bytes; the rest waits, where the kernel has no room."""
        if self.rest is not None:
            return False
        try:
            done = write(self.fd, data)
        except BlockingIOError:
            done = 0
        if done != len(data):
            self.keep(data, done)
        return True

    def keep(self, data: bytes, done: int) -> None:
        """Keep what the kernel has not taken of some bytes."""
        self.rest = memoryview(data)[done:]
        self.stuck_s = time.monotonic()

    def go_on(self) -> None:
        """Write more of what waits.

        Raises:
            OSError: the connection is broken.
        """
        if self.rest is None:
            return
        try:
            done = write(self.fd, self.rest)
        except BlockingIOError:
            return
        self.rest = self.rest[done:] if done < len(self.rest) else None
        self.stuck_s = time.monotonic()
