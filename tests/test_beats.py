"""The totals of who is gone: added once, whatever comes back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import beats

from .support.descriptors import none_left


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
    assert totals(beats.fold(beat(5, 1, paths=2), None, None)) == totals(beat(5, 1, paths=2))


def test_who_goes_again_adds_only_what_came_since() -> None:
    once = beats.fold(beat(5, paths=2), beat(100), None)
    twice = beats.fold(beat(9, paths=3), once, beat(5, paths=2))
    assert totals(twice) == totals(beat(109, paths=3))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_however_often_somebody_comes_back_the_last_word_counts(growth: list[int]) -> None:
    retired = taken = None
    count = 0
    for more in growth:
        count += more
        retired = beats.fold(beat(count), retired, taken)
        taken = beat(count)
    assert retired is not None
    assert totals(retired) == {**beats.decode(beat(count))["totals"], "dropped": {}}


@pytest.mark.parametrize("data", [None, b"", b"\xff", b"[]", b"1", b"{"])
def test_a_beat_that_makes_no_sense_is_an_empty_one(data: bytes | None) -> None:
    assert beats.decode(data) == {}
    assert beats.summary_of(beats.decode(data)).requests == 0


def test_a_worker_of_this_machine_is_gone_with_its_process() -> None:
    mine = {"boot": beats.machine(), "pid": os.getpid(), "born": beats.born_at(os.getpid())}
    assert not beats.is_gone(mine, 1e9), "however long it is silent"
    assert beats.is_gone({**mine, "born": 1}, 0), "its pid has gone to another"


def test_a_worker_of_another_machine_is_gone_after_a_while() -> None:
    there = {"boot": "another", "pid": os.getpid(), "born": 1}
    assert not beats.is_gone(there, beats.GONE_S)
    assert beats.is_gone(there, beats.GONE_S + 1)


def test_who_cannot_be_looked_for_is_not_gone() -> None:
    """At the limit of descriptors a worker must not take all others for dead."""
    parent = os.getppid()
    theirs = {"boot": beats.machine(), "pid": parent, "born": beats.born_at(parent)}
    with none_left():
        with pytest.raises(OSError, match="Too many open files"):
            beats.born_at(parent)
        assert not beats.is_gone(theirs, 0)
        assert beats.is_gone(theirs, beats.GONE_S + 1)
