"""The picture of several workers is that of one worker that saw everything."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import beats, legacy, outbox, rendering, signouts
from flask_realtime_monitor.filters import Filter
from flask_realtime_monitor.flusher import GRACE_S
from flask_realtime_monitor.frames import decode, encode
from flask_realtime_monitor.outbox import COUNTERS, LOOSE, SIGNED_OUT, Outbox
from flask_realtime_monitor.stores import SESSION_BUCKETS, Beat, Entry, Flush, Flushed, StoreError

from .support.several import Mate, Post, Team
from .support.waiting import elsewhere

ATOMS = st.sampled_from(
    ["visit", "visit", "visit", "visit", "fail", "event", "burst", "pass", "flush", "read"]
)
STEPS = st.lists(
    st.tuples(
        ATOMS,
        st.integers(0, 2),
        st.integers(1, 5),
        st.sampled_from([None, None, "ana", "bob"]),
    ),
    max_size=80,
)


def play(team: Team, steps: list[tuple[str, int, int, str | None]]) -> None:
    for number, (what, mate, visitor, user) in enumerate(steps):
        if what in ("visit", "fail"):
            status = 500 if what == "fail" else 200
            path = f"/{number}"
            team.visit(mate, visitor, user, path=path, rule="/<x>", status=status)
        elif what == "event":  # of nobody, so that no row tells it
            team.visit(mate, 0, None, path=f"/{number}", rule=None, kind="custom", name="event")
        elif what == "burst":  # more than a row holds
            for more in range(7):
                team.visit(mate, visitor, user, path=f"/{number}/{more}", rule="/<x>")
        elif what == "pass":
            team.time.pass_(visitor * 8)
        elif what == "flush":
            team.mates[mate].flush()
        else:
            team.mates[mate].read()


@settings(max_examples=150)
@given(STEPS)
def test_several_workers_tell_what_one_would_that_saw_everything(
    steps: list[tuple[str, int, int, str | None]],
) -> None:
    team = Team(session_history_size=5)
    play(team, steps)
    team.flush()
    team.check()
    late = team.mate("late")
    late.flush()
    team.check(late)


def shown(mate: Mate) -> dict[str, Any]:
    """Return a snapshot, lists in their order; but for what is of the reader alone."""
    mate.replicas._is_roster_due = True
    found = mate.picture.snapshot()
    # Guest and user of one session are two of a minute where two workers saw them.
    history = [{**one, "active_sessions": None} for one in found["stats"]["history"]]
    stats = {**found["stats"], "as_of": None, "coverage": None, "history": history}
    lists = ("users", "sessions", "activities", "endpoints")
    return {**{name: found[name] for name in lists}, "stats": stats}


SIGNS_IN_AFTER_ANOTHER_ENDED = [
    ("visit", 0, 2, None),
    ("visit", 0, 2, "ana"),
    ("pass", 0, 3, None),
    ("visit", 0, 2, None),
    ("read", 0, 1, None),
    ("visit", 1, 2, "bob"),
    ("read", 0, 1, None),
]
ALL_ARE_THERE = [("flush", number, 1, None) for number in range(3)]
COMES_BACK_AS_A_GUEST = [
    *ALL_ARE_THERE,
    ("visit", 0, 1, "ana"),
    ("visit", 1, 1, None),
    ("flush", 1, 1, None),
    ("read", 0, 1, None),
    ("pass", 0, 3, None),
    ("read", 0, 1, None),
    ("visit", 1, 1, None),
]
COMES_BACK_AS_A_USER = [
    *ALL_ARE_THERE,
    ("visit", 1, 1, None),
    ("visit", 0, 1, "ana"),
    ("flush", 1, 1, None),
    ("read", 0, 1, None),
    ("pass", 0, 3, None),
    ("read", 0, 1, None),
    ("visit", 0, 1, "ana"),
]
ANOTHER_USER_PARTS_THE_GUEST = [
    *ALL_ARE_THERE,
    ("visit", 1, 2, None),
    ("visit", 2, 2, "ana"),
    ("pass", 0, 1, None),
    ("visit", 0, 2, "bob"),
    *ALL_ARE_THERE,
    ("read", 0, 1, None),
    ("pass", 0, 2, None),
]


@settings(max_examples=100)
@given(STEPS, st.sampled_from([(20, 1800), (300, 1800), (10, 20), (20, 20)]))
@example(SIGNS_IN_AFTER_ANOTHER_ENDED, (10, 20))
@example(COMES_BACK_AS_A_GUEST, (20, 20))
@example(COMES_BACK_AS_A_USER, (20, 20))
@example(ANOTHER_USER_PARTS_THE_GUEST, (20, 20))
def test_who_has_kept_up_shows_what_one_does_who_comes_now(
    steps: list[tuple[str, int, int, str | None]], lasts_s: tuple[int, int]
) -> None:
    active_window, session_timeout = lasts_s
    team = Team(
        session_history_size=5, active_window=active_window, session_timeout=session_timeout
    )
    play(team, steps)
    team.flush()
    late = shown(team.mate("late"))
    for mate in team.mates:
        assert shown(mate) == late


def test_a_story_of_one_moment_has_the_same_order_for_all() -> None:
    team = Team(2, session_history_size=3)
    for number in range(6):
        team.visit(number % 2, 1, None, path=f"/{number}", rule="/<x>")
    team.flush()
    told = []
    for mate in [*team.mates, team.mate("late")]:
        mate.read()
        story = mate.picture.session(f"{1:016x}")
        assert story is not None
        told.append([one["path"] for one in story["activities"]])
    assert told == 3 * [["/4", "/2", "/0"]]


def test_a_guest_who_comes_after_the_end_is_a_guest_to_all() -> None:
    team = Team(count=2, session_history_size=5, active_window=20, session_timeout=20)
    team.visit(0, 1, "ana")
    team.flush()
    for mate in team.mates:
        assert len(shown(mate)["sessions"]) == 1
    team.time.pass_(30)
    for mate in team.mates:
        assert shown(mate)["sessions"] == []
    team.visit(1, 1, None)
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert [(one["user"], one["requests"]) for one in shown(mate)["sessions"]] == [(None, 1)]


def test_what_a_guest_of_before_a_sign_out_kept_is_not_kept_by_the_next() -> None:
    team = Team(1, session_timeout=60, active_window=30)
    (first,) = team.mates
    team.visit(0, 1, "ana")
    team.time.pass_(36)
    team.visit(0, 1, None)
    team.flush()
    assert [one["id"] for one in shown(first)["users"]] == ["ana"]
    team.time.pass_(24)
    first.visit(1, "bob", kind="logout")
    team.time.pass_(4)
    team.visit(0, 1, None)
    team.flush()
    for mate in [first, team.mate("late")]:
        assert shown(mate)["users"] == []
        assert mate.picture.stats()["anonymous_sessions"] == 1


def test_a_request_in_flight_keeps_what_it_began_in_and_revives_nothing() -> None:
    team = Team(count=2, session_timeout=20, active_window=20)
    first, second = team.mates
    team.flush()
    team.visit(0, 1, "ana")
    team.visit(0, 2, "bob")
    team.flush()
    assert len(shown(second)["sessions"]) == 2
    team.time.pass_(10)
    first.begin(1)
    team.time.pass_(15)
    first.begin(2)  # in whose session nothing was in flight as it ended
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert [one["id"] for one in shown(mate)["users"]] == ["ana"]


def test_in_an_office_behind_one_address_each_is_looked_at_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(count=2)
    first, second = team.mates
    for number in range(20):
        team.visit(number % 2, 1, f"user {number}")
    team.visit(0, 1, None)
    team.flush()
    for mate in team.mates:
        assert len(shown(mate)["sessions"]) == 21
    drawn: list[int] = []
    index = first.picture._index
    show_alone = index._show_alone
    monkeypatch.setattr(index, "_show_alone", lambda key: (drawn.append(key), show_alone(key)))
    team.visit(1, 1, "user 3")
    team.visit(0, 1, None)
    team.visit(1, 1, "user 20")
    second.visit(1, "user 5", kind="logout")
    team.flush()
    assert len(shown(first)["sessions"]) == 20  # nor is the guest of before the sign-out there
    assert len(drawn) <= 4
    assert shown(first) == shown(second) == shown(team.mate("late"))


def test_who_signed_in_long_ago_is_not_looked_at_each_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(count=1)
    (mate,) = team.mates
    for visitor in range(1, 6):
        team.visit(0, visitor, None)
        team.visit(0, visitor, f"user {visitor}")
    shown(mate)
    for _ in range(4):  # the guests of before have timed out by themselves
        team.time.pass_(600)
        for visitor in range(1, 6):
            team.visit(0, visitor, f"user {visitor}")
        assert [one["requests"] for one in shown(mate)["sessions"]] != [1] * 5
    looked: list[int] = []
    index = mate.picture._index
    look_at = index._look_at
    monkeypatch.setattr(index, "_look_at", lambda key, *of: (looked.append(key), look_at(key, *of)))
    for _ in range(120):
        team.time.pass_(1)
        shown(mate)
    assert len(looked) <= 5 * 3  # once a minute, as all who may end in the next
    assert [one["requests"] for one in shown(mate)["sessions"]] == [6] * 5


@settings(max_examples=100)
@given(STEPS)
def test_who_looks_shortly_at_what_has_changed_sees_what_a_long_look_does(
    steps: list[tuple[str, int, int, str | None]],
) -> None:
    team = Team(count=2, session_history_size=5)
    first, second = team.mates
    looks_long = second.picture._index
    looks_long._look_shortly = lambda changed, seen, *_: [  # type: ignore[method-assign]
        *{*changed, *(line[1] for lines in seen.values() for line in lines)}
    ]
    for begin in range(0, len(steps), 5):
        play(team, [(what, mate % 2, *rest) for what, mate, *rest in steps[begin : begin + 5]])  # type: ignore[misc]
        team.flush()
        assert shown(first) == shown(second)


@settings(max_examples=100)
@given(STEPS)
def test_what_is_shown_again_is_what_is_rendered_anew(
    steps: list[tuple[str, int, int, str | None]],
) -> None:
    team = Team(count=2, session_history_size=5, active_window=10)
    pictures = (team.mates[0].picture, team.mates[0].picture.masked)
    for number, (what, mate, visitor, user) in enumerate(steps):
        play(team, [(what, mate % 2, visitor, user)])
        if what == "event":
            team.visit(mate % 2, visitor, "ana", user_name=f"Ana {number}")
        team.flush()
        for picture in pictures if number % 2 else reversed(pictures):
            kept = picture.snapshot()
            with pytest.MonkeyPatch.context() as patch:  # as if they had very many sessions
                patch.setattr(rendering, "_MANY", 1)
                render = picture._render
                many = list(map(render.user, render.ordered(picture._index.users.newest(100))))
                assert many == kept["users"]
            if number % 3:
                continue
            picture._forget_cached()
            anew = picture.snapshot()
            for name in ("users", "sessions", "activities"):
                assert kept[name] == anew[name]
            picture._forget_cached()
            assert picture.users()["items"] == anew["users"]  # made of rows, not of sessions


def test_an_end_that_no_row_tells_of_shows_at_the_user() -> None:
    team = Team(count=1, active_window=60, session_timeout=60)
    (mate,) = team.mates
    team.visit(0, 1, "ana")
    team.time.pass_(50)
    team.visit(0, 2, "ana")
    assert [one["sessions"] for one in mate.picture.snapshot()["users"]] == [2]
    team.time.pass_(15)
    assert [one["sessions"] for one in mate.picture.snapshot()["users"]] == [1]


def test_a_guest_who_parts_from_a_user_shows_at_both() -> None:
    team = Team(count=2)
    picture = team.mates[0].picture

    def whose() -> list[tuple[str | None, int]]:
        team.flush()
        items = picture.snapshot()["sessions"]
        return [(one["user"] and one["user"]["id"], one["requests"]) for one in items]

    for visitor, user in ((2, "bob"), (1, None), (1, "ana")):
        team.visit(int(visitor == 2), visitor, user)
        team.time.pass_(1)
    assert whose() == [("ana", 2), ("bob", 1)]
    team.visit(1, 1, "bob")  # of two users nobody knows whose guest it was
    assert whose() == [("bob", 1), ("ana", 1), (None, 1), ("bob", 1)]


@settings(max_examples=100)
@given(STEPS, STEPS, st.sampled_from(["down", "loses answers", "emptied"]))
def test_what_the_store_lost_or_refused_is_told_when_it_is_back(
    steps: list[tuple[str, int, int, str | None]],
    more: list[tuple[str, int, int, str | None]],
    trouble: str,
) -> None:
    team = Team(session_history_size=5)
    play(team, steps)
    if trouble == "emptied":
        for mate in team.mates:
            mate.flush()
        team.post.empty()
    team.post.is_down = trouble == "down"
    team.post.loses_answers = trouble == "loses answers"
    play(team, [step for step in more if step[0] != "pass"])
    team.post.is_down = team.post.loses_answers = False
    team.flush()
    team.check()


def test_what_ended_before_the_next_began_unheard_of_under_its_key_stays_in_the_feed() -> None:
    team = Team(2)
    one = team.mates[0]
    team.visit(0, 1, None)
    team.flush()
    one.tracker.end([1])
    team.visit(0, 1, None)
    team.post.trim()
    team.flush()
    assert len(team.mate("late").read()["feed"]) == len(one.read()["feed"]) == 2


def test_what_ended_before_its_frame_is_written_again_is_told_once() -> None:
    team = Team(2)
    one, other = team.mates
    team.flush()
    other.read()
    one.visit(1)
    team.post.loses_answers = True
    one.flush()
    assert other.read()["total_sessions"] == 1
    other.end(f"{1:016x}")
    one.flush()
    assert len(other.read()["feed"]) == 1  # which has no line twice
    team.post.loses_answers = False
    team.flush()
    assert other.read() == team.mate("late").read()


def test_what_the_feed_is_told_before_its_meaning_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first frame after a loss has a path's number, and its session is known from later."""
    team = Team(count=1)
    (first,) = team.mates
    team.visit(0, 1, None, path="/same", rule="/<x>")
    team.flush()
    team.post.empty()
    team.visit(0, 2, "ana", path="/same", rule="/<x>")
    buckets = list(range(1, 256))  # all but that of the path's number
    monkeypatch.setattr(first.flusher, "_next_buckets", lambda elapsed_s: buckets)
    team.flush()
    team.flush()
    late = team.mate("late")
    team.check(first, late)


