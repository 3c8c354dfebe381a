from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor.records import InFlight, Notice
from flask_realtime_monitor.wheel import Wheel

from .support.records import Bench


def test_a_guest_who_signs_in_stays_one_row_with_both_histories() -> None:
    bench = Bench()
    bench.visit(1, path="/before", rule="/<x>")
    (guest,) = bench.sessions()
    bench.time.pass_(10)
    bench.visit(1, "ana", path="/after", rule="/<x>")
    (one,) = bench.sessions()
    assert (one["user"], one["requests"]) == ({"id": "ana", "name": None}, 2)
    assert one["first_seen_at"] == guest["first_seen_at"]
    for id in (guest["id"], one["id"]):
        found = bench.picture.session(id)
        assert found is not None
        assert [act["path"] for act in found["activities"]] == ["/after", "/before"]


def test_a_guest_of_long_ago_is_another_session() -> None:
    bench = Bench(active_window=60)
    bench.visit(1)
    bench.time.pass_(61)
    bench.visit(1, "ana")
    assert [one["user"] is None for one in bench.sessions()] == [False, True]
    bench.visit(1)  # the guest comes back: now the two are one
    assert [one["requests"] for one in bench.sessions()] == [3]


def test_two_users_on_one_visitor_never_merge() -> None:
    bench = Bench()
    bench.visit(1)
    bench.visit(1, "ana")
    bench.visit(1, "bob")
    assert sorted(str(one["user"] and one["user"]["id"]) for one in bench.sessions()) == [
        *("None", "ana", "bob")
    ]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from([None, "ana", "bob", "cy"]))))
def test_who_came_in_this_minute_are_the_sessions_of_this_minute(
    visits: list[tuple[int, str | None]],
) -> None:
    bench = Bench()
    for visitor, user in visits:
        bench.visit(visitor, user)
        stats = bench.picture.stats()
        assert stats["history"][-1]["active_sessions"] == stats["total_sessions"]


def test_a_second_user_adds_nobody_who_did_not_come_in_this_minute() -> None:
    bench = Bench()
    bench.visit(1)
    bench.visit(1, "ana")
    for guests in (0, 1):
        bench.time.pass_(60)
        for _ in range(guests):
            bench.visit(1)
        bench.visit(1, "bob" if guests else "ana")
        assert bench.picture.stats()["history"][-1]["active_sessions"] == 1 + guests


def test_a_sign_out_ends_the_session_and_the_visitor_begins_anew() -> None:
    bench = Bench()
    bench.visit(1)
    bench.visit(1, "ana")
    (before,) = bench.sessions()
    bench.visit(1, "ana", kind="logout")
    assert bench.sessions() == []
    assert bench.picture.ended_at(before["id"]) is not None
    bench.visit(1)
    (after,) = bench.sessions()
    assert after["id"] != before["id"]
    assert (after["user"], after["requests"]) == (None, 1)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_sign_out_leaves_another_user_behind_the_same_address(is_elsewhere: bool) -> None:
    bench, here = Bench(), Bench()
    for one in (bench, here):
        for user in (None, "ana", "bob"):
            one.visit(1, user)
    bob = next(one for one in here.sessions() if one["user"] == {"id": "bob", "name": None})
    if is_elsewhere:
        bench.tracker.notes = []
        bench.visit(1, "ana", kind="logout")
        for note in bench.tracker.take_notes():
            here.tracker.take_note(note)
    else:
        here.visit(1, "ana", kind="logout")
    assert here.sessions() == [bob]
    here.visit(1)
    assert [one["user"] for one in here.sessions()] == [bob["user"]]  # joined: one user is left


def test_sessions_end_when_idle_for_the_time_out_and_not_before() -> None:
    bench = Bench(session_timeout=100, active_window=10)
    bench.visit(1)
    bench.time.pass_(99)
    bench.tracker.expire()
    assert len(bench.sessions()) == 1
    bench.time.pass_(1)
    notices, _ = bench.tracker.expire()
    assert [notice.what for notice in notices] == ["ended"]
    assert bench.sessions() == []


