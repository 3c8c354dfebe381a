"""Who comes back after the time-out begins a new session, though the old row is there still."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import rows
from flask_realtime_monitor.clock import Clock
from flask_realtime_monitor.filters import Filter
from flask_realtime_monitor.frames import FrameError, decode, encode
from flask_realtime_monitor.legacy import _Tail
from flask_realtime_monitor.pauses import MOST, Pause, PauseTable, parted
from flask_realtime_monitor.replica import Replica
from flask_realtime_monitor.stores.base import tail_of

from .support.records import Bench, Time, record_at
from .support.several import Mate, Team

TIMEOUT_S = 1800.0


def shown(mate: Mate) -> tuple[int, int, float, int] | None:
    """Return requests, errors, beginning and activities of the only session, None for none."""
    mate.replicas._is_roster_due = True
    items = mate.picture.sessions()["items"]
    if not items:
        return None
    (item,) = items
    story = mate.picture.session(item["id"])
    assert story is not None
    return item["requests"], item["errors"], item["first_seen_at"], len(story["activities"])


def seen_by_all(team: Team) -> tuple[int, int, float, int] | None:
    """Return the same, which all workers and who comes now say alike."""
    team.flush()
    found = {shown(mate) for mate in [*team.mates, team.mate("late")]}
    assert len(found) == 1
    return found.pop()


def test_no_filter_finds_the_errors_of_one_that_has_ended() -> None:
    team = Team(1)
    picture = team.mates[0].picture
    team.visit(0, 1, None, status=500)
    failed = Filter(status="5xx")
    assert picture.sessions(only=failed)["total"] == 1
    team.time.pass_(TIMEOUT_S + 20)
    team.visit(0, 1, None)
    assert picture.sessions()["total"] == 1
    assert picture.sessions(only=failed)["total"] == 0


@pytest.mark.parametrize("user", [None, "ana"])
@pytest.mark.parametrize("count", [1, 2])
def test_who_comes_back_before_the_row_goes_begins_anew(user: str | None, count: int) -> None:
    team = Team(count)
    for mate in team.mates:
        mate.flush()
        mate.read()
    for _ in range(4):
        team.visit(0, 1, user, status=500)
    team.flush()
    team.time.pass_(TIMEOUT_S + 20)
    assert seen_by_all(team) is None
    team.visit(0, 1, user)
    began_at = team.time.clock().now_at()
    assert seen_by_all(team) == (1, 0, pytest.approx(began_at, abs=0.01), 1)
    team.visit(0, 1, user)
    assert seen_by_all(team) == (2, 0, pytest.approx(began_at, abs=0.01), 2)
    users = team.mates[-1].picture.users()["items"]
    assert [one["requests"] for one in users] == ([2] if user else [])


@pytest.mark.parametrize("timeout_s", [1.0, 5.0, 50.0])
def test_a_short_time_out_lasts_as_long_as_it_is_to_a_hundredth(timeout_s: float) -> None:
    team = Team(2, session_timeout=timeout_s, active_window=1.0)
    for mate in team.mates:
        mate.flush()
        mate.read()
    team.visit(0, 1, None)
    began_at = team.time.clock().now_at()
    team.time.pass_(timeout_s)
    assert seen_by_all(team) == (1, 0, pytest.approx(began_at, abs=0.01), 1)
    team.time.pass_(timeout_s / 100 + 0.001)
    assert seen_by_all(team) is None
    team.visit(0, 1, None)
    requests, *_ = seen_by_all(team) or (0,)
    assert requests == 1


def test_an_end_that_was_seen_is_one_where_the_clocks_tick_at_different_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Time, "clock", lambda time: Clock(lambda: time.now_s + 1e9 + 0.6, lambda: time.now_s)
    )
    team = Team(2)
    for _ in range(3):
        team.visit(0, 1, None)
    assert seen_by_all(team) is not None
    team.time.pass_(TIMEOUT_S + 0.5)
    assert seen_by_all(team) is None
    team.visit(0, 1, None)
    requests, *_ = seen_by_all(team) or (0,)
    assert requests == 1


def test_what_another_worker_bridges_is_one_session_with_all_its_story() -> None:
    team = Team(2)
    began_at = team.time.clock().now_at()
    team.visit(0, 1, None)
    team.time.pass_(1000)
    team.visit(1, 1, None)
    team.flush()
    team.time.pass_(1000)
    team.visit(0, 1, None)
    assert seen_by_all(team) == (3, 0, pytest.approx(began_at, abs=0.01), 3)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([1, 700, 1100, 1700, 1900, 2500])),
        min_size=1,
        max_size=14,
    )
)
def test_a_session_is_what_no_pause_of_the_time_out_parts(steps: list[tuple[int, int]]) -> None:
    team = Team(2)
    requests, began_at = 0, 0.0
    for number, (mate, pause_s) in enumerate(steps):
        team.time.pass_(pause_s)
        if pause_s > TIMEOUT_S or not number:
            requests, began_at = 0, team.time.clock().now_at()
        requests += 1
        team.visit(mate, 1, None)
        assert seen_by_all(team) == (requests, 0, pytest.approx(began_at, abs=0.01), requests)


def test_a_request_in_flight_bridges_the_pause_while_it_lasts_and_when_it_has_ended() -> None:
    team = Team(2)
    began_at = team.time.clock().now_at()
    team.visit(0, 1, None)
    team.mates[0].begin(1)
    team.time.pass_(TIMEOUT_S + 300)
    team.visit(0, 1, None)
    assert seen_by_all(team) == (2, 0, pytest.approx(began_at, abs=0.01), 2)
    team.mates[0].flying.clear()
    team.visit(0, 1, None, duration_ms=(TIMEOUT_S + 299) * 1000)
    assert seen_by_all(team) == (3, 0, pytest.approx(began_at, abs=0.01), 3)
    assert not team.mates[0].tracker.sessions.pauses


def test_a_request_at_another_worker_bridges_the_pause_though_another_ended_there_first() -> None:
    team = Team(2)
    began_at = team.time.clock().now_at()
    team.visit(0, 1, None)
    team.time.pass_(TIMEOUT_S + 300)
    for mate in (1, 0):
        team.visit(mate, 1, None)
    team.visit(1, 1, None, duration_ms=(TIMEOUT_S + 299) * 1000)
    assert seen_by_all(team) == (4, 0, pytest.approx(began_at, abs=0.01), 4)


def test_what_goes_on_after_a_pause_begins_with_its_earliest_request() -> None:
    team = Team(2)
    team.visit(0, 1, None)
    team.flush()
    team.time.pass_(TIMEOUT_S + 20)
    began_at = team.time.clock().now_at()
    team.time.pass_(10)
    team.visit(0, 1, None)
    team.time.pass_(10)
    team.visit(0, 1, None, duration_ms=20_000)
    assert seen_by_all(team) == (2, 0, pytest.approx(began_at, abs=0.01), 2)


def test_one_that_began_after_the_end_bridges_nothing() -> None:
    team = Team(2)
    team.visit(0, 1, None)
    team.flush()
    team.time.pass_(TIMEOUT_S + 20)
    team.mates[1].begin(1)
    team.time.pass_(1)
    team.visit(0, 1, None)
    requests, *_ = seen_by_all(team) or (0,)
    assert requests == 1


def test_a_signal_tells_nothing_of_a_guest_part_before_it() -> None:
    team = Team(1)
    (mate,) = team.mates
    for status in (500, 200):
        team.visit(0, 1, None, status=status)
        team.visit(0, 1, "ana")
        team.time.pass_(TIMEOUT_S + 20)
    out = record_at(team.time, 1, "ana", kind="logout")
    told = [one for one in mate.tracker.fold([out], notice=True) if one.what == "ended"]
    ended = [mate.picture.describe(one) for one in told]
    assert [(one["requests"], one["errors"]) for one in ended] == [(2, 0)]


def erased(team: Team) -> None:
    team.mates[0].forget("ana")
    team.alone.forget("ana")


def signed_out(team: Team) -> None:
    team.visit(0, 1, "ana", kind="logout")


@pytest.mark.parametrize("end", [erased, signed_out])
def test_pauses_go_with_their_row(end: Callable[[Team], None]) -> None:
    team = Team(2)
    reader = team.mates[1]
    team.visit(0, 1, "ana")
    team.time.pass_(TIMEOUT_S + 20)
    team.visit(0, 1, "ana")
    assert seen_by_all(team) is not None
    assert len(reader.replicas._replicas["mate0"].pauses) == 1
    end(team)
    assert seen_by_all(team) is None
    assert not reader.replicas._replicas["mate0"].pauses
    assert not team.mates[0].tracker.sessions.pauses


def test_what_a_gone_worker_last_told_of_a_pause_counts() -> None:
    row = row_of(0, 5000)
    base_ms = rows.begun_ms_of(row)
    pause = [1, 0, base_ms, base_ms + 5000]
    told = {"q": 1, "at": 0, "o": 0}
    snapshot = decode(encode({**told, "pauses": [[1, [pause]]]}, {1: row}))
    executor = Team(1).mates[0].flusher._executor
    assert len(executor._rows_of("gone", 1, snapshot)) == 2
    # A long request bridged it since.
    tail = _Tail.of(tail_of([encode({**told, "q": 2, "pauses": [[1, []]]}, {1: row})]))
    assert tail is not None
    executor._tails = {"gone": tail}
    assert len(executor._rows_of("gone", 1, snapshot)) == 1


def test_a_store_that_lost_all_is_told_of_them_again() -> None:
    team = Team(2)
    team.visit(0, 1, None)
    team.time.pass_(TIMEOUT_S + 20)
    team.visit(0, 1, None)
    before = seen_by_all(team)
    team.post.empty()
    assert seen_by_all(team) == before
    assert before is not None and before[0] == 1


def test_a_guest_who_comes_after_one_does_not_end_with_a_sign_out_before() -> None:
    team = Team(2)
    team.visit(0, 1, None)
    team.flush()
    team.time.pass_(TIMEOUT_S + 20)
    team.mates[1].visit(1, "ana", kind="logout")
    team.time.pass_(1)
    team.visit(0, 1, None)  # before that worker hears of it
    began_at = team.time.clock().now_at()
    team.flush()
    assert seen_by_all(team) == (1, 0, pytest.approx(began_at, abs=0.01), 1)


def test_who_ended_a_session_learns_of_them_again_where_it_goes_on() -> None:
    team = Team(2)
    one, other = team.mates
    for pause_s in (0, TIMEOUT_S + 20, 10):
        team.time.pass_(pause_s)
        team.visit(0, 1, "ana")
        team.visit(0, 1, "bob")
        team.flush()
        assert other.read()["total_sessions"] == 2
    other.end(other.read()["sessions"][0][0])
    team.time.pass_(1)
    one.visit(1, "ana")  # before it hears of that
    one.visit(1, "bob")
    team.flush()
    team.flush()
    late = team.mate("late")
    for mate in (one, other):
        assert mate.read() == late.read()
        for id, *_ in late.read()["sessions"]:
            assert mate.picture.session(id) == late.picture.session(id)


def test_they_are_told_again_when_the_base_of_the_row_moves() -> None:
    team = Team(2)
    until_s = team.time.now_s + rows.MAX_OFFSET / 1000
    team.visit(0, 1, None)
    while team.time.now_s < until_s - 6000:
        team.time.pass_(1700)
        team.visit(0, 1, None)
    team.flush()
    assert seen_by_all(team) is not None
    team.time.pass_(TIMEOUT_S + 20)
    team.visit(0, 1, None)
    began_at = team.time.clock().now_at()
    assert seen_by_all(team) == (1, 0, pytest.approx(began_at, abs=0.01), 1)
    requests = 1
    while team.time.now_s < until_s:
        team.time.pass_(1700)
        team.visit(0, 1, None)
        requests += 1
    assert seen_by_all(team) == (requests, 0, pytest.approx(began_at, abs=0.01), requests)


def test_what_could_not_be_written_is_told_later() -> None:
    team = Team(1)
    outbox, sessions = team.mates[0].flusher.outbox, team.mates[0].tracker.sessions
    team.visit(0, 1, None)
    team.time.pass_(TIMEOUT_S + 20)
    team.visit(0, 1, None)
    assert outbox.pack() is not None
    outbox.unwritten()
    assert sessions.pauses.fresh == {1}
    told = outbox.pack()
    assert told is not None
    assert decode(told).head["pauses"] == [[1, [[*sessions.pauses[1][0]]]]]


@pytest.mark.parametrize("nonsense", [5, [5], [[1, 5]], [[1, [[1]]]], [["x", []]], [[1, ["abcd"]]]])
def test_what_makes_no_sense_is_refused(nonsense: object) -> None:
    replica = Replica("other", 50, 100)
    with pytest.raises(FrameError):
        replica.take_snapshot(0, decode(encode({"q": 1, "pauses": nonsense})))


# -- the rows themselves -----------------------------------------------------------------------


def row_of(*times_ms: int) -> bytes:
    """Return a session's row with a request at each of these times, every second one failed."""
    bench = Bench(session_timeout=10**6)
    began_ms = bench.tracker.clock.now_ms()
    for number, at_ms in enumerate(times_ms):
        record = bench.record()._replace(
            at_ms=began_ms + at_ms, status=500 if number % 2 else 200, duration_ms=0.0
        )
        bench.tracker.fold([record])
    return bench.tracker.sessions.rows[1]


