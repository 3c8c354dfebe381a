"""Several workers of one picture in one process, on one clock, with the store in between."""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import Any

from flask_realtime_monitor import endings, estate, handover, legacy, signouts
from flask_realtime_monitor.config import Settings
from flask_realtime_monitor.flusher import GRACE_S, Flusher
from flask_realtime_monitor.guard import Guard
from flask_realtime_monitor.ingest import Raw
from flask_realtime_monitor.living import visitors_in
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.records import InFlight
from flask_realtime_monitor.replicas import Replicas
from flask_realtime_monitor.stores import (
    KEEP_S,
    TAIL,
    Beat,
    Entry,
    Flush,
    Flushed,
    Gap,
    Load,
    Roster,
    Store,
    StoreError,
)
from flask_realtime_monitor.stores.base import Fold, Missing
from flask_realtime_monitor.surroundings import Surroundings
from flask_realtime_monitor.tracker import Tracker
from flask_realtime_monitor.visitors import Visitors

from .file_post import FilePost
from .records import Time, record_at

Json = dict[str, Any]


class Post:
    """What the stores of several workers in this process carry between them.

    ``is_down`` makes every call fail; a call whose answer is lost (``loses_answers``) fails after
    it was carried out.
    """

    def __init__(self, time: Time) -> None:
        self.clock = time.clock()
        self.salts: dict[int, bytes] = {}
        self.is_down = False
        self.loses_answers = False
        #: What comes between when somebody writes.
        self.interruption: BaseException | None = None
        self.epochs = 0
        self.empty()

    def empty(self) -> None:
        """Lose everything."""
        self.epochs += 1
        self.first = self.epochs * 1_000_000
        self.log: list[Entry] = []
        self.notes: list[tuple[int, str, bytes]] = []
        #: By bucket, then by worker.
        self.snapshots: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
        self.written_at: dict[tuple[str, int], float] = {}
        self.beats: dict[str, Beat] = {}
        self.taken: dict[str, bytes] = {}
        self.retired: bytes | None = None

    def open(self, worker: str, keep_s: float) -> PostStore:
        """Return one worker's end of it."""
        return PostStore(self, worker, keep_s)

    def close(self) -> None:
        """Leave nothing behind, as nothing is."""

    def trim(self) -> None:
        """Let all go that is in the log, as when snapshots cover it."""
        self.first += len(self.log)
        self.log = []

    def retire(self, worker: str, fold: Fold = estate.fold) -> bool:
        """Take over what a worker has counted, who is gone, or seems to be."""
        beat = self.beats.pop(worker, None)
        if beat is None:
            return False
        self.retired = fold(beat.data, self.retired, self.taken.get(worker))
        self.taken[worker] = beat.data
        tail = [entry.data for entry in self.log if entry.worker == worker]
        self.snapshots[TAIL][worker] = b"".join(struct.pack("<I", len(one)) + one for one in tail)
        self.written_at[worker, TAIL] = self.clock.now_at()
        return True


