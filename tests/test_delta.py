from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import delta, timeline
from flask_realtime_monitor.packet import Packet

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


def snapshot(bench: Bench, is_masked: bool = False) -> dict[str, Any]:
    picture = bench.picture.masked if is_masked else bench.picture
    return picture.snapshot(limit=4)


@settings(max_examples=150)
@given(STEPS, st.booleans())
def test_a_snapshot_with_its_updates_is_the_later_snapshot(
    steps: list[tuple[str, int, str | None]], is_masked: bool
) -> None:
    bench = Bench(session_timeout=120, active_window=60)
    before = held = snapshot(bench, is_masked)
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
            after = snapshot(bench, is_masked)
            update = delta.update(before, after, [rode] if number % 2 else ())
            if number % 3 == 0:
                snapshot(bench, not is_masked)  # who sees otherwise takes nothing away from these
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
    assert delta.update(before, snapshot(bench), [before]) is None


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
    with_riders = delta.update(before, after, [before])
    assert with_riders is not None
    assert with_riders["stats"]["requests_per_s"] == after["stats"]["requests_per_s"]


def test_a_rate_that_is_back_where_it_was_rides_along_to_who_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    clock = SimpleNamespace(monotonic=lambda: bench.time.now_s)
    monkeypatch.setattr(timeline, "time", clock)
    stream = timeline.Timeline(bench.picture, "", "worker", 0)
    rates = []
    for number in range(3):
        if number == 1:
            bench.visit(1)
        frame, is_anew = stream.advance()
        packet = stream.snapshot("reveal") if is_anew else frame
        assert packet is not None
        rates.append(events(packet)[0]["stats"]["requests_per_s"])
        bench.time.pass_(2 if number == 0 else 301)  # then that visitor is idle
    assert rates[0] == rates[2] == 0 < rates[1]


@pytest.mark.parametrize(
    ("seen_at", "left_at", "is_lost"),
    [
        ([3, 2, 1], [3, 2, 1], False),
        ([2, 1], [3, 2, 1], False),
        ([3, 2, 1], [4, 3, 2], False),  # the oldest had to go
        ([3, 2, 1], [4, 3], True),  # and here it had not
        ([3, 2, 1], [4, 3, 1], True),
        ([1], [], True),
    ],
)
def test_activities_that_nothing_newer_has_pushed_out_are_lost(
    seen_at: list[int], left_at: list[int], *, is_lost: bool
) -> None:
    before, after = (
        {"activities": [{"id": f"a{at}", "at": float(at)} for at in each]}
        for each in (seen_at, left_at)
    )
    assert delta.has_lost(before, after, most=3) == is_lost
    assert not delta.has_lost({}, {}, most=3), "where none are shown"


def events(packet: Packet) -> list[dict[str, Any]]:
    """Return what some events say."""
    lines = packet.form(0).decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def crowded(number: int, text: str) -> tuple[Bench, dict[str, Any]]:
    """Return a bench whose lists are full, and the update that filled or changed them all."""
    bench = Bench()
    before = bench.picture.snapshot()
    for visitor in range(number):
        fields = {"path": f"/{visitor}{text}", "rule": "/<x>", "user_name": text or None}
        bench.visit(visitor + 1, f"u{visitor}", endpoint=f"e{visitor}", **fields)
    update = delta.update(before, bench.picture.snapshot())
    assert update is not None
    return bench, update


@pytest.mark.parametrize("most_bytes", [1_500, 4_000, 20_000, 1_000_000])
def test_the_parts_of_an_update_are_small_and_merge_to_the_same(most_bytes: int) -> None:
    empty = Bench().picture.snapshot()
    bench, update = crowded(100, "\N{GRINNING FACE}" * 20)
    parts = delta.parts(update, most_bytes)
    assert max(len(json.dumps(one, separators=(",", ":"))) for one in parts) <= most_bytes
    held = empty
    for part in parts:
        held = merged(held, part)
    assert comparable(held) == comparable(bench.picture.snapshot())
    assert (len(parts) == 1) == (most_bytes == 1_000_000)


def test_parts_take_away_before_they_bring() -> None:
    _, update = crowded(3, "")
    update["removed"] = {"sessions": ["a" * 16] * 5, "users": ["b"]}
    parts = delta.parts(update, 1_500)
    assert parts[0]["removed"] == update["removed"]
    assert "stats" in parts[0]
    assert [one["id"] for part in parts for one in part.get("activities", ())] == [
        one["id"] for one in update["activities"]
    ]


def test_one_item_larger_than_a_part_goes_alone() -> None:
    _, update = crowded(2, "x" * 250)
    parts = delta.parts({"as_of": 1.0, "sessions": update["sessions"]}, 300)
    assert [len(part["sessions"]) for part in parts if "sessions" in part] == [1, 1]
