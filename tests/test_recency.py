"""Who was seen when: many at once, in any order, as one after the other."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import recency
from flask_realtime_monitor.recency import Recency

WINDOW_MS = 5_000
BEGIN_MS = 1_000_000

#: Keys that were seen at once, and how many ms after the begin; who leaves; how much time passes.
SEEN = st.dictionaries(st.integers(0, 60), st.integers(0, 20_000), max_size=40)
STEPS = st.lists(
    st.tuples(SEEN, st.lists(st.integers(0, 60), max_size=5), st.integers(-500, 3_000)),
    max_size=12,
)


def told(found: Recency[int], most: int) -> tuple[Any, ...]:
    """Return all that it tells."""
    newest = found.newest(most)
    return (
        dict(found.values),
        found.active,
        {endpoint: n for endpoint, n in found.active_at.items() if n},
        newest[:most],
        sorted(key for key in found.values if found.is_active(key)),
    )


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 12), st.booleans())
def test_many_at_once_are_as_one_after_the_other(
    steps: list[tuple[dict[int, int], list[int], int]], most: int, is_read: bool
) -> None:
    kept, most_kept = recency._KEPT, recency._MOST_KEPT
    recency._KEPT, recency._MOST_KEPT = 8, 20  # so that keys fall behind those that are kept
    try:
        at_once, single = Recency[int](WINDOW_MS), Recency[int](WINDOW_MS)
        now_ms = BEGIN_MS
        for seen, leaving, passed_ms in steps:
            now_ms += passed_ms
            values = {key: BEGIN_MS + ms << 16 | key % 3 for key, ms in seen.items()}
            at_once.put_all(values)
            for key, value in values.items():
                single.put(key, value >> 16, value & 0xFFFF)
            for key in leaving:
                at_once.drop(key)
                single.drop(key)
            assert at_once.settle(now_ms) == single.settle(now_ms)
            if is_read:
                assert told(at_once, most) == told(single, most)
        anew = Recency[int](WINDOW_MS)
        anew.settle(now_ms)
        anew.fill(dict(single.values))
        if steps:
            assert told(at_once, most) == told(single, most) == told(anew, most)
        in_order = sorted(anew.values, key=lambda key: (-(anew.values[key] >> 16), key))
        assert at_once.newest(most)[:most] == in_order[:most]
        assert at_once.ordered(anew.values) == in_order
    finally:
        recency._KEPT, recency._MOST_KEPT = kept, most_kept
