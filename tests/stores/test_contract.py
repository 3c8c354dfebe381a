"""What every store does, whatever carries it."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from flask_realtime_monitor import beats
from flask_realtime_monitor.estate import Witness, fold
from flask_realtime_monitor.stores import (
    LASTING,
    TAIL,
    Beat,
    Flush,
    Gap,
    MemoryStore,
    Roster,
    Store,
    StoreError,
    open_store,
)
from flask_realtime_monitor.stores.base import Fold
from tests.support.waiting import DEADLINE_S, wait_until

Open = Callable[..., Store]
Losable = tuple[Open, Callable[[], None]]
Lapsing = tuple[Open, Callable[[], None], Callable[[], None]]
T = TypeVar("T")


def frame(text: bytes, *, beat: bytes = b"beat") -> Flush:
    return Flush(text, [], beat)


def quiet(*notes: bytes) -> Flush:
    return Flush(None, [], b"beat", notes)


def add(beat: bytes, retired: bytes | None, taken: bytes | None) -> bytes:
    """Folds beats that are numbers."""
    return str(int(beat) - int(taken or b"0") + int(retired or b"0")).encode()


def test_workers_agree_on_the_epoch_the_beginning_and_the_salt(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    assert one.is_shared
    assert one.epoch() == two.epoch()
    assert len(one.epoch()) == 8
    assert one.since_at() == two.since_at() == pytest.approx(time.time(), abs=20)
    assert one.salt(20_000) == two.salt(20_000)
    assert len(one.salt(20_000)) == 16
    assert one.salt(20_000) != one.salt(20_001)


def test_many_who_begin_at_once_agree(open_shared: Open) -> None:
    stores = [open_shared(f"w{number}") for number in range(6)]
    found = at_once([lambda store=store: (store.epoch(), store.salt(7)) for store in stores])
    assert len(set(found)) == 1


def test_a_reader_gets_every_frame_once_in_the_order_of_all(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    cursor = two.load().cursor
    for number in range(6):
        (one, two)[number % 2].flush(frame(b"%d" % number))
    first = one.read_since(cursor, most=4)
    rest = one.read_since(first[-1].cursor, most=4)
    assert [entry.data for entry in first + rest] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [entry.worker for entry in first] == ["w1", "w2"] * 2
    cursors = [entry.cursor for entry in first + rest]
    assert cursors == sorted(set(cursors))
    assert two.read_since(cursors[-1]) == []
    assert all(entry.at == pytest.approx(time.time(), abs=20) for entry in first)


def test_one_entry_at_a_time_reaches_the_end(open_shared: Open) -> None:
    one = open_shared()
    cursor = one.load().cursor
    for number in range(3):
        one.flush(frame(b"%d" % number))
    found = []
    while entries := one.read_since(cursor, most=1):
        found += [entry.data for entry in entries]
        cursor = entries[-1].cursor
    assert found == [b"0", b"1", b"2"]


def test_a_flush_tells_its_cursor_and_one_without_a_frame_the_newest_known(
    open_shared: Open,
) -> None:
    one = open_shared()
    begin = one.flush(quiet()).cursor
    appended = one.flush(frame(b"x"))
    assert [entry.cursor for entry in one.read_since(begin)] == [appended.cursor]
    assert one.flush(quiet()).cursor == appended.cursor
    assert one.read_since(appended.cursor) == []
    assert appended.epoch == one.epoch()
    assert appended.at == pytest.approx(time.time(), abs=20)


def test_a_cursor_from_before_the_log_or_after_it_is_a_gap(open_shared: Open) -> None:
    one = open_shared()
    appended = one.flush(frame(b"x"))
    for cursor in (0, 1, appended.cursor + (1 << 60)):
        with pytest.raises(Gap):
            one.read_since(cursor)


def test_a_load_holds_the_newest_blobs_of_all_workers_and_the_log(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    one.flush(Flush(b"a", [(0, b"old"), (255, b"last")], b"beat"))
    one.flush(Flush(b"b", [(0, b"new")], b"beat"))
    two.flush(Flush(None, [(0, b"his"), (300, bytes(range(256)))], b"beat"))
    last = two.flush(frame(b"c"))
    for loaded in (one.load(), open_shared("w3").load()):
        assert loaded.epoch == one.epoch()
        assert loaded.cursor == last.cursor
        assert sorted(loaded.snapshots) == [
            ("w1", 0, b"new"),
            ("w1", 255, b"last"),
            ("w2", 0, b"his"),
            ("w2", 300, bytes(range(256))),
        ]
        assert [(entry.worker, entry.data) for entry in loaded.entries] == [
            ("w1", b"a"),
            ("w1", b"b"),
            ("w2", b"c"),
        ]


def test_an_empty_picture_can_be_loaded_and_followed(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    loaded = one.load()
    assert (loaded.snapshots, loaded.entries, loaded.notes) == ([], [], [])
    assert one.read_since(loaded.cursor) == []
    two.flush(frame(b"first"))
    assert [entry.data for entry in one.read_since(loaded.cursor)] == [b"first"]


def test_the_blobs_of_a_bucket_are_those_of_the_others(open_shared: Open) -> None:
    one, two, three = (open_shared(f"w{number}") for number in (1, 2, 3))
    for store in (one, two, three):
        store.flush(Flush(None, [(5, store.worker.encode()), (6, b"x")], b"beat"))
    assert sorted(one.snapshots_of(5)) == [("w2", b"w2"), ("w3", b"w3")]
    assert one.snapshots_of(7) == []


def test_what_is_written_in_a_name_is_everybodys(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    one.flush(Flush(None, [(5, b"own")], b"beat"))
    one.put("nobody", 5, b"first")
    two.put("nobody", 5, b"second")
    two.put("nobody", 255, b"last")
    for store in (one, two):
        assert sorted(store.written_as("nobody")) == [(5, b"second"), (255, b"last")]
        assert store.written_as("somebody") == []
        assert ("nobody", b"second") in store.snapshots_of(5)
        assert ("nobody", 255, b"last") in store.load().snapshots
    assert set(one.roster().beats) == {"w1"}


@pytest.mark.parametrize("bucket", [-1, 512])
def test_a_bucket_out_of_range_is_a_mistake(open_shared: Open, bucket: int) -> None:
    with pytest.raises(ValueError, match="0 to 511"):
        open_shared().flush(Flush(None, [(bucket, b"")], b""))


def test_notes_reach_every_other_worker_once(open_shared: Open) -> None:
    one, two, three = (open_shared(f"w{number}") for number in (1, 2, 3))
    for store in (one, two, three):
        assert store.flush(quiet()).notes == []
    assert one.flush(quiet(b"out", b"gone")).notes == []
    two.flush(quiet(b"two's"))
    assert [data for _, data in two.flush(frame(b"x")).notes] == []
    found = three.flush(quiet()).notes
    assert [data for _, data in found] == [b"out", b"gone", b"two's"]
    assert [cursor for cursor, _ in found] == sorted({cursor for cursor, _ in found})
    assert three.flush(quiet()).notes == []
    assert [data for _, data in one.flush(quiet()).notes] == [b"two's"]


def test_who_has_read_all_notes_is_told_of_those_that_come_after(open_shared: Open) -> None:
    one, late = open_shared("w1"), open_shared("late")
    one.flush(quiet(b"before"))
    assert [data for _, data in late.notes()] == [b"before"]
    one.flush(quiet(b"after"))
    assert [data for _, data in late.flush(quiet()).notes] == [b"after"]


@pytest.mark.parametrize("look", ["notes", "epoch", "load", "roster"])
def test_who_looked_before_the_first_note_is_told_of_it_whatever_it_reads_then(
    open_shared: Open, look: str
) -> None:
    one, other = open_shared("w1"), open_shared("w2")
    one.flush(quiet())
    getattr(other, look)()
    one.flush(quiet(b"first"))
    assert [data for _, data in other.load().notes] == [b"first"]
    assert [data for _, data in other.notes()] == [b"first"]
    assert [data for _, data in other.flush(quiet()).notes] == [b"first"]


def test_who_is_no_worker_tells_all_workers_and_stays_none(open_shared: Open) -> None:
    one, two, shell = open_shared("w1"), open_shared("w2"), open_shared("shell")
    one.flush(quiet())
    two.flush(quiet())
    shell.tell(b"note")
    for worker in (one, two):
        assert [data for _, data in worker.flush(quiet()).notes] == [b"note"]
        assert worker.flush(quiet()).notes == []
    assert set(one.roster().beats) == {"w1", "w2"}
    late = open_shared("late")
    assert [data for _, data in late.notes()] == [b"note"]
    assert late.load().notes == late.notes()
    assert one.load().entries == []


def test_who_is_told_before_there_is_a_picture_finds_the_note(open_shared: Open) -> None:
    open_shared("shell").tell(b"note")
    one = open_shared("w1")
    one.flush(quiet())
    assert [data for _, data in one.load().notes] == [b"note"]


def test_notes_since_the_store_was_opened_are_told_and_older_ones_loaded(
    open_shared: Open,
) -> None:
    one, late = open_shared("w1"), open_shared("w2")
    one.flush(quiet(b"before"))
    late.epoch()
    one.flush(quiet(b"after"))
    assert [data for _, data in late.flush(quiet()).notes] == [b"after"]
    assert [data for _, data in late.load().notes] == [b"before", b"after"]


def test_the_roster_shows_the_newest_beat_of_everybody(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    assert one.roster().beats == {}
    one.flush(frame(b"x", beat=b"1"))
    one.flush(frame(b"x", beat=b"2"))
    two.flush(frame(b"x", beat=b"\x00\xff"))
    roster = two.roster()
    assert {id: beat.data for id, beat in roster.beats.items()} == {"w1": b"2", "w2": b"\x00\xff"}
    assert all(0 <= roster.now - beat.at < 20 for beat in roster.beats.values())
    assert (roster.retired, roster.taken) == (None, {})


def test_a_gone_worker_is_folded_once_and_its_last_entries_are_kept(open_shared: Open) -> None:
    one, gone = open_shared("w1"), open_shared("gone")
    one.flush(frame(b"mine", beat=b"5"))
    cursor = one.flush(frame(b"more", beat=b"5")).cursor
    gone.flush(Flush(b"first", [(3, b"blob")], b"7"))
    gone.flush(Flush(b"", [], b"7"))
    gone.flush(Flush(b"last", [], b"8"))
    assert one.retire("gone", add)
    assert not one.retire("gone", add)
    assert not one.retire("never", add)
    roster = one.roster()
    assert set(roster.beats) == {"w1"}
    assert (roster.retired, roster.taken) == (b"8", {"gone": b"8"})
    loaded = open_shared("w3").load()
    tail = b"".join(struct.pack("<I", len(data)) + data for data in (b"first", b"", b"last"))
    assert sorted(loaded.snapshots) == [("gone", 3, b"blob"), ("gone", TAIL, tail)]
    # Who was reading has no gap.
    assert [entry.data for entry in one.read_since(cursor)] == [b"first", b"", b"last"]


def test_a_worker_that_was_only_frozen_can_be_corrected_and_is_not_folded_twice(
    open_shared: Open,
) -> None:
    one, frozen = open_shared("w1"), open_shared("frozen")
    frozen.flush(frame(b"x", beat=b"8"))
    assert one.retire("frozen", add)
    frozen.flush(frame(b"y", beat=b"11"))
    roster = one.roster()
    assert roster.beats["frozen"].data == b"11"
    assert (roster.retired, roster.taken) == (b"8", {"frozen": b"8"})
    assert one.retire("frozen", add)
    roster = one.roster()
    assert (roster.retired, roster.taken) == (b"11", {"frozen": b"11"})
    tails = [blob for worker, bucket, blob in one.load().snapshots if bucket == TAIL]
    assert len(tails) == 1
    assert tails[0].index(b"x") < tails[0].index(b"y")


def test_workers_that_retire_the_same_one_together_fold_it_once(open_shared: Open) -> None:
    stores = [open_shared(f"w{number}") for number in range(4)]
    for round in range(5):
        stores[0].flush(Flush(None, [], b"0"))
        gone = open_shared(f"gone{round}")
        gone.flush(Flush(None, [], b"1"))
        done = at_once(
            [
                lambda store=store, gone=gone: patient(store.retire, gone.worker, add)
                for store in stores
            ]
        )
        assert sorted(done) == [False, False, False, True]
    assert stores[0].roster().retired == b"5"


def at_once(works: list[Callable[[], T]]) -> list[T]:
    """Run each in a thread of its own, all beginning together."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        begin.wait(DEADLINE_S)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def patient(call: Callable[..., T], *arguments: object) -> T:
    """Call until the store is not busy."""
    ends_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return call(*arguments)
        except Gap:
            raise
        except StoreError:
            if time.monotonic() > ends_s:
                raise


