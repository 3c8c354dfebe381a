"""Who is due when: keys by the second in which they must be looked at, and looked at only then.

A key that was seen again stays where it is: when its second comes, it is moved on to the one it
then belongs to. So seeing a key costs nothing, and each costs one look per time-out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from operator import itemgetter

_NEARBY_S = 256
_MOST_LOOKS = 200


class Wheel:
    """Keys (64 bits) by second, 8 bytes a key; not locked."""

    def __init__(self) -> None:
        self._keys: dict[int, array[int]] = {}
        self._taken: dict[int, int] = {}  # how many of a second's keys, from the front
        self._earliest_s = 0

    def __bool__(self) -> bool:
        """Whether there may be keys left."""
        return bool(self._keys)

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
            del keys[: self._taken.pop(earliest_s, 0)]
            while keys:
                yield keys.pop()
            if not self._keys.get(earliest_s, True):
                del self._keys[earliest_s]

    def take_first(self, look: Callable[[int], tuple[int, Wheel] | None]) -> int | None:
        """Take out the key that is due first; of several in a second, the one added first.

        What is due later by now, or belongs to another wheel, is moved there on the way. After
        many such the first of this wheel's among them will do, None where there is none.

        Args:
            look: returns when a key is due, and its wheel; None for one that is gone.
        """
        passed: list[tuple[int, int, Wheel]] = []
        while len(passed) < _MOST_LOOKS:
            found = self._pop_earliest()
            if found is None:
                break
            key, second = found
            looked = look(key)
            if looked is not None:
                due_s, wheel = looked
                passed.append((due_s, key, wheel))
                if wheel is self and due_s <= second:
                    break
        own = [(due_s, key) for due_s, key, wheel in passed if wheel is self]
        first = min(own, key=itemgetter(0))[1] if own else None
        for due_s, key, wheel in passed:
            if key != first:
                wheel.add(key, due_s)
        return first

    def _pop_earliest(self) -> tuple[int, int] | None:
        """Take out one key of the earliest second; return it with that second."""
        while self._keys:
            earliest_s = self._first()
            keys, taken = self._keys[earliest_s], self._taken.get(earliest_s, 0)
            if taken < len(keys):
                self._taken[earliest_s] = taken + 1
                return keys[taken], earliest_s
            del self._keys[earliest_s]
            self._taken.pop(earliest_s, None)
        return None

    def _first(self) -> int:
        # Seconds are added at the far end, so the search from the last one found is short.
        second = self._earliest_s
        if second not in self._keys:
            nearby = range(second, second + _NEARBY_S)
            second = next((one for one in nearby if one in self._keys), -1)
            if second < 0:
                second = min(self._keys)
            self._earliest_s = second
        return second
