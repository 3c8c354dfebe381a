"""What this worker has to tell the others: changes since the last time, and whole snapshots.

Every row it writes is its own and absolute, so that anything may be written twice. The rows are
spread over 256 buckets; some four of them are written whole in a second, so that after a round of
all of them the log before it may go.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from . import rows
from .frames import PACKERS, Head, encode, join
from .noted import Erasure
from .records import MAX_RARE, FeedItem
from .rows import ACT_SIZE, HEAD_SIZE, IP_SIZE_AT
from .sessions import ALL
from .stores import LASTING, SESSION_BUCKETS
from .tracker import Tracker
from .traffic import Batch

#: The bucket of a worker's counters, beside those of its sessions.
COUNTERS = LASTING
#: And that of who has signed out: by itself, for it is read often, and the counters are large.
SIGNED_OUT = 258
#: And that of what else no row tells: by itself, for it is kept no longer than the rows.
LOOSE = 259
_MOST_ROWS = 2_000  # in one frame
_MOST_BATCHES = 2_000


class Packed(NamedTuple):
    """Changes that were packed and are not yet written."""

    dirty: dict[int, int]
    rare: list[tuple[int, int]]
    paths: set[int]
    people: set[int]
    batches: list[Batch] | None
    erased: list[Erasure]
    moved: list[tuple[int, int, int]]
    pauses: set[int]
    is_anew: bool
    marks: tuple[int, int, int, int]


class Outbox:
    """Packs a tracker's changes and snapshots. Made once, before the first request is folded.

    Args:
        tracker: whose changes they are; it begins to take note of them.
        about: goes into every frame: where the worker runs.
    """

    def __init__(self, tracker: Tracker, about: Head) -> None:
        self._tracker = tracker
        self._about = about
        self._sequence = 0
        self._marks = (0, 0, 0, 0)  # agents, routes, excluded, feed
        #: The feed's number as the last two rounds of all snapshots ended; the first of the two
        #: says what the log may not have any more.
        self._rounds = (0, 0)
        self._taken: Packed | None = None
        self._batches_lost = False
        self._is_anew = True  # whether the next frame is the first that tells everything
        self._is_again = False  # whether the last may have been written, though nobody said so
        with tracker.lock:
            sessions = tracker.sessions
            sessions.buckets = [array("Q") for _ in range(SESSION_BUCKETS)]
            for key in sessions.rows:
                sessions.buckets[key & 0xFF].append(key)
            tracker.fresh_rare = []
            tracker.paths.moved = set()
            sessions.people.renamed = set()
            tracker.traffic.fresh = []
            sessions.dirty = {}
            sessions.pauses.fresh = set()
            sessions.alone_until_ms = 0
            tracker.notes = tracker.notes or []  # from before there was anybody to tell
        self.resend()

    @property
    def has_changes(self) -> bool:
        """Whether there is anything that the others have not been told."""
        tracker = self._tracker
        return bool(
            tracker.sessions.dirty
            or tracker.traffic.fresh
            or tracker.traffic.excluded != self._marks[2]
            or tracker.feed_number != self._marks[3]
            or tracker.erased
        )

    def resend(self) -> None:
        """Take everything for unwritten: the store has lost what it had."""
        tracker = self._tracker
        with tracker.lock:
            tracker.sessions.dirty = dict.fromkeys(tracker.sessions.rows, ALL)
            tracker.fresh_rare = [pair for table in tracker.rare_of for pair in table]
            tracker.sessions.pauses.fresh = set(tracker.sessions.pauses)
            tracker.paths.moved = set(range(len(tracker.paths)))
            tracker.sessions.people.renamed = set(range(tracker.sessions.people.size))
            self._batches_lost = self._is_anew = True
            self._marks, self._rounds = (0, 0, 0, 0), (0, 0)

    def end_round(self) -> None:
        """All snapshots are written: what was in the log before the last time may go."""
        self._rounds = self._rounds[1], self._marks[3]

    def pack(self) -> bytes | None:
        """Return a frame of what has changed, None where nothing has.

        Until ``written`` is called it counts as unwritten; ``unwritten`` puts it back.
        """
        tracker = self._tracker
        with tracker.lock:
            taken = self._take()
            people, paths = tracker.sessions.people, tracker.paths
            agents = tracker.sessions.agents.since(self._marks[0])
            routes = tracker.routes.since(self._marks[1])
            rare = self._rare(taken.rare)
            is_new = taken.batches is None or taken.batches or taken.marks[2] != self._marks[2]
            report = tracker.traffic.report(taken.batches) if is_new else None
            gone, packed, overflow = self._rows(taken.dirty)
            pauses = tracker.sessions.pauses.told(taken.pauses)
            changed = taken.dirty if overflow else {}
            cut = None if taken.is_anew else changed
            # One may have ended, and another begun under its key, before anybody was told.
            ended = [key for key, untold in changed.items() if untold >= ALL]
            loose = self._pushed_out(taken.dirty) + self._loose(self._marks[3], cut, ended)
            named = [people.entry(number) for number in taken.people]
            moved = [paths.entry(slot) for slot in taken.paths]
            now = self._now()
        self._taken = taken
        head: Head = {**now, "q": self._sequence + 1}
        for name, value in (
            ("a", agents),
            ("r", routes),
            ("u", named),
            ("p", moved),
            ("gone", gone),
            ("erased", [user_id for user_id, _ in taken.erased]),
            ("erased_keys", [key for _, keys in taken.erased for key in keys]),
            ("moved", taken.moved),
            ("pauses", pauses),
            ("anew", taken.is_anew),
            ("again", self._is_again and bool(packed)),
            ("rare", rare),
            ("loose", loose),
            ("c", report),
        ):
            if value:
                head[name] = value
        if len(head) == len(now) and not packed:
            return None
        self._sequence += 1
        return join({**head, **self._about}, packed)

    def written(self) -> bool:
        """The packed frame is in the store; tell whether there is more to pack."""
        if self._taken is not None:
            self._marks = self._taken.marks
            self._taken, self._is_again = None, False
        return bool(self._tracker.sessions.dirty) or self._batches_lost

    def unwritten(self) -> None:
        """The packed frame could not be written: what was in it is to be packed again."""
        taken, self._taken = self._taken, None
        tracker = self._tracker
        if taken is None:
            with tracker.lock:
                self._bound()
            return
        with tracker.lock:
            later, dirty = tracker.sessions.dirty or {}, taken.dirty
            for key, untold in later.items():
                dirty[key] = dirty.get(key, 0) + untold
            tracker.sessions.dirty = dirty
            tracker.fresh_rare = taken.rare + (tracker.fresh_rare or [])
            tracker.paths.moved = taken.paths | (tracker.paths.moved or set())
            people = tracker.sessions.people
            people.renamed = taken.people | (people.renamed or set())
            tracker.erased = taken.erased + tracker.erased
            tracker.sessions.moved = taken.moved + tracker.sessions.moved
            pauses = tracker.sessions.pauses
            pauses.fresh = taken.pauses | (pauses.fresh or set())
            self._is_anew |= taken.is_anew
            self._is_again = True
            fresh = tracker.traffic.fresh or []
            if taken.batches is None or len(taken.batches) + len(fresh) > _MOST_BATCHES:
                self._batches_lost = True
            else:
                tracker.traffic.fresh = taken.batches + fresh

    def _bound(self) -> None:
        """Let go of what only grows while the store is away, and can be told in another way."""
        tracker = self._tracker
        if len(tracker.traffic.fresh or ()) > _MOST_BATCHES:
            self._batches_lost, tracker.traffic.fresh = True, []
        if len(tracker.fresh_rare or ()) > MAX_RARE:  # the side table has no more
            tracker.fresh_rare = [pair for table in tracker.rare_of for pair in table]

    def snapshot(self, bucket: int) -> bytes:
        """Return all of one bucket's sessions, and the strings whose numbers fall into it."""
        tracker = self._tracker
        with tracker.lock:
            sessions, people, paths = tracker.sessions, tracker.sessions.people, tracker.paths
            keys, table = sessions.buckets[bucket], sessions.rows
            packed: dict[int, Any] = dict(zip(keys, map(table.get, keys), strict=True))
            if len(packed) != len(keys) or not all(packed.values()):
                packed = {key: row for key, row in packed.items() if row is not None}
                sessions.buckets[bucket] = array("Q", packed)
            head: Head = {
                **self._now(),
                "a": sessions.agents.each(bucket, SESSION_BUCKETS),
                "r": tracker.routes.each(bucket, SESSION_BUCKETS),
                "u": people.each(bucket, SESSION_BUCKETS),
                "p": [paths.entry(slot) for slot in range(bucket, len(paths), SESSION_BUCKETS)],
                "rare": self._rare(tracker.rare_of[bucket]),
                "pauses": sessions.pauses.told(
                    key for key in sessions.pauses if key & 0xFF == bucket
                ),
            }
        return encode({**head, **self._about}, packed)

    def counters(self) -> bytes:
        """Return all counters, as the blob of the bucket COUNTERS."""
        with self._tracker.lock:
            report = self._tracker.traffic.report(None)
        return self._told({"c": report})

    def loose(self) -> bytes:
        """Return all activities that no row tells, as the blob of the bucket LOOSE."""
        with self._tracker.lock:
            found = self._loose(0, None)
        return self._told({"loose": found})

    def signed_out(self) -> bytes:
        """Return (first key, generation) of all sign-outs, as the blob of the bucket SIGNED_OUT."""
        with self._tracker.lock:
            found = list(self._tracker.sessions.generation.items())
        return self._told({"g": found})

    def _told(self, head: Head) -> bytes:
        """Return what no bucket of sessions tells, as a blob."""
        return encode({**self._now(), **head, **self._about})

    def _now(self) -> Head:
        """Return what was the last frame, the present moment, and what its clock means."""
        clock = self._tracker.clock
        at = {"at": clock.now_ms(), "o": clock.offset_ms, "s": clock.store_ms}
        return {"q": self._sequence, **at}

    # -- parts of a frame ----------------------------------------------------------------------

    def _take(self) -> Packed:
        """Take the changes there are; what comes from now on is the next frame's."""
        tracker = self._tracker
        sessions, people = tracker.sessions, tracker.sessions.people
        dirty = sessions.dirty or {}
        left: dict[int, int] = {}
        if len(dirty) > _MOST_ROWS:
            pairs = list(dirty.items())
            dirty, left = dict(pairs[:_MOST_ROWS]), dict(pairs[_MOST_ROWS:])
        batches = None if self._batches_lost else tracker.traffic.fresh
        taken = Packed(
            dirty,
            tracker.fresh_rare or [],
            tracker.paths.moved or set(),
            people.renamed or set(),
            batches,
            tracker.erased,
            sessions.moved,
            sessions.pauses.fresh or set(),
            self._is_anew,
            (
                len(sessions.agents),
                len(tracker.routes),
                tracker.traffic.excluded,
                # What the rows that are left cannot tell either is told with the last of them.
                self._marks[3] if left else tracker.feed_number,
            ),
        )
        sessions.dirty, tracker.fresh_rare, tracker.traffic.fresh = left, [], []
        tracker.paths.moved, people.renamed, tracker.erased = set(), set(), []
        sessions.moved, sessions.pauses.fresh = [], set()
        self._batches_lost = self._is_anew = False
        return taken

    def _rows(self, dirty: dict[int, int]) -> tuple[list[int], list[bytes], bool]:
        """Return who is gone, the newest part of every other row, and if that is not all new."""
        gone: list[int] = []
        packed: list[bytes] = []
        add, packers, is_cut = packed.append, PACKERS, False
        # All rows at once, then one after the other: the processor waits for many at a time.
        found = list(map(self._tracker.sessions.rows.get, dirty))
        for key, untold, row in zip(dirty, dirty.values(), found, strict=True):
            if row is None:
                gone.append(key)
                continue
            end = HEAD_SIZE + row[IP_SIZE_AT] + untold * ACT_SIZE
            if end > len(row):
                is_cut, end = True, len(row)
            add(packers[end](key, end, row))
        return gone, packed, is_cut or bool(gone)

    def _loose(
        self, after: int, cut: Collection[int] | None, gone: Collection[int] = ()
    ) -> list[list[Any]]:
        """Return the activities after one of the feed that no row tells, and those of the gone.

        They have no session, or one that has ended since (another may have begun under its key),
        or are more than its row holds.

        Args:
            cut: sessions of which a row may not tell all of them; None for any.
            gone: sessions that have just ended, whose lines are told whenever they were. Who
                begins to read may know their snapshot from after that, and then cannot tell
                what the row in an older frame means.
        """
        tracker = self._tracker
        if not (cut is None or cut or gone or tracker.homeless_number > after):
            return []
        ended = frozenset(gone)
        most = len(tracker.feed) if ended else tracker.feed_number - after
        found = [
            _plain(item)
            for item in islice(reversed(tracker.feed), most)
            if (
                cut is None or item.key is None or item.key in cut
                if item.number > after
                else item.key in ended
            )
            and self._is_loose(item)
        ]
        found.reverse()
        return found

    def _pushed_out(self, dirty: Mapping[int, int]) -> list[list[Any]]:
        """Return the activities of before the log that the rows of this frame do not tell any more.

        Until the next round is over no snapshot tells them either.
        """
        feed, table = self._tracker.feed, self._tracker.sessions.rows
        if not feed or feed[0].number > self._rounds[0]:
            return []  # of a busy site the log has all that the feed holds
        full = {}  # what each of these rows does not tell any more, and how many are new in it
        for key, untold in dirty.items():
            row = table.get(key) if 0 < untold < ALL else None
            if row is not None and (before := _before(row)) > 0:
                full[key] = before - untold, before
        found: list[list[Any]] = []
        for item in feed if full else ():
            if item.number > self._rounds[0]:
                break
            told, before = full.get(item.key or 0, (0, 0))
            if told < item.ordinal <= before:
                found.append(_plain(item))
        return found

    def _is_loose(self, item: FeedItem) -> bool:
        row = None if item.key is None else self._tracker.sessions.rows.get(item.key)
        return row is None or item.ordinal <= _before(row)

    def _rare(self, pairs: Iterable[tuple[int, int]]) -> list[list[Any]]:
        found = []
        for key, ordinal in pairs:
            rare = self._tracker.rare(key, ordinal)
            if rare is not None:
                found.append([key, ordinal, *rare])
        return found


def _before(row: bytes) -> int:
    """Return the ordinal of the last activity that a row does not tell any more."""
    acts = (len(row) - HEAD_SIZE - row[IP_SIZE_AT]) // ACT_SIZE
    return rows.head_of(row).ordinal - acts


def _plain(item: FeedItem) -> list[Any]:
    """Return a line of the feed as plain data; an address or an agent is not in it."""
    record = item.record._replace(ip=b"", agent="")
    return [item.key, item.ordinal or item.number, *record[:5], *record[7:]]
