"""What sessions that go on have from workers that are gone for long.

The rows of a worker that is gone are kept until its sessions would have ended; a session that goes
on at another worker may last for hours, and what it had there is to count for as long. So before
such rows go, the others write into the store how often each of their sessions had been seen there,
and since when: numbers alone, bucket by bucket, in nobody's name. Each names the workers whose rows
are in it, so that nothing counts twice, whoever writes it and however often.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from . import rows
from .frames import Frame, FrameError, decode, encode, parts_of
from .listing import Turns
from .living import LivingElsewhere
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

Json = dict[str, Any]


class Legacies:
    """All of it, as a reader knows it."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, Counts]] = {}
        #: By worker: the buckets whose rows of that worker are in it.
        self._passed_on: dict[str, set[int]] = {}

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
            at_ms, counts, of = _parsed(frame)
        except (LookupError, TypeError, ValueError) as error:
            raise FrameError(f"not a legacy: {error}") from None
        self._counts.update((key, (at_ms, had)) for key, had in counts.items())
        for worker in of:
            self._passed_on.setdefault(worker, set()).add(bucket)

    def drop_from(self, replicas: Mapping[str, Replica], living: Collection[str]) -> None:
        """Drop the rows that are in it; who is back tells of them itself."""
        for worker, buckets in self._passed_on.items():
            replica = replicas.get(worker)
            if replica is not None and worker not in living:
                for key in [one for one in replica.rows if one & 0xFF in buckets]:
                    del replica.rows[key]

    def of(self, key: int, first_ms: int) -> Counts | None:
        """Return what a session has, None for nothing.

        Args:
            first_ms: when it began, by the rows that are left; one that began after the legacy
                was written is another session.
        """
        at_ms, counts = self._counts.get(key, (0, None))
        return counts if first_ms <= at_ms else None


