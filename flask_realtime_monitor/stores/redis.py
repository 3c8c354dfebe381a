"""The store of several hosts: a Redis or Valkey server, or a cluster of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from . import wire
from .base import (
    END_OF_BUCKETS,
    KEEP_S,
    MOST_TAKEN,
    TAIL,
    TAKEN_S,
    Entry,
    Flush,
    Flushed,
    Fold,
    Gap,
    Load,
    Missing,
    Roster,
    Store,
    tail_of,
)
from .kept import Kept
from .lapse import Lapse
from .server import Command, Server
from .wire import Row

#: How long (s) the log keeps an entry, by the server's clock.
KEEP_LOG_S = 150.0
#: How often (s) the keys' expiry is renewed, and the log is cut.
RENEW_S = 10.0


class RedisStore(Store):
    """Keeps the picture on a server: a stream for the log, a string for each snapshot.

    One round trip per flush, of a few commands whatever was recorded. No script and no function;
    everything expires by itself. All keys share a hash tag, so that they lie in one slot.

    Args:
        prefix: what the keys begin with, to keep two apps apart.
        keep_log_s: how long the log keeps an entry.
    """

    is_shared = True

    def __init__(
        self,
        url: str,
        *,
        worker: str = "",
        keep_s: float = KEEP_S,
        prefix: str = "realtime-monitor",
        keep_log_s: float = KEEP_LOG_S,
    ) -> None:
        super().__init__(url, worker=worker, keep_s=keep_s)
        self._server = Server(url)
        self._prefix = "{" + prefix.replace("{", "").replace("}", "") + "}"
        self._keep = max(1, round(keep_s))
        self._keep_log_s = keep_log_s
        #: What the server's clock is ahead of this process's monotonic one.
        self._ahead_s: float | None = None
        self._since_at: float | None = None
        self._kept = Kept(self._server, self._key, self._keep, worker, self._now)
        self._lapse = Lapse(self._server, self._key, worker)
        self._newest = self._covered = 0
        #: Up to where notes are told already, or were there before; None before a first look.
        self._told: int | None = None
        self._flushed_in: str | None = None
        #: The epoch of the last load, and how far the log was read since.
        self._read: bytes | None = None
        self._reached = 0
        #: The last question for news, as it was packed.
        self._asked: tuple[tuple[int, int], bytes] = (0, 0), b""
        self._renew_at_s = self._cut_at_s = float("-inf")
        self._cut_up_to = 0

    @property
    def shown_url(self) -> str:
        """The address without user, password and options."""
        return self._server.shown_url

    def epoch(self) -> str:
        """Return the id of the picture on the server; one that lost everything gets a new one."""
        return self._begin()[0]

    def since_at(self) -> float:
        """Return when the picture began."""
        return self._begin()[1]

    def salt(self, day: int) -> bytes:
        """Return a day's salt, which the server forgets after two days."""
        return self._kept.salt(day)

    def secret(self) -> bytes:
        """Return the key on the server; one that lost everything gets the one known so far."""
        return self._kept.secret()

    def flush(self, flush: Flush) -> Flushed:
        """Write everything in one round trip."""
        if not all(0 <= bucket < END_OF_BUCKETS for bucket, _ in flush.snapshots):
            raise ValueError(f"a bucket is a number from 0 to {END_OF_BUCKETS - 1}")
        if self._since_at is None:
            self._begin()
        return self._lapse.watched(lambda: self._write(flush), self._begin_another)

    def _write(self, flush: Flush) -> Flushed:
        log, worker = self._key("log"), self.worker
        commands: list[Command] = []
        if flush.frame is not None:
            commands.append(("XADD", log, "*", "w", worker, "d", flush.frame))
        for bucket, blob in flush.snapshots:
            keep = max(self._keep, round(self.keep_of(bucket)))
            commands.append(("SET", self._key("s", worker, bucket), blob, "EX", keep))
        to, at = self._key("notes"), self._now()
        commands += [("XADD", to, "*", "w", worker, "d", note) for note in flush.notes]
        row = wire.pack_row(Row(at, self._covered, flush.beat))
        commands.append(("HSET", self._key("beats"), worker, row))
        is_due = time.monotonic() >= self._renew_at_s
        commands += self._kept.renewals() if is_due else []
        first, *_, moment, notes, length, epoch = self._server.send(
            *commands,
            ("TIME",),
            ("XRANGE", self._key("notes"), wire.id_of((self._told or 0) + 1), "+"),
            ("XLEN", log),
            ("GET", self._key("epoch")),
            ends=self._lapse.ends,
        )
        if is_due:
            self._renew_at_s = time.monotonic() + min(RENEW_S, self.keep_s / 4)
        if flush.frame is not None:
            self._newest = wire.cursor_of(first)
        if epoch is None:
            text, _ = self._begin()
        elif length == (flush.frame is not None):
            # Cutting leaves the newest entry, so the server has dropped the log (it was full), and
            # with it what no snapshot holds yet.
            text = self._begin_another()
        else:
            text = epoch.decode()
        if self._flushed_in not in (None, text):
            notes = self._start_over(notes, has_written=flush.frame is not None)
        self._flushed_in = text
        self._lapse.note(text, at)
        return Flushed(self._newest, text, self._others(notes), self._note_time(moment))

    def _start_over(self, notes: list[Any], *, has_written: bool) -> list[Any]:
        """Return what is news in another picture: its server's clock may be behind the last."""
        self._covered, self._newest = 0, self._newest if has_written else 0
        rows, *_ = self._server.send(
            ("XRANGE", self._key("notes"), "-", "+"), *self._kept.renewals()
        )
        if rows and wire.cursor_of(rows[-1][0]) >= (self._told or 0):
            return notes
        self._told = 0
        return list(rows)

    def tell(self, note: bytes) -> None:
        """Write a note alone; where no picture is, it expires as one would."""
        notes = self._key("notes")
        self._server.send(
            ("XADD", notes, "*", "w", self.worker, "d", note), ("EXPIRE", notes, self._keep)
        )

    def notes(self) -> list[tuple[int, bytes]]:
        """Return all notes that are kept."""
        (rows,) = self._server.send(("XRANGE", self._key("notes"), "-", "+"))
        self._note_told(rows[-1:])
        return [(one.cursor, one.data) for one in self._entries(rows)]

    def read_since(self, cursor: int, most: int = 1000) -> list[Entry]:
        """Return entries of the log, unless it was cut beyond the cursor, or is another one."""
        begin = cursor
        while True:
            rows, (cut, epoch) = self._server.ask(self._question(begin, most), 2)
            # Asked after the entries, so that a cut in between is noticed.
            is_known = cut is not None and begin >= int(cut) and epoch == (self._read or epoch)
            if not is_known or not (begin == self._reached or self._has(begin)):
                raise Gap(f"the log on {self.shown_url} does not reach back to {begin}")
            if rows:
                self._reached = wire.cursor_of(rows[-1][0])
            found = self._entries(rows)
            if found or not rows:
                return found
            begin = self._reached

    def _question(self, cursor: int, most: int) -> bytes:
        """Return, packed, what asks for news; by far the most who ask, ask the same again."""
        asked, packed = self._asked
        if asked != (cursor, most):
            news = ("XRANGE", self._key("log"), wire.id_of(cursor + 1), "+", "COUNT", most)
            packed = wire.pack((news, ("MGET", self._key("cut"), self._key("epoch"))))
            self._asked = (cursor, most), packed
        return packed

    def _has(self, cursor: int) -> bool:
        """Whether an entry is there: asked of a cursor that this store has not given itself."""
        id = wire.id_of(cursor)
        return bool(self._server.send(("XRANGE", self._key("log"), id, id))[0])

    def load(self) -> Load:
        """Return everything.

        The tails are read after the log: what is moved there is there before the log loses it.
        """
        epoch, _ = self._begin()
        (ids,) = self._server.send(("ZRANGE", self._key("ids"), 0, -1))
        workers = [wire.text_of(id) for id in ids]
        snapshots: list[tuple[str, int, bytes]] = []
        for worker in workers:  # one may have far more than another
            snapshots += self._blobs([(worker, n) for n in range(END_OF_BUCKETS) if n != TAIL])
        cursor, entries = self._newest, list[Entry]()
        for rows in self._server.pages(self._key("log"), 0):
            entries += self._entries(rows)
            cursor = wire.cursor_of(rows[-1][0])
        snapshots += self._blobs([(worker, TAIL) for worker in workers])
        notes = self.notes()
        (after,) = self._server.send(("GET", self._key("epoch")))
        if after != epoch.encode():
            raise Gap(f"the picture on {self.shown_url} began anew while it was read")
        self._read, self._reached = after, cursor
        return Load(epoch, cursor, snapshots, entries, notes)

    def snapshots_of(self, bucket: int) -> list[tuple[str, bytes]]:
        """Return the other workers' blobs of one bucket."""
        (ids,) = self._server.send(("ZRANGE", self._key("ids"), 0, -1))
        workers = [wire.text_of(id) for id in ids]
        found = self._blobs([(worker, bucket) for worker in workers if worker != self.worker])
        return [(worker, blob) for worker, _, blob in found]

    def put(self, name: str, bucket: int, blob: bytes) -> None:
        """Write a blob alone, and its name among those whose blobs are read."""
        self._server.send(
            ("SET", self._key("s", name, bucket), blob, "EX", self._keep),
            ("ZADD", self._key("ids"), self._now(), name),
        )

    def written_as(self, name: str) -> list[tuple[int, bytes]]:
        """Return the blobs of sessions that were written in a name."""
        found = self._blobs([(name, bucket) for bucket in range(TAIL)])
        return [(bucket, blob) for _, bucket, blob in found]

    def roster(self) -> Roster:
        """Return who there is and was."""
        if self._told is None:
            self._begin()
        beats, gone, epoch, moment = self._server.send(
            ("HGETALL", self._key("beats")),
            ("HGETALL", self._key("gone")),
            ("GET", self._key("epoch")),
            ("TIME",),
        )
        self._note_time(moment)
        return self._roster(beats, gone, self._begin()[0] if epoch is None else epoch.decode())

    def _roster(self, written: list[bytes], gone: list[bytes], epoch: str) -> Roster:
        beats, beats_dropped = wire.read_beats(written)
        retired, taken, dropped = wire.read_gone(gone)
        self.dropped += beats_dropped + dropped
        took = {id: row.data for id, row in taken.items()}
        return Roster(beats, retired, took, self._now(), epoch)

    def retire(self, worker: str, fold: Fold) -> bool:
        """Fold a gone worker's row, in a transaction on what is kept of those who are gone.

        The beats are a hash of their own, so that living workers do not disturb it.
        """
        beats, gone, tail = self._key("beats"), self._key("gone"), self._key("s", worker, TAIL)

        def plan(ask: Callable[..., Any]) -> list[Command]:
            row = wire.unpack_row(ask("HGET", beats, worker))
            if not row:
                return []
            retired, taken, _ = wire.read_gone(ask("HGETALL", gone))
            before = taken.get(worker)
            took = wire.pack_row(Row(max(self._now(), row.at), 0, row.data))
            commands: list[Command] = [
                ("HDEL", beats, worker),
                ("HSET", gone, f"t:{worker}", took),
                ("HSET", gone, "retired", fold(row.data, retired, before and before.data)),
                ("EXPIRE", gone, self._keep),
            ]
            living = {wire.text_of(id) for id in ask("HKEYS", beats)}
            old = wire.outlived(taken, living, self._now() - TAKEN_S, MOST_TAKEN - 1)
            commands += [("HDEL", gone, f"t:{id}") for id in old]
            blob = (ask("GET", tail) or b"") + self._uncovered(worker, row.covered)
            if blob:
                its_name = "ZADD", self._key("ids"), self._now(), worker
                commands += [("SET", tail, blob, "EX", self._keep), its_name]
            return commands

        return self._server.transact(gone, plan)

    def restore(self, missing: Missing) -> None:
        """Write what is missing, in a transaction on what is kept of those who are gone."""
        beats, gone = self._key("beats"), self._key("gone")
        epoch = self.epoch()

        def plan(ask: Callable[..., Any]) -> list[Command]:
            now = self._roster(ask("HGETALL", beats), ask("HGETALL", gone), epoch)
            found = missing(now)
            if found is None:
                return []
            commands: list[Command] = [
                ("HSET", gone, f"t:{id}", wire.pack_row(Row(self._now(), 0, data)))
                for id, data in found.taken.items()
            ]
            if found.retired is not None:
                commands.append(("HSET", gone, "retired", found.retired))
            for id, beat in found.beats.items():
                # Its own may come in between, which is not to be written over.
                put = "HSET" if id in now.beats else "HSETNX"
                commands.append((put, beats, id, wire.pack_row(Row(beat.at, 0, beat.data))))
            return [*commands, *(("EXPIRE", key, self._keep) for key in (beats, gone))]

        self._server.transact(gone, plan)

    def trim(self, cursor: int) -> None:
        """Remember what is covered; now and then cut the log, for all workers, by age."""
        self._covered = max(self._covered, cursor)
        if self._ahead_s is None or time.monotonic() < self._cut_at_s:
            return
        # At least the newest entry stays, and what came since the last cut: a reader who reads
        # at every tick is never told of a gap.
        now = self._now()
        rows, cut = self._server.send(("HVALS", self._key("beats")), ("GET", self._key("cut")))
        up_to = min(
            *(wire.cursor_at(now - self._keep_log_s), self._cut_up_to),
            # Somebody who hangs has not written snapshots of what is in it.
            *wire.covered_in(rows, now - self.keep_s),
        )
        if cut is not None and up_to > int(cut):
            self._server.send(("SET", self._key("cut"), up_to, "EX", self._keep))
            self._server.cut(self._key("log"), up_to)
        self._server.cut(self._key("notes"), wire.cursor_at(now - self.keep_s))
        self._server.send(("ZREMRANGEBYSCORE", self._key("ids"), "-inf", now - self.longest_s))
        self._cut_up_to = self._newest
        self._cut_at_s = time.monotonic() + min(RENEW_S, self._keep_log_s / 4)

    def leave(self) -> None:
        """Close the connections."""
        self._server.close()

    def lag_s(self) -> float | None:
        """Return how long ago the server last answered."""
        return self._server.lag_s()

    def _key(self, *parts: object) -> str:
        return ":".join((self._prefix, *map(str, parts)))

    def _begin(self) -> tuple[str, float]:
        """Return the picture's epoch and beginning; what is missing is made.

        The first entry of the log is an empty one, so that a log without entries is a lost one.
        """
        epoch, since, moment, newest, note, cut = self._server.send(
            ("GET", self._key("epoch")),
            ("GET", self._key("since")),
            ("TIME",),
            ("XREVRANGE", self._key("log"), "+", "-", "COUNT", 1),
            ("XREVRANGE", self._key("notes"), "+", "-", "COUNT", 1),
            ("GET", self._key("cut")),
        )
        self._note_told(note)
        now = self._note_time(moment)
        if epoch is None or since is None or cut is None or not newest:
            new = secrets.token_hex(4)
            # With the log the server has dropped what no snapshot holds yet: all is to be resent.
            only_new = () if epoch and not newest else ("NX",)
            if cut is None or not newest:
                newest = [self._start()]
            since_at = self._since_at or now
            *_, epoch, since = self._server.send(
                *self._kept.known(),
                ("SET", self._key("since"), repr(since_at), "EX", self._keep, "NX"),
                ("SET", self._key("epoch"), new, "EX", self._keep, *only_new),
                *self._kept.renewals(),
                ("GET", self._key("epoch")),
                ("GET", self._key("since")),
            )
        self._newest = wire.cursor_of(newest[0][0])
        if self._since_at is None:
            self._covered = self._newest  # nothing before is of this worker
        self._since_at = float(since)
        return epoch.decode(), self._since_at

    def _begin_another(self) -> str:
        """Begin another picture, where the server has lost a part of this one; return its epoch."""
        self._start()
        self._server.send(("SET", self._key("epoch"), secrets.token_hex(4), "EX", self._keep))
        return self._begin()[0]

    def _start(self) -> tuple[bytes, None]:
        """Write the first entry of a log; who has read another one, or less, has a gap."""
        (id,) = self._server.send(("XADD", self._key("log"), "*", "w", "", "d", ""))
        cut = wire.cursor_of(id)
        self._server.send(("SET", self._key("cut"), cut, "EX", self._keep))
        return id, None

    def _now(self) -> float:
        """Return the server's time, as known from its last answer."""
        return time.monotonic() + (self._ahead_s or 0.0)

    def _note_time(self, moment: list[bytes]) -> float:
        now = wire.seconds_of(moment)
        self._ahead_s = now - time.monotonic()
        return now

    def _note_told(self, newest: list[Any]) -> None:
        """With the first look at the notes, leave the newest of them behind: there may be none."""
        if self._told is None:
            self._told = wire.cursor_of(newest[0][0]) if newest else 0

    def _others(self, rows: list[Any]) -> list[tuple[int, bytes]]:
        """Return the notes of others, and remember that they were told."""
        if rows:
            self._told = wire.cursor_of(rows[-1][0])
        return [(one.cursor, one.data) for one in self._entries(rows) if one.worker != self.worker]

    def _entries(self, rows: list[Any]) -> list[Entry]:
        """Read rows of a stream; what makes no sense is counted and left out."""
        found = [wire.entry_of(row) for row in rows]
        self.dropped += found.count(None)
        return [entry for entry in found if entry and entry.worker]

    def _uncovered(self, worker: str, covered: int) -> bytes:
        pages = self._server.pages(self._key("log"), covered)
        entries = (entry for rows in pages for entry in self._entries(rows))
        return tail_of(entry.data for entry in entries if entry.worker == worker)

    def _blobs(self, places: list[tuple[str, int]]) -> list[tuple[str, int, bytes]]:
        """Return the snapshots that there are of (worker, bucket)."""
        blobs = self._server.values([self._key("s", *place) for place in places])
        pairs = zip(places, blobs, strict=True)
        return [(*place, blob) for place, blob in pairs if blob is not None]
