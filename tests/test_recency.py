"""Against the plain way: sort everything, count everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import recency
from flask_realtime_monitor.recency import Recency

WINDOW_MS = 5_000
STEP_MS = 50
BEGIN_MS = 1_000_000
KEYS = st.integers(0, 60)
TIMES = st.integers(1_000_000, 1_000_005) | st.integers(990_000, 1_010_000)
PUT = st.tuples(st.just("put"), KEYS, TIMES, st.integers(0, 3))
NEWEST = st.tuples(st.just("newest"), st.integers(3, 5) | st.integers(1, 30))
STEPS = st.one_of(
    *(PUT, PUT, PUT, NEWEST),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("fill"), st.dictionaries(KEYS, TIMES)),
    st.tuples(st.just("settle"), TIMES),
)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recency, "_KEPT", 4)
    monkeypatch.setattr(recency, "_MOST_KEPT", 12)
    monkeypatch.setattr(recency, "_UNASKED", 2)


@given(st.lists(STEPS, min_size=60, max_size=120))
def test_it_is_what_sorting_and_counting_everything_gives(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    one: Recency[int] = Recency(WINDOW_MS)
    known: dict[int, tuple[int, int]] = {}
    cut = 0
    for name, *said in steps:
        if name == "put":
            key, last_ms, endpoint = said
            known[key] = last_ms, endpoint
            one.put(key, last_ms, endpoint)
        elif name == "drop":
            known.pop(said[0], None)
            one.drop(said[0])
        elif name == "fill":
            if not known:  # it is for what is empty
                known = {key: (last_ms, 0) for key, last_ms in said[0].items()}
                one.fill({key: last_ms << 16 for key, last_ms in said[0].items()})
        elif name == "settle":
            cut = (said[0] - WINDOW_MS) // STEP_MS
            one.settle(said[0])
        else:
            (most,) = said
            found = one.newest(most)
            order = sorted(known, key=lambda key: (-known[key][0], key))
            assert found == order[: len(found)]
            assert len(found) >= min(most, len(known))
            few = one.newest(most, spare=0)
            assert few == order[: len(few)]
            assert len(few) >= min(most, len(known))
            if len(few) < len(order):
                assert known[few[-1]][0] != known[order[len(few)]][0]
            if len(found) < len(order):  # all of a moment, or none
                assert known[found[-1]][0] != known[order[len(found)]][0]
            active = {key: place for key, place in known.items() if place[0] // STEP_MS > cut}
            assert one.active == len(active)
            assert {n: number for n, number in one.active_at.items() if number} == {
                endpoint: sum(1 for _, where in active.values() if where == endpoint)
                for endpoint in {where for _, where in active.values()}
            }
            assert all(one.is_active(key) == (key in active) for key in known)


@pytest.mark.parametrize("window_ms", [1_000, 5_000, 300_000])
@pytest.mark.parametrize("begin_ms", [BEGIN_MS, BEGIN_MS + 990])
def test_a_window_lasts_as_long_as_it_is_to_a_hundredth(window_ms: int, begin_ms: int) -> None:
    one: Recency[int] = Recency(window_ms)
    one.put(1, begin_ms, 0)
    one.settle(begin_ms + window_ms - window_ms // 100)
    assert one.is_active(1)
    assert one.active == 1
    one.settle(begin_ms + window_ms)
    assert not one.is_active(1)
    assert one.active == 0


#: Keys that were seen at once, and how many ms after the begin; who leaves; how much time passes.
SEEN = st.dictionaries(st.integers(0, 60), st.integers(0, 20_000), max_size=40)
BATCHES = st.lists(
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


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES, st.integers(1, 12), st.booleans())
def test_many_at_once_are_as_one_after_the_other(
    steps: list[tuple[dict[int, int], list[int], int]], most: int, is_read: bool
) -> None:
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


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_time_out_while_keys_are_put_in_their_places_leaves_none_in_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    one: Recency[int] = Recency(WINDOW_MS)
    for key in range(6):
        one.put(key, BEGIN_MS + key, 0)
    assert one.newest(6) == [5, 4, 3, 2, 1, 0]
    for key in range(3):
        one.put(key, BEGIN_MS + 10 + key, 0)
    place, left = one._place, iter(range(calls))

    def cut_short(*args: Any) -> Any:
        if next(left) == calls - 1:
            raise TimeoutError
        return place(*args)

    monkeypatch.setattr(one, "_place", cut_short)
    with pytest.raises(TimeoutError):
        one.newest(6)
    monkeypatch.undo()
    one.put(4, BEGIN_MS + 20, 0)
    assert one.newest(6) == [4, 2, 1, 0, 5, 3]
