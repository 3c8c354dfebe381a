"""The totals of who is gone: added once, whatever comes back and whatever the store loses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import beats, estate


def beat(requests: int, errors: int = 0, **dropped: int) -> bytes:
    totals = {
        "requests": requests,
        "errors": errors,
        "excluded": requests,
        "dropped": dropped,
        "endpoints": {"home": [requests, errors]},
    }
    return beats.encode({"pid": 1, "totals": totals})


def totals(data: bytes) -> object:
    return beats.decode(data)["totals"]


def test_the_first_who_goes_leaves_what_it_counted() -> None:
    assert totals(estate.fold(beat(5, 1, paths=2), None, None)) == totals(beat(5, 1, paths=2))


def test_who_goes_again_adds_only_what_came_since() -> None:
    once = estate.fold(beat(5, paths=2), beat(100), None)
    twice = estate.fold(beat(9, paths=3), once, beat(5, paths=2))
    assert totals(twice) == totals(beat(109, paths=3))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_however_often_somebody_comes_back_the_last_word_counts(growth: list[int]) -> None:
    retired = taken = None
    count = 0
    for more in growth:
        count += more
        retired = estate.fold(beat(count), retired, taken)
        taken = beat(count)
    assert retired is not None
    assert totals(retired) == {**beats.decode(beat(count))["totals"], "dropped": {}}
