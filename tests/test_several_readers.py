"""Whoever reads one picture reads the same, where what is told is much, late or out of order."""

from __future__ import annotations

import json
import struct
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import outbox
from flask_realtime_monitor.clock import Clock
from flask_realtime_monitor.frames import parts_of
from flask_realtime_monitor.reports import ReportedTraffic
from flask_realtime_monitor.rows import HEAD, HEAD_SIZE, MAX_COUNT, MAX_OFFSET, head_of
from flask_realtime_monitor.sessions import ROW_OVERHEAD
from flask_realtime_monitor.stores import SESSION_BUCKETS, TAIL
from flask_realtime_monitor.stores.base import tail_of
from flask_realtime_monitor.traffic import Batch

from .support.records import Bench, Time, record_at
from .support.several import Mate, Team


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_no_row_tells_is_told_of_all_rows_though_they_go_in_parts(
    monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    monkeypatch.setattr(outbox, "_MOST_ROWS", 20)
    team = Team(2, session_history_size=5)
    writer, reader = team.mates
    team.flush()
    reader.read()
    for visitor in range(1, 31):
        team.visit(0, visitor, None, path=f"/{visitor}", rule="/<x>")
    for number in range(9):
        team.visit(0, 25, None, path=f"/burst/{number}", rule="/<x>")
    team.visit(0, 0, None, path="/nobody", rule=None, kind="custom", name="event")
    if is_busy:  # what the row of a later part held still as the first was packed
        writer.flusher.flush()
        for number in range(9):
            team.visit(0, 30, None, path=f"/more/{number}", rule="/<x>")
    team.flush()
    team.check(writer, reader)


def test_of_more_people_than_are_kept_in_a_minute_all_readers_tell_the_same_number() -> None:
    team = Team(2)
    one, other = team.mates
    random = Random(1)
    hashes = iter([random.getrandbits(64) for _ in range(3_300)])
    for mate, many in ((one, 1_100), (other, 1_100)):
        for visitor in islice(hashes, many):
            mate.visit(visitor, f"user {visitor}")
    team.flush()
    assert one.read()["history"] == other.read()["history"]
    for visitor in islice(hashes, 1_100):
        other.visit(visitor, f"user {visitor}")
    team.time.pass_(60)
    other.visit(1, "ana")  # the minute before is over as the rest of it is told
    team.flush()
    late = team.mate("late")
    assert one.read()["history"] == other.read()["history"] == late.read()["history"]


@pytest.mark.parametrize("kind", ["request", "custom"])
def test_a_session_that_lasts_longer_than_its_times_can_say_keeps_its_story_everywhere(
    kind: str,
) -> None:
    team = Team(2, session_timeout=2 * MAX_OFFSET / 1000)
    writer, reader = team.mates
    writer.visit(1, "ana", path="/first", rule="/<x>")
    team.time.pass_(MAX_OFFSET / 1000 - 60)
    for number in range(5):
        writer.visit(1, "ana", path=f"/{number}", rule="/<x>")
        writer.flush()
        reader.read()
    team.time.pass_(120)
    writer.visit(1, "ana", path="/over", rule="/<x>", kind=kind)
    for _ in range(2):
        writer.flush()
        stories = []
        for mate in (writer, reader, team.mate("late")):
            (session,) = mate.read()["sessions"]
            story = mate.picture.session(session[0])
            assert story is not None
            stories.append([one["path"] for one in story["activities"]])
        assert stories[0] == stories[1] == stories[2]
        assert "/first" not in stories[0]
        assert "/0" in stories[0]
        writer.visit(1, "ana", path="/after", rule="/<x>")


def test_seconds_that_come_out_of_order_count_in_full_at_the_others() -> None:
    team = Team(2)
    team.flush()
    # A second that is the first of a slot of the latencies, too.
    base_ms = int(team.time.now_s) // 15 * 15_000 + 15_000
    team.time.pass_(20)
    late = team.mate("late")
    for after_ms in (-1_500, 1, -2, 2, -1, 3):
        team.visit(0, 1, "ana", at_ms=base_ms + after_ms, path=f"/{after_ms}", rule="/<x>")
        team.flush()
        team.mates[1].read()
    team.check(*team.mates, late)


class Elsewhere(Time):
    """The time of a host whose wall clock is wrong, and whose monotonic one may be another."""

    def __init__(self, time: Time, ahead_s: float, apart_s: float) -> None:
        self.of, self.ahead_s, self.apart_s = time, ahead_s, apart_s

    @property
    def now_s(self) -> float:  # type: ignore[override]
        """The monotonic clock."""
        return self.of.now_s + self.apart_s

    def clock(self) -> Clock:
        """Return a clock that reads this time."""
        return Clock(lambda: self.of.now_s + 1e9 + self.ahead_s, lambda: self.now_s)


def mate_elsewhere(team: Team, name: str, ahead_s: float, is_here: bool = False) -> Mate:
    """Return a worker whose clock is ahead, on a host of its own or on this one."""
    time = Elsewhere(team.time, ahead_s, apart_s=0 if is_here else 5_000)
    mate = Mate(name, team.post, team.settings, time)
    if not is_here:
        mate.flusher.outbox._about["boot"] = name
    return mate


@pytest.mark.parametrize("is_snapshot_newer", [False, True])
def test_who_is_gone_from_a_host_with_a_wrong_clock_was_seen_when_it_was(
    monkeypatch: pytest.MonkeyPatch, is_snapshot_newer: bool
) -> None:
    team = Team(1)
    (reader,) = team.mates
    gone = mate_elsewhere(team, "gone", ahead_s=300)
    gone.flush()  # before it knows the store's time
    reader.flush()
    team.time.pass_(1)
    gone.visit(1, "ana")
    gone.flush()
    if is_snapshot_newer:
        monkeypatch.setattr(gone.flusher, "_next_buckets", lambda _: list(range(SESSION_BUCKETS)))
        gone.flusher.flush()
    seen_at = reader.read()["sessions"][0][-1]
    reader.replicas.rest()
    team.post.retire("gone")
    if is_snapshot_newer:
        frames = [*parts_of(team.post.snapshots[TAIL]["gone"])]
        team.post.snapshots[TAIL]["gone"] = tail_of(frames[:1])
        team.post.log = [entry for entry in team.post.log if entry.worker != "gone"]
    team.time.pass_(60)
    late = team.mate("late")
    for mate in (reader, late):
        assert mate.read()["sessions"][0][-1] == pytest.approx(seen_at, abs=0.01)


@pytest.mark.parametrize("is_snapshot_newer", [False, True])
def test_a_guest_who_signs_in_is_one_of_the_minute_whoever_is_asked(
    is_snapshot_newer: bool,
) -> None:
    team = Team(2)
    writer, reader = team.mates
    team.flush()

    def check(sessions: int) -> None:
        writer.flusher._are_counters_due = is_snapshot_newer
        writer.flush()
        for mate in (writer, reader, team.mate("late")):
            mate.replicas._is_roster_due = True
            stats = mate.picture.stats()
            assert stats["history"][-1]["active_sessions"] == sessions
            assert stats["total_sessions"] == sessions

    visits = [(1, None), (1, "ana"), (2, None), (1, None), (1, "bob"), (1, None), (2, "cy")]
    for (visitor, user), sessions in zip(visits, [1, 1, 2, 2, 4, 4, 4], strict=True):
        writer.visit(visitor, user)
        check(sessions)
    writer.visit(1, "bob", kind="logout")
    for visitor, user in ((1, None), (1, "dan"), (3, None), (3, "eve")):  # in one flush
        writer.visit(visitor, user)
    writer.flush()
    history = [one.picture.stats()["history"] for one in (writer, reader, team.mate("late"))]
    assert history[0] == history[1] == history[2]


def test_a_guest_who_signs_in_just_after_a_minute_was_there_in_both() -> None:
    team = Team(1)
    (writer,) = team.mates
    team.time.pass_(60 - (team.time.now_s + 1e9) % 60 - 0.5)
    writer.visit(1)
    writer.tracker.fold([record_at(team.time, 1, "ana", at_ms=int(team.time.now_s * 1000) + 1000)])
    team.time.pass_(1)
    writer.flush()
    for mate in (writer, team.mate("late")):
        mate.replicas._is_roster_due = True
        history = mate.picture.stats()["history"]
        assert [one["active_sessions"] for one in history[-2:]] == [1, 1]


@given(
    st.lists(st.tuples(st.integers(1, 2), st.sampled_from([None, None, "ana", "bob"]))),
    st.integers(0),
)
def test_old_reports_after_a_newer_one_of_all_bring_back_nobody(
    visits: list[tuple[int, str | None]], at: int
) -> None:
    bench, told = Bench(), ReportedTraffic()
    traffic = bench.tracker.traffic
    reports, whole = [], []
    for visitor, user in visits:
        traffic.fresh = []
        bench.visit(visitor, user)
        reports.append(traffic.report(traffic.fresh))
        whole.append(traffic.report(None))
    for report in [*whole[at % (len(whole) or 1) :][:1], *reports]:
        told.take(json.loads(json.dumps(report)))
    now_ms = bench.tracker.clock.now_ms()
    for own, heard in zip(traffic.minutes, told.summary(now_ms).minutes, strict=True):
        assert own.sessions.hashes == heard.sessions.hashes


def test_an_activity_that_fails_is_all_that_is_lost() -> None:
    team = Team(2)
    writer = team.mates[0]
    table = writer.tracker.sessions.rows
    team.flush()
    writer.visit(1, "ana")
    (key,) = table  # of more requests than a row can count
    table[key] = (
        HEAD.pack(*head_of(table[key])._replace(requests=MAX_COUNT)) + table[key][HEAD_SIZE:]
    )
    (record, *_) = records = [record_at(team.time, 2, None, path=f"/{n}") for n in range(4)]
    records.insert(2, record_at(team.time, 1, "ana"))
    with pytest.raises(struct.error):
        writer.tracker.fold(records, notice=True)
    assert [one.what for one in writer.tracker.fold([record], notice=True)] == [
        *("started", "activity", "activity", "activity", "activity"),
        "activity",
    ]
    assert writer.tracker.dropped_activities == 1
    assert writer.tracker.sessions.row_bytes == sum(map(len, table.values())) + 2 * ROW_OVERHEAD
    team.flush()
    for mate in team.mates:
        told = mate.read()
        assert told["requests_total"] == len(told["feed"]) == 6
        assert [requests for _, requests, *_ in told["sessions"]] == [5, MAX_COUNT]


def test_a_time_out_of_the_app_in_the_middle_counts_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    team = Team(1)
    (writer,) = team.mates
    traffic = writer.tracker.traffic
    add, now_ms = traffic.add, int(team.time.now_s * 1000)

    def cut_short(batch: Batch) -> None:
        add(batch)
        if batch.cells:
            monkeypatch.undo()
            raise TimeoutError

    monkeypatch.setattr(traffic, "add", cut_short)
    records = [record_at(team.time, n, None, at_ms=now_ms + n * 1000) for n in range(1, 5)]
    with pytest.raises(TimeoutError):
        writer.tracker.fold(records)
    assert [traffic.requests, sum(traffic.rates(now_ms + 9000))] == [3, 3]


def test_who_sees_very_many_activities_goes_on_with_those_that_follow() -> None:
    team = Team(2)
    team.flush()
    for mate in (*team.mates, team.alone):
        mate.read()
        mate.tracker.feed_number = MAX_COUNT - 4
    for number in range(10):
        team.visit(0, 1, "ana", path=f"/ana/{number}", rule="/<x>")
        team.visit(0, number, None, path=f"/{number}", rule="/<x>")
    team.flush()
    team.check(*team.mates, team.mate("late"))


@pytest.mark.parametrize("is_here", [False, True])  # there after a step of the clock
@pytest.mark.parametrize("what", ["sign-out", "end"])
@pytest.mark.parametrize("ahead_s", [0.1, -0.1, 1.5, -1.5])
def test_what_clocks_a_little_apart_show_decides_nothing_that_ends(
    ahead_s: float, what: str, is_here: bool
) -> None:
    team = Team(1)
    (one,) = team.mates
    other = mate_elsewhere(team, "other", ahead_s, is_here)

    def tell() -> None:
        for mate in (one, other) * 2:
            mate.flush()

    def check(*requests: int) -> None:
        tell()
        for mate in (one, other, team.mate("late")):
            found = [told for _, told, *_ in mate.read()["sessions"]]
            assert sorted(found) == [*requests]

    tell()
    for mate in (one, other):
        mate.read()
    users = ("ana",) if what == "sign-out" else ("ana", "bob")  # so that neither end is final
    for user in users:
        other.visit(1, user)
    check(*(1 for _ in users))
    team.time.pass_(1)
    if what == "sign-out":
        one.visit(1, "ana", kind="logout")
    else:
        one.end(next(s["id"] for s in one.picture.sessions()["items"] if s["user"]["id"] == "ana"))
    check(*(1 for _ in users[1:]))
    team.time.pass_(1)
    for _ in range(2):
        other.visit(1, "ana")
    tell()
    team.time.pass_(1)
    if what == "sign-out":
        one.visit(1, "ana", kind="logout")
    else:
        one.end(next(s["id"] for s in one.picture.sessions()["items"] if s["user"]["id"] == "ana"))
    team.time.pass_(0.5)
    other.visit(1, "ana")  # before it has heard of that
    # A sign-out parts what was before it, even so; an end is of the whole session or of nothing.
    check(*(1 for _ in users[1:]), 1 if what == "sign-out" else 3)


def test_of_the_stores_answers_the_quickest_tells_its_time() -> None:
    time = Time()
    clock = time.clock()
    assert clock.store_ms is None
    assert clock.ms_of(5_000, 1_000) == 5_000 - clock.offset_ms
    for took_s in (0.3, 0.0, 0.2, 0.4):
        clock.agree(time.now_s + 1e9 + 1.0 - took_s)
    assert clock.store_ms == pytest.approx(1_000_000_001_000, abs=50)
    at_ms = int(time.now_s * 1000)
    shown_ms = at_ms + clock.offset_ms
    assert clock.ms_of(shown_ms, shown_ms + 1_900) == pytest.approx(at_ms + 900, abs=50)
    assert clock.ms_of(shown_ms, shown_ms + 1_100) == at_ms  # as far as can be told
    for _ in range(200):  # it was set back
        clock.agree(time.now_s + 1e9 - 0.5)
    assert clock.store_ms == 1_000_000_000_000 - 500
