"""Going on at another worker: what it can tell of whom it never saw, and what it cannot."""

from __future__ import annotations

import pytest

from flask_realtime_monitor.resumption import StreamPlace

from .support.merging import comparable, merged
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
    place = StreamPlace(
        here.picture.epoch, here.picture.cursor, int(held["as_of"] * 1000), "aaaa", False
    )
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


def test_a_guest_who_was_shown_alone_for_a_while_is_in_no_view() -> None:
    time = Time()
    post, settings = Post(time), Bench(session_timeout=20, active_window=20).settings
    here, there = (Mate(name, post, settings, time) for name in ("aaaa", "bbbb"))
    here.flush()
    there.flush()
    here.visit(1, None)
    here.visit(1, "ana")
    here.flush()
    for mate in (here, there):
        (joined,) = mate.picture.snapshot()["sessions"]
        assert joined["requests"] == 2
    time.pass_(5)
    there.picture.snapshot()
    time.pass_(10)  # somebody looks here alone from now on
    here.visit(1, None)
    here.visit(1, "bob")
    here.flush()
    held = here.picture.snapshot()
    assert len(held["sessions"]) == 3
    place = StreamPlace(
        here.picture.epoch, here.picture.cursor, int(held["as_of"] * 1000), "aaaa", False
    )
    time.pass_(6)  # ana has gone, and the guest is bob
    base = there.picture.snapshot()
    (joined,) = base["sessions"]
    update = there.picture.resumed(place, base, there.picture.cursor)
    assert update is not None
    lacks = {one["id"] for one in held["sessions"]} - {joined["id"]}
    assert lacks <= set(update["removed"]["sessions"])


@pytest.mark.parametrize("more", [50, 2_000])
def test_who_was_pushed_out_of_the_lists_by_however_many_is_in_no_view(more: int) -> None:
    time = Time()
    post, settings = Post(time), Bench().settings
    here, there = (Mate(name, post, settings, time) for name in ("aaaa", "bbbb"))
    for mate in (here, there):
        mate.flush()
    there.picture.snapshot()
    time.pass_(5)
    for number in range(100):
        here.visit(number, f"u{number}")
    here.flush()
    held = here.picture.snapshot()
    place = StreamPlace(
        here.picture.epoch, here.picture.cursor, int(held["as_of"] * 1000), "aaaa", False
    )
    for number in range(more):
        time.pass_(0.002)
        here.visit(100 + number, f"u{100 + number}")
    here.flush()
    base = there.picture.snapshot()
    update = there.picture.resumed(place, base, there.picture.cursor)
    later = base if update is None else merged(held, update)
    assert comparable(later)["sessions"] == comparable(base)["sessions"]
    assert comparable(later)["users"] == comparable(base)["users"]
    assert (update is None) == (more > 400)
