"""Writes what this worker saw to a shared store, a few times a second, off the request path.

One background loop per process does all of it: what has changed, some buckets of sessions whole,
the beat, notes to all workers; it looks after workers that are gone and lets the log go behind
itself. The store may fail at any time: everything is kept and written when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from . import beats, estate, signouts
from .config import Settings
from .frames import FrameError, decode
from .guard import Guard
from .legacy import Executor
from .living import LivingElsewhere
from .outbox import COUNTERS, LOOSE, SIGNED_OUT, Outbox
from .stores import SESSION_BUCKETS, Beat, Flush, Store, StoreError
from .tracker import Tracker

logger = logging.getLogger("flask_realtime_monitor")

Json = dict[str, Any]

_HOUSEKEEPING_S = 1.0
_WARN_EVERY_S = 60.0
#: How long after its time-out a row is kept, so that every other worker's snapshot has been
#: written since and can say whether its session lives on there.
GRACE_S = 80.0
_RESEND_BUCKETS = 16  # with each flush, after the store has lost what it had
#: To begin a snapshot costs as much as some ten rows of it: small buckets wait for each other,
#: until they have so many rows (of 256 buckets) together, or are so many.
_WORTH_ROWS = 200 * SESSION_BUCKETS
_MOST_TOGETHER = 4
_LAST_TRIES = 5
#: How long (s) after a note was written somebody may not have heard of it: who hung meanwhile.
_HEARD_S = 60.0
#: The same of an erasure: told again, it would erase who has come anew since.
_ERASURE_HEARD_S = 10.0
_MOST_LATELY = 10_000


class Flusher:
    """Keeps a store up to date with this worker.

    Args:
        tracker: what this worker saw.
        beat: returns what the beat says beside its totals (``beats.py``).
        take_note: called with each note of another worker.
        hear: called with each of this worker's own, once the others can read it.
        fold: brings the tracker up to date with what has been recorded.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: Tracker,
        store: Store,
        guard: Guard,
        beat: Callable[[], Json],
        take_note: Callable[[Json], None],
        hear: Callable[[Json], None],
        fold: Callable[[], None],
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._witness = estate.Witness(store)
        self._guard = guard
        self._beat = beat
        self._take_note = take_note
        self._hear = hear
        self._fold = fold
        self._timeout_ms = int(settings.session_timeout * 1000)
        self._active_ms = int(settings.active_window * 1000)
        #: The other workers, each with its last beat, decoded and as it is.
        self._others: list[tuple[str, Json, Beat]] = []
        self.outbox = Outbox(tracker, {"host": beat()["host"], "boot": beats.machine()})
        self._executor = Executor(
            tracker, store, self._timeout_ms, self._active_ms, int(GRACE_S * 1000)
        )
        self._lock = threading.Lock()  # held across I/O: only writers wait for it
        self._told: deque[Json] = deque()  # notes of others that are not yet taken
        #: All notes, and when each was written or heard: a store may be lost before all have heard.
        self._lately: dict[bytes, float] = {}
        # A round of all buckets takes about a minute, however often one flushes.
        self._buckets_due = 0.0
        self._buckets_per_s = SESSION_BUCKETS / 64
        self._bucket = 0
        self._round_cursor: int | None = None  # the log's end when this round began
        self._resend_left = 0
        self._are_counters_due = False
        self._learned: set[str] = set()  # of whom: which sign-outs they know of
        self._epoch: str | None = None
        #: The picture that has all of this worker; None before anything was written.
        self._whole_in: str | None = None
        self._next_housekeeping_s = 0.0
        self._alone_since_s = inf
        self._warned_s: float | None = None
        #: Why the store cannot be written, for the health card; None while it can.
        self.trouble: str | None = None
        self._written_s = time.monotonic()
        self._last_s = time.monotonic()

    @property
    def lag_s(self) -> float:
        """How old what the others know of this worker is."""
        return max(0.0, time.monotonic() - self._written_s)

    @property
    def is_settled(self) -> bool:
        """Whether the others know all that this worker does."""
        return self.trouble is None and bool(self._whole_in) and not self.outbox.has_changes

    @property
    def idle_s(self) -> float:
        """How long ago it last wrote, or tried to."""
        return time.monotonic() - self._last_s

    def flush(self, is_beat: bool = True) -> bool:
        """Write once; tell whether there is more to write at once. It never raises.

        Args:
            is_beat: whether to write even if nothing has changed.
        """
        # Hooks and receivers of the app's run in these two, and may come back here, or wait for
        # somebody who does: so neither is done under the lock.
        if is_beat:
            self._guarded(self._fold)
        with self._lock:
            is_more = (is_beat or self.outbox.has_changes) and self._try()
        self._guarded(self._take_told)
        return is_more

    def _take_told(self) -> None:
        while self._told:
            try:
                note = self._told.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                self._take_note(note)
            except Exception:  # for whoever guards this: the note would do the same the next time
                raise
            except BaseException:  # a time-out of the app's: it is to be taken again
                self._told.appendleft(note)
                raise

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # the loop must go on
            self._guard.failed("flush", error)

    def _try(self) -> bool:
        try:
            is_more = self._flush()
        except StoreError as error:
            self.outbox.unwritten()
            self._failed(error)
            return False
        except Exception as error:  # the loop must go on
            self.outbox.unwritten()
            self._guard.failed("flush", error)
            return False
        except BaseException:  # a time-out of the app's around its call of ours
            self.outbox.unwritten()
            raise
        self.trouble = None
        self._written_s = time.monotonic()
        return is_more

    def last(self) -> None:
        """Write all there is: the process ends."""
        self._are_counters_due = True
        for _ in range(_LAST_TRIES):
            # What it has just heard of may change its rows; nobody else writes these.
            if not self.flush() and self.trouble is None and not self.outbox.has_changes:
                return

    def _flush(self) -> bool:
        if self.trouble is not None:
            # If the store is still away this raises, before all that waits is packed for nothing.
            epoch = self._witness.look().epoch
            if self._epoch not in (None, epoch):
                self._begin_anew(epoch)
        now_s = time.monotonic()
        elapsed_s, self._last_s = now_s - self._last_s, now_s
        if self._whole_in and now_s - self._written_s > self._timeout_ms / 1000:
            self._resend()  # it was taken for gone, and others may have let go of its rows
        # Before the frame, so that this tells of all that is in them.
        buckets = self._next_buckets(elapsed_s)
        snapshots = [(bucket, self.outbox.snapshot(bucket)) for bucket in buckets]
        if self._are_counters_due or (buckets and buckets[-1] == SESSION_BUCKETS - 1):
            snapshots.append((COUNTERS, self.outbox.counters()))
            snapshots.append((LOOSE, self.outbox.loose()))
            snapshots.append((SIGNED_OUT, self.outbox.signed_out()))
        frame = self.outbox.pack()
        notes = self._tracker.take_notes()
        encoded = [beats.encode(one) for one in notes]
        try:
            flushed = self._store.flush(Flush(frame, snapshots, self._encoded_beat(), encoded))
        except BaseException:
            # Whatever ended the write, a time-out of the app's included, it may not have arrived:
            # notes and buckets are due again. What to do about the error is for _try to say.
            self._tracker.put_back_notes(notes)
            self._buckets_due += len(buckets)
            self._bucket = (self._bucket - len(buckets)) % SESSION_BUCKETS
            raise
        self._are_counters_due = False
        is_more = self.outbox.written()
        for own in notes:
            self._hear(own)
        heard = [note for _, note in flushed.notes if note not in self._lately]
        self._told.extend(map(beats.decode, heard))
        self._remember([*encoded, *heard], now_s)
        if self._epoch not in (None, flushed.epoch):
            # The store has lost everything, this frame aside.
            self._witness.look()
            self._begin_anew(flushed.epoch)
            is_more = True
        elif not is_more:
            self._whole_in = flushed.epoch
        self._epoch = flushed.epoch
        self._tracker.clock.agree(flushed.at)
        if buckets and buckets[-1] == SESSION_BUCKETS - 1:
            self._end_round(flushed.cursor)
        if now_s >= self._next_housekeeping_s:
            self._next_housekeeping_s = now_s + _HOUSEKEEPING_S
            self._retire_the_gone()
        for bucket in buckets:
            self._sweep(bucket)
        self._executor.go_on()
        return is_more

    def _begin_anew(self, epoch: str) -> None:
        """Write everything once more, to a store that has lost it."""
        self._store.secret()
        self._tell_again()
        self._resend()
        self._epoch = epoch

    def _resend(self) -> None:
        """Take everything for unwritten."""
        self.outbox.resend()
        # Who begins now learns from these who has signed out: they do not wait.
        self._are_counters_due = True
        self._learned = set()
        self._resend_left = SESSION_BUCKETS
        self._round_cursor = None
        self._whole_in = ""

    def _remember(self, notes: list[bytes], now_s: float) -> None:
        lately = self._lately
        for note in notes:
            lately.setdefault(note, now_s)
        while lately:
            oldest = next(iter(lately))
            if lately[oldest] >= now_s - _HEARD_S and len(lately) <= _MOST_LATELY:
                return
            del lately[oldest]

    def _tell_again(self) -> None:
        """Tell what the others may not have heard of before the store lost it.

        All hear with each write: what was told long before the last one is known to all but those
        who have hung for longer. Whoever has heard of a note tells it: its worker may be gone.
        """
        told = [(beats.decode(note), told_s) for note, told_s in self._lately.items()]
        due = [note for note, told_s in told if told_s >= self._written_s - _heard_s(note)]
        self._tracker.put_back_notes(due)

    def _encoded_beat(self) -> bytes:
        beat = self._beat()
        totals = beats.totals_of(self._tracker.summary(), beat["item"].get("dropped") or {})
        return beats.encode({**beat, "totals": totals, "whole": self._whole_in})

    # -- rounds of the buckets -----------------------------------------------------------------

    def _next_buckets(self, elapsed_s: float) -> list[int]:
        """Return the buckets to write with this flush; a round ends with the last of them."""
        if self._resend_left:
            count = min(_RESEND_BUCKETS, self._resend_left)
            self._resend_left -= count
        else:
            self._buckets_due = min(self._buckets_due + elapsed_s * self._buckets_per_s, 16.0)
            count = int(self._buckets_due)
            if count < _MOST_TOGETHER and count * len(self._tracker.sessions) < _WORTH_ROWS:
                count = 0
            self._buckets_due -= count
        count = min(count, SESSION_BUCKETS - self._bucket)
        found = list(range(self._bucket, self._bucket + count))
        self._bucket = (self._bucket + count) % SESSION_BUCKETS
        return found

    def _end_round(self, cursor: int) -> None:
        """A round is over: what was in the log when it began is in the snapshots now."""
        if self._round_cursor is not None:
            self._store.trim(self._round_cursor)
        self._round_cursor = cursor
        self.outbox.end_round()

    # -- sessions that have timed out ----------------------------------------------------------

    def _sweep(self, bucket: int) -> None:
        """End the bucket's sessions that have timed out everywhere."""
        now_ms = self._tracker.clock.now_ms()
        due = self._tracker.timed_out(bucket, now_ms - self._timeout_ms - int(GRACE_S * 1000))
        if not due:
            return
        offset_ms, table = self._tracker.clock.offset_ms, self._tracker.sessions.rows
        busy = beats.busy_in(self._others)
        living = LivingElsewhere(self._timeout_ms, self._active_ms, busy)
        for _, blob in self._store.snapshots_of(bucket):
            with suppress(FrameError, LookupError, TypeError, ValueError):  # the readers count it
                living.add(decode(blob), offset_ms)
        found = [(key, table.get(key)) for key in due]
        self._tracker.end(
            [key for key, row in found if row and not living.has(key, row, offset_ms)]
        )

    # -- the gone ------------------------------------------------------------------------------

    def _retire_the_gone(self) -> None:
        roster = self._witness.look()
        fold = partial(estate.fold, epoch=roster.epoch)
        self._others = [
            (worker, beats.decode(beat.data), beat)
            for worker, beat in roster.beats.items()
            if worker != self._store.worker
        ]
        for worker, told, beat in self._others:
            if beats.is_gone(told, roster.now - beat.at):
                self._store.retire(worker, fold)
        self._learn(roster.epoch)
        self._executor.look(roster)
        self._end_alone(not self._others and not roster.taken)

    def _end_alone(self, is_alone: bool) -> None:
        """Let sessions end as they time out, where nobody else has or had a part of any.

        Not at once: after a store has lost all, the others write within that time. Nor for longer
        than until the next look: while this process stood still others may have come.
        """
        now_s = time.monotonic()
        self._alone_since_s = min(now_s, self._alone_since_s) if is_alone else inf
        for_s = beats.SILENT_S if now_s - self._alone_since_s >= beats.SILENT_S else 0.0
        self._tracker.sessions.alone_until_ms = self._tracker.clock.now_ms() + for_s * 1000

    def _learn(self, epoch: str) -> None:
        """Take over sign-outs from those who have written all they know of.

        Who comes just after the store was lost, or missed a note then, knows of them no other way.
        """
        told = {worker for worker, beat, _ in self._others if beats.is_whole(beat, epoch)}
        if told - self._learned and (news := signouts.learn(self._store, self._tracker)):
            self._tracker.put_back_notes([signouts.note_of(news)])
        self._learned = told

    def _failed(self, error: StoreError) -> None:
        self.trouble = str(error)
        self._end_alone(False)
        now_s = time.monotonic()
        if self._warned_s is None or now_s - self._warned_s >= _WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning(
                "the store does not take what this worker saw: %s; requests are not affected, and "
                "it is written as soon as the store is back",
                error,
            )


def _heard_s(note: Json) -> float:
    return _ERASURE_HEARD_S if note.get("kind") == "forget" else _HEARD_S