def test_who_has_only_looked_who_is_there_misses_nothing() -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.flush()
    fresh = team.mate("fresh")
    fresh.picture.health()
    coverage = fresh.replicas.coverage()
    assert coverage.workers == len(team.mates) and coverage.is_whole
    team.check()


@settings(max_examples=60)
@given(STEPS, STEPS, STEPS)
def test_who_was_only_frozen_is_counted_once(
    steps: list[tuple[str, int, int, str | None]],
    meanwhile: list[tuple[str, int, int, str | None]],
    after: list[tuple[str, int, int, str | None]],
) -> None:
    team = Team(session_history_size=5)
    play(team, steps)
    team.flush()
    for mate in team.mates[1:]:
        team.post.retire(mate.name)
    play(team, [(what, 0, *rest) for what, _, *rest in meanwhile])  # type: ignore[misc]
    team.mates[0].flush()
    team.check(team.mates[0])
    play(team, after)
    team.flush()
    team.check()
    late = team.mate("late")
    late.flush()
    team.check(late)


@pytest.mark.parametrize("has_written_since", [False, True])
def test_the_feed_of_who_seemed_gone_and_is_back_is_read_from_its_rows_too(
    has_written_since: bool,
) -> None:
    team = Team(2)
    back = team.mates[1]
    team.flush()
    team.post.retire(back.name)  # its first frame is kept, which tells of all before it
    back.visit(1, "ana")
    team.flush()
    for bucket in range(SESSION_BUCKETS):
        back.store.put(back.name, bucket, back.flusher.outbox.snapshot(bucket))
    team.post.trim()
    if has_written_since:
        back.visit(2)
        team.flush()
    assert team.mate("late").read()["feed"] == back.read()["feed"] != []


def test_what_ended_at_who_seemed_gone_and_is_back_stays_in_the_feed() -> None:
    team = Team(2)
    back = team.mates[1]
    team.flush()
    team.post.retire(back.name)
    back.visit(1, "ana")
    team.flush()
    back.tracker.end(list(back.tracker.sessions.rows))
    team.flush()
    back.store.put(back.name, LOOSE, back.flusher.outbox.loose())
    team.post.trim()
    assert team.mate("late").read()["feed"] == back.read()["feed"] != []


