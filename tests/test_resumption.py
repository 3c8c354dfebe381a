"""Going on at another worker: what it can tell of whom it never saw, and what it cannot."""

from __future__ import annotations

import pytest

from flask_realtime_monitor.resumption import Place

from .support.records import Bench, Time
from .support.several import Mate, Post


@pytest.mark.parametrize("pause_s", [50, 70])
def test_who_may_have_timed_out_unseen_is_in_no_view(pause_s: int) -> None:
    time = Time()
    post, settings = Post(time), Bench(session_timeout=60, active_window=60).settings
    here, there = (Mate(name, post, settings, time) for name in ("aaaa", "bbbb"))
    for mate in (here, there):
        mate.flush()
    there.picture.snapshot()  # and nobody looks there for a while
    time.pass_(5)
    here.visit(1, "passes", path="/seen/1", rule="/seen/<n>")
    here.flush()
    held = here.picture.snapshot()
    place = Place(here.picture.epoch, here.picture.cursor, int(held["as_of"] * 1000), "aaaa", False)
    time.pass_(pause_s)
    here.tracker.expire()
    here.flush()
    base = there.picture.snapshot()
    update = there.picture.resumed(place, base, there.picture.cursor)
    assert [one["id"] for one in held["users"]] == ["passes"]
    if pause_s > 60:
        assert base["users"] == []
        assert update is None  # a snapshot it is, then
    else:
        assert update is not None