def test_a_session_with_a_request_in_flight_does_not_end() -> None:
    bench = Bench(session_timeout=100, active_window=10)
    bench.visit(1)
    bench.time.pass_(500)
    bench.in_flight = [InFlight("f1", 1, "GET", "home", "/", 0, True)]
    bench.tracker.expire(busy={1})
    assert len(bench.sessions()) == 1
    bench.in_flight = []
    bench.time.pass_(1)
    bench.tracker.expire()
    assert bench.sessions() == []


def test_of_shared_sessions_only_those_that_were_found_due_are_looked_at() -> None:
    bench = Bench(session_timeout=100, active_window=10)
    tracker = bench.tracker
    tracker.sessions.alone_until_ms = 0

    def timed_out() -> set[int]:
        return tracker.timed_out(1, tracker.clock.now_ms() - 110_000)

    bench.visit(1)
    bench.visit(2)  # of another bucket
    bench.time.pass_(50)
    bench.visit(1 + 256)
    bench.time.pass_(60)
    tracker.expire()
    assert timed_out() == {1}
    assert timed_out() == set()  # whoever asked ends it, or it is found due once more
    bench.visit(1)
    bench.time.pass_(60)
    tracker.expire()
    assert timed_out() == {1 + 256}
    bench.time.pass_(60)
    tracker.expire()
    assert timed_out() == {1, 1 + 256}
    assert len(tracker.sessions) == 3


def test_a_guest_does_not_end_with_two_users_of_the_same_address() -> None:
    bench = Bench(session_timeout=100, active_window=10)
    tracker = bench.tracker
    tracker.sessions.alone_until_ms = 0
    bench.visit(1, "ana")
    bench.visit(1, "bob")
    bench.time.pass_(120)
    bench.visit(1)
    tracker.expire()
    due = tracker.timed_out(1, tracker.clock.now_ms() - 110_000)
    assert len(due) == 2
    tracker.end(due)
    assert list(tracker.sessions.rows) == [1]


def test_a_guest_part_lives_as_long_as_the_user_it_became() -> None:
    bench = Bench(session_timeout=100, active_window=10)
    bench.visit(1)
    bench.time.pass_(5)
    for _ in range(4):
        bench.visit(1, "ana")
        bench.time.pass_(50)
        bench.tracker.expire()
    (one,) = bench.sessions()
    assert one["requests"] == 5
    bench.time.pass_(100)
    bench.tracker.expire()
    assert len(bench.tracker.sessions) == 0


def test_at_the_bound_the_longest_idle_guest_goes_first_and_is_counted() -> None:
    bench = Bench(max_sessions=3)
    bench.visit(1, "ana")
    for visitor in (2, 3, 4):
        bench.time.pass_(1)
        bench.visit(visitor)
    kept = {one["user"]["id"] if one["user"] else int(one["id"], 16) for one in bench.sessions()}
    assert kept == {"ana", 3, 4}
    assert bench.picture.stats()["dropped"]["sessions"] == 1


def test_of_guests_who_came_in_one_second_the_first_goes_first() -> None:
    bench = Bench(max_sessions=3)
    for visitor in range(1, 7):
        bench.visit(visitor)
        bench.time.pass_(0.01)
    assert {int(one["id"], 16) for one in bench.sessions()} == {4, 5, 6}


def test_a_guest_who_has_signed_in_goes_at_the_bound_only_with_the_user() -> None:
    bench = Bench(max_sessions=4)
    told: list[Notice] = []

    def visit(visitor: int, user: str | None = None) -> None:
        told.extend(bench.tracker.fold([bench.record(visitor, user)], notice=True))
        bench.time.pass_(1)

    def who() -> list[str | None]:
        return [one["user"] and one["user"]["id"] for one in bench.sessions()]

    visit(1)
    visit(1, "ana")
    for visitor in (2, 3, 4, 5):
        visit(visitor)
    assert who() == [None, None, "ana"]
    assert bench.sessions()[-1]["requests"] == 2
    assert [one.key for one in told if one.what == "ended"] == [2, 3]
    for visitor, user in ((6, "bob"), (7, "cy"), (8, "dan")):
        visit(visitor, user)
    assert who() == ["dan", "cy", "bob"]
    *_, last = [one for one in told if one.what == "ended"]
    assert (last.person, last.guest is not None) == (("ana", None), True)
    assert bench.picture.stats()["dropped"]["sessions"] == 5  # four guests, and ana once