def test_whose_new_beat_was_lost_with_the_old_one_is_counted_in_full() -> None:
    team = Team()
    team.visit(1, 1, "ana")
    team.flush()
    first, back = team.mates[0], team.mates[1]
    whole = first.read()["requests_total"]
    team.post.retire(back.name)
    team.visit(1, 2, "ben")
    back.flush()
    assert first.read()["requests_total"] == whole + 1
    del team.post.beats[back.name]
    assert first.read()["requests_total"] == whole + 1
    assert team.mate("late").read()["requests_total"] == whole + 1
    back.flush()
    team.check()


def test_what_was_thrown_away_is_counted_once_and_never_falls() -> None:
    team = Team()
    reader, one, other = team.mates
    reader.dropped, one.dropped = {"sessions": 2}, {"sessions": 7, "routes": 1}
    one.visit(1)
    team.flush()

    def told() -> list[int]:
        found = []
        for mate in (reader, other, team.mate("late")):
            mate.replicas._is_roster_due = True
            found.append(mate.picture.stats()["dropped"]["sessions"])
        return found

    assert told() == [9, 9, 9]
    team.post.retire(one.name)
    assert told() == [9, 9, 9]
    one.dropped = {"sessions": 8}  # it was only frozen
    one.flush()
    assert told() == [10, 10, 10]
    assert one.picture.stats()["dropped"]["sessions"] == 10
    team.time.pass_(beats.GONE_S + 1.0)  # gone, and nobody has found out
    reader.flusher._next_housekeeping_s = inf
    reader.flush()
    other.flusher._next_housekeeping_s = inf
    other.flush()
    assert told() == [10, 10, 10]
    team.post.retire(one.name)
    assert told() == [10, 10, 10]


def test_until_all_is_written_anew_a_picture_is_a_part() -> None:
    def is_complete() -> bool:
        first.replicas._is_roster_due = True
        return bool(first.picture.stats()["coverage"]["complete"])

    team = Team()
    for number, mate in enumerate(team.mates):
        team.visit(number, number, "ana")
        mate.flush()
    team.flush()
    first, second, *others = team.mates
    assert is_complete()
    team.post.empty()
    first.flush()
    assert not is_complete()  # the others are not there
    for mate in others:
        mate.flush()
    second.flusher.flush()
    assert not is_complete()  # one of them has not written all
    second.flush()
    second.flusher.flush()
    for mate in others:
        mate.flusher.flush()
    assert is_complete()
    team.check()


def part_of_the_gone(team: Team) -> tuple[Any, ...]:
    """Let the last of a team go and all others see it; return the totals that are to stay."""
    for number in range(len(team.mates)):
        team.visit(number, number, "ana", endpoint=f"at {number}")
        team.visit(number, number, None, status=500)
    team.flush()
    gone = team.mates.pop()
    team.time.pass_(beats.GONE_S + 1)
    look(team)
    look(team)
    assert gone.name not in team.post.beats
    return totals_of(team.mates[0])


def look(team: Team) -> None:
    """Let each write, and look who is there."""
    for mate in team.mates:
        mate.flusher._next_housekeeping_s = 0.0
        mate.flush()


def totals_of(mate: Mate) -> tuple[Any, ...]:
    mate.replicas._is_roster_due = True
    stats, endpoints = mate.picture.stats(), mate.picture.endpoints()["items"]
    by_endpoint = sorted((one["endpoint"], one["requests"], one["errors"]) for one in endpoints)
    return stats["requests_total"], stats["errors_total"], by_endpoint


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("is_read_first", [True, False])
def test_the_totals_of_the_gone_outlive_the_store(
    order: tuple[int, int], is_read_first: bool
) -> None:
    team = Team()
    totals = part_of_the_gone(team)
    assert totals[:2] == (6, 3)
    for number in order:
        mate = team.mates[number]
        totals_of(mate)
        team.post.empty()
        if is_read_first:
            assert totals_of(mate) == totals, "it has not written yet"
        mate.flusher.flush()
        assert totals_of(mate) == totals, "the other one has not written anything"
        team.flush()
        for one in [*team.mates, team.mate("late")]:
            assert totals_of(one) == totals


def test_who_went_with_the_store_is_counted_by_its_last_beat() -> None:
    team = Team()
    for number in range(3):
        team.visit(number, number, "ana")
    team.flush()
    first, *_, gone = team.mates
    assert totals_of(first)[0] == 3
    team.visit(2, 2, "ana")
    gone.flush()
    first.picture.stats()  # its frame is read, its beat is not yet
    team.mates.remove(gone)
    team.post.empty()
    for mate in team.mates:
        mate.flush()
    late = team.mate("late")
    for mate in (first, late):
        assert totals_of(mate)[0] == 4
        assert not mate.picture.stats()["coverage"]["complete"]
    team.time.pass_(beats.GONE_S + 1)
    for mate in team.mates:  # its last beat is too old now, and nobody has taken it over yet
        mate.flusher._next_housekeeping_s = inf
        mate.flush()
    for mate in (first, late):
        assert totals_of(mate)[0] == 4
        assert not mate.picture.stats()["coverage"]["complete"]
    look(team)
    assert gone.name not in team.post.beats
    for mate in (first, late):
        assert totals_of(mate)[0] == 4
        assert not mate.picture.stats()["coverage"]["complete"]


def test_until_the_sessions_of_the_gone_would_have_ended_a_picture_is_a_part() -> None:
    team = Team(count=2, active_window=50, session_timeout=100)

    def is_complete() -> bool:
        look(team)
        found = []
        for mate in [*team.mates, team.mate("late")]:
            totals_of(mate)
            found.append(bool(mate.picture.stats()["coverage"]["complete"]))
        assert len(set(found)) == 1
        return found[0]

    part_of_the_gone(team)
    assert is_complete()
    team.post.empty()
    assert not is_complete()
    team.time.pass_(100 - beats.GONE_S - 2)
    assert not is_complete()
    team.time.pass_(2)
    assert is_complete()


def test_who_was_erased_does_not_come_back_with_the_gone() -> None:
    team = Team()
    totals = part_of_the_gone(team)
    first, second = team.mates
    for mate in team.mates:
        mate.tracker.forget("ana")
    team.flush()
    team.post.empty()
    team.flush()
    for mate in [first, second, team.mate("late")]:
        assert totals_of(mate) == totals
        assert mate.picture.users()["items"] == []
        assert "ana" not in str(mate.store.roster())


def test_a_store_that_is_another_when_somebody_looks_who_is_there_is_read_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team()
    totals = part_of_the_gone(team)
    first, second = team.mates
    totals_of(first)
    read_since = first.store.read_since

    def lost_after(*args: Any) -> list[Entry]:
        found = read_since(*args)
        team.post.empty()
        return found

    with monkeypatch.context() as lost:
        lost.setattr(first.store, "read_since", lost_after)
        assert totals_of(first)[:2] >= (4, 2)
    second.flush()
    first.flush()
    assert totals_of(first) == totals_of(second) == totals
    team.post.empty()
    second.flush()
    first.replicas._is_roster_due = True
    first.picture.health()
    assert first.replicas.epoch == str(team.post.epochs)
    first.flush()
    assert totals_of(first) == totals


def test_who_went_while_the_store_was_lost_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.flush()
    first = team.mates[0]
    first.read()
    team.post.empty()
    first.flush()
    assert not first.picture.stats()["coverage"]["complete"]
    monkeypatch.setattr(first.replicas, "_awaited_until_s", 0.0)
    assert first.picture.stats()["coverage"]["complete"]


def test_a_time_out_of_the_app_while_we_write_loses_nothing() -> None:
    class TimeOut(BaseException):
        """As gevent's."""

    team = Team()
    team.visit(0, 1, "ana")
    team.post.interruption = TimeOut()
    with pytest.raises(TimeOut):
        team.mates[0].flush()
    team.post.interruption = None
    team.flush()
    team.check()


