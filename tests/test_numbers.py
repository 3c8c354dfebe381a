"""Numbers that are kept are those that would be made anew, and nobody can spoil them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import numbers
from flask_realtime_monitor.index import Index
from flask_realtime_monitor.records import InFlight
from flask_realtime_monitor.reports import ReportedTraffic
from flask_realtime_monitor.traffic import Summary, Traffic

from .support.records import Bench

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["visit", "fail", "exclude", "pass", "expire", "report"]),
        st.integers(1, 3),
        st.sampled_from([0.2, 1, 20, 70, 400]),
    ),
    max_size=40,
)


class Counting:
    """A worker's counters, and another's that hears of them now and then."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.traffic: Traffic = self.bench.tracker.traffic
        self.other = ReportedTraffic()
        self.other.take(self.traffic.report(None))

    def move(self, what: str, number: int, seconds: float) -> None:
        """Let something happen."""
        now_ms = self.bench.tracker.clock.now_ms()
        if what in ("visit", "fail"):
            status = 500 if what == "fail" else 200
            self.bench.visit(number, f"user{number}", endpoint=f"view{number}", status=status)
        elif what == "exclude":
            self.bench.tracker.exclude(number)
        elif what == "pass":
            self.bench.time.pass_(seconds)
        elif what == "expire":
            self.traffic.expire(now_ms)
        else:
            self.other.take(self.traffic.report(None))

    def summaries(self) -> list[Summary]:
        """Return both."""
        now_ms = self.bench.tracker.clock.now_ms()
        return [self.traffic.summary(now_ms), self.other.summary(now_ms)]

    def anew(self) -> list[Summary]:
        """Return both as they are without what was kept."""
        now_ms = self.bench.tracker.clock.now_ms()
        own = self.traffic._sum(*self.traffic.rates(now_ms))
        self.other.summary(now_ms)  # lets go what is too old
        return [own, self.other._sum()]


@settings(max_examples=200)
@given(MOVES)
def test_kept_numbers_are_those_that_would_be_made_anew(
    moves: list[tuple[str, int, float]],
) -> None:
    counting, kept = Counting(), numbers.Counted()
    index = counting.bench.picture._index
    for move in moves:
        counting.move(*move)
        summaries, now_at = counting.summaries(), counting.bench.tracker.clock.now_at()
        anew = counting.anew()
        assert summaries == anew
        history = numbers.History().until(anew, now_at)
        assert kept.traffic(summaries, now_at) == numbers.traffic(anew, history)
        assert kept.endpoints(summaries, index, None) == numbers.endpoints(anew, index)


@settings(max_examples=100)
@given(MOVES)
def test_a_call_with_nothing_new_tells_what_one_does_that_looks_at_everything(
    moves: list[tuple[str, int, float]],
) -> None:
    counting = Counting()
    bench = counting.bench
    for number, move in enumerate(moves):
        counting.move(*move)
        flying = InFlight(f"f{number}", 1, "GET", "home", "/", bench.tracker.clock.now_ms(), True)
        bench.in_flight = [flying] if move[2] < 1 else []
        bench.picture.stats()
        found = bench.picture.stats(), bench.picture.endpoints()
        bench.picture._mark, bench.picture._known_stats = (), (None, {})
        bench.picture._counted = numbers.Counted()
        assert (bench.picture.stats(), bench.picture.endpoints()) == found


def test_a_request_in_flight_alone_keeps_its_session_and_user_active_at_an_endpoint() -> None:
    bench = Bench(active_window=60.0)

    def active() -> dict[str, tuple[int, int]]:
        items = bench.picture.endpoints()["items"]
        found = {one["endpoint"]: (one["active_users"], one["active_sessions"]) for one in items}
        stats = bench.picture.stats()
        whole = (stats["active_users"], stats["active_sessions"])
        assert whole == tuple(map(sum, zip(*found.values(), strict=True)))
        return found

    bench.visit(1, "ana", endpoint="shop")
    bench.visit(2, "ana", endpoint="shop")
    bench.visit(3, endpoint="home")
    assert active() == {"shop": (1, 2), "home": (0, 1)}
    bench.time.pass_(100)
    assert active() == {"shop": (0, 0), "home": (0, 0)}
    now_ms = bench.tracker.clock.now_ms()
    flying = [InFlight(f"f{one}", one, "GET", "slow", "/slow", now_ms, True) for one in (1, 2, 3)]
    bench.in_flight = flying
    assert active() == {"shop": (1, 2), "home": (0, 1)}
    bench.in_flight = flying[1:]
    assert active() == {"shop": (1, 1), "home": (0, 1)}
    bench.visit(4, "ana", endpoint="shop")  # she is active by another session, too
    assert active() == {"shop": (1, 2), "home": (0, 1)}
    bench.in_flight = []
    assert active() == {"shop": (1, 1), "home": (0, 0)}


def test_who_waits_for_longer_than_a_session_lasts_is_looked_at_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(session_timeout=60.0, active_window=60.0)
    bench.visit(1, "ana")
    bench.in_flight = [InFlight("f1", 1, "GET", "home", "/", int(bench.time.now_s * 1000), True)]
    bench.picture.stats()
    looks: list[int] = []
    look_at = Index._look_at

    def counted(self: Index, key: int, *rest: Any) -> None:
        looks.append(key)
        look_at(self, key, *rest)

    monkeypatch.setattr(Index, "_look_at", counted)
    bench.time.pass_(58)
    for second in range(1, 13):
        bench.time.pass_(1)
        assert bench.picture.stats()["total_sessions"] == 1
        assert len(looks) <= second
    bench.in_flight.clear()
    bench.time.pass_(1)
    assert bench.picture.stats()["total_sessions"] == 0


