"""Against the plain way: sort everything, count everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import recency
from flask_realtime_monitor.recency import Recency

WINDOW_MS = 5_000
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
    monkeypatch.setattr(recency, "_KEPT", 8)
    monkeypatch.setattr(recency, "_MOST_KEPT", 16)


@given(st.lists(STEPS, min_size=60, max_size=120))
def test_it_is_what_sorting_and_counting_everything_gives(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    one: Recency[int] = Recency(WINDOW_MS)
    known: dict[int, tuple[int, int]] = {}
    cut_s = 0
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
            cut_s = (said[0] - WINDOW_MS) // 1000
            one.settle(said[0])
        else:
            (most,) = said
            found = one.newest(most)
            order = sorted(known, key=lambda key: (-known[key][0], key))
            assert found == order[: len(found)]
            assert len(found) >= min(most, len(known))
            if len(found) < len(order):  # all of a moment, or none
                assert known[found[-1]][0] != known[order[len(found)]][0]
            active = {key: place for key, place in known.items() if place[0] // 1000 > cut_s}
            assert one.active == len(active)
            assert {n: number for n, number in one.active_at.items() if number} == {
                endpoint: sum(1 for _, where in active.values() if where == endpoint)
                for endpoint in {where for _, where in active.values()}
            }
            assert all(one.is_active(key) == (key in active) for key in known)