def test_guests_who_have_signed_in_slow_no_newcomer_down_and_no_user_goes_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(max_sessions=2100)
    for visitor in range(1, 1001):
        bench.visit(visitor)
        bench.visit(visitor, f"user{visitor}")
    looks, waits = [], bench.tracker.sessions._waits

    def look(key: int) -> tuple[int, Wheel] | None:
        looks[-1] += 1
        return waits(key)

    monkeypatch.setattr(bench.tracker.sessions, "_waits", look)
    for visitor in range(2001, 2501):
        bench.time.pass_(0.1)
        looks.append(0)
        bench.visit(visitor)
        assert len(bench.tracker.sessions) <= 2100 + 1000 // 200
    assert max(looks) <= 400
    assert sum(looks[120:]) <= 2 * len(looks)
    stats = bench.picture.stats()
    assert stats["total_sessions"] - stats["anonymous_sessions"] == 1000
    assert len(bench.tracker.sessions) <= 2100


def test_only_the_newest_activities_of_a_session_are_kept() -> None:
    bench = Bench(session_history_size=5, history_size=7)
    for number in range(20):
        bench.visit(1, path=f"/{number}", rule="/<x>")
    (one,) = bench.sessions()
    assert one["requests"] == 20
    found = bench.picture.session(one["id"])
    assert found is not None
    assert [act["path"] for act in found["activities"]] == [f"/{n}" for n in range(19, 14, -1)]
    assert len(bench.picture.activities(1000)["items"]) == 7


def test_an_event_begins_no_session_and_keeps_none_alive() -> None:
    bench = Bench()
    bench.visit(1, kind="custom", name="seen")
    assert bench.sessions() == []
    bench.visit(2)
    (before,) = bench.sessions()
    bench.time.pass_(9)
    bench.visit(2, kind="custom", name="clicked", data={"n": 1})
    (after,) = bench.sessions()
    assert after["last_seen_at"] == before["last_seen_at"]
    assert after["requests"] == 1
    found = bench.picture.session(after["id"])
    assert found is not None
    assert (found["activities"][0]["name"], found["activities"][0]["data"]) == ("clicked", {"n": 1})


@pytest.mark.parametrize("duration", [0.4, 12.0, 301.0, 66_000.0, 3_600_000.0])
def test_feed_and_story_tell_the_same_duration(duration: float) -> None:
    bench = Bench()
    bench.visit(1, duration_ms=duration)
    (one,) = bench.sessions()
    found = bench.picture.session(one["id"])
    (feed,) = bench.picture.activities()["items"]
    assert found is not None
    assert found["activities"] == [feed]
    assert feed["duration_ms"] == pytest.approx(duration, rel=0.001)


def test_a_newer_name_shows_in_all_sessions_of_a_user() -> None:
    bench = Bench()
    bench.visit(1, "ana", user_name="Ana")
    bench.visit(2, "ana", user_name="Ana")
    bench.sessions()
    bench.visit(2, "ana", user_name="Ana Lopez")
    assert [one["user"]["name"] for one in bench.sessions()] == ["Ana Lopez"] * 2
    assert bench.picture.users()["items"][0]["name"] == "Ana Lopez"


