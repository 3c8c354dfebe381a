"""Keys by when they were last seen: how many are active, where, and the newest of them.

Counts are kept by second, or by hundredths of a short window, so that time passing costs a look at
the steps that passed, never at the keys. Of the order only the newest are kept, as many as are
asked for and up to as many again: what has moved since then is put in its place when it is asked
for, and what falls behind them is found again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from itertools import compress, repeat
from typing import Any, Generic, TypeVar

from .clock import grain_ms
from .listing import pairs, slices

K = TypeVar("K", bound=Hashable)

#: How many of the order are kept: at first, and where more are asked for.
_KEPT = 128
_MOST_KEPT = 1_000
#: How often what has moved is put in its place unasked.
_UNASKED = 16
_FEW = 20
_SLICE = 5_000  # numbers are looked through quickly
_ENDPOINT = (0xFFFF).__and__  # of a value


class Recency(Generic[K]):
    """When and where each key was last seen.

    A value holds the time (ms since the epoch) and, in its low 16 bits, the endpoint.

    Args:
        window_ms: how long after it was seen a key is active; counted in steps (``grain_ms``).
    """

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._step_ms = grain_ms(window_ms)
        self._step = self._step_ms << 16  # in values
        self.values: dict[K, int] = {}
        self.active = 0
        self.active_at: dict[int, int] = {}  # endpoint -> active keys
        self._steps: dict[int, dict[int, int]] = {}  # step -> endpoint -> keys
        self._cut = 0  # what was seen in this step or before is idle
        # All keys with a value of at least the floor, newest first; what has moved since, with the
        # value it had then, is not in its place yet. None where they are to be put in order anew.
        self._order: list[K] | None = None
        self._moments: array[int] = array("q")  # -ms of each; by itself it is near at hand
        self._moved: dict[K, int] = {}
        self._floor = 0
        self._kept = _KEPT
        self._unasked = 0

    def __contains__(self, key: K) -> bool:
        return key in self.values

    def __len__(self) -> int:
        return len(self.values)

    def put(self, key: K, last_ms: int, endpoint: int) -> None:
        """Note when and where a key was last seen."""
        value = last_ms << 16 | endpoint
        old = self.values.get(key, -1)
        if old == value:
            return
        self.values[key] = value
        if value >= self._floor or old >= self._floor:
            self._move({key: old})
        step, old_step = value // self._step, old // self._step
        if step == old_step and not (value ^ old) & 0xFFFF:
            return
        if old_step > self._cut:
            self._uncount(old)
        if step > self._cut:
            counts = self._steps.get(step)
            if counts is None:
                counts = self._steps[step] = {}
            counts[endpoint] = counts.get(endpoint, 0) + 1
            self.active_at[endpoint] = self.active_at.get(endpoint, 0) + 1
            self.active += 1

    def put_all(self, values: dict[K, int]) -> None:
        """Note many keys at once, by their values; as ``put`` for each."""
        if not values:
            return
        known = self.values
        old = list(map(known.get, values, repeat(-1)))
        known.update(values)
        if self._order is not None:
            if len(values) >= self._kept:  # these alone are enough: what is older falls behind
                self._raise_floor(self._order, _floor(list(values.values()), self._kept))
            floor = self._floor
            self._move(
                {
                    key: before
                    for (key, value), before in zip(values.items(), old, strict=True)
                    if value >= floor or before >= floor
                }
            )
        self._count(old, -1)
        self._count(list(values.values()), 1)

    def fill(self, values: dict[K, int]) -> None:
        """Take in many keys at once, none of which is known."""
        self.values = values
        self._forget_order()
        for part in slices(values.values(), _SLICE):
            self._count(part, 1)

    def _count(self, values: list[int], sign: int) -> None:
        """Add keys of some values to those that are active, or take them off; it sorts them."""
        # Step by step: most of them come in order, and a step has few endpoints.
        values.sort()
        at = bisect_left(values, (self._cut + 1) * self._step)
        while at < len(values):
            step = values[at] // self._step
            end = bisect_left(values, (step + 1) * self._step, at)
            counts = self._steps.setdefault(step, {})
            for endpoint, n in Counter(map(_ENDPOINT, values[at:end])).items():
                counts[endpoint] = counts.get(endpoint, 0) + sign * n
                self.active_at[endpoint] = self.active_at.get(endpoint, 0) + sign * n
            self.active += sign * (end - at)
            at = end

    def drop(self, key: K) -> None:
        """Take a key out, if it is there."""
        value = self.values.pop(key, None)
        if value is not None:
            self._uncount(value)
            if value >= self._floor:
                self._move({key: value})

    def newest_of(self, ordered: list[K], most: int) -> list[K]:
        """Return the first of some keys, last seen first, and all of the last one's moment."""
        least_ms = self.values[ordered[most - 1]] >> 16 if len(ordered) > most else 0
        return [key for key in ordered if self.values[key] >> 16 >= least_ms]

    def is_active(self, key: K) -> bool:
        """Tell whether a key was seen within the window."""
        return self.values.get(key, 0) // self._step > self._cut

    def active_with(self, keys: Iterable[K]) -> dict[int, int]:
        """Return ``active_at`` as it were if some idle keys were active."""
        return Counter(self.active_at) + Counter(self.values[key] & 0xFFFF for key in keys)

    def cut_at(self, now_ms: int) -> int:
        """Return the last of the steps in which it was seen what is active no more by then."""
        return (now_ms - self._window_ms) // self._step_ms

    def settle(self, now_ms: int) -> bool:
        """Let time pass: what was last seen before the window is active no more; tell of any."""
        cut = self.cut_at(now_ms)
        if cut == self._cut:
            return False
        if cut < self._cut:
            self._recount(cut)
            return True
        active = self.active
        passed = range(self._cut + 1, cut + 1)
        steps = self._steps
        due = [one for one in steps if one <= cut] if len(passed) > len(steps) else passed
        self._cut = cut
        for step in due:
            for endpoint, n in steps.pop(step, {}).items():
                self.active_at[endpoint] -= n
                self.active -= n
        return self.active != active

    def newest(self, most: int, spare: int | None = None) -> list[K]:
        """Return the keys that were last seen last, newest first; at least ``most`` if there are.

        Among those seen in the same moment the order is the keys' own.

        Args:
            spare: how many more, for a key may turn out to be gone; None is as many again.
        """
        self._unasked = 0
        order = self._settled_order()
        if len(order) < min(most, len(self.values)):
            if most > _MOST_KEPT:
                return self.ordered(self._reached(most)[0])
            self._kept = max(self._kept, most)
            order = self._begin_order()
        moments = self._moments
        end = most + (most if spare is None else spare)
        while end < len(order) and moments[end] == moments[end - 1]:
            end += 1  # whoever orders those of one moment otherwise is to have all of them
        return order[:end]

    def ordered(self, keys: Iterable[K], name: Callable[[K], Any] | None = None) -> list[K]:
        """Return some of the keys, newest first.

        Args:
            name: what orders those seen in the same moment, where it is not the key itself.
        """
        values = self.values
        found = sorted(keys, key=name)  # type: ignore[arg-type,type-var]  # numbers, or texts
        found.sort(key=lambda key: values[key] >> 16, reverse=True)  # ties stay as they are
        return found

    def _reached(self, most: int) -> tuple[list[K], int]:
        """Return the keys that were seen when the ``most``th newest was, or since, and when."""
        values, steps = self.values, self._steps
        # The steps' counts tell from where on there are enough: only these need be sorted.
        begin = counted = 0
        for step in sorted(steps, reverse=True):
            counted += sum(steps[step].values())
            if counted >= most:
                begin = step * self._step
                break
        found: list[K] = []
        for part, moments in pairs(values, values.values(), _SLICE):
            found += compress(part, map(begin.__le__, moments))
        floor = _floor([values[key] for key in found], most)
        return [key for key in found if values[key] >= floor], floor

    def _begin_order(self) -> list[K]:
        values, kept = self.values, self._kept
        keys, self._floor = self._reached(kept if len(values) > 2 * kept else len(values))
        self._moved = {}
        self._order = self._put_in_order([(-(values[key] >> 16), key) for key in keys])
        return self._order

    def _put_in_order(self, places: list[tuple[int, K]]) -> list[K]:
        """Return these keys, and only these, as the order; places are (-ms, key)."""
        places.sort()
        self._moments = array("q", [moment for moment, _ in places])
        return [key for _, key in places]

    def _settled_order(self) -> list[K]:
        """Return the order with all that has moved in its place, an empty one for none."""
        order, moments, moved = self._order, self._moments, self._moved
        if order is None:
            return []
        if not moved:
            return order
        # Until all are in their places: should a time-out cut this short, it is made anew.
        self._order = None
        values, floor = self.values, self._floor
        places = [(-(value >> 16), key) for key in moved if (value := values.get(key, -1)) >= floor]
        if len(moved) <= _FEW:
            for key, old in moved.items():
                at, is_there = self._place(order, -(old >> 16), key)
                if is_there:
                    del order[at], moments[at]
            for moment, key in places:
                at, _ = self._place(order, moment, key)
                order.insert(at, key)
                moments.insert(at, moment)
        else:
            places += [one for one in zip(moments, order, strict=True) if one[1] not in moved]
            order = self._put_in_order(places)
        if len(order) > 2 * self._kept:  # and all that were seen in the moment of the last
            self._raise_floor(order, -self._moments[self._kept - 1] << 16)
        self._moved = {}
        self._order = order
        return order

    def _place(self, order: list[K], moment: int, key: K) -> tuple[int, bool]:
        """Return where in the order a key belongs, and whether it is there."""
        begin = bisect_left(self._moments, moment)
        end = bisect_right(self._moments, moment, begin)
        at = bisect_left(order, key, begin, end)  # type: ignore[call-overload]
        return at, at < end and order[at] == key

    def _raise_floor(self, order: list[K], floor: int) -> None:
        if floor > self._floor:
            self._floor = floor
            end = bisect_right(self._moments, -(floor >> 16))
            del order[end:], self._moments[end:]

    def _move(self, before: dict[K, int]) -> None:
        """Note that keys are no longer where their values were, -1 for those that are new."""
        if self._order is not None:
            before.update(self._moved)  # their first move tells where they are in the order
            self._moved = before
            if len(before) > 2 * self._kept:
                self._unasked += 1
                if self._unasked > _UNASKED:  # who reads asks for the numbers alone
                    self._forget_order()
                else:
                    self._settled_order()

    def _forget_order(self) -> None:
        self._order = None
        self._moved = {}

    def _uncount(self, value: int) -> None:
        step = value // self._step
        if step > self._cut:
            endpoint = value & 0xFFFF
            self._steps[step][endpoint] -= 1
            self.active_at[endpoint] -= 1
            self.active -= 1

    def _recount(self, cut: int) -> None:
        """Count anew: the clock went back."""
        values, self.values = self.values, {}
        self.active, self.active_at, self._steps = 0, {}, {}
        self._forget_order()
        self._cut = cut
        for key, value in values.items():
            self.put(key, value >> 16, value & 0xFFFF)


def _floor(values: list[int], most: int) -> int:
    """Return the moment, as a value, that the ``most``th newest was seen in; 0 for fewer."""
    if not 0 < most <= len(values):
        return 0
    values.sort()  # most of them come in order, and are then sorted in one pass
    return values[-most] >> 16 << 16
