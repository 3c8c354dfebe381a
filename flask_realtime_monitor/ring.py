"""The last frames of a stream, kept so that a viewer who was cut off goes on where it was."""

from __future__ import annotations

from collections import deque

from .packet import Packet

_MOST_FRAMES = 64
_MOST_BYTES = 2_000_000


class Ring:
    """Frames by their tick; ticks grow. The oldest go when there are too many, or too large."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, int, Packet]] = deque()  # (tick, tick before, packet)
        self._bytes = 0
        self.tick = 0

    def add(self, tick: int, packet: Packet) -> None:
        """Put in the newest frame."""
        self._frames.append((tick, self.tick, packet))
        self.tick = tick
        self._bytes += len(packet)
        while len(self._frames) > _MOST_FRAMES or self._bytes > _MOST_BYTES:
            self._bytes -= len(self._frames.popleft()[2])

    def clear(self, tick: int) -> None:
        """Begin anew: nothing leads from before this tick to what comes after it."""
        self._frames.clear()
        self._bytes = 0
        self.tick = tick

    def after(self, tick: int) -> list[Packet] | None:
        """Return the frames that follow a tick; None where they do not all follow it."""
        if tick == self.tick:
            return []
        found = [(before, packet) for at, before, packet in self._frames if at > tick]
        if not found or found[0][0] != tick:
            return None
        return [packet for _, packet in found]
