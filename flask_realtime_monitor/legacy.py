"""What sessions that go on have from workers that are gone for long.

The rows of a worker that is gone are kept until its sessions would have ended; a session that goes
on at another worker may last for hours, and what it had there is to count for as long. So before
such rows go, the others write into the store how often each of their sessions had been seen there,
and since when: numbers alone, bucket by bucket, in nobody's name. Each names the workers whose rows
are in it, so that nothing counts twice, whoever writes it and however often. Who was cut off, on
another host, may come back and tell of the same rows again: what it had is kept apart.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from . import beats, rows
from .frames import Frame, FrameError, decode, encode, parts_of
from .listing import Turns
from .living import LivingElsewhere
from .pauses import PauseTable, parted
from .peers import Counts
from .refusals import Refusals
from .replica import Replica
from .stores import SESSION_BUCKETS, TAIL, Roster, Store
from .tracker import Tracker

#: In whose name it is written; a worker's id is eight hexadecimal digits.
NOBODY = "legacy"
#: How long (s) after its sessions would have ended a gone worker's rows are passed on, and after
#: that are kept, whatever the clocks of two hosts say.
PASS_ON_S, KEEP_S = 60.0, 900.0
_PERIOD_S = 200.0
_AT_ONCE = 8
_NO_SENSE = (AttributeError, LookupError, TypeError, ValueError)


class Written(NamedTuple):
    """What is written of a bucket.

    Attributes:
        at_ms: when, in ms since the epoch.
        counts: by session: what it had at workers that are no more.
        of: the workers whose rows are in that, while the store still has these.
        by: the same of each worker that may come back.
    """

    at_ms: int = 0
    counts: Mapping[int, Counts] = {}
    of: Collection[str] = ()
    by: Mapping[str, Mapping[int, Counts]] = {}

    @classmethod
    def parsed(cls, frame: Frame) -> Written:
        """Read what ``encoded`` made.

        Raises:
            AttributeError, LookupError, TypeError, ValueError: it makes no sense.
        """
        head = frame.head
        by = {str(worker): _counts_in(told) for worker, told in head.get("by", {}).items()}
        of = [str(worker) for worker in head.get("of", ())]
        return cls(int(head["at"]), _counts_in(head.get("i", ())), of, by)

    def encoded(self) -> bytes:
        """Return it as the blob of its bucket."""
        by = {worker: _told(had) for worker, had in self.by.items()}
        head = {"at": self.at_ms, "o": 0, "of": [*self.of], "i": _told(self.counts), "by": by}
        return encode(head)


def _counts_in(told: Iterable[Any]) -> dict[int, Counts]:
    return {
        int(key): Counts(int(requests), int(errors), int(begun_ms))
        for key, requests, errors, begun_ms in told
    }


def _told(counts: Mapping[int, Counts]) -> list[list[int]]:
    return [[key, *had] for key, had in counts.items()]


def _add(to: dict[int, Counts], counts: Mapping[int, Counts]) -> None:
    for key, had in counts.items():
        known = to.get(key)
        to[key] = had if known is None else known.plus(*had)


class Legacies:
    """All of it, as a reader knows it."""

    def __init__(self) -> None:
        self._at_ms: dict[int, int] = {}  # by bucket
        self._counts: dict[int, Counts] = {}
        self._by: dict[str, dict[int, Counts]] = {}
        #: By worker: the buckets whose rows of that worker are in it.
        self._passed_on: dict[str, set[int]] = {}
        #: Of those that may come back: whose rows are left out, so that this counts.
        self._left_out: set[str] = set()
        self._whole: dict[int, Counts] = {}

    @classmethod
    def read(cls, blobs: Iterable[tuple[int, bytes]], refusals: Refusals) -> Legacies:
        """Return all that was written of (bucket, blob)."""
        made, turns = cls(), Turns()
        for bucket, blob in blobs:
            frame = refusals.decoded(blob)
            if frame is not None:
                refusals.guarded(made._take, bucket, frame)
            turns()
        return made

    def _take(self, bucket: int, frame: Frame) -> None:
        try:
            found = Written.parsed(frame)
        except _NO_SENSE as error:
            raise FrameError(f"not a legacy: {error}") from None
        self._at_ms[bucket] = found.at_ms
        self._counts.update(found.counts)
        for worker, counts in found.by.items():
            self._by.setdefault(worker, {}).update(counts)
        for worker in (*found.of, *found.by):
            self._passed_on.setdefault(worker, set()).add(bucket)

    def drop_from(self, replicas: Mapping[str, Replica], living: Collection[str]) -> None:
        """Drop the rows that are in it; who is back tells of them itself."""
        turns = Turns()
        for worker, buckets in self._passed_on.items():
            replica = replicas.get(worker)
            if replica is not None and worker not in living:
                for key in [one for one in replica.rows if one & 0xFF in buckets]:
                    del replica.rows[key]
            turns()
        self._left_out = {worker for worker in self._by if worker not in living}
        self._add_up()

    def give_way(self, living: Collection[str]) -> bool:
        """Leave it to who is back to tell of its rows; tell whether there is anybody."""
        if self._left_out.isdisjoint(living):
            return False
        self._left_out.difference_update(living)
        self._add_up()
        return True

    def _add_up(self) -> None:
        whole, turns = dict(self._counts), Turns()
        for worker in self._left_out:
            _add(whole, self._by[worker])
            turns()
        self._whole = whole

    def of(self, key: int, first_ms: int) -> Counts | None:
        """Return what a session has, None for nothing.

        Args:
            first_ms: when it began, by the rows that are left; one that began after the legacy
                was written is another session.
        """
        counts = self._whole.get(key)
        return None if counts is None or first_ms > self._at_ms[key & 0xFF] else counts


class Executor:
    """Passes on what the gone have left; every worker has one.

    Args:
        tracker: whose sessions go on here.
        timeout_ms: how long after its last request a session ends.
        active_ms: how long before a user's session its guest part may have been seen last.
        grace_ms: how long after its end a row may still be told by its own worker.
    """

    def __init__(
        self, tracker: Tracker, store: Store, timeout_ms: int, active_ms: int, grace_ms: int
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._timeout_ms = timeout_ms
        self._active_ms = active_ms
        self._due_after_ms = timeout_ms + grace_ms + int(PASS_ON_S * 1000)
        self._next_look_s = 0.0
        self._left: list[int] = []  # buckets
        self._living: Collection[str] = ()
        self._tails: dict[str, _Tail] = {}
        self._may_return: Collection[str] = ()  # of who is gone

    def look(self, roster: Roster) -> None:
        """See whether it is time: every 200 s for all workers together, if anybody is gone."""
        self._living = roster.beats.keys()
        if self._left or time.monotonic() < self._next_look_s or not roster.taken:
            return
        self._next_look_s = time.monotonic() + _PERIOD_S / 4
        # The last to be written says when.
        last = _frames(self._store.snapshots_of(SESSION_BUCKETS - 1)).get(NOBODY)
        at_ms = 0
        with suppress(*_NO_SENSE):
            at_ms = 0 if last is None else int(last.head["at"])
        if abs(self._now_ms() - at_ms) >= _PERIOD_S * 1000:
            self._tails = {
                worker: tail
                for worker, blob in self._store.snapshots_of(TAIL)
                if worker not in self._living and (tail := _Tail.of(blob)) is not None
            }
            self._may_return = {
                worker
                for worker, beat in roster.taken.items()
                if worker not in self._living and not beats.is_gone(beats.decode(beat), 0.0)
            }
            self._left = list(range(SESSION_BUCKETS))

    def go_on(self) -> None:
        """See to some buckets, if it is time."""
        turns = Turns()
        for _ in range(min(_AT_ONCE, len(self._left))):
            bucket = self._left[0]
            blob = self._passed_on(bucket, _frames(self._store.snapshots_of(bucket)))
            if blob is not None:
                self._store.put(NOBODY, bucket, blob)
            del self._left[0]
            turns()
        if not self._left:
            self._tails = {}

    def _passed_on(self, bucket: int, frames: dict[str, Frame]) -> bytes | None:
        """Return a bucket's legacy, as it is to be now; None where there is none."""
        now_ms, old = self._now_ms(), frames.pop(NOBODY, None)
        before = Written()
        if old is not None:
            with suppress(*_NO_SENSE):
                before = Written.parsed(old)
        there = {*frames, *self._tails}
        left = {worker for worker in there if self._is_due(worker, frames, now_ms)}
        living = self._living_in(bucket, {id: one for id, one in frames.items() if id not in left})
        found = {worker: self._rows_of(worker, bucket, frames.get(worker)) for worker in left}
        told = [(worker, *one) for worker, left_by in found.items() for one in left_by]
        told.sort(key=lambda one: one[2].last_ms + one[3], reverse=True)
        for _, key, head, offset_ms in told:
            self._is_of_now(key, head, offset_ms, living)
        counts = self._still_of(before.counts, before.at_ms, living)
        kept = {
            worker: self._still_of(had, before.at_ms, living) for worker, had in before.by.items()
        }
        for key, known in chain.from_iterable(one.items() for one in (counts, *kept.values())):
            living.note_begun(key, known.begun_ms)
        fresh = self._inherited(told, living)
        of, by = set(before.of), dict[str, Mapping[int, Counts]]()
        for worker in {*left, *before.by}.difference(of):
            if worker not in left and (worker in there or not self._is_absent(worker)):
                continue  # it is back
            # Of what it had, the store may have let go in part by now.
            had = {**kept.get(worker, {}), **fresh.get(worker, {})}
            if worker not in self._may_return:
                _add(counts, had)
                of.add(worker)
            elif had or worker in there:
                by[worker] = had
        now = Written(now_ms, counts, sorted(of & there), by)
        return (
            now.encoded() if any((*now[1:], *before[1:])) or bucket == SESSION_BUCKETS - 1 else None
        )

    def _living_in(self, bucket: int, frames: Mapping[str, Frame]) -> LivingElsewhere:
        """Return who lives on of a bucket, here and at workers that are not gone for long."""
        living = LivingElsewhere(self._timeout_ms, self._active_ms, ())
        for frame in (self._own(bucket), *frames.values()):
            with suppress(*_NO_SENSE):
                living.add(frame, self._tracker.clock.offset_ms)
        return living

    def _is_of_now(
        self, heir: int, head: rows.Head, offset_ms: int, living: LivingElsewhere
    ) -> bool:
        """Tell whether a gone worker's row is a part of a session, and note since when.

        What ended before the next began is another one's, as for who reads the rows.
        """
        begun_ms = living.begun_ms(heir)
        if begun_ms is None or head.last_ms + offset_ms <= rows.timed_out_ms(
            begun_ms, self._timeout_ms
        ):
            return False
        living.note_begun(heir, head.base_ms + offset_ms)
        return True

    def _inherited(
        self, told: Iterable[tuple[str, int, rows.Head, int]], living: LivingElsewhere
    ) -> dict[str, dict[int, Counts]]:
        """Return what each of the gone leaves to sessions that live on.

        Args:
            told: the rows of the gone, last seen first: worker, key, head, offset.
        """
        fresh: dict[str, dict[int, Counts]] = {}
        for worker, key, head, offset_ms in told:
            heir = living.heir_of(key, head, offset_ms)
            if heir is not None and self._is_of_now(heir, head, offset_ms, living):
                own = Counts(head.requests, head.errors, head.base_ms + offset_ms)
                _add(fresh.setdefault(worker, {}), {heir: own})
        return fresh

    def _still_of(
        self, counts: Mapping[int, Counts], at_ms: int, living: LivingElsewhere
    ) -> dict[int, Counts]:
        """Return what is of sessions that live on: one that began after that is another."""
        found = {}
        for key, had in counts.items():
            begun_ms = living.begun_ms(key)
            if begun_ms is not None and begun_ms <= at_ms:
                found[key] = had
        return found

    def _is_absent(self, worker: str) -> bool:
        return worker not in self._living and worker != self._store.worker

    def _is_due(self, worker: str, frames: Mapping[str, Frame], now_ms: int) -> bool:
        """Tell whether a worker has been gone for so long that its rows go soon."""
        if not self._is_absent(worker):
            return False
        tail, frame = self._tails.get(worker), frames.get(worker)
        last_ms = tail.last_ms if tail is not None else 0
        if frame is not None:
            with suppress(*_NO_SENSE):
                last_ms = max(last_ms, _told_ms(frame))
        return now_ms - last_ms > self._due_after_ms

    def _own(self, bucket: int) -> Frame:
        tracker = self._tracker
        with tracker.lock:
            table, keys = tracker.sessions.rows, tracker.sessions.buckets[bucket]
            found = {key: table[key] for key in keys if key in table}
            pauses = tracker.sessions.pauses.told(tracker.sessions.pauses.keys() & found)
        clock = tracker.clock
        return Frame({"at": clock.now_ms(), "o": clock.offset_ms, "pauses": pauses}, found)

    def _rows_of(
        self, worker: str, bucket: int, frame: Frame | None
    ) -> list[tuple[int, rows.Head, int]]:
        """Return (key, head, offset) of a gone worker's last rows in a bucket, parted by pauses."""
        found: dict[int, tuple[bytes, int]] = {}
        sequence, pauses = -1, PauseTable()
        with suppress(*_NO_SENSE):
            if frame is not None:
                rows.check_all(frame.rows.values())
                pauses.take(frame.head.get("pauses", ()), ())
                offset_ms = int(frame.head["o"])
                found = {key: (row, offset_ms) for key, row in frame.rows.items()}
                sequence = int(frame.head["q"])
        tail = self._tails.get(worker)
        for told, paused in () if tail is None else tail.pauses:
            if told > sequence:
                pauses.take(paused, ())
        for told, key, row, offset_ms in () if tail is None else tail.rows.get(bucket, ()):
            if told > sequence and row is None:
                found.pop(key, None)
            elif told > sequence and row is not None:
                found[key] = row, offset_ms
        return [
            (key, rows.head_of(one), offset_ms)
            for key, (row, offset_ms) in found.items()
            for one in parted(row, pauses.get(key, ()))
        ]

    def _now_ms(self) -> int:
        return self._tracker.clock.now_ms() + self._tracker.clock.offset_ms


