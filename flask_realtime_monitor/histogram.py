"""Percentiles from fixed logarithmic buckets: constant memory, merging is adding.

A bucket's upper bound is 1.1 times that of the one before, so a percentile is off by less
than 5 % (the middle of the bucket is reported). Compare DDSketch (Masson, Rim, Lee, VLDB 2019).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache

_GAMMA = 1.1
_SHIFT = 97  # bucket 0 ends at 1.1 ** -97, about 0.0001 of the unit
BUCKETS = 256  # the last one begins at 1.1 ** 158, about 3.5 million units


#: The upper bound of each bucket but the last.
BOUNDS = [_GAMMA ** (bucket - _SHIFT) for bucket in range(BUCKETS - 1)]


def bucket_of(value: float) -> int:
    """Return the bucket of a value; what is not positive falls into bucket 0."""
    return bisect_left(BOUNDS, value)


def percentiles(
    counts: Mapping[int, int], total: int, shares: tuple[float, ...]
) -> list[float | None]:
    """Return the values below which some shares of the ``total`` values lie, in one walk.

    Args:
        counts: bucket -> how many values.
        shares: from 0 to 1, ascending.
    """
    found: list[float | None] = []
    if total <= 0:
        return [None] * len(shares)
    seen = 0
    wanted = iter(shares)
    share = next(wanted, None)
    for bucket in sorted(counts):
        seen += counts[bucket]
        while share is not None and seen >= share * total:
            found.append(_middle(bucket))
            share = next(wanted, None)
        if share is None:
            break
    return found + [None] * (len(shares) - len(found))


@cache
def _middle(bucket: int) -> float:
    upper = _GAMMA ** (bucket - _SHIFT)
    # The point that is at most (gamma - 1) / (gamma + 1) away from both ends of the bucket.
    return float(f"{2 * upper / (_GAMMA + 1):.4g}")


class Histogram:
    """Counts of values, for one kind of measurement; not locked, its owner is."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0

    def add(self, value: float) -> None:
        """Count one value."""
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1

    def halve(self) -> None:
        """Forget half of what was counted, so that the present weighs more than the past."""
        self.counts = {bucket: n // 2 for bucket, n in self.counts.items() if n > 1}
        self.total = sum(self.counts.values())

    def read(self, *shares: float) -> list[float | None]:
        """Return the percentiles of all that was counted."""
        return percentiles(dict(self.counts), self.total, shares)
