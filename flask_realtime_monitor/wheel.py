"""Who is due when: keys by the second in which they must be looked at, and looked at only then.

A key that was seen again stays where it is: when its second comes, it is moved on to the one it
then belongs to. So seeing a key costs nothing, and each costs one look per time-out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_MOST_LOOKS = 256  # where a thousand keys share a second, the first that fits will do


class Wheel:
    """Keys (64 bits) by second, 8 bytes a key; not locked."""

    def __init__(self) -> None:
        self._keys: dict[int, array[int]] = {}
        self._earliest_s = 0

    def add(self, key: int, due_s: int) -> None:
        """Look at a key when ``due_s`` comes."""
        keys = self._keys.get(due_s)
        if keys is None:
            keys = self._keys[due_s] = array("Q")
            if due_s < self._earliest_s or len(self._keys) == 1:
                self._earliest_s = due_s
        keys.append(key)

    def due(self, now_s: int) -> Iterator[int]:
        """Take out the keys whose second has come, earliest first."""
        while self._keys:
            earliest_s = self._first()
            if earliest_s > now_s:
                return
            keys = self._keys[earliest_s]
            while keys:
                yield keys.pop()
            if not self._keys.get(earliest_s, True):
                del self._keys[earliest_s]

    def pop_earliest(self) -> tuple[int, int] | None:
        """Take out one key of the earliest second; return it with that second."""
        while self._keys:
            earliest_s = self._first()
            keys = self._keys[earliest_s]
            if keys:
                return keys.pop(), earliest_s
            del self._keys[earliest_s]
        return None

    def _first(self) -> int:
        # Seconds are added at the far end, so the search from the last one found is short.
        second = self._earliest_s
        if second not in self._keys:
            nearby = range(second, second + _MOST_LOOKS)
            second = next((one for one in nearby if one in self._keys), -1)
            if second < 0:
                second = min(self._keys)
            self._earliest_s = second
        return second