def test_counters_that_have_not_changed_are_the_same_object() -> None:
    counting = Counting()
    counting.move("visit", 1, 0)
    counting.move("report", 1, 0)
    before = counting.summaries()
    counting.move("pass", 1, 1)
    assert all(one is other for one, other in zip(before, counting.summaries(), strict=True))
    counting.move("pass", 1, 70)  # out of the last minute
    assert not any(one is other for one, other in zip(before, counting.summaries(), strict=True))


def test_minutes_of_which_nothing_has_changed_are_the_same_objects() -> None:
    counting, kept = Counting(), numbers.Counted()
    counting.move("visit", 1, 0)
    clock = counting.bench.tracker.clock
    before = kept.traffic(counting.summaries(), clock.now_at())["history"]
    counting.move("pass", 1, 60)
    counting.move("visit", 2, 0)
    after = kept.traffic(counting.summaries(), clock.now_at())["history"]
    assert [one["at"] for one in after[:-1]] == [one["at"] for one in before[1:]]
    assert all(one is other for one, other in zip(before[1:], after, strict=False))
    assert after[-1]["requests"] == 1


def test_a_minute_that_another_clock_has_begun_already_counts_from_when_it_begins_here() -> None:
    counting, history = Counting(), numbers.History()
    counting.move("visit", 1, 0)
    now_at = counting.bench.tracker.clock.now_at()
    assert history.until(counting.summaries(), now_at - 60)[-1]["requests"] == 0
    assert history.until(counting.summaries(), now_at)[-1]["requests"] == 1


@pytest.mark.parametrize("back_s", [300, 3600, 90 * 60])
def test_requests_count_in_their_minute_after_the_clock_went_back(back_s: int) -> None:
    bench = Bench()
    clock, time = bench.tracker.clock, bench.time
    clock.agree(time.now_s + 1e9 + back_s)  # until the store tells the time, a host's own counts
    bench.visit(1)
    clock.agree(time.now_s + 1e9)
    for _ in range(70):
        bench.visit(2)
        time.pass_(60.0)
        clock.agree(time.now_s + 1e9)
    history = bench.picture.stats()["history"]
    # One of them may be the minute in which the first request was, before.
    assert sorted(one["requests"] for one in history[:-1])[:58] == [1] * 58


def test_a_time_out_while_a_minute_is_counted_leaves_none_that_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting, history = Counting(), numbers.History()
    now_at = counting.bench.tracker.clock.now_at()
    history.until(counting.summaries(), now_at)
    counting.move("visit", 1, 0)

    def cut_short(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(numbers, "_minute", cut_short)
    for at in (now_at, now_at + 60):
        with pytest.raises(TimeoutError):
            history.until(counting.summaries(), at)
    monkeypatch.undo()
    minutes = history.until(counting.summaries(), now_at + 60)
    assert [one["requests"] for one in minutes[-2:]] == [1, 0]
    assert minutes == numbers.History().until(counting.summaries(), now_at + 60)


def test_whoever_is_given_numbers_may_change_them() -> None:
    bench = Bench()
    bench.visit(1, "ana")

    def numbers_of() -> list[Any]:
        return [bench.picture.stats(), bench.picture.endpoints()["items"]]

    first, whole = numbers_of(), repr(numbers_of())
    spoil(first)
    assert repr(numbers_of()) == whole


def spoil(value: Any) -> None:
    """Change whatever can be changed."""
    if isinstance(value, dict):
        for one in value.values():
            spoil(one)
        value.clear()
    elif isinstance(value, list):
        for one in value:
            spoil(one)
        value.clear()


def test_what_a_summary_tells_stays_while_more_is_recorded_and_forgotten() -> None:
    bench = Bench()
    own = bench.picture._own
    for step in range(40):
        bench.visit(step % 5, f"user{step % 3}", endpoint=f"view{step % 4}", status=500)
        told = own.summary()
        kept = deepcopy((told.latency, told.endpoints))
        minutes = [(one.at, one.requests, one.errors) for one in told.minutes]
        assert own.summary() is told
        bench.visit(1, endpoint=f"view{step % 4}", status=500, duration_ms=1.5**step)
        bench.time.pass_(20)
        bench.tracker.expire()
        assert (told.latency, told.endpoints) == kept
        assert [(one.at, one.requests, one.errors) for one in told.minutes] == minutes


def test_what_has_not_changed_is_not_copied_again() -> None:
    bench = Bench()
    bench.visit(1, endpoint="shop")
    before = bench.picture._own.summary()
    bench.visit(1, endpoint="home")
    after = bench.picture._own.summary()
    assert after.endpoints["shop"] is before.endpoints["shop"]


def test_counters_are_read_while_nobody_records(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, summary = Bench(), Traffic.summary
    were_locked: list[bool] = []

    def watched(traffic: Traffic, now_ms: int) -> Summary:
        were_locked.append(bench.tracker.lock.locked())
        return summary(traffic, now_ms)

    monkeypatch.setattr(Traffic, "summary", watched)
    bench.visit(1)
    bench.picture.stats()
    bench.picture.endpoints()
    assert were_locked and all(were_locked)