@pytest.mark.parametrize(("worth_rows", "together"), [(1_000, 4), (0, 1)])
def test_small_buckets_wait_for_each_other_and_a_round_still_has_all(
    monkeypatch: pytest.MonkeyPatch, worth_rows: int, together: int
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.flusher._WORTH_ROWS", worth_rows)
    team = Team()
    mate = team.mates[0]
    team.visit(0, 1, "ana")
    mate.flush()
    written: list[list[int]] = []
    flush = mate.store.flush

    def note(one: Flush) -> Flushed:
        written.append([bucket for bucket, _ in one.snapshots if bucket < SESSION_BUCKETS])
        return flush(one)

    monkeypatch.setattr(mate.store, "flush", note)
    for _ in range(SESSION_BUCKETS):
        mate.flusher._last_s -= 0.25  # as if so much time had passed
        mate.flush()
    assert {bucket for some in written for bucket in some} == set(range(SESSION_BUCKETS))
    most = max(map(len, written))
    assert together <= most <= together + 1
    assert len([some for some in written if some]) <= SESSION_BUCKETS // together


def test_while_the_store_is_away_nothing_is_packed_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team()
    flusher = team.mates[0].flusher
    packed: list[bytes | None] = []

    def pack() -> bytes | None:
        packed.append(Outbox.pack(flusher.outbox))
        return packed[-1]

    monkeypatch.setattr(flusher.outbox, "pack", pack)
    team.post.is_down = True
    for number in range(5):
        team.visit(0, number, "ana")
        team.mates[0].flush()
    assert len(packed) == 1  # until it was known to be away
    assert flusher.trouble is not None
    team.post.is_down = False
    team.flush()
    assert flusher.trouble is None
    team.check()


def test_what_makes_no_sense_in_the_store_is_passed_over_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.flush()
    first, whole = team.mates[1], team.alone.read()
    assert first.read() == whole
    post = team.post
    rubbish = [b"", b"rubbish", encode({"q": "x"}), encode({"q": 10**6}, {1: b"row"})]
    for data in rubbish:
        post.log.append(Entry(post.first + len(post.log) + 1, "mate0", 0.0, data))
        post.log.append(Entry(post.first + len(post.log) + 1, "stranger", 0.0, data))
    post.snapshots[5]["stranger"] = b"rubbish"
    post.snapshots[256]["stranger"] = b"\xff\xff\xff\xff rubbish"
    post.beats["stranger"] = Beat(b"rubbish", team.time.clock().now_at())
    post.taken["stranger"] = b"rubbish"
    assert first.read() == whole
    late = team.mate("late")
    assert late.read() == whole
    assert first.replicas.refused == 2 * len(rubbish)
    warnings = [one for one in caplog.records if "passed over" in one.message]
    assert len(warnings) == 2, "one for each who reads"
    team.visit(0, 1, "ana")
    team.flush()
    team.check(first, late)


def test_a_store_that_comes_and_goes_is_warned_of_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    team = Team()
    for _ in range(3):
        team.visit(0, 1, "ana")
        team.post.is_down = True
        team.mates[0].flush()
        assert team.mates[0].flusher.trouble == "the post is down"
        team.post.is_down = False
        team.flush()
        assert team.mates[0].flusher.trouble is None
    assert len([one for one in caplog.records if "does not take" in one.message]) == 1
    team.check()


def test_a_load_that_fails_on_its_way_lets_no_total_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.visit(1, 2, "bob")
    team.flush()
    first = team.mates[0]
    whole = first.read()

    def fail() -> float:
        raise StoreError("cut off")

    with monkeypatch.context() as broken:
        broken.setattr(first.store, "since_at", fail)
        first.replicas.epoch = None  # as after a gap in the log
        assert first.read() == whole
        assert not first.replicas.coverage().is_readable
    assert first.read() == whole
    assert first.replicas.coverage().is_readable


def test_a_load_that_fails_in_its_last_step_is_made_known_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2)
    reader, other = team.mates
    other.visit(1)
    team.flush()
    assert reader.read()["total_sessions"] == 1
    team.post.empty()
    team.flush()

    def fail() -> None:
        raise StoreError("busy")

    with monkeypatch.context() as broken:
        load = reader.store.load

        def load_and_fail() -> Any:
            found = load()
            broken.setattr(reader.store, "roster", fail)
            return found

        broken.setattr(reader.store, "load", load_and_fail)
        reader.read()
    other.visit(2)
    team.flush()
    assert reader.read()["total_sessions"] == 2


def test_a_long_outage_costs_no_memory_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_MOST_BATCHES", 10)
    monkeypatch.setattr(outbox, "MAX_RARE", 10)
    team = Team()
    team.post.is_down = True
    tracker = team.mates[0].tracker
    for number in range(60):
        team.visit(0, number % 3, "ana", error="Oops", status=500)
        team.time.pass_(1.0)
        team.mates[0].flush()
        assert len(tracker.traffic.fresh or ()) <= 12
        assert len(tracker.fresh_rare or ()) <= max(12, tracker.rare_count)
    team.post.is_down = False
    team.flush()
    team.check()


def test_of_who_is_gone_nothing_is_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(1, session_timeout=300.0)
    monkeypatch.setattr("time.monotonic", lambda: team.time.now_s)
    (reader,) = team.mates
    for number in range(30):
        other = team.mate(f"other{number}")
        other.visit(number)
        other.flush()
        team.time.pass_(300.0)
        reader.flush()
        reader.read()
        team.post.retire(other.name)
    assert len(reader.replicas.sources) < 20
    assert reader.read()["requests_total"] == 30


def test_what_the_app_does_as_it_hears_of_a_note_may_write_and_wait_for_who_writes() -> None:
    team = Team(2)
    writer, hearer = team.mates
    take, done = hearer._take_note, []
    team.flush()

    def hear(note: Any) -> None:
        take(note)
        done.append(elsewhere(lambda: hearer.flusher.flush(is_beat=False)))

    hearer.flusher._take_note = hear
    writer.visit(1, "ana")
    writer.visit(1, "ana", kind="logout")
    writer.flush()
    hearer.visit(2)
    hearer.flush()
    assert done == [False]


def test_a_note_whose_taking_was_cut_short_is_taken_with_the_next_write() -> None:
    team = Team(2)
    team.flush()
    writer, hearer = team.mates
    take = hearer.flusher._take_note

    def cut_short(note: Any) -> None:
        raise KeyboardInterrupt

    for mate in team.mates:
        mate.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    writer.visit(1, "ana", kind="logout")
    writer.flush()
    hearer.flusher._take_note = cut_short
    with pytest.raises(KeyboardInterrupt):
        hearer.flush()
    assert hearer.read()["total_sessions"] == 1
    hearer.flusher._take_note = take
    hearer.flush()
    assert hearer.read()["total_sessions"] == 0


def test_who_is_forgotten_goes_as_a_guest_too_that_nobody_could_know_of() -> None:
    team = Team(3)
    asked, knows, saw = team.mates
    team.flush()
    team.post.is_down = True
    saw.visit(1)
    knows.visit(1)
    knows.visit(1, "ana")
    team.flush()
    asked.forget("ana")
    team.post.is_down = False
    team.flush()
    team.flush()
    team.check_nobody()
    for mate in [*team.mates, team.mate("late")]:
        assert mate.picture.activities()["items"] == []


def test_who_is_forgotten_and_goes_on_with_two_devices_is_not_forgotten_for_ever() -> None:
    team = Team(3)
    team.flush()
    asked, one, other = team.mates

    def go_on(rounds: int) -> int:
        for _ in range(rounds):
            one.visit(1, "ana")
            other.visit(2, "ana")
            team.flush()
            asked.read()
            team.time.pass_(1.0)
        return len(team.post.notes)

    go_on(1)
    asked.tracker.forget("ana")  # it was not told which sessions these are
    told = go_on(5)
    before = [requests for _, requests, *_ in asked.read()["sessions"]]
    assert go_on(5) == told, "all have been told of all"
    assert [requests - 5 for _, requests, *_ in asked.read()["sessions"]] == before
    assert len(before) == 2


def test_a_line_of_the_feed_is_named_by_the_session_it_is_of_now() -> None:
    team = Team(3)
    one, other, reader = team.mates
    one.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(1.0)
    other.visit(1)  # before it has heard

    def ids(mate: Mate) -> list[str]:
        mate.replicas._is_roster_due = True
        return [line["id"] for line in mate.picture.activities(100)["items"]]

    other.flush()
    before = ids(reader), ids(other)
    team.flush()
    now = ids(reader)
    assert now != before[0] and now[0] != before[1][0]
    assert now == ids(other) == ids(team.mate("late"))


@pytest.mark.parametrize("are_notes_kept", [True, False])
def test_who_comes_later_knows_who_has_signed_out(are_notes_kept: bool) -> None:
    team = Team(1)
    for what in ("request", "logout", "request"):
        team.visit(0, 1, "ana", kind=what)
        team.visit(0, 2, None)
        team.time.pass_(1.0)
    team.flush()
    (first,) = team.mates
    if not are_notes_kept:
        team.post.snapshots[SIGNED_OUT][first.name] = first.flusher.outbox.signed_out()
        team.post.notes.clear()
    team.mates.append(team.mate("late"))
    team.visit(1, 1, "ana")
    team.visit(1, 1, None)
    team.flush()
    assert first.read()["total_sessions"] == 2
    team.check()


