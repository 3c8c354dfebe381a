"""Walks over what is long, in turns with others' work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

_SLICE = 1_000
#: What a long walk sleeps (s) for somebody else's turn: at 0 gevent lets nothing in that waits for
#: I/O or for its time.
TURN_S = 1e-7
_LONGEST_S = 0.002

K = TypeVar("K")
T = TypeVar("T")
Json = dict[str, Any]


class Turns:
    """Lets others have a turn once one's own has lasted long enough; called now and then."""

    def __init__(self) -> None:
        self._until_s = time.monotonic() + _LONGEST_S

    def __call__(self) -> None:
        """Sleep, if it is time."""
        if time.monotonic() > self._until_s:
            time.sleep(TURN_S)
            self._until_s = time.monotonic() + _LONGEST_S


def slices(items: Iterable[T], size: int = _SLICE) -> Iterator[list[T]]:
    """Return items in parts; between two of them it is somebody else's turn, if it is time."""
    left, turns = iter(items), Turns()
    while part := list(islice(left, size)):
        yield part
        if len(part) == size:
            turns()


def pairs(
    keys: Iterable[K], values: Iterable[T], size: int = _SLICE
) -> Iterator[tuple[list[K], list[T]]]:
    """Return keys and their values in parts; as ``slices``, and no pair is made for each."""
    left = iter(values)
    for part in slices(keys, size):
        yield part, list(islice(left, len(part)))


def rendered(keys: Iterable[K], render: Callable[[K], Json | None], most: int) -> Iterator[Json]:
    """Yield the first items of some keys; what has no item any more is passed over."""
    found = 0
    for number, key in enumerate(keys):
        if number % _SLICE == _SLICE - 1:
            time.sleep(TURN_S)  # somebody else's turn
        item = render(key)
        if item is not None:
            yield item
            found += 1
            if found == most:
                return


def active(items: Callable[[int], Iterator[Json]], limit: int, total: int) -> list[Json]:
    """Return the first active items; a request in flight keeps even a long idle one active."""
    found = [one for one in items(limit) if one["is_active"]]
    if len(found) == limit:
        return found
    return list(islice((one for one in items(max(total, 1)) if one["is_active"]), limit))