class _Tail(NamedTuple):
    """The last entries a gone worker had in the log."""

    last_ms: int
    #: By bucket: (sequence, key, row or None for a session that ended, offset).
    rows: dict[int, list[tuple[int, int, bytes | None, int]]]
    #: (sequence, what was told of pauses), which makes sense.
    pauses: list[tuple[int, list[Any]]]

    @classmethod
    def of(cls, blob: bytes) -> _Tail | None:
        last_ms, found = 0, dict[int, list[tuple[int, int, bytes | None, int]]]()
        pauses: list[tuple[int, list[Any]]] = []
        turns = Turns()
        for part in parts_of(blob):
            with suppress(*_NO_SENSE):  # the readers count it
                frame = decode(part)
                rows.check_all(frame.rows.values())
                sequence, offset_ms = int(frame.head["q"]), int(frame.head["o"])
                last_ms = max(last_ms, _told_ms(frame))
                paused = list(frame.head.get("pauses", ()))
                PauseTable().take(paused, ())
                pauses.append((sequence, paused))
                ended = dict.fromkeys(map(int, frame.head.get("gone", ())))
                for key, row in (*frame.rows.items(), *ended.items()):
                    found.setdefault(key & 0xFF, []).append((sequence, key, row, offset_ms))
            turns()
        return cls(last_ms, found, pauses) if found else None


def _told_ms(frame: Frame) -> int:
    """Return when a worker wrote a frame, in ms since the epoch."""
    return int(frame.head["at"]) + int(frame.head["o"])


def _frames(blobs: Iterable[tuple[str, bytes]]) -> dict[str, Frame]:
    found: dict[str, Frame] = {}
    for worker, blob in blobs:
        with suppress(FrameError):  # the readers count it
            found[worker] = decode(blob)
    return found
