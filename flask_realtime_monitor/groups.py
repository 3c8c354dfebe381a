"""Session keys by what they have in common; by far the most have it alone."""

from __future__ import annotations

from collections.abc import Hashable, KeysView, Sequence
from typing import Generic, TypeVar

_MANY = 32

W = TypeVar("W", bound=Hashable)


class Groups(Generic[W]):
    """The keys of each of some users, or visitors.

    A key that is alone is kept as itself: no object is made for it, and the garbage collector has
    nothing to look into. Of very many a dict is made, that takes in one more at once.

    Args:
        tied: to this are added keys that have come to be of somebody who has others.
    """

    def __init__(self, tied: set[int]) -> None:
        self._keys: dict[W, int | tuple[int, ...] | dict[int, None]] = {}
        self._tied = tied

    def __contains__(self, whose: W) -> bool:
        return whose in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def whose(self) -> KeysView[W]:
        """Return all who have a key."""
        return self._keys.keys()

    def of(self, whose: W) -> tuple[int, ...]:
        """Return somebody's keys, in the order in which they came."""
        found = self._keys.get(whose)
        if found is None:
            return ()
        return (found,) if isinstance(found, int) else tuple(found)

    def size(self, whose: W) -> int:
        """Return how many keys somebody has."""
        found = self._keys.get(whose)
        if found is None:
            return 0
        return 1 if isinstance(found, int) else len(found)

    def add(self, whose: W, key: int) -> None:
        """Give somebody a key; one they have stays where it is."""
        known = self._keys.setdefault(whose, key)
        if isinstance(known, dict):
            known[key] = None
            self._tied.add(key)
        elif known != key:
            found = known if isinstance(known, tuple) else (known,)
            if key not in found:
                found = (*found, key)
                self._keys[whose] = found if len(found) < _MANY else dict.fromkeys(found)
                self._tied.update(found)

    def add_all(self, whose: Sequence[W], keys: Sequence[int]) -> None:
        """Give each of some a key; as ``add`` for each."""
        fresh = dict(zip(whose, keys, strict=True))
        if len(fresh) == len(keys) and self._keys.keys().isdisjoint(fresh):
            self._keys.update(fresh)
            return
        for one, key in zip(whose, keys, strict=True):
            self.add(one, key)

    def drop(self, whose: W, key: int) -> None:
        """Take a key from somebody, who may not have it."""
        known = self._keys.get(whose)
        if isinstance(known, dict) and len(known) > _MANY:
            known.pop(key, None)
            return
        left = tuple(one for one in self.of(whose) if one != key)
        if len(left) > 1:
            self._keys[whose] = left
        elif left:
            self._keys[whose] = left[0]
        else:
            self._keys.pop(whose, None)