def _parsed(frame: Frame) -> tuple[int, dict[int, Counts], list[str]]:
    head = frame.head
    counts = {
        int(key): Counts(int(requests), int(errors), int(begun_ms))
        for key, requests, errors, begun_ms in head.get("i", ())
    }
    return int(head["at"]), counts, [str(worker) for worker in head.get("of", ())]


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

    def look(self, roster: Roster) -> None:
        """See whether it is time: every 200 s for all workers together, if anybody is gone."""
        self._living = roster.beats.keys()
        if self._left or time.monotonic() < self._next_look_s or not roster.taken:
            return
        self._next_look_s = time.monotonic() + _PERIOD_S / 4
        # The last to be written says when.
        last = _frames(self._store.snapshots_of(SESSION_BUCKETS - 1)).get(NOBODY)
        at_ms = 0
        with suppress(LookupError, TypeError, ValueError):
            at_ms = 0 if last is None else int(last.head["at"])
        if abs(self._now_ms() - at_ms) >= _PERIOD_S * 1000:
            self._tails = {
                worker: tail
                for worker, blob in self._store.snapshots_of(TAIL)
                if worker not in self._living and (tail := _Tail.of(blob)) is not None
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
        before: tuple[int, dict[int, Counts], list[str]] = 0, {}, []
        if old is not None:
            with suppress(LookupError, TypeError, ValueError):
                before = _parsed(old)
        at_ms, counts, of = before
        there = (*frames, *self._tails)
        left = {worker for worker in there if self._is_due(worker, frames, now_ms)}
        living = LivingElsewhere(self._timeout_ms, self._active_ms, ())
        for worker, frame in (("", self._own(bucket)), *frames.items()):
            if worker not in left:
                with suppress(LookupError, TypeError, ValueError):
                    living.add(frame, self._tracker.clock.offset_ms)
        found = {worker: self._rows_of(worker, bucket, frames.get(worker)) for worker in left}
        for key, head, offset_ms in chain.from_iterable(found.values()):
            living.note_begun(key, head.base_ms + offset_ms)
        # What began after that was written is another session.
        counts = {
            key: had
            for key, had in counts.items()
            if (begun_ms := living.begun_ms(key)) is not None and begun_ms <= at_ms
        }
        for key, had in counts.items():
            living.note_begun(key, had.begun_ms)
        for worker in left.difference(of):
            for key, head, offset_ms in found[worker]:
                heir = living.heir_of(key, head, offset_ms)
                if heir is not None:
                    own = Counts(head.requests, head.errors, head.base_ms + offset_ms)
                    known = counts.get(heir)
                    counts[heir] = own if known is None else own.plus(*known)
        of = sorted(left.union(of).intersection(there))
        if not (counts or of or before[1] or before[2]) and bucket != SESSION_BUCKETS - 1:
            return None
        told = [[key, *had] for key, had in counts.items()]
        return encode({"at": now_ms, "o": 0, "of": of, "i": told})

    def _is_due(self, worker: str, frames: Mapping[str, Frame], now_ms: int) -> bool:
        """Tell whether a worker has been gone for so long that its rows go soon."""
        if worker in self._living or worker == self._store.worker:
            return False
        tail, frame = self._tails.get(worker), frames.get(worker)
        last_ms = tail.last_ms if tail is not None else 0
        if frame is not None:
            with suppress(LookupError, TypeError, ValueError):
                last_ms = max(last_ms, _told_ms(frame))
        return now_ms - last_ms > self._due_after_ms

    def _own(self, bucket: int) -> Frame:
        tracker = self._tracker
        with tracker.lock:
            table, keys = tracker.sessions.rows, tracker.sessions.buckets[bucket]
            found = {key: table[key] for key in keys if key in table}
        return Frame({"at": tracker.clock.now_ms(), "o": tracker.clock.offset_ms}, found)

    def _rows_of(
        self, worker: str, bucket: int, frame: Frame | None
    ) -> list[tuple[int, rows.Head, int]]:
        """Return (key, head, offset) of the last rows that a gone worker had in a bucket."""
        found: dict[int, tuple[bytes, int]] = {}
        sequence = -1
        with suppress(LookupError, TypeError, ValueError):
            if frame is not None:
                rows.check_all(frame.rows.values())
                offset_ms = int(frame.head["o"])
                found = {key: (row, offset_ms) for key, row in frame.rows.items()}
                sequence = int(frame.head["q"])
        tail = self._tails.get(worker)
        for told, key, row, offset_ms in () if tail is None else tail.rows.get(bucket, ()):
            if told > sequence and row is None:
                found.pop(key, None)
            elif told > sequence and row is not None:
                found[key] = row, offset_ms
        return [(key, rows.head_of(row), offset_ms) for key, (row, offset_ms) in found.items()]

    def _now_ms(self) -> int:
        return self._tracker.clock.now_ms() + self._tracker.clock.offset_ms


class _Tail(NamedTuple):
    """The last entries a gone worker had in the log."""

    last_ms: int
    #: By bucket: (sequence, key, row or None for a session that ended, offset).
    rows: dict[int, list[tuple[int, int, bytes | None, int]]]

    @classmethod
    def of(cls, blob: bytes) -> _Tail | None:
        last_ms, found = 0, dict[int, list[tuple[int, int, bytes | None, int]]]()
        turns = Turns()
        for part in parts_of(blob):
            with suppress(LookupError, TypeError, ValueError):  # the readers count it
                frame = decode(part)
                rows.check_all(frame.rows.values())
                sequence, offset_ms = int(frame.head["q"]), int(frame.head["o"])
                last_ms = max(last_ms, _told_ms(frame))
                ended = dict.fromkeys(map(int, frame.head.get("gone", ())))
                for key, row in (*frame.rows.items(), *ended.items()):
                    found.setdefault(key & 0xFF, []).append((sequence, key, row, offset_ms))
            turns()
        return cls(last_ms, found) if found else None


def _told_ms(frame: Frame) -> int:
    """Return when a worker wrote a frame, in ms since the epoch."""
    return int(frame.head["at"]) + int(frame.head["o"])


def _frames(blobs: Iterable[tuple[str, bytes]]) -> dict[str, Frame]:
    found: dict[str, Frame] = {}
    for worker, blob in blobs:
        with suppress(FrameError):  # the readers count it
            found[worker] = decode(blob)
    return found
