"""The other workers of one picture, read from a shared store while somebody reads the picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from . import beats, estate
from .clock import Clock
from .config import Settings
from .feed import Line
from .frames import Frame, FrameError, decode, newest, parts_of
from .hearsay import Hearsay
from .legacy import NOBODY, Legacies
from .listing import Turns
from .peers import Changes, Counts, Coverage, Peers, Since, There, in_flight_at
from .refusals import Refusals
from .replica import Replica, Taken
from .source import Source
from .stores import TAIL, Beat, Entry, Gap, Roster, Store, StoreError
from .traffic import Summary, are_same

T = TypeVar("T")
Json = dict[str, Any]

_ROSTER_S = 0.2  # how old what is known of the workers' beats may be
_MOST_ENTRIES = 1_000
_LET_GO_S = 60.0  # between two times at which some of the gone are let go
_OLDEST = Coverage._fields.index("oldest_report_s")
_NO_CHANGES = Changes((), False, {})
_NOTHING = Taken((), ())


class Replicas(Peers):
    """Reads the other workers' rows out of the store.

    Args:
        settings: bounds.
        clock: this worker's.
        store: where the others write.
        worker_id: this worker's, whose own entries are passed over.
    """

    def __init__(self, settings: Settings, clock: Clock, store: Store, worker_id: str) -> None:
        self._settings = settings
        self._clock = clock
        self._sizes = settings.session_history_size, settings.history_size
        self._store = store
        self._worker_id = worker_id
        self._replicas: dict[str, Replica] = {}
        self._cursor = 0
        self._since_at: float | None = None
        self._legacies = Legacies()
        self._let_go_s = 0.0  # when the next may be
        #: The picture's id; None until it has been read.
        self.epoch: str | None = None
        self._roster = Roster({}, None, {}, 0.0, "")
        self._witness = estate.Witness(store, self._counted_by)
        self._beats: dict[str, Json] = {}
        self._gone_s: dict[str, float] = {}
        self._roster_at_s = 0.0
        self._is_roster_due = True
        self._alive: list[tuple[str, Json, Beat]] = []
        self._alive_at_s = 0.0
        self._flying: list[There] = []
        self._covered: tuple[Any, Coverage | None] = (), None
        #: The last summaries, and what they were made of.
        self._summed: tuple[Any, dict[str, Summary], list[Summary]] = (None, {}, [])
        self._dropped: Mapping[str, int] = {}
        self._lost_at = 0.0  # as ``estate.lost_at_in``
        self._hearsay = Hearsay()
        #: What has been taken in and is to be told to who reads; the store may fail in between.
        self._untold: list[int] = []
        self._seen: dict[Source, list[Line]] = {}
        self._is_new = False
        self._awaited: set[str] = set()  # who is to write anew what the store has lost
        self._awaited_until_s = 0.0
        self._refusals = Refusals()
        #: Why the store cannot be read, and since when (monotonic); None while it can.
        self.trouble: str | None = None
        self.failed_at_s: float | None = None

    @property
    def sources(self) -> Sequence[Source]:  # type: ignore[override]
        """Their rows."""
        return list(self._replicas.values())

    @property
    def refused(self) -> int:
        """How many frames made no sense."""
        return self._refusals.count

    @property
    def cursor(self) -> int:
        """How far the log has been read."""
        return self._cursor

    # -- reading -------------------------------------------------------------------------------

    def read(self) -> Changes:
        """Take in what they have written since; the store's trouble is kept for the coverage."""
        return self._noting_trouble(self._read) or _NO_CHANGES

    def look(self) -> None:
        """See who is there now: whoever is asked for the health alone reads nothing else."""
        self._noting_trouble(self._read_roster)

    def _noting_trouble(self, look: Callable[[], T]) -> T | None:
        if self.failed_at_s is not None and time.monotonic() - self.failed_at_s > beats.SILENT_S:
            self._is_new = True  # who is kept by others' requests may have seemed to have none
        try:
            found = look()
        except StoreError as error:
            self.trouble = str(error)
            self.failed_at_s = self.failed_at_s or time.monotonic()
            return None
        self.trouble = self.failed_at_s = None
        return found

    def _read(self) -> Changes:
        if self.epoch is None:
            self._load()
            self._untold, self._seen, self._is_new = [], {}, False
            return Changes((), True, {})
        try:
            while entries := self._store.read_since(self._cursor, _MOST_ENTRIES):
                self._take_entries(entries)
                if len(entries) < _MOST_ENTRIES:
                    break
        except Gap:
            self._load()
        self._is_roster_due |= self._is_new  # somebody new is at work
        self._read_roster()
        ended, is_erased = self._hearsay.take_again(self._replicas.values())
        self._untold += ended
        self._is_new |= is_erased
        changes = Changes(self._untold, self._is_new, self._seen)
        self._untold, self._seen, self._is_new = [], {}, False
        return changes

    def _take_entries(self, entries: Sequence[Entry]) -> None:
        turns = Turns()
        for entry in entries:
            self._cursor = entry.cursor
            if entry.worker != self._worker_id:
                self._is_new |= entry.worker not in self._replicas
                taken = self._take(entry.worker, entry.data, entry.at)
                self._untold += taken.keys
                if taken.seen:
                    self._seen.setdefault(self._replicas[entry.worker], []).extend(taken.seen)
            turns()

    def changed_since(self, cursor: int) -> Since | None:
        """Return what has changed since a cursor, None where that cannot be told."""
        if self.failed_at_s is not None:
            return None
        try:
            entries = self._store.read_since(cursor, _MOST_ENTRIES)
            keys = {key for entry in entries for key in decode(entry.data).rows}
        except (StoreError, FrameError):
            return None
        if len(entries) == _MOST_ENTRIES:
            return None
        return Since(keys, entries[-1].cursor if entries else cursor, list(self._roster.taken))

    def _load(self) -> None:
        """Read everything anew, and before that give back what the store has lost of the gone."""
        if self.epoch is not None:
            self._witness.look()
        load, since_at = self._store.load(), self._store.since_at()
        # Nothing is let go before all is here: a store that fails on the way lets no total fall.
        if self.epoch not in (None, load.epoch):
            self._awaited = {worker for worker, *_ in self._living()}
            self._awaited_until_s = time.monotonic() + beats.SILENT_S
        self._replicas, self._since_at = {}, since_at
        self._is_new = True  # whatever comes of the rest
        self.epoch, self._cursor = load.epoch, load.cursor
        tails: list[tuple[str, bytes]] = []
        legacies: list[tuple[int, bytes]] = []
        turns = Turns()
        for worker, bucket, blob in load.snapshots:
            if worker == self._worker_id:
                continue
            if worker == NOBODY:
                legacies.append((bucket, blob))
            elif bucket == TAIL:
                tails.append((worker, blob))
            elif (frame := self._refusals.decoded(blob)) is not None:
                replica = self._replica(worker)
                self._refusals.guarded(replica.take_snapshot, bucket, frame)
                self._set_offset(replica, frame.head, None)
            turns()
        self._legacies = Legacies.read(legacies, self._refusals)
        for worker, blob in tails:
            for part in parts_of(blob):
                self._take(worker, part, None)
        self._take_log(load.entries)
        for replica in self._replicas.values():
            replica.complete_feed()
            turns()
        for _, note in load.notes:
            self.take_note(beats.decode(note))
        self._is_roster_due = True
        self._read_roster()
        self._legacies.drop_from(self._replicas, {*self._beats, self._worker_id})
        self._hearsay.take_again(self._replicas.values())

    def _let_go(self, now_s: float) -> None:
        """Let go of who is gone for long, but for what their sessions have of it."""
        self._is_new |= self._legacies.give_way(self._beats)
        absent = self._replicas.keys() - self._beats.keys()
        just_gone = [one for id in absent if not (one := self._replicas[id]).is_gone]
        if just_gone:
            notes = [beats.decode(note) for _, note in self._store.notes()]
            self._hearsay.recall(notes, just_gone)
        for worker, one in self._replicas.items():
            self._is_new |= one.is_gone and worker not in absent  # so are its requests in flight
            one.is_gone = worker in absent
        overdue = beats.overdue(self._gone_s, absent, now_s, self._store.keep_s)
        if any(self._replicas[worker].rows for worker in overdue) and now_s >= self._let_go_s:
            self._let_go_s = now_s + _LET_GO_S
            self._legacies = Legacies.read(self._store.written_as(NOBODY), self._refusals)
            self._legacies.drop_from(self._replicas, {*self._beats, self._worker_id})
            for worker in overdue:
                self._replicas[worker].rows.clear()
            self._is_new = True
        for worker, is_all_over in overdue.items():
            if is_all_over and not self._replicas[worker].rows:
                del self._replicas[worker]

    def legacy_of(self, key: int, first_ms: int) -> Counts | None:
        """Return what a session had at workers that are gone for long, None for nothing."""
        return self._legacies.of(key, first_ms)

    def _take_log(self, entries: Sequence[Entry]) -> None:
        """Take in a whole log; of its activities, only those that stay in the feed are shown."""
        # Twice as many as the feed holds: some rows are known from a snapshot already.
        told = [(entry.worker, entry.data) for entry in entries]
        are_shown, turns = newest(told, 2 * self._settings.history_size), Turns()
        # One after the other: all heads at once would be much for the garbage collector to walk.
        for entry, is_shown in zip(entries, are_shown, strict=True):
            frame = None if entry.worker == self._worker_id else self._refusals.decoded(entry.data)
            if frame is not None:
                self._take_frame(entry.worker, frame, entry.at, is_shown)
            turns()

    def _take(self, worker: str, data: bytes, at: float | None) -> Taken:
        frame = self._refusals.decoded(data)
        return _NOTHING if frame is None else self._take_frame(worker, frame, at)

    def _take_frame(
        self, worker: str, frame: Frame, at: float | None, is_shown: bool = True
    ) -> Taken:
        replica = self._replica(worker)
        taken: Taken = self._refusals.guarded(replica.take, frame, is_shown) or _NOTHING
        self._is_new |= bool(frame.head.get("anew"))  # its numbers may mean others in known rows
        self._set_offset(replica, frame.head, at)
        return taken

    def _replica(self, worker: str) -> Replica:
        replica = self._replicas.get(worker)
        if replica is None:
            replica = self._replicas[worker] = Replica(worker, *self._sizes)
        return replica

    def _set_offset(self, replica: Replica, written: Json, at: float | None) -> None:
        """Translate a worker's clock into ours; on this machine it is the same monotonic clock.

        ``written`` and ``at`` are as ``beats.offset_ms`` takes them; of several the latest counts.
        """
        if not replica.is_clock_news(written):
            return
        if replica.boot and replica.boot.partition(":")[0] == beats.machine().partition(":")[0]:
            replica.offset_ms = self._clock.offset_ms
        else:
            replica.offset_ms = beats.offset_ms(written, at, replica.offset_ms)

    def _read_roster(self) -> None:
        now_s = time.monotonic()
        if not self._is_roster_due and now_s - self._roster_at_s < _ROSTER_S:
            return
        roster = self._witness.look()
        if self.epoch not in (None, roster.epoch):
            self._load()  # another picture by now
            return
        before, self._roster = self._roster, roster
        if roster.retired != before.retired:
            self._lost_at = estate.lost_at_in(beats.decode(roster.retired))
        self._beats = {
            worker: beats.decode(beat.data)
            for worker, beat in self._roster.beats.items()
            if worker != self._worker_id
        }
        self._dropped = beats.dropped(roster, self._beats, self._worker_id)
        self._roster_at_s = now_s
        self.looks += 1
        self._is_roster_due = False
        self._alive_at_s = 0.0
        self._let_go(now_s)
        self._clock.agree(self._roster.now)
        for worker, beat in self._beats.items():
            replica = self._replicas.get(worker)
            if replica is not None:
                self._set_offset(replica, beat, self._roster.beats[worker].at)

    def rest(self) -> None:
        """Let everything go: nobody reads."""
        self._replicas = {}
        self._hearsay = Hearsay()
        self.epoch = None

    # -- notes ---------------------------------------------------------------------------------

    def take_note(self, note: Json) -> None:
        """Do what a note to all workers says, to what is known of the others."""
        if self.epoch is not None:  # else all that are kept are read with everything
            self._untold += self._hearsay.take(note, self._replicas.values())

    # -- what is known of the workers ----------------------------------------------------------

    def _living(self) -> list[tuple[str, Json, Beat]]:
        """Return those of the roster that are not gone; looked up at most five times a second."""
        now_s = time.monotonic()
        if now_s - self._alive_at_s < _ROSTER_S:
            return self._alive
        self._alive_at_s = now_s
        self._alive = [
            (worker, self._beats.get(worker, {}), beat)
            for worker, beat in self._roster.beats.items()
            if worker != self._worker_id
            and not beats.is_gone(self._beats.get(worker, {}), self._age_s(beat))
        ]
        self._flying = self._in_flight()
        return self._alive

    def _age_s(self, beat: Beat) -> float:
        return max(0.0, self._roster.now - beat.at + time.monotonic() - self._roster_at_s)

    def since_at(self) -> float | None:
        """Return when the picture began."""
        return self._since_at

    def summaries(self) -> Sequence[Summary]:
        """Return their counters, and what those that are gone have left."""
        now_ms = self._clock.now_ms() + self._clock.offset_ms
        known = {worker: one.summary_at(now_ms) for worker, one in self._replicas.items()}
        roster, strange = self._roster, beats.strange(self._beats, known, self.epoch)
        made_of = roster.retired, roster.taken, list(roster.beats), strange
        before, counted, found = self._summed
        if made_of != before or not are_same(counted, known):
            found = beats.summaries(roster, strange, known, self._worker_id)
            self._summed = made_of, known, found
        return found

    def in_flight(self) -> Sequence[There]:
        """Return their requests in flight."""
        self._living()
        return self._flying

    def _in_flight(self) -> list[There]:
        found: list[There] = []
        for worker, beat, _ in self._alive:
            replica = self._replicas.get(worker)
            offset_ms = self._clock.offset_ms if replica is None else replica.offset_ms
            found += in_flight_at(worker, beat, offset_ms)
        return found

    def in_flight_count(self) -> int:
        """Return how many requests they have in flight."""
        return sum(int(beat.get("in_flight_count", 0)) for _, beat, _ in self._living())

    def workers(self) -> Sequence[Json]:
        """Return them as the API shows them."""
        found = []
        for _, beat, row in self._living():
            age_s = self._age_s(row)
            found.append(
                {
                    **beat.get("item", {}),
                    "last_report_at": round(self._clock.now_at() - age_s, 3),
                    "is_reporting": age_s <= beats.SILENT_S,
                }
            )
        return found

    def _counted_by(self, worker: str) -> Summary | None:
        replica = self._replicas.get(worker)
        now_ms = self._clock.now_ms() + self._clock.offset_ms
        return None if replica is None else replica.summary_at(now_ms)

    def dropped(self) -> Mapping[str, int]:
        """Return what they have thrown away, and those that are gone."""
        return self._dropped

    def coverage(self) -> Coverage:
        """Return who has reported; until the living are looked up again only their age grows."""
        living = self._living()
        now_s, (before, known) = time.monotonic(), self._covered
        waits = bool(self._awaited) and now_s < self._awaited_until_s
        lacks_until_at = self._lost_at and estate.lacks_until_at(
            self._lost_at, self._settings.session_timeout, self._clock.now_at()
        )
        made_of = self._alive_at_s, self.failed_at_s, self.epoch, waits, lacks_until_at
        if known is None or made_of != before:
            known = self._coverage(living, lacks_until_at)
            self._covered = made_of, known
        age_s = now_s - self._alive_at_s if living else 0.0
        age_s = round(known.oldest_report_s + age_s, 3)
        return Coverage._make((*known[:_OLDEST], age_s, *known[_OLDEST + 1 :]))

    def _coverage(self, living: list[tuple[str, Json, Beat]], lacks_until_at: float) -> Coverage:
        """Return who had reported when the living were looked up."""
        since_s = time.monotonic() - self._alive_at_s
        ages = [max(0.0, self._age_s(row) - since_s) for _, _, row in living]
        silent = tuple(
            f"{beat.get('host')}:{beat.get('pid')}"
            for (_, beat, _), age_s in zip(living, ages, strict=True)
            if age_s > beats.SILENT_S
        )
        return Coverage(
            workers=len(living),
            reporting=len(living) - len(silent),
            hosts=frozenset(str(beat.get("host", "")) for _, beat, _ in living),
            oldest_report_s=max(ages, default=0.0),
            silent=silent,
            is_readable=self.failed_at_s is None,
            is_whole=self._is_whole(living),
            lacks_until_at=lacks_until_at,
        )

    def _is_whole(self, living: list[tuple[str, Json, Beat]]) -> bool:
        """Tell whether everybody has written anew what the store lost, or has gone since."""
        self._awaited.difference_update(worker for worker, *_ in living)
        if self._awaited and time.monotonic() >= self._awaited_until_s:
            self._awaited.clear()
        return not self._awaited and all(
            beats.is_whole(beat, self.epoch) for beat in self._beats.values()
        )