def test_threads_lose_no_count() -> None:
    bench = Bench()

    def hammer(number: int) -> None:
        for turn in range(200):
            bench.visit(turn % 10 + 1, f"u{turn % 10}")
            if turn % 50 == number % 50:
                bench.picture.stats()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hammer, range(8)))
    assert bench.picture.stats()["requests_total"] == 1600
    assert sum(one["requests"] for one in bench.sessions()) == 1600


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["visit", "logout", "custom"]),
            st.integers(1, 4),
            st.sampled_from([None, "ana", "bob"]),
        ),
        st.tuples(st.just("pass"), st.sampled_from([1, 20, 61, 130]), st.none()),
        st.tuples(st.just("read"), st.just(0), st.none()),
        st.tuples(st.just("forget"), st.just(0), st.sampled_from(["ana", "bob"])),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(STEPS)
def test_a_picture_kept_up_to_date_equals_one_made_anew(
    steps: list[tuple[str, int, str | None]],
) -> None:
    bench = Bench(session_timeout=120, active_window=60, max_sessions=5)
    for what, number, user in steps:
        if what == "visit":
            bench.visit(number, user)
        elif what in ("logout", "custom"):
            bench.visit(number, user, kind=what, name=what)
        elif what == "pass":
            bench.time.pass_(number)
            bench.tracker.expire()
        elif what == "forget":
            bench.tracker.forget(str(user))
        else:
            bench.picture.snapshot()
    kept = bench.picture.snapshot()
    bench.tracker.unwatch()
    fresh = bench.new_picture().snapshot()
    for one in (kept, fresh):
        one["stats"] = {**one["stats"], "since_at": 0, "as_of": 0}
    assert kept == fresh
    assert kept["stats"]["total_sessions"] == len(bench.sessions())
    assert kept["stats"]["requests_total"] == sum(1 for what, _, _ in steps if what == "visit")


@settings(max_examples=100)
@given(STEPS)
def test_what_rows_hold_is_given_back_to_the_last_byte(
    steps: list[tuple[str, int, str | None]],
) -> None:
    bench = Bench(session_timeout=120, active_window=60, max_sessions=5)
    for what, number, user in steps:
        if what == "visit":
            bench.visit(number, user)
        elif what == "pass":
            bench.time.pass_(number)
            bench.tracker.expire()
    bench.time.pass_(1000)
    bench.tracker.expire()
    sessions = bench.tracker.sessions
    assert (len(sessions), sessions.row_bytes, len(sessions.people)) == (0, 0, 0)


def test_a_time_out_of_the_app_while_it_reads_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class TimeOut(BaseException):
        """As gevent's."""

    def interrupt(*_: object) -> None:
        raise TimeOut

    bench = Bench()
    bench.visit(1)
    assert len(bench.sessions()) == 1
    bench.visit(2)
    with monkeypatch.context() as cut_short:
        cut_short.setattr(bench.picture._index, "catch_up", interrupt)
        with pytest.raises(TimeOut):
            bench.sessions()
    assert len(bench.sessions()) == 2


def test_the_side_table_keeps_its_bound_however_often_a_session_is_renamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.tracker.MAX_RARE", 10)
    bench = Bench()
    tracker = bench.tracker
    tracker.fresh_rare = []
    for _ in range(40):
        bench.visit(1, "ana", title="Order")
        key = tracker.sessions.key(1, "ana", None)
        now_ms = tracker.clock.now_ms() + tracker.clock.offset_ms
        bench.time.pass_(1)
        bench.visit(1, "ana", title="Order")  # seen since the sign-out, which another worker saw
        tracker.take_note(
            {"kind": "out", "visitor": 1, "user": "ana", "keys": [key, 1], "at_ms": now_ms + 1}
        )
        assert tracker.sessions.key(1, "ana", None) != key
        pairs = [pair for table in tracker.rare_of for pair in table]
        assert tracker.rare_count <= 10
        assert sorted(tracker._rare_order) == sorted(pairs)
        assert set(pairs) <= set(tracker.fresh_rare)
        assert len(tracker.fresh_rare) <= 80
    (one,) = bench.sessions()
    found = bench.picture.session(one["id"])
    assert found is not None
    assert [act["title"] for act in found["activities"]] == ["Order"]