@pytest.mark.parametrize("what", ["signs out", "is forgotten"])
def test_what_was_told_just_before_the_store_was_lost_is_told_again(what: str) -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    for mate in team.mates:
        mate.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    if what == "signs out":
        one.visit(1, "ana", kind="logout")
    else:
        one.tracker.forget("ana")
    one.flush()
    team.post.empty()  # before the other one has heard
    team.flush()
    assert one.read()["sessions"] == other.read()["sessions"] == []
    for mate in team.mates:
        mate.visit(1)
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [2]


def test_who_hung_as_the_store_was_lost_is_told_of_the_minute_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2)
    monkeypatch.setattr("time.monotonic", lambda: team.time.now_s)
    team.visit(0, 1, "ana")
    team.visit(1, 1, "ana")
    team.flush()
    one, hung = team.mates
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    for _ in range(30):
        one.flush()
        team.time.pass_(1.0)
    team.post.empty()
    team.flush()
    for mate in team.mates:
        assert mate.read()["sessions"] == []
    hung.visit(1)
    one.visit(1)
    team.flush()
    for mate in team.mates:
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [2]


@pytest.mark.parametrize("what", ["signs out", "is forgotten"])
def test_who_leaves_goes_also_from_rows_of_the_gone_that_are_read_later(what: str) -> None:
    team = Team(3)
    team.flush()
    reader, gone, other = team.mates
    assert reader.read()["total_sessions"] == 0
    gone.visit(1, "ana")
    gone.flush()
    team.post.retire(gone.name)
    team.time.pass_(1.0)
    if what == "signs out":
        other.visit(1, "ana", kind="logout")
    else:
        other.forget("ana")
    other.flush()
    reader.flush()  # it hears of it, and has not read of her yet
    for mate in (reader, other, team.mate("late")):
        assert mate.read()["sessions"] == []


def test_who_leaves_goes_also_from_rows_of_the_gone_who_had_not_heard_of_an_earlier_sign_out() -> (
    None
):
    team = Team(3)
    team.flush()
    one, gone, other = team.mates
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    gone.visit(1, "ana")
    gone.flush()
    team.post.retire(gone.name)
    for mate in (one, other):
        mate.flush()
    for mate in (one, other):
        mate.flush()
        assert mate.read()["total_sessions"] == 1
    team.time.pass_(1.0)
    other.visit(1, "ana")
    team.time.pass_(1.0)
    other.visit(1, "ana", kind="logout")
    for mate in (other, one):
        mate.flush()
    for mate in (one, other, team.mate("late")):
        assert mate.read()["sessions"] == []


@pytest.mark.parametrize("has_signed_out", [False, True])
@pytest.mark.parametrize("by", [0, 1, 2])
def test_who_is_forgotten_is_so_as_the_guest_of_another_worker(
    by: int, has_signed_out: bool
) -> None:
    team = Team(3)
    team.flush()
    if has_signed_out:  # the guest that follows has another key
        team.visit(0, 1, "ana")
        team.mates[0].visit(1, "ana", kind="logout")
        team.flush()
    team.mates[0].visit(1, path="/before")
    team.time.pass_(1.0)
    team.mates[1].visit(1, "ana")
    team.mates[0].visit(2, path="/other")
    team.flush()
    if by == 2:
        assert team.mates[0].read()["total_sessions"] == 2
    team.mates[by].forget("ana")
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        found = mate.read()
        assert [one["path"] for one in mate.picture.sessions()["items"]] == ["/other"]
        assert "/before" not in str(found["feed"])


def test_who_is_forgotten_after_the_end_is_so_as_the_guest_of_then() -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    team.visit(0, 1, None)
    team.visit(0, 1, "ana")
    team.flush()
    for mate in team.mates:
        assert len(mate.read()["feed"]) == 2
    team.time.pass_(70)
    team.mates[0].forget("ana")  # there is no session of hers in any list
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert mate.read()["feed"] == []


def test_a_guest_who_was_seen_before_the_erasure_was_heard_of_is_shown_by_nobody() -> None:
    team = Team(2)
    first, other = team.mates
    team.visit(0, 1, "ana")
    team.visit(0, 1, None)
    team.flush()
    assert len(other.read()["feed"]) == 2
    first.forget("ana")
    team.time.pass_(0.1)
    other.visit(1)
    team.flush()
    for mate in (first, other, team.mate("late")):
        assert mate.read()["feed"] == []


def test_who_comes_again_after_an_erasure_and_a_sign_out_keeps_the_name() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    assert one.read()["sessions"] == []
    one.forget("ana")
    team.flush()
    team.time.pass_(0.01)
    other.visit(1, "ana")
    other.flush()
    team.time.pass_(0.01)
    one.visit(1, "ana", kind="logout")
    one.flush()
    assert one.read()["sessions"] == []  # in this reading both are done, again
    team.time.pass_(0.01)
    other.visit(1, "ana")
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [1]


def test_the_guest_of_an_address_with_another_user_is_not_forgotten_with_one() -> None:
    team = Team(2)
    team.flush()
    one, reader = team.mates
    for user in (None, "bob", "ana"):
        one.visit(1, user)
    one.flush()
    assert reader.read()["total_sessions"] == 3
    one.forget("ana")
    team.flush()
    for mate in (one, reader, team.mate("late")):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [2]


@pytest.mark.parametrize("by", [0, 1, 2])
def test_nor_is_the_guest_of_an_address_whose_other_user_is_at_another_worker(by: int) -> None:
    team = Team(3)
    team.flush()
    team.visit(0, 1, "ana")
    for user in ("bob", None):
        team.visit(1, 1, user)
    team.flush()
    team.check()
    team.time.pass_(1.0)
    for mate in (team.mates[by], team.alone):
        mate.forget("bob")
    team.flush()
    team.check(*team.mates, team.mate("late"))
    assert [requests for _, requests, *_ in team.alone.read()["sessions"]] == [2]


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_request_in_which_a_person_is_forgotten_is_all_that_is_shown(is_gone: bool) -> None:
    team = Team(3)
    team.flush()
    one, reader, other = team.mates
    for mate in (one, other):
        mate.visit(1, "ana", path="/before")
    team.flush()
    if is_gone:
        team.post.retire(other.name)
        team.mates.remove(other)
    team.time.pass_(1.0)
    one.forget("ana")
    team.time.pass_(0.01)
    one.visit(1, "ana", path="/leave", duration_ms=200.0)  # it began before
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        found = mate.read()
        assert [requests for _, requests, *_ in found["sessions"]] == [1]
        assert [path for _, path in found["feed"]] == ["/leave"]
    assert reader.picture.users()["total"] == 1


