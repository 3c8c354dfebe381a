"""Time as the rows keep it: milliseconds that never run backwards, shown as wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

_JUMP_S = 2.0
_TRIES = 5
#: So long (s) after the store told the time a jump of the wall clock is left to it.
_TOLD_S = 10.0
#: How far apart (ms) two clocks may seem that are the same: the store's answers take their time.
_UNSURE_MS = 250
#: How much (s) of what was known of the store's clock is given up with each answer.
_FADE_S = 0.01


def grain_ms(span_ms: int) -> int:
    """Return how finely a span of time is counted: in hundredths of it, in seconds at most."""
    return min(1000, max(1, span_ms // 100))


class Clock:
    """Counts milliseconds by the monotonic clock and translates them to the epoch.

    Ages are differences of monotonic times, so a wall clock that is set forward or back by an
    hour neither ends a session nor makes an age negative. When the two clocks part by more than
    2 s the translation moves once, and every time shown moves with it.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self.monotonic = monotonic
        self._offset = self._measured()
        self._ahead_s = 0.0  # the store's clock, of this process's wall clock
        self._told_s = float("-inf")
        self._store: float | None = None  # the store's clock, of the monotonic one

    @property
    def offset_ms(self) -> int:
        """What is added to a row's time to get milliseconds since the epoch."""
        return round(self._offset * 1000)

    def now_ms(self) -> int:
        """Return the present moment in monotonic milliseconds, the unit of every row."""
        return int(self.monotonic() * 1000)

    @property
    def store_ms(self) -> int | None:
        """What is added to a row's time to get the store's (ms); None while that is not known."""
        return None if self._store is None else round(self._store * 1000)

    def store_at_ms(self, ms: int) -> int | None:
        """Return a row's time as the store's (ms since the epoch), None while it is not known."""
        return None if self._store is None else ms + round(self._store * 1000)

    def ms_of(self, at_ms: int, store_at_ms: object) -> int:
        """Return the row's time of a moment that another worker tells of; as ``row_ms``."""
        return row_ms(at_ms, store_at_ms, self.offset_ms, self.store_ms)

    def wall_at(self, ms: float) -> float:
        """Return a row's time as seconds since the epoch, to the millisecond."""
        return round(self._offset + ms / 1000, 3)

    def now_at(self) -> float:
        """Return the present moment as seconds since the epoch, to the microsecond."""
        return round(self._offset + self.monotonic(), 6)

    def follow(self) -> bool:
        """Notice a jump of the wall clock; tell whether there was one."""
        if self.monotonic() - self._told_s < _TOLD_S:
            return False
        if abs(self._wall() + self._ahead_s - self.monotonic() - self._offset) <= _JUMP_S:
            return False
        return self._set(self._measured() + self._ahead_s)

    def _measured(self) -> float:
        """Return how far the wall clock is ahead of the monotonic one (s).

        The process may have to wait between two looks, for milliseconds, and its workers would then
        show the same moment as different ones. So the quickest of some pairs counts.
        """
        tries = []
        for _ in range(_TRIES):
            before, at, after = self.monotonic(), self._wall(), self.monotonic()
            tries.append((after - before, at - (before + after) / 2))
        return min(tries)[1]

    def agree(self, at: float) -> bool:
        """Take over the time (seconds since the epoch) that all workers go by: the store's.

        Two hosts whose clocks differ then show the same; tell whether the time has moved.
        """
        self._told_s = self.monotonic()
        ahead_s = at - self._wall()
        self._ahead_s = ahead_s if abs(ahead_s) > _JUMP_S else 0.0
        store = at - self._told_s
        if self._store is not None and abs(store - self._store) <= _JUMP_S:
            # Of several answers the quickest tells most, and that clock may have been set back.
            store = max(store, self._store - _FADE_S)
        self._store = store
        return self._set(at - self._told_s)

    def _set(self, offset: float) -> bool:
        if abs(offset - self._offset) <= _JUMP_S:
            return False
        self._offset = offset
        return True


def row_ms(at_ms: int, store_at_ms: object, offset_ms: int, store_ms: int | None) -> int:
    """Return the time of some rows at a moment that a worker tells of.

    Args:
        at_ms: the moment in ms since the epoch, as that worker's clock shows it.
        store_at_ms: the same by the store's clock; no number where that is not known.
        offset_ms, store_ms: what is added to the rows' time to get the one and the other.
    """
    found_ms = at_ms - offset_ms
    if not isinstance(store_at_ms, int) or store_ms is None:
        return found_ms
    exact_ms = store_at_ms - store_ms
    return found_ms if abs(exact_ms - found_ms) <= _UNSURE_MS else exact_ms