class PostStore(Store):
    """One worker's end of a post; of the log only what the gone left is ever trimmed."""

    is_shared = True

    def __init__(self, post: Post, worker: str, keep_s: float = KEEP_S) -> None:
        super().__init__("post:", worker=worker, keep_s=keep_s)
        self.post = post
        self._told = post.first + len(post.notes)  # who comes is not told of what was before

    def _ask(self) -> Post:
        if self.post.is_down:
            raise StoreError("the post is down")
        return self.post

    def epoch(self) -> str:
        return str(self._ask().epochs)

    def since_at(self) -> float:
        return 1.0

    def salt(self, day: int) -> bytes:
        return b"salt of %d" % day

    def secret(self) -> bytes:
        return b"secret"

    def flush(self, flush: Flush) -> Flushed:
        post = self._ask()
        if post.interruption is not None:
            raise post.interruption
        now = post.clock.now_at()
        if flush.frame is not None:
            cursor = post.first + len(post.log) + 1
            post.log.append(Entry(cursor, self.worker, now, flush.frame))
        for bucket, blob in flush.snapshots:
            self.put(self.worker, bucket, blob)
        post.beats[self.worker] = Beat(flush.beat, now)
        for note in flush.notes:
            post.notes.append((post.first + len(post.notes) + 1, self.worker, note))
        if post.loses_answers:
            raise StoreError("the answer was lost")
        told = [
            (cursor, note)
            for cursor, worker, note in post.notes
            if cursor > self._told and worker != self.worker
        ]
        self._told = post.first + len(post.notes)
        return Flushed(post.first + len(post.log), self.epoch(), told, now)

    def tell(self, note: bytes) -> None:
        post = self._ask()
        post.notes.append((post.first + len(post.notes) + 1, self.worker, note))

    def notes(self) -> list[tuple[int, bytes]]:
        return [(cursor, note) for cursor, _, note in self._ask().notes]

    def read_since(self, cursor: int, most: int = 1000) -> list[Entry]:
        post = self._ask()
        if not post.first <= cursor <= post.first + len(post.log):
            raise Gap("another log")
        begin = cursor - post.first
        return post.log[begin : begin + most]

    def load(self) -> Load:
        post = self._ask()
        snapshots = [
            (worker, bucket, blob)
            for bucket, blobs in post.snapshots.items()
            for worker, blob in blobs.items()
        ]
        cursor = post.first + len(post.log)
        least_at = post.clock.now_at() - self.keep_s
        entries = [one for one in post.log if one.worker in post.beats or one.at >= least_at]
        return Load(self.epoch(), cursor, snapshots, entries, self.notes())

    def snapshots_of(self, bucket: int) -> list[tuple[str, bytes]]:
        found = self._ask().snapshots[bucket]
        return [(id, blob) for id, blob in found.items() if id != self.worker]

    def put(self, name: str, bucket: int, blob: bytes) -> None:
        self._ask().snapshots[bucket][name] = blob
        self.post.written_at[name, bucket] = self.post.clock.now_at()

    def written_as(self, name: str) -> list[tuple[int, bytes]]:
        found = self._ask().snapshots.items()
        return [(bucket, of[name]) for bucket, of in found if name in of and bucket < TAIL]

    def roster(self) -> Roster:
        post = self._ask()
        return Roster(
            *(dict(post.beats), post.retired, dict(post.taken)), post.clock.now_at(), self.epoch()
        )

    def retire(self, worker: str, fold: Fold) -> bool:
        return self._ask().retire(worker, fold)

    def restore(self, missing: Missing) -> None:
        post, found = self._ask(), missing(self.roster())
        if found is not None:
            post.beats |= found.beats
            post.taken |= found.taken
            post.retired = found.retired or post.retired

    def trim(self, cursor: int) -> None:
        post = self._ask()
        now_at = post.clock.now_at()
        for place in [
            one for one, at in post.written_at.items() if at < now_at - self.keep_of(one[1])
        ]:
            name, bucket = place
            del post.snapshots[bucket][name], post.written_at[place]

    def leave(self) -> None:
        pass


