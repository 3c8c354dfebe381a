"""How many distinct people there were, in a few kilobytes, over any number of workers."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from itertools import chain

_SMALLEST = 1024  # hashes that are kept
_HASHES = 2.0**64


class Crowd:
    """How many distinct people a minute saw: the smallest 1,024 of their 64-bit hashes.

    Exact up to 1,024; above that the k-th smallest hash gives the number within about 3 %
    (k minimum values; Bar-Yossef et al., RANDOM 2002). Sets of several workers can be united.
    """

    __slots__ = ("_count", "changes", "cut", "hashes", "united")

    def __init__(self) -> None:
        #: A set while people come, packed after that.
        self.hashes: set[int] | array[int] = set()
        self._count: int | None = 0
        #: From it on nobody is among the smallest; 0 where all are.
        self.cut = 0
        self.changes = 0
        #: With whom this crowd was united last, each with its changes then, and the number.
        self.united: tuple[list[tuple[Crowd, int]], int] | None = None

    @property
    def is_cut(self) -> bool:
        """Whether more were seen than are kept."""
        return bool(self.cut)

    def update(self, values: Collection[int]) -> Collection[int]:
        """See some people; return those of them who may be among the smallest."""
        self._count = None
        self.changes += 1
        hashes = self._unpacked()
        seen = self.among(values)
        hashes.update(seen)
        if len(hashes) >= 2 * _SMALLEST:
            self._shrink(hashes)
        return seen

    def among(self, values: Collection[int]) -> Collection[int]:
        """Return those of some people who may be among the smallest."""
        cut = self.cut
        return [one for one in values if one < cut] if cut else values

    def discard(self, value: int) -> None:
        """Take back somebody who was seen."""
        self._unpacked().discard(value)
        self._count = None
        self.changes += 1

    def pack(self) -> None:
        """Take little room, a tenth of before: the minute is over, and hardly anybody comes."""
        if isinstance(self.hashes, set):
            self._shrink(self.hashes)
            self.hashes = array("Q", self.hashes)

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

    def count(self) -> int:
        """Return how many distinct people were seen."""
        if self._count is None:
            self._count = _distinct(self.hashes, self.is_cut)
        return self._count


def united(crowds: Iterable[Crowd]) -> int:
    """Return how many distinct people several workers saw in the same minute."""
    known = [crowd for crowd in crowds if crowd.hashes]
    if len(known) < 2:
        return known[0].count() if known else 0
    first, seal = known[0], [(one, one.changes) for one in known]
    if first.united is None or first.united[0] != seal:
        cut = min((one.cut for one in known if one.cut), default=0)
        # Where some were cut, the smallest of all are below the cut of each.
        below = [filter(cut.__gt__, one.hashes) if cut else one.hashes for one in known]
        hashes = set(chain(*below))
        first.united = seal, _distinct(hashes, bool(cut))
    return first.united[1]


def _distinct(hashes: Collection[int], is_cut: bool) -> int:
    if not is_cut and len(hashes) <= _SMALLEST:
        return len(hashes)
    smallest = sorted(hashes)[:_SMALLEST]
    return round((len(smallest) - 1) * _HASHES / smallest[-1])