def test_a_row_is_parted_by_each_pause() -> None:
    row = row_of(0, 10, 5000, 9000, 9001)
    base_ms = rows.begun_ms_of(row)
    pauses = (
        Pause(2, 1, base_ms + 10, base_ms + 5000),
        Pause(3, 1, base_ms + 5000, base_ms + 9000),
    )
    heads = [rows.head_of(one) for one in parted(row, pauses)]
    assert [(one.base_ms - base_ms, one.last_ms - base_ms) for one in heads] == [
        *((0, 10), (5000, 5000), (9000, 9001))
    ]
    assert [(one.requests, one.errors) for one in heads] == [(2, 1), (1, 0), (2, 1)]
    whole = list(rows.acts_of(row, rows.head_of(row)))
    cut = [act for one in parted(row, pauses)[::-1] for act in rows.acts_of(one, rows.head_of(one))]
    assert cut == whole


def test_a_row_of_before_a_pause_is_whole() -> None:
    row = row_of(0, 10)
    base_ms = rows.begun_ms_of(row)
    later = Pause(2, 1, base_ms + 10, base_ms + 5000)
    another = Pause(2, 1, base_ms - 10, base_ms + 5)  # of a session that had this key
    assert parted(row, (later,)) == parted(row, (another,)) == parted(row, ()) == [row]


@pytest.mark.parametrize("requests", [-1, 2**40])
def test_counts_that_make_no_sense_make_no_row_unreadable(requests: int) -> None:
    row = row_of(0, 10, 5000, 9000)
    base_ms = rows.begun_ms_of(row)
    times = (base_ms + 10, base_ms + 5000), (base_ms + 5000, base_ms + 9000)
    pauses = tuple(
        Pause(number, number, *both) for number, both in zip((2, requests), times, strict=True)
    )
    counts = [rows.head_of(one).requests for one in parted(row, pauses)]
    assert len(counts) == 3
    assert all(0 <= count <= 4 for count in counts)


def test_only_the_last_pauses_are_kept() -> None:
    table = PauseTable(1000)
    times = range(0, 10_000 * (MOST + 3), 10_000)
    row = row_of(*times)
    base_ms = rows.begun_ms_of(row)
    for number in range(1, MOST + 3):
        table.note(1, row_of(*times[:number]), base_ms + times[number], 0)
    assert len(table[1]) == MOST
    assert len(parted(row, table[1])) == MOST + 1
