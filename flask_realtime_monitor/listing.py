"""Walks over the index that give items, in turns with others' work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

_SLICE = 500

K = TypeVar("K")
Json = dict[str, Any]


def rendered(keys: Iterable[K], render: Callable[[K], Json | None], most: int) -> Iterator[Json]:
    """Yield the first items of some keys; what has no item any more is passed over."""
    found = 0
    for number, key in enumerate(keys):
        if number % _SLICE == _SLICE - 1:
            time.sleep(0)  # somebody else's turn
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
