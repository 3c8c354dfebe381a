"""How many distinct people there were, in a few kilobytes, over any number of workers."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

_SMALLEST = 1024  # hashes that are kept
_HASHES = 2.0**64

#: Some crowds at a moment, each with how many had come, and how often that is not all.
Seal = list[tuple["Crowd", int, int]]


class _Counted(NamedTuple):
    """How many people some crowds are together, and what it was found by."""

    number: int
    of: Seal
    smallest: list[int]  # of their hashes, in order; empty where the number is exact


class Crowd:
    """How many distinct people a minute saw: the smallest 1,024 of their 64-bit hashes.

    Exact up to 1,024; above that the k-th smallest hash gives the number within about 3 %
    (k minimum values; Bar-Yossef et al., RANDOM 2002). Sets of several workers can be united.
    """

    __slots__ = ("came", "changes", "counted", "cut", "hashes", "losses", "turns")

    def __init__(self) -> None:
        #: A set while people come, packed after that.
        self.hashes: set[int] | array[int] = set()
        #: The same in the order in which they came, and all that are no longer kept.
        self.came: list[int] = []
        #: From it on nobody is among the smallest; 0 where all are.
        self.cut = 0
        self.changes = 0
        self.losses = 0  # changes of which ``came`` does not tell
        #: Of whom was ever taken back, how often, and how often they came again; odd: not counted.
        self.turns: dict[int, int] = {}
        #: The number when it was last asked for, of this crowd first and maybe of others.
        self.counted: _Counted | None = None

    def update(self, values: Collection[int]) -> Collection[int]:
        """See some people; return those of them who may be among the smallest."""
        hashes = self._unpacked()
        seen = self.among(values)
        fresh = [one for one in seen if one not in hashes]
        if fresh:
            for one in self.turns.keys() & fresh if self.turns else ():
                self.turns[one] += self.turns[one] & 1
            hashes.update(fresh)
            self.came += fresh
            self.changes += 1
            if len(hashes) >= 2 * _SMALLEST:
                self._shrink(hashes)
        return seen

    def among(self, values: Collection[int]) -> Collection[int]:
        """Return those of some people who may be among the smallest."""
        cut = self.cut
        return [one for one in values if one < cut] if cut else values

    def take_back(self, values: Iterable[int]) -> None:
        """Take back some people, if they were seen; they may come again."""
        for one in self._unpacked().intersection(values):
            self.turns[one] = self.turns.get(one, 0) + 1
            self._drop(one)

    def turns_of(self, values: Collection[int] | None) -> list[tuple[int, int]]:
        """Return the turns of some people, of all for None."""
        return [turn for turn in self.turns.items() if values is None or turn[0] in values]

    def hear(self, values: Collection[int], turns: Mapping[int, int]) -> None:
        """Take over whom another worker saw, and its turns of some; both in any order."""
        for one, n in turns.items():
            if n > self.turns.get(one, 0):
                self.turns[one] = n
                if n & 1:
                    self._drop(one)
        known = self.turns
        self.update([one for one in values if not known.get(one, 0) & 1] if known else values)

    def _drop(self, value: int) -> None:
        self._unpacked().discard(value)
        self.changes += 1
        self.losses += 1

    def pack(self) -> None:
        """Take little room, a tenth of before: the minute is over, and hardly anybody comes."""
        if isinstance(self.hashes, set):
            self._shrink(self.hashes)
            self.hashes = array("Q", self.hashes)
            self.came, self.counted = [], None
            self.losses += 1  # who came since the last count is not among ``came`` any more

    def _unpacked(self) -> set[int]:
        if not isinstance(self.hashes, set):
            self.hashes = set(self.hashes)
        return self.hashes

    def _shrink(self, hashes: set[int]) -> None:
        """Keep only the smallest hashes: one more than 1,024, as a sign that there were others."""
        if len(hashes) > _SMALLEST + 1:
            smallest = sorted(hashes)[: _SMALLEST + 1]
            self.cut = smallest[-1] + 1
            self.hashes = set(smallest)
            self.turns = {one: n for one, n in self.turns.items() if one < self.cut}

    def count(self) -> int:
        """Return how many distinct people were seen."""
        return united((self,))


def united(crowds: Iterable[Crowd]) -> int:
    """Return how many distinct people several workers saw in the same minute."""
    known = [crowd for crowd in crowds if crowd.hashes]
    if not known:
        return 0
    first, of = known[0], [(one, len(one.came), one.losses) for one in known]
    before = first.counted
    if before is None or before.of != of:
        before = first.counted = _counted(of, before)
    return before.number


def _counted(of: Seal, before: _Counted | None) -> _Counted:
    """Count some crowds together; where a part of the same people was counted, from there on."""
    if before is None or len(before.smallest) < _SMALLEST or _losses(before.of) != _losses(of):
        hashes = set().union(*(one.hashes for one, _, _ in of))
        if len(hashes) <= _SMALLEST and not any(one.cut for one, _, _ in of):
            return _Counted(len(hashes), of, [])
        # Where some were cut, the smallest of all are below the cut of each.
        smallest = sorted(hashes)[:_SMALLEST]
    else:
        smallest, bound = before.smallest, before.smallest[-1]
        fresh = {
            one
            for (crowd, begin, _), (_, end, _) in zip(before.of, of, strict=True)
            for one in crowd.came[begin:end]
            if one < bound
        }
        if fresh := fresh.difference(smallest):
            smallest = sorted([*smallest, *fresh])[:_SMALLEST]
    number = round((len(smallest) - 1) * _HASHES / smallest[-1])
    is_over = not isinstance(of[0][0].hashes, set)  # and to take little room
    return _Counted(number, of, [] if is_over else smallest)


def _losses(of: Seal) -> list[tuple[Crowd, int]]:
    return [(crowd, losses) for crowd, _, losses in of]