def test_what_a_fold_raises_leaves_everything_as_it_was(open_shared: Open) -> None:
    one, gone = open_shared("w1"), open_shared("gone")
    gone.flush(frame(b"x", beat=b"8"))

    def broken(beat: bytes, retired: bytes | None, taken: bytes | None) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        one.retire("gone", broken)
    assert one.roster().beats["gone"].data == b"8"
    assert one.retire("gone", add)


def told(*beats: tuple[str, bytes]) -> dict[str, Beat]:
    return {worker: Beat(data, time.time() - 15) for worker, data in beats}


def test_what_is_given_back_is_there_and_all_else_stays(open_shared: Open) -> None:
    one, gone = open_shared("w1"), open_shared("gone")
    one.flush(frame(b"x", beat=b"1"))
    gone.flush(frame(b"x", beat=b"5"))
    assert one.retire("gone", add)
    seen: list[Roster] = []

    def missing(now: Roster) -> Roster:
        seen.append(now)
        return now._replace(beats=told(("w2", b"7")), retired=b"25", taken={"w0": b"20"})

    one.restore(missing)
    assert (seen[-1].retired, seen[-1].taken, seen[-1].epoch) == (b"5", {"gone": b"5"}, one.epoch())
    roster = one.roster()
    assert {id: beat.data for id, beat in roster.beats.items()} == {"w1": b"1", "w2": b"7"}
    assert (roster.retired, roster.taken) == (b"25", {"gone": b"5", "w0": b"20"})
    assert roster.epoch == one.epoch()
    assert roster.now - roster.beats["w2"].at == pytest.approx(15, abs=10), "it is as old as it was"
    assert one.retire("w2", add)
    open_shared("w0").flush(frame(b"y", beat=b"21"))
    assert one.retire("w0", add)
    assert one.roster().retired == b"33"


