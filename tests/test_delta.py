from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import delta

from .support.merging import comparable, merged
from .support.records import Bench

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["visit", "visit", "visit", "logout", "pass", "look"]),
        st.integers(1, 6),
        st.sampled_from([None, None, "ana", "bob"]),
    ),
    max_size=60,
)


def snapshot(bench: Bench) -> dict[str, Any]:
    return bench.picture.snapshot(limit=4)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_snapshot_with_its_updates_is_the_later_snapshot(
    steps: list[tuple[str, int, str | None]],
) -> None:
    bench = Bench(session_timeout=120, active_window=60)
    before = held = snapshot(bench)
    rode = before
    for number, (what, visitor, user) in enumerate([*steps, ("look", 0, None)]):
        if what == "visit":
            bench.visit(visitor, user, path=f"/{number}", rule="/<x>")
        elif what == "logout":
            bench.visit(visitor, user, kind="logout")
        elif what == "pass":
            bench.time.pass_(visitor * 15)
            bench.tracker.expire()
        else:
            after = snapshot(bench)
            update = delta.update(before, after, rode if number % 2 else None)
            if update is not None:
                held = merged(held, update)
                before = after
                del held["activities"][4:]
    assert comparable(held) == comparable(before)


def test_nothing_changed_is_no_update() -> None:
    bench = Bench()
    bench.visit(1, "ana")
    before = snapshot(bench)
    bench.time.pass_(5)
    assert delta.update(before, snapshot(bench)) is None
    assert delta.update(before, snapshot(bench), before) is None


def test_only_what_changed_is_sent() -> None:
    bench = Bench()
    bench.visit(1, "ana")
    bench.visit(2)
    before = snapshot(bench)
    bench.visit(2)
    update = delta.update(before, snapshot(bench))
    assert update is not None
    assert [one["requests"] for one in update["sessions"]] == [2]
    assert "user" not in update["sessions"][0]
    assert "users" not in update
    assert len(update["activities"]) == 1
    assert "since_at" not in update["stats"]


def test_what_only_the_clock_moves_rides_along_when_asked() -> None:
    bench = Bench()
    for _ in range(5):
        bench.visit(1)
    before = snapshot(bench)
    bench.time.pass_(61)
    bench.visit(2)
    after = snapshot(bench)
    with_riders = delta.update(before, after, before)
    assert with_riders is not None
    assert with_riders["stats"]["requests_per_s"] == after["stats"]["requests_per_s"]
