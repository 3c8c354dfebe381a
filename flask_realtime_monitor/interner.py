"""Bounded tables of texts, so that a row holds a small number instead of a string."""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Interner(Generic[T]):
    """Gives each distinct value a number below ``size``; when full, all others share the last.

    ``dropped`` counts the values that found no number of their own.
    """

    def __init__(self, size: int, other: T) -> None:
        self._numbers: dict[T, int] = {}
        self._values: list[T] = []
        self._size = size
        self._other = other
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._values)

    def number(self, value: T) -> int:
        """Return the number of a value, giving it one if it is new."""
        number = self._numbers.get(value)
        if number is not None:
            return number
        if len(self._values) >= self._size - 1:
            self.dropped += 1
            return self._size - 1
        number = self._numbers[value] = len(self._values)
        self._values.append(value)
        return number

    def since(self, number: int) -> list[tuple[int, T]]:
        """Return (number, value) of all values from a number on."""
        return list(enumerate(self._values[number:], number))

    def each(self, first: int, step: int) -> list[tuple[int, T]]:
        """Return (number, value) of every so many values."""
        return [(number, self._values[number]) for number in range(first, len(self), step)]

    def value(self, number: int) -> T:
        """Return the value of a number."""
        return self._values[number] if number < len(self._values) else self._other


class PathTable:
    """Slots for paths that are used again when all are taken (second chance, as a clock).

    A slot carries the time its present path moved in. Whoever holds an older slot number is told
    None, never another path: an old activity then shows its route, which is never wrong.
    """

    def __init__(self, size: int) -> None:
        self.slots: dict[str, int] = {}
        self._paths: list[str] = []
        self._born_ms = array("q")
        self.used = bytearray()
        self._hand = 0
        self._size = size
        self.replaced = 0
        #: Slots into which a path has moved since somebody last took note; None: nobody does.
        self.moved: set[int] | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def slot(self, path: str, now_ms: int) -> int:
        """Return the slot of a path, moving it into one if it has none."""
        slot = self.slots.get(path)
        if slot is None:
            return self.take(path, now_ms)
        self.used[slot] = 1
        return slot

    def take(self, path: str, now_ms: int) -> int:
        """Move a path that has no slot into one, and return that."""
        if len(self._paths) < self._size:
            slot = len(self._paths)
            self._paths.append(path)
            self._born_ms.append(now_ms)
            self.used.append(0)
        else:
            slot = self._free()
            del self.slots[self._paths[slot]]
            self._paths[slot] = path
            self._born_ms[slot] = now_ms
            self.replaced += 1
        self.slots[path] = slot
        if self.moved is not None:
            self.moved.add(slot)
        return slot

    def entry(self, slot: int) -> tuple[int, int, str]:
        """Return (slot, time its path moved in, path)."""
        return slot, self._born_ms[slot], self._paths[slot]

    def path(self, slot: int, seen_ms: int) -> str | None:
        """Return the path that was in the slot at that time, None if it has moved out since."""
        if slot >= len(self._paths) or seen_ms < self._born_ms[slot]:
            return None
        return self._paths[slot]

    def _free(self) -> int:
        used, size, hand = self.used, self._size, self._hand
        while used[hand]:
            used[hand] = 0
            hand = (hand + 1) % size
        self._hand = (hand + 1) % size
        return hand
