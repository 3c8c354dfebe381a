"""Another worker's rows, from what its outbox packs, in whatever order it arrives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import rows
from flask_realtime_monitor.frames import Frame, FrameError, decode, encode
from flask_realtime_monitor.outbox import COUNTERS, LOOSE, Outbox
from flask_realtime_monitor.replica import Replica, Taken
from flask_realtime_monitor.stores import SESSION_BUCKETS

from .support.records import Bench

HISTORY = 5


class Pair:
    """A worker, its outbox, and what has come out of it."""

    def __init__(self) -> None:
        self.bench = Bench(session_history_size=HISTORY)
        self.outbox = Outbox(self.bench.tracker, {"host": "there"})

    def visit(self, visitor: int = 1, user: str | None = None, **fields: Any) -> None:
        """Make a request, a second after the last."""
        self.bench.time.pass_(1)
        self.bench.visit(visitor, user, rule="/<x>", **fields)

    def frame(self) -> Frame:
        """Return what is new as the frame that was written."""
        data = self.outbox.pack()
        assert data is not None
        self.outbox.written()
        return decode(data)

    def snapshots(self) -> list[tuple[int, Frame]]:
        """Return all buckets."""
        found = [
            (bucket, decode(self.outbox.snapshot(bucket))) for bucket in range(SESSION_BUCKETS)
        ]
        counters, loose = self.outbox.counters(), self.outbox.loose()
        return [*found, (COUNTERS, decode(counters)), (LOOSE, decode(loose))]

    def replica(self) -> Replica:
        """Return somebody who knows nothing yet."""
        return Replica("there", HISTORY, 1000)

    def check(self, replica: Replica) -> None:
        """The replica knows what the worker knows."""
        tracker = self.bench.tracker
        assert replica.rows == tracker.sessions.rows
        theirs = [(item.key, item.ordinal, item.record.path) for item in replica.feed]
        own = [(i.key, i.ordinal or i.number, i.record.path) for i in tracker.feed]
        assert sorted(theirs, key=str) == sorted(own, key=str)
        at_ms = tracker.clock.now_ms() + tracker.clock.offset_ms
        summary, whole = replica.summary_at(at_ms), tracker.traffic.summary(at_ms)
        assert (summary.requests, summary.errors) == (whole.requests, whole.errors)
        for row in replica.rows.values():
            head = rows.head_of(row)
            if head.user:
                assert replica.user(head.user - 1) == tracker.sessions.people.user(head.user - 1)


def changed_by(taken: Taken) -> list[int | None]:
    """Return the keys of all that has changed."""
    return sorted([*taken.keys, *(line[1] for line in taken.seen)], key=str)


def test_a_frame_that_comes_twice_counts_once() -> None:
    pair, replica = Pair(), Pair().replica()
    pair.visit(path="/a")
    frame = pair.frame()
    assert changed_by(replica.take(frame)) == [1]
    assert changed_by(replica.take(frame)) == []
    pair.check(replica)


def test_a_frame_whose_answer_was_lost_may_come_too_late() -> None:
    pair, replica = Pair(), Pair().replica()
    pair.visit(path="/a")
    lost = pair.outbox.pack()
    pair.outbox.unwritten()
    pair.visit(path="/b")
    replica.take(pair.frame())
    replica.take(decode(lost or b""))
    pair.check(replica)


@pytest.mark.parametrize("is_lost", [True, False])
def test_what_no_row_tells_is_told_once(is_lost: bool) -> None:
    pair, replica = Pair(), Pair().replica()
    pair.visit(0, kind="custom", name="of nobody")
    data = pair.outbox.pack()
    pair.outbox.unwritten()
    if not is_lost:
        replica.take(decode(data or b""))
    pair.visit(0, kind="custom", name="again")
    replica.take(pair.frame())
    pair.check(replica)


def test_more_activities_at_once_than_a_row_holds_are_all_in_the_feed() -> None:
    pair, replica = Pair(), Pair().replica()
    for number in range(3 * HISTORY):
        pair.visit(path=f"/{number}")
    replica.take(pair.frame())
    for number in range(2 * HISTORY):
        pair.visit(path=f"/more/{number}")
    replica.take(pair.frame())
    pair.check(replica)


def test_what_a_frame_pushes_out_of_a_row_is_told_until_a_round_later_is_over() -> None:
    pair = Pair()
    for number in range(1, HISTORY + 1):
        pair.visit(path=f"/{number}")
    pair.visit(2, path="/of-another")
    pair.frame()
    pair.outbox.end_round()

    def told_after(*paths: str) -> list[int]:
        for path in paths:
            pair.visit(path=path)
        return [line[1] for line in pair.frame().head.get("loose", ())]

    # Of before the round nothing is to be told: the log has it until the next is over, too.
    assert told_after("/6", "/7") == []
    pair.outbox.end_round()
    assert told_after("/8") == [3]
    assert told_after("/9", "/10") == [4, 5]
    assert told_after("/11") == []  # the sixth is of after the first round: the log has it
    pair.visit(2)
    assert told_after() == []  # nothing is pushed out of a row that is not full


def test_a_session_that_begins_anew_under_its_key_has_nothing_of_the_old_one() -> None:
    pair, replica = Pair(), Pair().replica()
    pair.visit(path="/old")
    replica.take(pair.frame())
    with pair.bench.tracker.lock:
        pair.bench.tracker.sessions.end([1], pair.bench.tracker.clock.now_ms())
    pair.visit(path="/new")
    replica.take(pair.frame())
    assert rows.head_of(replica.rows[1]).requests == 1
    pair.check(replica)


def test_who_was_erased_is_gone_and_may_come_again() -> None:
    pair, replica = Pair(), Pair().replica()
    pair.bench.tracker.notes = []
    pair.visit(1, "ana", path="/secret")
    replica.take(pair.frame())
    pair.bench.tracker.forget("ana")
    pair.visit(2, "bob", path="/b")
    pair.visit(1, "ana", path="/again")
    replica.take(pair.frame())
    pair.check(replica)
    assert "/secret" not in [item.record.path for item in replica.feed]


def test_who_came_again_after_an_erasure_is_not_hidden_by_its_note() -> None:
    pair, replica = Pair(), Pair().replica()
    pair.visit(1, "ana", path="/before")
    replica.take(pair.frame())
    replica.offset_ms = pair.bench.tracker.clock.offset_ms
    at_ms = pair.bench.tracker.clock.now_ms() + replica.offset_ms
    pair.visit(2, "ana", path="/after")
    replica.take(pair.frame())
    replica.forget("ana", at_ms)
    assert [item.record.path for item in replica.feed] == ["/after"]
    assert len(replica.rows) == 1
    assert replica.user(0) == ("ana", None)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, "ana", "bob"])), max_size=60),
    st.integers(0, 60),
    st.sets(st.integers(0, 60)),
    st.randoms(use_true_random=False),
)
def test_snapshots_of_any_moment_and_the_log_make_the_whole(
    visits: list[tuple[int, str | None]], snapshots_at: int, frames_at: set[int], random: Any
) -> None:
    pair = Pair()
    log: list[Frame] = []
    buckets = {bucket: frame for bucket, frame in pair.snapshots() if random.random() < 0.5}
    for number, (visitor, user) in enumerate(visits):
        if visitor:
            pair.visit(visitor, user, path=f"/{number}")
        else:
            pair.bench.tracker.sessions.end([1, 2], 0)
        if number in frames_at:
            data = pair.outbox.pack()
            pair.outbox.written()
            log += [decode(data)] if data else []
        if number >= snapshots_at:
            some = [pair for pair in pair.snapshots() if random.random() < 0.2]
            buckets.update(some)
    data = pair.outbox.pack()
    pair.outbox.written()
    log += [decode(data)] if data else []
    replica = pair.replica()
    for bucket, frame in buckets.items():
        replica.take_snapshot(bucket, frame)
    for frame in log:
        replica.take(frame)
    replica.complete_feed()
    pair.check(replica)


def test_what_a_later_snapshot_has_too_is_in_a_full_feed() -> None:
    pair = Pair()
    log = []
    for visitor in (5, 6, 1):
        pair.visit(visitor, path=f"/{visitor}")
        log.append(pair.frame())
    key = next(key for key, row in pair.bench.tracker.sessions.rows.items() if key & 0xFF == 1)
    snapshot = dict(pair.snapshots())[key & 0xFF]
    for visitor in (9, 7):
        pair.visit(visitor, path=f"/{visitor}")
    log.append(pair.frame())
    replica = Replica("there", HISTORY, 3)
    replica.take_snapshot(key & 0xFF, snapshot)
    for frame in log:
        replica.take(frame)
    replica.complete_feed()
    assert [item.record.path for item in replica.feed] == ["/1", "/9", "/7"]


def test_what_an_ended_session_did_is_told_to_who_begins_to_read_after_it() -> None:
    pair = Pair()
    pair.visit(2, path="/last")
    log = [pair.frame()]
    (key,) = pair.bench.tracker.sessions.rows
    pair.bench.tracker.sessions.end([key], 0)
    bucket = key & 0xFF
    snapshot = dict(pair.snapshots())[bucket]  # and not yet that of what no row tells
    log.append(pair.frame())
    replica = pair.replica()
    replica.take_snapshot(bucket, snapshot)
    for frame in log:
        replica.take(frame)
    replica.complete_feed()
    assert [item.record.path for item in replica.feed] == ["/last"]


class Plain(Replica):
    """Takes in every row the long way."""

    def _take_rows(self, taken: Any, fresh: Any) -> Taken:
        for key, row in taken.items():
            self._take_row(key, row, fresh)
        return Taken(taken, ())


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([None, "ana", "bob"]),
            st.sampled_from(["request", "request", "custom"]),
            st.sampled_from(["", "", "", "frame", "lost", "end", "forget", "snapshot"]),
        ),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_short_way_of_a_row_leads_where_the_long_one_does(
    steps: list[tuple[int, str | None, str, str]], random: Any
) -> None:
    pair = Pair()
    pair.bench.tracker.notes = []
    fast, plain = pair.replica(), Plain("there", HISTORY, 1000)
    log: list[Frame] = []
    buckets: list[tuple[int, Frame]] = []
    for number, (visitor, user, kind, then) in enumerate(steps):
        path = random.choice(["/<x>", f"/{number}"])
        title = random.choice([None, None, "title"])
        pair.visit(visitor, user, kind=kind, path=path, title=title, name=kind)
        if then == "end":
            with pair.bench.tracker.lock:
                pair.bench.tracker.sessions.end([1, 2], pair.bench.tracker.clock.now_ms())
        elif then == "forget":
            pair.bench.tracker.forget("ana")
        elif then == "snapshot" and not log:
            buckets += [one for one in pair.snapshots() if random.random() < 0.5]
        elif then in ("frame", "lost"):
            data = pair.outbox.pack()
            log += [decode(data)] if data else []
            if then == "lost":
                pair.outbox.unwritten()
            else:
                pair.outbox.written()
    for one in (fast, plain):
        for bucket, frame in buckets:
            one.take_snapshot(bucket, frame)
    completes_at = random.randrange(len(log) + 1)
    for number, frame in enumerate([*log, *log[-2:]]):
        if number == completes_at:
            fast.complete_feed()
            plain.complete_feed()
        is_shown = random.random() < 0.9
        assert changed_by(fast.take(frame, is_shown)) == changed_by(plain.take(frame, is_shown))
        assert fast.rows == plain.rows
        assert list(fast.feed) == list(plain.feed)
    assert list(reversed(fast.feed)) == list(fast.feed)[::-1]


class Thorough(Replica):
    """Looks through all rows for its feed."""

    def complete_feed(self) -> None:
        self._log_from_ms = float("inf")
        super().complete_feed()


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "frame", "snapshot"])), max_size=60),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_a_feed_that_the_log_has_filled_is_that_of_all_rows(
    steps: list[tuple[int, str]], size: int, random: Any
) -> None:
    pair = Pair()
    quick, thorough = Replica("there", HISTORY, size), Thorough("there", HISTORY, size)
    log: list[Frame] = []
    buckets: dict[int, Frame] = {}
    for number, (visitor, then) in enumerate(steps):
        pair.visit(visitor, path=f"/{number}")
        if then == "frame":
            log.append(pair.frame())
        elif then == "snapshot":
            buckets.update(one for one in pair.snapshots() if random.random() < 0.5)
            if random.random() < 0.5 and len(buckets) > SESSION_BUCKETS // 2:
                buckets.update(pair.snapshots())
                log.clear()
            log.append(pair.frame())  # what is written with snapshots tells of all in them
    for one in (quick, thorough):
        for bucket, frame in buckets.items():
            one.take_snapshot(bucket, frame)
        for frame in log:
            one.take(frame)
        one.complete_feed()
    # But for the numbers, which tell what came when.
    assert [item[1:] for item in quick.feed] == [item[1:] for item in thorough.feed]


GARBAGE = [
    {"q": "x"},
    {"q": 1, "u": 1},
    {"q": 1, "u": [[1]]},
    {"q": 1, "a": [["x", 1, 2]]},
    {"q": 1, "c": {"t": 1}},
    {"q": 1, "gone": ["x"]},
    {"q": 1, "loose": [[1, 2, 3]]},
    {"q": 1, "rare": [1]},
    {"q": 1, "p": [[{}, 1, "/x"]]},
    {"q": 1, "erased": 5},
]


@pytest.mark.parametrize("head", GARBAGE, ids=str)
def test_a_head_that_makes_no_sense_is_refused(head: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        Pair().replica().take(decode(encode(head)))


@pytest.mark.parametrize("row", [b"", b"x", b"x" * rows.HEAD_SIZE, b"\xff" * 100])
def test_rows_that_make_no_sense_are_refused_and_leave_nothing(row: bytes) -> None:
    replica = Pair().replica()
    frame = decode(encode({"q": 1, "o": 0}, {1: row}))
    with pytest.raises(FrameError):
        replica.take(frame)
    with pytest.raises(FrameError):
        replica.take_snapshot(1, frame)
    assert replica.rows == {}