def test_where_nothing_is_missing_nothing_is_written(open_shared: Open) -> None:
    one = open_shared("w1")
    one.flush(frame(b"x", beat=b"1"))
    one.restore(lambda now: None)
    one.restore(lambda now: now._replace(beats={}, retired=None, taken={}))
    roster = one.roster()
    assert {id: beat.data for id, beat in roster.beats.items()} == {"w1": b"1"}
    assert (roster.retired, roster.taken) == (None, {})


def test_workers_that_give_back_at_once_each_see_what_the_others_did(open_shared: Open) -> None:
    stores = [open_shared(f"w{number}") for number in range(4)]
    for store in stores:
        store.flush(quiet())

    def more(now: Roster) -> Roster:
        return now._replace(beats={}, taken={}, retired=add(b"1", now.retired, None))

    at_once([lambda store=store: patient(store.restore, more) for store in stores])
    assert stores[0].roster().retired == b"4"


def test_a_store_that_loses_all_is_given_back_what_the_gone_had_counted(losable: Losable) -> None:
    open_shared, lose = losable
    stores = [open_shared(f"w{number}") for number in range(3)]
    witnesses = [Witness(store) for store in stores]

    def write(number: int, requests: int) -> None:
        totals = {"requests": requests, "endpoints": {"home": [requests, 0]}}
        patient(stores[number].flush, frame(b"x", beat=beats.encode({"totals": totals})))

    def counted() -> int:
        roster = patient(stores[0].roster)
        known = {worker: beats.decode(beat.data) for worker, beat in roster.beats.items()}
        return sum(one.requests for one in beats.summaries(roster, known, {}, ""))

    for number, requests in enumerate((1, 2, 4)):
        write(number, requests)
    gone = open_shared("gone")
    gone.flush(frame(b"x", beat=beats.encode({"totals": {"requests": 8}})))
    for witness in witnesses:
        witness.look()
    assert stores[0].retire("gone", fold)
    witnesses[0].look()
    write(2, 16)
    assert stores[0].retire("w2", fold)
    witnesses[1].look()
    assert counted() == 1 + 2 + 8 + 16
    epoch = stores[0].epoch()
    for first in (0, 1):  # who knows less begins, and then who knows all
        lose()
        write(1 - first, 2 - first)
        assert stores[0].epoch() != epoch
        at_once([lambda one=one: patient(one.look) for one in witnesses])
        write(first, first + 1)
        assert counted() == 1 + 2 + 8 + 16
        epoch = stores[0].epoch()


