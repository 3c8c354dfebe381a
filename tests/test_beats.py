"""Who lives and who is gone, by the small row that each writes."""

from __future__ import annotations

import os

import pytest

from flask_realtime_monitor import beats
from flask_realtime_monitor.processes import born_at

from .support.descriptors import none_left


@pytest.mark.parametrize("data", [None, b"", b"\xff", b"[]", b"1", b"{"])
def test_a_beat_that_makes_no_sense_is_an_empty_one(data: bytes | None) -> None:
    assert beats.decode(data) == {}
    assert beats.summary_of(beats.decode(data)).requests == 0


def test_a_worker_of_this_machine_is_gone_with_its_process() -> None:
    mine = {"boot": beats.machine(), "pid": os.getpid(), "born": born_at(os.getpid())}
    assert not beats.is_gone(mine, 1e9), "however long it is silent"
    assert beats.is_gone({**mine, "born": 1}, 0), "its pid has gone to another"


def test_a_worker_of_another_machine_is_gone_after_a_while() -> None:
    there = {"boot": "another", "pid": os.getpid(), "born": 1}
    assert not beats.is_gone(there, beats.GONE_S)
    assert beats.is_gone(there, beats.GONE_S + 1)


def test_who_cannot_be_looked_for_is_not_gone() -> None:
    """At the limit of descriptors a worker must not take all others for dead."""
    parent = os.getppid()
    theirs = {"boot": beats.machine(), "pid": parent, "born": born_at(parent)}
    with none_left():
        with pytest.raises(OSError, match="Too many open files"):
            born_at(parent)
        assert not beats.is_gone(theirs, 0)
        assert beats.is_gone(theirs, beats.GONE_S + 1)
