"""Which sessions may end in the next minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import compress

from .clock import grain_ms
from .listing import pairs
from .wheel import Wheel

_AHEAD_MS = 60_000
_NUMBERS = 10_000  # are looked through quickly


class Foresight:
    """Finds out, once a minute, who may end in the next one.

    That is one look at all of them by a loop in C. To note of each when it ends, as they come,
    would be more than all else that is noted.

    Args:
        timeout_ms: how long after its last request a session ends.
    """

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._step_ms = grain_ms(timeout_ms)
        self._due = Wheel()  # in these steps
        self._until_ms = 0

    def look_ahead(self, now_ms: int, *tables: Mapping[int, int]) -> None:
        """Note who may end soon, by when and where each was last seen (``Recency``)."""
        if now_ms < self._until_ms:
            return
        self._until_ms = now_ms + min(_AHEAD_MS, self._timeout_ms)
        latest = (self._until_ms - self._timeout_ms << 16) + 0xFFFF
        for table in tables:
            for keys, values in pairs(table, table.values(), _NUMBERS):
                for key in compress(keys, map(latest.__ge__, values)):
                    self.note(key, table[key])

    def note(self, key: int, value: int, after_ms: int = 0) -> None:
        """Note when a session that was last seen then may end, if that is before the next look.

        Args:
            after_ms: it is to be looked at in a later step than this moment's.
        """
        end_ms = (value >> 16) + self._timeout_ms
        if end_ms <= self._until_ms:
            self._due.add(key, max(end_ms, after_ms) // self._step_ms + 1)

    def note_end(self, key: int, now_ms: int) -> None:
        """Note that a session may have ended."""
        self._due.add(key, now_ms // self._step_ms)

    def due(self, now_ms: int, is_known: Callable[[int], bool]) -> list[int]:
        """Take out all known ones that may have ended by now, each once: it may be noted twice."""
        return list(filter(is_known, dict.fromkeys(self._due.due(now_ms // self._step_ms))))