class Mate:
    """One worker: tracker, flusher and picture, and no server around them.

    Args:
        name: its id.
    """

    def __init__(self, name: str, post: Post | FilePost, settings: Settings, time: Time) -> None:
        self.name = name
        self.time = time
        self.dropped: dict[str, int] = {}
        self.store = post.open(name, settings.session_timeout + GRACE_S + legacy.KEEP_S)
        self.guard = Guard()
        self.guard.is_strict = True
        clock = time.clock()
        self.tracker = Tracker(
            settings,
            clock,
            Visitors(
                self._salt,
                settings.session_timeout,
                lambda visitor: self.tracker.sessions.knows_visitor(visitor),  # noqa: PLW0108 (made below)
                self.store.secret,
                lambda: visitors_in(self.store.load()),
            ),
        )
        self.tracker.visitors.fetch(clock.now_at())
        self.tracker.visitors.turn(clock.now_at())
        self.born = 1
        self.flying: list[InFlight] = []
        self.replicas = Replicas(settings, clock, self.store, name)
        self.flusher = Flusher(
            settings,
            self.tracker,
            self.store,
            self.guard,
            self._beat,
            self._take_note,
            self.replicas.take_note,
            lambda: None,
        )
        around = Surroundings(
            in_flight=lambda: self.flying,
            viewers=lambda: 0,
            worker=self._item,
            health=dict,
            events_dropped=lambda: 0,
            is_whole=lambda: True,
            is_worker=lambda: True,
            fold=lambda: None,
            tell=self.tell,
            epoch=lambda: self.replicas.epoch or "",
            cursor=lambda: self.replicas.cursor,
        )
        self.picture = Picture(settings, self.tracker, name, name, around, lambda: self.replicas)

    def tell(self) -> None:
        """Called before what it saw is shown; a worker would write now."""

    def _salt(self, day: int) -> bytes:
        signouts.learn(self.store, self.tracker)
        return self.store.salt(day)

    def _item(self) -> Json:
        return {"id": self.name, "dropped": self.dropped}

    def _beat(self) -> Json:
        clock = self.tracker.clock
        return {
            "host": self.name,
            "boot": self.name,
            "pid": 1,
            "born": self.born,
            "at": clock.now_ms(),
            "o": clock.offset_ms,
            "item": self._item(),
            "in_flight": [one[:6] for one in self.flying],
        }

    def _take_note(self, note: Json) -> None:
        if note["kind"] == endings.KIND:
            endings.take(self.tracker, note)
        elif note["kind"] == signouts.KIND:
            signouts.take(self.tracker, note)
        elif note["kind"] == handover.KIND:
            handover.take(note, self.name, self._record)
        else:
            self.tracker.take_note(note)
        self.replicas.take_note(note)

    def _record(self, raw: Raw) -> None:
        """Take over what a shell has told."""
        user, user_name = raw.user or (None, None)
        blank = dict.fromkeys(("path", "rule", "endpoint", "method", "status", "duration_ms"))
        whose = {"user_name": user_name, "at_ms": int(raw.at_s * 1000)}
        self.visit(0, user, kind="custom", name=raw.name, **whose, **blank)

    def visit(self, visitor: int = 1, user: str | None = None, **fields: Any) -> None:
        """Fold one request."""
        self.tracker.fold([record_at(self.time, visitor, user, **fields)])

    def begin(self, visitor: int) -> None:
        """Begin a request that does not end."""
        at_ms = self.tracker.clock.now_ms()
        id = f"{self.name}-{len(self.flying)}"
        self.flying.append(InFlight(id, visitor, "GET", "wait", "/wait", at_ms, True))

    def end(self, session_id: str) -> None:
        """End a session, as at an admin's word."""
        ending = self.picture.ending(session_id)
        assert ending is not None
        note = endings.end(self.tracker, ending, None)
        assert self.tracker.notes is not None
        self.tracker.notes.append(note)
        self.replicas.take_note(note)

    def forget(self, user_id: str) -> None:
        """Erase a person."""
        self.tracker.forget(user_id, self.picture.keys_of(user_id))

    def flush(self) -> None:
        """Write until there is no more to write."""
        while self.flusher.flush():
            pass

    def read(self) -> Json:
        """Return all that must not depend on who is asked."""
        self.replicas._is_roster_due = True
        stats = self.picture.stats()
        names = (
            *("requests_total", "errors_total", "total_sessions", "anonymous_sessions"),
            *("active_users", "active_sessions", "requests_per_s", "latency_ms"),
        )
        feed = self.picture.activities(1000)["items"]
        ids = [one["id"] for one in feed]
        assert len(set(ids)) == len(ids), "an activity is told twice"
        return {
            **{name: stats[name] for name in names},
            "sessions": sorted(
                (
                    one["id"],
                    one["requests"],
                    one["errors"],
                    str(one["user"]),
                    one["first_seen_at"],
                    one["last_seen_at"],
                )
                for one in self.picture.sessions(1000)["items"]
            ),
            "users": sorted(
                (one["id"], one["requests"], one["sessions"])
                for one in self.picture.users(1000)["items"]
            ),
            # Guest and user of one session are two of a minute where two workers saw them.
            "history": [
                (one["at"], one["requests"], one["errors"], one["active_users"])
                for one in stats["history"]
                if one["requests"]
            ],
            "endpoints": [
                (one["endpoint"], one["requests"], one["active_sessions"])
                for one in self.picture.endpoints(1000)["items"]
            ],
            "feed": sorted((one["at"], one["path"] or "") for one in feed),
        }


class Team:
    """Some workers of one picture, and one beside them that sees everything alone."""

    def __init__(self, count: int = 3, **more: Any) -> None:
        self.time = Time()
        self.settings = Settings(**more)
        self.post = Post(self.time)
        self.mates = [self.mate(f"mate{number}") for number in range(count)]
        self.alone = Mate("alone", Post(self.time), self.settings, self.time)

    def mate(self, name: str) -> Mate:
        """Return one more worker."""
        return Mate(name, self.post, self.settings, self.time)

    def visit(self, mate: int, visitor: int, user: str | None, **fields: Any) -> None:
        """Make a request at one of them."""
        self.mates[mate].visit(visitor, user, **fields)
        self.alone.visit(visitor, user, **fields)

    def flush(self) -> None:
        """Let each hear of all the others."""
        for mate in [*self.mates, *self.mates]:
            mate.flush()

    def check(self, *readers: Mate) -> None:
        """All tell what the one tells that saw everything."""
        whole = self.alone.read()
        for mate in readers or self.mates:
            assert mate.read() == whole

    def check_nobody(self) -> None:
        """Nobody is told of, by whoever is asked."""
        for mate in [*self.mates, self.mate("newcomer")]:
            assert mate.read()["sessions"] == []