def test_who_takes_another_s_place_leaves_an_empty_store_to_who_was_here_before(
    losable: Losable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the first to come to a store that has just been lost."""
    open_shared, lose = losable
    one, late = open_shared("w1"), open_shared("w2")
    one.flush(quiet())
    salt, secret = one.salt(20_000), one.secret()
    lose()
    monkeypatch.setattr("flask_realtime_monitor.stores.newcomer.has_elders", lambda: True)
    monkeypatch.setattr("flask_realtime_monitor.stores.newcomer.OTHERS_S", 60.0)
    late.flush(quiet())
    for ask in (late.secret, lambda: late.salt(20_000)):
        with pytest.raises(StoreError, match="was here before"):
            ask()
    patient(one.flush, quiet())
    assert patient(one.secret) == secret
    assert (patient(late.salt, 20_000), patient(late.secret)) == (salt, secret)
    assert patient(late.salt, 20_001) == patient(one.salt, 20_001), "a new day's is nobody's yet"


def test_who_takes_another_s_place_makes_a_salt_where_nobody_else_does(
    open_shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.stores.newcomer.has_elders", lambda: True)
    monkeypatch.setattr("flask_realtime_monitor.stores.newcomer.OTHERS_S", 0.1)
    store = open_shared()
    with pytest.raises(StoreError):
        store.salt(20_000)
    assert len(patient(store.salt, 20_000)) == len(patient(store.secret)) == 16


def test_the_minutes_of_the_gone_outlive_their_sessions(
    open_shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.stores.redis.RENEW_S", 0.1)
    one, gone = open_shared("w1", keep_s=1.0), open_shared("gone", keep_s=1.0)
    one.flush(quiet())
    gone.flush(Flush(b"x", [(1, b"rows"), (LASTING, b"minutes"), (258, b"more")], b"1"))
    assert one.retire("gone", add)

    def left() -> list[tuple[int, bytes]]:
        one.flush(frame(b"y"))
        one.trim(0)
        found = one.load().snapshots
        return [(bucket, blob) for worker, bucket, blob in found if worker == "gone"]

    wait_until(lambda: left() == [(LASTING, b"minutes")], "the rest is gone")
    assert one.snapshots_of(LASTING) == [("gone", b"minutes")]


def test_all_that_a_worker_wrote_is_kept_of_it_in_whatever_order_it_asked(
    open_shared: Open,
) -> None:
    one, gone = open_shared("w1"), open_shared("gone")
    one.flush(frame(b"before"))
    gone.notes()
    gone.roster()
    gone.flush(frame(b"first", beat=b"1"))
    gone.load()
    gone.since_at()
    gone.flush(frame(b"last", beat=b"1"))
    assert one.retire("gone", add)
    (tail,) = [blob for _, bucket, blob in one.load().snapshots if bucket == TAIL]
    assert b"first" in tail and b"last" in tail


def test_what_is_written_again_after_a_loss_is_read_by_who_comes(losable: Losable) -> None:
    open_shared, lose = losable
    stores = [open_shared(f"w{number}") for number in range(3)]
    for store in stores:
        store.flush(frame(b"before"))
    lose()
    for store in stores:
        patient(store.flush, quiet())
        patient(store.flush, Flush(b"last", [(3, b"blob"), (257, b"told")], b"1"))
    assert sorted(patient(stores[0].snapshots_of, 257)) == [("w1", b"told"), ("w2", b"told")]
    assert patient(stores[0].retire, "w2", add)
    found = sorted(patient(open_shared("late").load).snapshots)
    tail = b"\x04\x00\x00\x00last"
    both = [(name, bucket) for name in ("w0", "w1", "w2") for bucket in (3, 257)]
    assert [(name, bucket) for name, bucket, _ in found if bucket != TAIL] == both
    assert ("w2", TAIL, tail) in found


@pytest.mark.parametrize("are_new", [False, True])
def test_a_store_that_goes_back_to_what_it_had_kept_begins_another_picture(
    lapsing: Lapsing, are_new: bool
) -> None:
    open_shared, keep, go_back = lapsing
    stores = [open_shared(f"w{number}") for number in range(2)]
    stores[0].flush(frame(b"kept"))
    if not are_new:
        stores[1].flush(frame(b"kept"))
    keep()
    epoch = patient(stores[1].flush, frame(b"lost")).epoch
    assert patient(stores[0].flush, frame(b"lost")).epoch == epoch
    reader = open_shared("reader")
    cursor = reader.load().cursor
    assert reader.read_since(cursor) == []
    go_back()
    another = patient(stores[1].flush, frame(b"after")).epoch
    assert another != epoch
    with pytest.raises(Gap):
        patient(reader.read_since, cursor)
    for one in (*stores, *stores):
        patient(one.flush, frame(b"again"))
    load = reader.load()
    assert {one.flush(quiet()).epoch for one in (*stores, *stores)} == {load.epoch}
    assert {entry.worker for entry in load.entries if entry.data == b"again"} == {"w0", "w1"}


def test_a_store_that_has_lost_nothing_stays_one_picture(lapsing: Lapsing) -> None:
    open_shared, keep, go_back = lapsing
    stores = [open_shared(f"w{number}") for number in range(2)]
    epochs = {one.flush(frame(b"x", beat=b"1")).epoch for one in stores}
    assert stores[0].retire("w1", add)  # it was only frozen, and finds out by nothing
    keep()
    go_back()
    epochs |= {patient(one.flush, frame(b"x", beat=b"2")).epoch for one in stores}
    assert len(epochs) == 1


def test_trimming_never_takes_what_somebody_may_be_reading(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    cursor = two.load().cursor
    for number in range(20):
        last = one.flush(frame(b"%d" % number)).cursor
        one.trim(last)
    assert len(two.read_since(cursor)) == 20
    assert two.read_since(last) == []


def test_a_closed_store_opens_again(open_shared: Open) -> None:
    one = open_shared()
    one.flush(frame(b"x"))
    epoch = one.epoch()
    one.leave()
    one.leave()
    assert one.flush(frame(b"y")).epoch == epoch
    assert [entry.data for entry in one.load().entries] == [b"x", b"y"]


def test_lag_is_the_time_since_the_store_last_answered(open_shared: Open) -> None:
    one = open_shared()
    assert one.lag_s() is None
    one.flush(quiet())
    lag_s = one.lag_s()
    assert lag_s is not None
    assert 0 <= lag_s < 20


def test_writers_and_readers_in_many_threads_lose_nothing(open_shared: Open) -> None:
    one, two = open_shared("w1"), open_shared("w2")
    cursor = one.load().cursor

    def write(store: Store) -> int:
        for number in range(25):
            patient(store.flush, frame(b"%d" % number))
        return 25

    def read(store: Store) -> int:
        seen, at, ends_s = 0, cursor, time.monotonic() + DEADLINE_S
        while seen < 50 and time.monotonic() < ends_s:
            entries = patient(store.read_since, at)
            seen += len(entries)
            at = entries[-1].cursor if entries else at
        return seen

    done = at_once(
        [
            lambda work=work, store=store: work(store)
            for work in (write, read)
            for store in (one, two)
        ]
    )
    assert done == [25, 25, 50, 50]


def opened(folder: Path) -> set[str]:
    """Return the files in a folder, and the files of it and sockets that this process has open."""
    found = {path.name for path in folder.rglob("*")}
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith(("socket:", str(folder))):
                found.add(target)
    return found


def test_nothing_is_opened_before_the_first_use(open_shared: Open, tmp_path: Path) -> None:
    before = opened(tmp_path)
    store = open_shared()
    assert store.shown_url
    assert opened(tmp_path) <= before
    store.epoch()
    assert not opened(tmp_path) <= before
    store.leave()


@pytest.mark.parametrize("scheme", ["redis", "valkey", "rediss", "redis+cluster"])
def test_no_server_is_asked_before_the_first_use(
    scheme: str, left: Callable[[Store], Store]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        store = left(open_store(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/0"))
        store.leave()
        with pytest.raises(BlockingIOError):  # nobody has come
            server.accept()
        with pytest.raises(StoreError):  # it says nothing
            store.epoch()
        server.accept()[0].close()


def test_the_address_is_shown_without_what_is_secret() -> None:
    store = open_store("rediss://user:pass@host:7000/2?password=also&ssl_cert_reqs=none")
    assert store.shown_url == "rediss://host:7000/2"
    assert open_store("sqlite:////var/x.sqlite").shown_url == "sqlite:////var/x.sqlite"


def test_memory_carries_nothing_and_is_its_own_picture() -> None:
    one = MemoryStore("memory:")
    assert not one.is_shared
    assert one.since_at() == pytest.approx(time.time(), abs=20)
    first, second = one.flush(frame(b"x")), one.flush(quiet(b"note"))
    assert first.cursor == second.cursor == 1
    assert first.epoch == one.epoch() != MemoryStore().epoch()
    assert one.read_since(0) == one.snapshots_of(1) == []
    assert one.load()[1:] == (1, [], [], [])
    assert one.roster()[:3] == ({}, None, {})
    assert one.roster().epoch == one.epoch()
    assert not one.retire("x", add)
    one.restore(lambda now: now)
    one.tell(b"note")
    one.trim(1)
    one.leave()
    assert one.lag_s() is None
    today = datetime.now(UTC).toordinal()
    assert one.salt(today) == one.salt(today)


def test_a_fold_is_a_plain_callable() -> None:
    fold: Fold = add
    assert fold(b"1", None, None) == b"1"