def test_who_comes_again_after_an_erasure_is_shown_by_who_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log still tells of the erasure; whose number it was, a snapshot knows from later."""
    team = Team(1)
    (first,) = team.mates
    monkeypatch.setattr(first.flusher, "_next_buckets", lambda elapsed_s: [])
    first.visit(1, "ana")
    first.flush()
    first.forget("ana")
    first.flush()
    team.time.pass_(1.0)
    first.visit(1, "ana")
    first.flush()
    monkeypatch.setattr(first.flusher, "_next_buckets", lambda elapsed_s: [0])  # not the session's
    first.flush()
    assert first.read()["total_sessions"] == 1
    assert team.mate("late").read()["sessions"] == first.read()["sessions"]


def test_what_all_have_heard_long_ago_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(2)
    monkeypatch.setattr("time.monotonic", lambda: team.time.now_s)
    team.visit(0, 1, "ana")
    team.flush()
    for mate in (team.mates[0], team.alone):
        mate.tracker.forget("ana")
    for _ in range(20):
        team.time.pass_(1.0)
        team.flush()
    team.visit(1, 1, "ana")
    team.post.empty()
    team.flush()
    team.check()
    assert team.mates[0].read()["total_sessions"] == 1


def test_who_comes_just_after_the_store_was_lost_knows_who_has_signed_out() -> None:
    team = Team(1)
    (first,) = team.mates
    first.visit(1, "ana")
    first.visit(1, "ana", kind="logout")
    first.flush()
    first.flusher._lately.clear()  # long ago
    team.post.empty()
    first.flush()
    first.flush()
    team.mates.append(team.mate("late"))
    for mate in team.mates:
        mate.visit(1)
    team.flush()
    assert [requests for _, requests, *_ in first.read()["sessions"]] == [2]


@pytest.mark.parametrize("is_ended_by_an_admin", [False, True])
def test_a_sign_out_parts_no_session_of_another_at_the_same_address(
    is_ended_by_an_admin: bool,
) -> None:
    team = Team(count=2)
    first, second = team.mates
    team.flush()
    team.visit(0, 1, "ana")
    team.visit(0, 1, "bob")
    team.flush()
    if is_ended_by_an_admin:
        (session_id,) = (
            one["id"] for one in shown(second)["sessions"] if one["user"]["id"] == "ana"
        )
        first.end(session_id)
    else:
        first.visit(1, "ana", kind="logout")
    team.flush()
    team.time.pass_(1)
    late = team.mate("late")
    late.flush()
    signouts.learn(late.store, late.tracker)
    for mate in (second, late, second):
        mate.visit(1, "bob")
        mate.visit(1, "ana")
        mate.flush()
    for mate in (first, second, late):
        found = {(one["user"]["id"], one["requests"]) for one in shown(mate)["sessions"]}
        assert found == {("ana", 3), ("bob", 4)}
        assert len(shown(mate)["sessions"]) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_of_one_address_who_sign_out_at_once_are_each_one_afterwards(
    order: tuple[int, int],
) -> None:
    team = Team(3)
    team.flush()
    for mate, user in enumerate(("ana", "bob")):
        team.mates[mate].visit(1, user)
    team.flush()
    team.time.pass_(1.0)
    for mate, user in ((0, "ana"), (1, "bob")):
        team.mates[mate].visit(1, user, kind="logout")
        team.time.pass_(0.01)
    for number in order:  # in which the third hears of them
        team.mates[number].flush()
    team.flush()
    late = team.mate("late")
    late.flush()
    for mate in (*team.mates, late):
        for user in (None, "ana", "bob"):
            mate.visit(1, user)
    for mate in (*team.mates, late):
        mate.flush()
    for mate in (*team.mates, late):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [4, 4, 4]


def test_who_is_the_last_to_hear_of_a_sign_out_still_tells_what_it_changed() -> None:
    team = Team(3)
    team.flush()
    one, leaver, reader = team.mates
    one.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    one.flush()
    team.time.pass_(0.01)
    leaver.visit(1, path="/signed-out")
    leaver.flusher.last()  # it hears of it with this
    team.post.retire(leaver.name)
    reader.flush()
    for mate in (one, reader):
        mate.visit(1)
    for mate in (one, reader):
        mate.flush()
    for mate in (one, reader, team.mate("late")):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [3]


def test_who_left_goes_from_what_a_worker_wrote_before_it_heard_of_it_and_was_gone() -> None:
    team = Team(3)
    team.flush()
    one, gone, reader = team.mates
    gone.visit(1, "ana")
    team.time.pass_(0.01)
    one.visit(1, "ana", kind="logout")
    one.flush()
    reader.flush()
    for _ in range(3):  # somebody looks at it meanwhile
        assert reader.read()["sessions"] == []
    gone.flush()
    assert reader.read()["total_sessions"] == 1
    team.post.retire(gone.name)
    team.mates.remove(gone)
    team.check_nobody()


def test_who_hears_of_a_sign_out_after_what_followed_joins_it_all_the_same() -> None:
    team = Team(2)
    team.flush()
    one, reader = team.mates
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    one.visit(1)
    one.visit(1, "ana")
    one.flush()
    assert reader.read()["total_sessions"] == 2  # it has not heard of it
    team.flush()
    for mate in (one, reader):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [2]


def test_a_guest_part_that_an_admin_did_not_know_of_ends_as_well() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    one.visit(1, "ana")
    one.flush()
    other.visit(1)
    assert other.read()["total_sessions"] == 1
    (session,) = one.picture.sessions()["items"]
    one.end(session["id"])
    team.flush()
    team.check_nobody()
    team.time.pass_(1.0)
    other.visit(1)
    for _, _, note in list(team.post.notes):  # as after the store was lost
        other._take_note(beats.decode(note))
    team.flush()
    assert [mate.read()["total_sessions"] for mate in team.mates] == [1, 1]


def test_a_guest_who_was_answered_before_the_sign_out_was_heard_of_is_one_guest() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    other.visit(1)
    one.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    other.visit(1)  # the page after the sign-out
    team.flush()
    other.visit(1)
    one.visit(1)
    team.flush()
    assert one.read() == other.read()
    assert [requests for _, requests, *_ in one.read()["sessions"]] == [3]


@pytest.mark.parametrize("history", [50, 1])
@pytest.mark.parametrize("user", [None, "ana"])
def test_what_came_between_a_sign_out_and_the_news_of_it_begins_a_session(
    user: str | None, history: int
) -> None:
    team = Team(2, session_history_size=history)
    team.flush()
    one, other = team.mates
    for number in range(3):
        team.visit(1, 1, user, path=f"/before/{number}", status=500)
    team.visit(0, 1, "ana")
    team.flush()
    team.time.pass_(1.0)
    team.visit(0, 1, "ana", kind="logout")
    one.flush()
    team.time.pass_(0.01)
    team.visit(1, 1, user, path="/after")
    team.flush()
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        (session,) = mate.picture.sessions()["items"]
        assert (session["requests"], session["errors"], session["path"]) == (1, 0, "/after")
        story = mate.picture.session(session["id"])
        assert story is not None
        assert [act["path"] for act in story["activities"]] == ["/after"]
        of_it = mate.picture.activities(only=Filter(session=session["id"]))["items"]
        assert [act["path"] for act in of_it] == ["/after"]
    other.visit(1, user)
    team.flush()
    assert [requests for _, requests, *_ in one.read()["sessions"]] == [2]


def test_a_guest_whom_another_worker_meets_before_it_hears_of_the_sign_out_is_one() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    one.visit(1, "ana")
    team.flush()
    assert [mate.read()["total_sessions"] for mate in team.mates] == [1, 1]
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    other.visit(1, path="/signed-out")  # no guest was known there
    other.visit(1, kind="custom", name="seen", path="/signed-out")
    other.flush()
    assert one.read()["total_sessions"] == 1
    team.flush()
    one.visit(1, path="/later")
    other.visit(1, path="/later")
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        (session,) = mate.picture.sessions()["items"]
        assert (session["requests"], session["path"]) == (3, "/later")
        story = mate.picture.session(session["id"])
        assert story is not None
        told = [(act["kind"], act["name"], act["path"]) for act in story["activities"]]
        assert told[2:] == [("custom", "seen", "/signed-out"), ("request", None, "/signed-out")]
        ids = [act["id"] for act in mate.picture.activities()["items"]]
        assert len(set(ids)) == len(ids) == 6
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.flush()
    team.check_nobody()


def test_what_gets_another_key_after_its_session_ended_for_a_reader_is_told_once() -> None:
    team = Team(3)
    team.flush()
    one, other, reader = team.mates
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    other.visit(1, path="/signed-out")
    for mate in (other, one):
        mate.flush()
    assert reader.read()["total_sessions"] == 1
    team.time.pass_(0.01)
    reader.visit(1, "ana", kind="logout")  # it has not heard of the first one
    team.flush()  # all hear of it
    team.flush()  # and of what the others made of it
    for mate in [*team.mates, team.mate("late")]:
        found = mate.read()
        assert found["sessions"] == []
        assert [path for _, path in found["feed"]].count("/signed-out") == 1


def test_a_user_whom_another_worker_saw_since_the_sign_out_is_one_and_leaves_as_one() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    for mate in team.mates:
        mate.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    other.visit(1, "ana")  # it was on its way
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana")
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        assert [user for _, _, _, user, *_ in mate.read()["sessions"]] == [
            "{'id': 'ana', 'name': None}"
        ]
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.flush()
    team.check_nobody()


def test_a_user_who_was_seen_since_the_sign_out_does_not_end_with_the_guest_of_before() -> None:
    team = Team(2)
    team.flush()
    one, other = team.mates
    other.visit(1)
    for mate in team.mates:
        mate.visit(1, "ana")
    team.flush()
    team.time.pass_(1.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(0.01)
    other.visit(1, "ana", path="/again")
    team.flush()
    team.flush()
    for mate in [*team.mates, team.mate("late")]:
        (session,) = mate.picture.sessions()["items"]
        assert (session["user"]["id"], session["path"]) == ("ana", "/again")


@pytest.mark.parametrize("is_new", [False, True])
def test_who_was_seen_before_midnight_is_one_whichever_worker_is_asked_after_it(
    is_new: bool,
) -> None:
    team = Team(2)
    team.time.pass_(86_400 - team.time.clock().now_at() % 86_400 - 120)
    team.mates, team.alone = (
        [team.mate("m0"), team.mate("m1")],
        Mate("alone", Post(team.time), team.settings, team.time),
    )

    def ask(mate: Mate) -> None:
        for one in (mate, team.alone):
            one.visit(one.tracker.visitors.visitor("192.0.2.7", "Firefox"), "ana")
            one.visit(one.tracker.visitors.visitor("192.0.2.8", "Firefox"))

    ask(team.mates[0])
    team.flush()
    team.time.pass_(180)
    if is_new:
        team.mates[1] = team.mate("m2")
    for mate in (*team.mates, team.alone):
        mate.tracker.visitors.fetch(mate.tracker.clock.now_at())
        mate.tracker.visitors.turn(mate.tracker.clock.now_at())
    ask(team.mates[1])
    team.time.pass_(1.0)
    ask(team.mates[0])
    team.flush()
    assert team.mates[1].read()["total_sessions"] == 2
    team.check()


class Years:
    """Time that goes on in steps of some seconds, in each of which everybody works."""

    def __init__(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        self._team = team
        monkeypatch.setattr("time.monotonic", lambda: team.time.now_s)

    def __call__(self, seconds: float, visit: Callable[[], None] = lambda: None) -> None:
        for _ in range(int(seconds // 5)):
            self._team.time.pass_(5.0)
            visit()
            for mate in (*self._team.mates, self._team.alone):
                mate.tracker.expire()
                for _ in range(1 if mate is self._team.alone else 3):
                    mate.flush()


def test_a_part_lives_as_long_as_what_it_is_joined_with_at_another_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    team.visit(0, 1, None)
    team.time.pass_(5.0)
    pass_(300, lambda: team.visit(1, 1, "ana"))
    assert 1 in team.mates[0].tracker.sessions.rows
    team.check()
    pass_(500)
    assert [len(mate.tracker.sessions) for mate in team.mates] == [0, 0]
    team.check()


@pytest.mark.parametrize("is_erased", [False, True])
@pytest.mark.parametrize("comes_next", ["bob", None])
def test_nobody_is_given_what_the_one_before_with_the_number_did(
    monkeypatch: pytest.MonkeyPatch, *, is_erased: bool, comes_next: str | None
) -> None:
    team = Team(2)
    one, other = team.mates
    team.flush()
    other.read()
    one.visit(7, "ana", path="/of-ana", rule="/<page>")
    team.flush()
    team.time.pass_(1)
    one.visit(7, "ana", kind="logout")  # and ana's number is free again
    team.flush()
    team.time.pass_(1)
    if is_erased:
        other.forget("ana")
        team.flush()
        team.time.pass_(1)
    if comes_next:
        one.visit(9, comes_next, path="/of-bob", rule="/<page>")
        team.flush()
    # The round has come to the number, and not yet to the sessions.
    monkeypatch.setattr(one.flusher, "_next_buckets", lambda elapsed_s: [0])
    one.flush()
    late = team.mate("late")
    late.flush()
    feeds = [mate.picture.activities()["items"] for mate in (one, other, late)]
    told = [[(line["path"], (line["user"] or {}).get("id")) for line in feed] for feed in feeds]
    expected = [("/of-bob", "bob")] if comes_next else []
    assert told == 3 * [expected + ([] if is_erased else [("/", "ana"), ("/of-ana", "ana")])]


def test_who_has_a_request_in_flight_at_another_worker_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    one, other = team.mates
    beat, flying = other._beat, [["r", 1, "GET", "wait", "/wait", 0]]
    monkeypatch.setattr(other.flusher, "_beat", lambda: {**beat(), "in_flight": flying})
    one.visit(1)
    one.visit(2)
    pass_(400)
    assert list(one.tracker.sessions.rows) == [1]
    assert one.read()["total_sessions"] == 1
    flying.clear()
    pass_(300)
    assert not one.tracker.sessions.rows


@pytest.mark.parametrize("is_down", [False, True])
def test_who_has_a_request_in_flight_where_nothing_was_heard_of_is_back_as_that_is(
    monkeypatch: pytest.MonkeyPatch, is_down: bool
) -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    one, other = team.mates
    one.visit(1)
    one.begin(1)
    pass_(70)
    assert other.read()["total_sessions"] == 1
    team.post.is_down = is_down  # or the other is frozen
    team.mates.remove(one)
    for _ in range(8):
        pass_(5)
        other.read()
    assert other.read()["total_sessions"] == 0
    team.post.is_down = False
    team.mates.append(one)
    for _ in range(2):
        pass_(5)
        other.read()
    for mate in [*team.mates, team.mate("late")]:
        assert mate.read()["total_sessions"] == 1


def sessions_to(mate: Mate) -> list[tuple[Any, ...]]:
    """Return what of the sessions outlives the rows of a worker that is gone for long."""
    mate.replicas._is_roster_due = True
    found = mate.picture.sessions(100)["items"]
    names = "id", "requests", "errors", "first_seen_at"
    return [tuple(one[name] for name in names) for one in found]


def test_a_session_keeps_what_it_had_at_a_worker_that_is_gone_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(3, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    reader, sleeper, gone = team.mates
    for _ in range(3):
        team.visit(2, 1, None)
        team.visit(2, 1, "ana", status=500)
        team.visit(2, 2, "bob")
        team.time.pass_(5.0)
    pass_(70, lambda: team.visit(2, 1, "ana"))
    gone.visit(1, "ana")  # is in the log alone
    team.alone.visit(1, "ana")
    gone.flush()
    team.mates.remove(gone)

    def go_on() -> None:
        team.visit(0, 1, "ana")
        reader.flush()
        assert sessions_to(reader) == sessions_to(team.alone)

    pass_(60 + GRACE_S + legacy.KEEP_S + 300, go_on)
    assert gone.name not in team.post.snapshots[1]
    for mate in [reader, sleeper, team.mate("late")]:
        mate.flush()
        assert sessions_to(mate) == sessions_to(team.alone)
        assert len(sessions_to(mate)) == 1
    pass_(3_600, go_on)  # who has looked all the while lets go, too
    assert gone.name not in reader.replicas._replicas
    # And the next who takes over has what that one had, too.
    team.mates.remove(reader)
    pass_(60 + GRACE_S + legacy.KEEP_S + 300, lambda: team.visit(0, 1, "ana"))
    assert reader.name not in team.post.snapshots[1]
    late = team.mate("late too")
    for mate in (sleeper, late):
        mate.flush()
        assert sessions_to(mate) == sessions_to(team.alone)
    # Who comes back after the end begins anew.
    pass_(400)
    pass_(400, lambda: team.visit(0, 1, "ana"))
    for mate in (sleeper, late):
        assert [one[1:3] for one in sessions_to(mate)] == [(80, 0)]


def test_a_session_that_begins_after_the_last_has_ended_inherits_nothing_of_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(3, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    reader, other, gone = team.mates
    for user in (None, "ana", "ana"):
        team.visit(2, 1, user)
        team.time.pass_(5.0)
    team.flush()
    assert sessions_to(reader) == sessions_to(team.alone)
    team.mates.remove(gone)
    pass_(170)  # that is over, and not passed on yet
    for _ in range(6):
        pass_(250, lambda: team.visit(0, 1, "ana"))
        for mate in (reader, other, late := team.mate("late")):
            late.flush()
            assert sessions_to(mate) == sessions_to(team.alone)


@pytest.mark.parametrize("goes_on_at", [0, 2])
@pytest.mark.parametrize("is_bridged", [False, True])
def test_what_ended_at_a_worker_that_is_gone_for_long_stays_ended(
    goes_on_at: int, is_bridged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(3, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    reader, gone = team.mates[0], team.mates[2]
    for mate in (2, 2, goes_on_at):
        team.visit(mate, 1, "ana", status=500)
    pass_(40)
    if is_bridged:
        team.visit(1, 1, "ana")
    pass_(30)
    team.visit(goes_on_at, 1, "ana")  # in the row that is there still
    team.visit(0, 1, "ana")
    team.flush()
    assert sessions_to(reader)[0][1:3] == ((6, 3) if is_bridged else (2, 0))
    team.mates.remove(gone)

    def go_on() -> None:
        team.visit(0, 1, "ana")
        reader.flush()
        assert sessions_to(reader) == sessions_to(team.alone)

    pass_(60 + GRACE_S + legacy.KEEP_S + 300, go_on)
    assert gone.name not in team.post.snapshots[1]
    late = team.mate("late")
    late.flush()
    assert sessions_to(late) == sessions_to(team.alone)


@pytest.mark.parametrize("seconds", [460, 60 + GRACE_S + legacy.KEEP_S + 400])
@pytest.mark.parametrize("serves", [False, True])
@pytest.mark.parametrize("is_seen_again", [False, True])
def test_who_was_cut_off_for_long_and_comes_back_is_counted_once_by_all(
    seconds: float, serves: bool, is_seen_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(3, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    reader, other, cut = team.mates
    for _ in range(5):
        team.visit(2, 1, None)
        team.visit(2, 1, "ana", status=500)
        team.visit(0, 1, "ana")
        team.time.pass_(1.0)
    team.flush()
    assert sessions_to(reader) == sessions_to(team.alone)

    def seen_by_cut() -> None:
        cut.visit(1, "ana")
        cut.visit(2, "bob")
        team.alone.visit(1, "ana")
        team.alone.visit(2, "bob")

    def go_on() -> None:
        team.visit(0, 1, "ana")
        if cut not in team.mates:
            cut.tracker.expire()
            if serves:
                seen_by_cut()

    def check(*more: Mate) -> None:
        for mate in (reader, other, *more):
            mate.flush()
            assert sessions_to(mate) == sessions_to(team.alone)

    team.mates.remove(cut)
    pass_(seconds, go_on)
    between, late = team.mate("between"), team.mate("late")
    for mate in (reader, other, between):
        mate.flush()
        mate.read()
    if not serves:
        check(between)
    team.mates.append(cut)
    if is_seen_again:
        seen_by_cut()
    team.flush()
    check(cut, between, late)
    pass_(300, go_on)
    check(cut, between, late, team.mate("latest"))
    # And once more, for good.
    team.mates.remove(cut)
    serves = False
    pass_(430, go_on)
    check(between, late, team.mate("last"))


def test_what_somebody_had_who_cannot_come_back_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    team.visit(0, 1, None)
    for name, boot in (("killed", beats.machine()), ("away", "another")):
        mate = team.mate(name)
        beat = {**mate._beat(), "boot": boot, "pid": 2**30}
        monkeypatch.setattr(mate.flusher, "_beat", lambda beat=beat: beat)
        mate.visit(1)
        team.alone.visit(1)
        mate.flush()
    pass_(430, lambda: team.visit(0, 1, None))
    written = legacy.Written.parsed(decode(team.post.snapshots[1][legacy.NOBODY]))
    assert written.of == ["killed"]
    assert [counts[1].requests for counts in (written.counts, written.by["away"])] == [1, 1]
    assert sessions_to(team.mates[1]) == sessions_to(team.alone)


def test_the_minutes_of_who_was_replaced_are_those_of_the_last_hour_to_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    pass_ = Years(team, monkeypatch)
    reader, gone = team.mates
    for visitor in range(20):
        team.visit(1, visitor + 1, None)
    team.flush()
    gone.flusher.last()  # as it is told to end
    team.post.retire(team.mates.pop().name)
    pass_(3_000, lambda: team.visit(0, 99, "ana"))
    names = {bucket for bucket, of in team.post.snapshots.items() if gone.name in of}
    assert names == {COUNTERS}, "of people nothing is kept for so long"
    for mate in (reader, team.mate("late")):
        assert mate.read()["history"] == team.alone.read()["history"]
    pass_(1_500, lambda: team.visit(0, 99, "ana"))
    assert not [one for one, of in team.post.snapshots.items() if gone.name in of]
    for mate in (reader, team.mate("later")):
        assert mate.read()["history"] == team.alone.read()["history"]


def test_the_health_alone_tells_who_is_there_now() -> None:
    team = Team()
    team.flush()
    first = team.mates[0]
    first.read()
    before = first.replicas.coverage().workers
    team.mate("late").flush()
    first.replicas._roster_at_s = 0.0  # some time later
    first.picture.health()
    assert first.replicas.coverage().workers == before + 1


@pytest.mark.parametrize("users", [(None, None), ("ana", "ana"), ("ana", None)])
def test_of_two_places_in_one_moment_all_choose_the_same(users: tuple[str | None, ...]) -> None:
    team = Team(count=2)
    for order in ((0, 1), (1, 0)):
        for mate in order:
            visitor = 1 + mate if users[0] and users[1] else 1
            team.visit(mate, visitor, users[mate], endpoint=f"page{mate}", rule=f"/{mate}")
            team.mates[mate].read()  # who numbers what it has seen as it comes
        team.flush()
        team.time.pass_(3)

    def places(mate: Mate) -> list[tuple[Any, ...]]:
        items = mate.picture.endpoints()["items"]
        return [(one["endpoint"], one["active_sessions"], one["active_users"]) for one in items]

    readers = [*team.mates, team.mate("late"), team.mate("a late one")]
    team.flush()
    assert len({str(places(mate)) for mate in readers}) == 1
    shown = {(one["endpoint"]) for one in readers[0].picture.sessions()["items"]}
    assert {endpoint for endpoint, sessions, _ in places(readers[0]) if sessions} == shown
    shown = {(one["endpoint"]) for one in readers[0].picture.users()["items"]}
    assert {endpoint for endpoint, _, users in places(readers[0]) if users} == shown


def test_who_is_alone_ends_sessions_as_they_time_out() -> None:
    team = Team(2, session_timeout=60.0, active_window=60.0)
    one, other = team.mates
    flusher, sessions = one.flusher, one.tracker.sessions

    def keep_house() -> bool:
        flusher._next_housekeeping_s = 0.0
        one.visit(2)
        one.flush()
        return sessions.alone_until_ms > one.tracker.clock.now_ms()

    assert not keep_house()  # others may be about to write
    flusher._alone_since_s -= beats.SILENT_S
    assert keep_house()
    one.visit(1)
    team.time.pass_(61.0)
    assert one.tracker.expire()[0] == []  # others may have come while it stood still
    team.time.pass_(30.0)
    assert keep_house()
    notices, _ = one.tracker.expire()
    assert [notice.what for notice in notices] == ["ended"]
    assert [*sessions.rows] == [2]
    team.post.is_down = True
    one.visit(2)
    one.flush()
    assert sessions.alone_until_ms <= one.tracker.clock.now_ms()
    team.post.is_down = False
    assert not keep_house()
    flusher._alone_since_s -= beats.SILENT_S
    assert keep_house()
    other.visit(3)
    other.flush()
    assert not keep_house()
    team.time.pass_(beats.GONE_S + 1)
    assert not keep_house()  # its sessions may go on here
    flusher._alone_since_s -= beats.SILENT_S
    assert not keep_house()


@pytest.mark.parametrize("signs_out_s", [None, 34, 60])
def test_a_guest_who_ended_beside_another_user_stays_ended_for_who_looks_again(
    signs_out_s: int | None,
) -> None:
    team = Team(3, session_timeout=90.0, active_window=20.0)
    visits = {0: (0, "u4"), 2: (1, None), 32: (0, "u9"), 72: (0, "u4"), 130: (2, "u4")}
    for second in range(0, 140, 2):
        if second in visits:
            mate, user = visits[second]
            team.visit(mate, 9, user)
        if second == signs_out_s:
            team.visit(0, 9, "u9", kind="logout")
        team.flush()
        for mate in team.mates:
            mate.read()
        team.time.pass_(2.0)
    team.check(*team.mates, team.mate("late"))


def test_a_request_that_was_under_way_as_its_visitor_signed_out_is_in_the_next_session() -> None:
    team = Team(2)
    one, other = team.mates
    one.visit(1, "ana")
    team.flush()
    team.time.pass_(5.0)
    one.visit(1, "ana", kind="logout")
    team.time.pass_(1.0)
    other.visit(1, None, duration_ms=3_000)
    team.flush()
    for mate in (*team.mates, team.mate("late")):
        found = mate.read()["sessions"]
        assert [(requests, user) for _, requests, _, user, *_ in found] == [(1, "None")]


def test_who_was_kept_by_a_guest_ends_as_the_guest_does() -> None:
    team = Team(2, session_timeout=60.0, active_window=30.0)
    team.visit(0, 1, "bob")
    team.time.pass_(31.0)
    team.visit(0, 1, None)
    team.time.pass_(30.0)
    team.flush()
    assert len(team.mates[0].read()["sessions"]) == 1
    team.time.pass_(1.0)
    team.visit(0, 1, "ana", kind="logout")
    team.flush()
    team.check_nobody()
