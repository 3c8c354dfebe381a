"""The store of several workers on one host: a file."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from sqlite3 import Connection
from typing import TypeVar

from ..errors import ConfigError
from .base import (
    END_OF_BUCKETS,
    KEEP_S,
    LASTING,
    MOST_TAKEN,
    TAIL,
    TAKEN_S,
    Beat,
    Entry,
    Flush,
    Flushed,
    Fold,
    Gap,
    Load,
    Missing,
    Roster,
    Store,
    StoreError,
    tail_of,
)
from .database import Database, Opened
from .file import StoreFile
from .newcomer import Newcomer

T = TypeVar("T")

WRITE = "BEGIN IMMEDIATE"
READ = "BEGIN"
#: What is younger (s) stays in the log although snapshots cover it: who reads at every tick is
#: never told of a gap.
LOG_S = 10.0
#: How long (s) the log keeps the entries of a worker that is gone, for those who read seldom.
GONE_LOG_S = 150.0

_LOG = "SELECT id, worker, at, data FROM log WHERE id > ? ORDER BY id LIMIT ?"
_PUT = (
    "INSERT INTO snap(worker, bucket, at, data) VALUES(?1, ?2, ?3, ?4) "
    "ON CONFLICT(bucket, worker) DO UPDATE SET at = ?3, data = ?4"
)
_BEAT = (
    "INSERT INTO worker(id, at, beat) VALUES(?1, ?2, ?3) "
    "ON CONFLICT(id) DO UPDATE SET at = ?2, beat = ?3"
)
_NOTES = "SELECT id, data FROM note WHERE id > ? AND worker != ? ORDER BY id"
_SEQUENCE = "SELECT seq FROM sqlite_sequence WHERE name = ?"


class SQLiteStore(Store):
    """Keeps the picture in an SQLite file, which all workers of this host write to.

    One transaction per flush, appending one row to the log; never a row per session. Times are
    kept by a clock that does not jump with the wall clock, and given out by the wall clock of now.

    Args:
        lives_with_master: the file is "auto"'s, and ends with the server.
    """

    is_shared = True

    def __init__(
        self,
        url: str,
        *,
        worker: str = "",
        keep_s: float = KEEP_S,
        lives_with_master: bool = False,
    ) -> None:
        super().__init__(url, worker=worker, keep_s=keep_s)
        path = url.removeprefix("sqlite:///")
        if not path.startswith("/"):
            raise ConfigError(
                f"REALTIME_MONITOR_STORE is {url!r}; write a path from the root, with four "
                "slashes: 'sqlite:////path/to/monitor.sqlite'"
            )
        self._database = Database(StoreFile(path), lives_with_master=lives_with_master)
        self._notes: tuple[str, int] | None = None
        self._secret: bytes | None = None
        self._newcomer = Newcomer()
        #: The file's epoch and time at this worker's last write.
        self._written: tuple[str, float] = "", 0.0
        #: The file's head before the last look at the log, and what was its end then.
        self._read_to: tuple[bytes | None, int] = None, 0

    def epoch(self) -> str:
        """Return the id of the picture in the file; a new file has a new one."""
        return self._database.run(lambda db: db.epoch)

    def since_at(self) -> float:
        """Return when the picture began; an explicit file remembers it over restarts."""
        return self._database.run(lambda db: db.since_at)

    def salt(self, day: int) -> bytes:
        """Return a day's salt; yesterday's is kept, older ones are deleted."""
        found = self._database.run(lambda db: _salt(db.sql, day))
        if found is None:
            # In a new file, the one that visitors were told apart by so far.
            self._give_way(bool(self._database.salts))
            made = self._database.salts.get(day) or secrets.token_bytes(16)
            found = self._database.run(lambda db: _make_salt(db.sql, day, made), WRITE)
        salts = {**self._database.salts, day: found}
        self._database.salts = {one: salt for one, salt in salts.items() if one >= day - 1}
        return found

    def secret(self) -> bytes:
        """Return the key in the file; a new file gets what was known so far, the salts too."""
        found = self._database.run(lambda db: _secret(db.sql))
        if found is None:
            self._give_way(self._secret is not None)
            made, salts = self._secret or secrets.token_bytes(16), self._database.salts
            found = self._database.run(lambda db: _make_secret(db.sql, made, salts), WRITE)
        self._secret = found
        return found

    def _give_way(self, is_known: bool) -> None:
        """Refuse to make what others may be about to give back to a new file."""
        if not is_known and self._newcomer.waits():
            path = self._database.path
            raise StoreError(f"{path} is new; who was here before writes to it first")

    def flush(self, flush: Flush) -> Flushed:
        """Write everything in one transaction."""
        if not all(0 <= bucket < END_OF_BUCKETS for bucket, _ in flush.snapshots):
            raise ValueError(f"a bucket is a number from 0 to {END_OF_BUCKETS - 1}")

        def work(db: Opened) -> tuple[Flushed, int, float]:
            sql, at = db.sql, db.tick()
            self._check_lapse(db)
            cursor = self._append(sql, at, flush)
            sql.execute(_BEAT, (self.worker, at, flush.beat))
            # In a new file every note is one that this store has not told.
            told = db.last_note if self._notes is None else 0
            if self._notes is not None and self._notes[0] == db.epoch:
                told = self._notes[1]
            (newest,) = sql.execute(_SEQUENCE, ("note",)).fetchone()
            notes = []
            if newest != told:  # hardly ever
                notes = sql.execute(_NOTES, (told, self.worker)).fetchall()
            return Flushed(cursor, db.epoch, notes, time.time()), newest, at

        flushed, newest, at = self._database.run(work, WRITE)
        self._notes, self._written = (flushed.epoch, newest), (flushed.epoch, at)
        return flushed

    def _check_lapse(self, db: Opened) -> None:
        """Give the file up where it has gone back: what this worker wrote last is not there."""
        epoch, at = self._written
        if epoch == db.epoch:
            query = "SELECT max(coalesce(at, 0), coalesce(taken_at, 0)) FROM worker WHERE id = ?"
            found = db.sql.execute(query, (self.worker,)).fetchone()
            if found is None or found[0] < at:
                self._database.give_up(db, "what was written to it is not there any more")

    def tell(self, note: bytes) -> None:
        """Write a note alone."""
        self._database.run(lambda db: _add_notes(db.sql, self.worker, db.tick(), [note]), WRITE)

    def notes(self) -> list[tuple[int, bytes]]:
        """Return all notes that are kept."""
        return self._database.run(lambda db: db.sql.execute(_NOTES, (0, "")).fetchall())

    def _append(self, sql: Connection, at: float, flush: Flush) -> int:
        """Write the frame, the snapshots and the notes; return the log's cursor."""
        sql.executemany(_PUT, [(self.worker, bucket, at, blob) for bucket, blob in flush.snapshots])
        _add_notes(sql, self.worker, at, flush.notes)
        if flush.frame is None:
            return int(sql.execute(_SEQUENCE, ("log",)).fetchone()[0])
        appended = sql.execute(
            "INSERT INTO log(worker, at, data) VALUES(?, ?, ?)", (self.worker, at, flush.frame)
        )
        return appended.lastrowid or 0

    def read_since(self, cursor: int, most: int = 1000) -> list[Entry]:
        """Return entries of the log; what is not there any more is told as a gap."""
        # By far the most who ask find nothing new, and need not even ask.
        head = self._database.head()
        if head is not None and self._read_to == (head, cursor):
            return []

        def work(db: Opened) -> list[Entry]:
            if db.sql.execute(_SEQUENCE, ("log",)).fetchone() == (cursor,):
                return []
            rows = db.sql.execute(_LOG, (cursor, most)).fetchall()
            # Asked after the entries, so that what is deleted in between is noticed.
            trimmed, newest = db.sql.execute(
                "SELECT (SELECT value FROM meta WHERE key = 'trimmed'), "
                "(SELECT seq FROM sqlite_sequence WHERE name = 'log')"
            ).fetchone()
            if not trimmed <= cursor <= newest:
                raise Gap(f"the log of {self._database.path} does not reach back to {cursor}")
            return _entries(db, rows)

        found = self._database.run(work)
        if len(found) < most:
            self._read_to = head, found[-1].cursor if found else cursor
        return found

    def load(self) -> Load:
        """Return everything as it is at one moment."""

        def work(db: Opened) -> Load:
            sql = db.sql
            return Load(
                db.epoch,
                sql.execute(_SEQUENCE, ("log",)).fetchone()[0],
                sql.execute("SELECT worker, bucket, data FROM snap").fetchall(),
                _entries(db, sql.execute(_LOG, (0, -1))),
                sql.execute(_NOTES, (0, "")).fetchall(),
            )

        return self._database.run(work, READ)

    def snapshots_of(self, bucket: int) -> list[tuple[str, bytes]]:
        """Return the other workers' blobs of one bucket."""
        query = "SELECT worker, data FROM snap WHERE bucket = ? AND worker != ?"
        return self._database.run(
            lambda db: db.sql.execute(query, (bucket, self.worker)).fetchall()
        )

    def put(self, name: str, bucket: int, blob: bytes) -> None:
        """Write a blob alone."""
        self._database.run(lambda db: db.sql.execute(_PUT, (name, bucket, db.tick(), blob)), WRITE)

    def written_as(self, name: str) -> list[tuple[int, bytes]]:
        """Return the blobs of sessions that were written in a name."""
        query = "SELECT bucket, data FROM snap WHERE worker = ? AND bucket < ?"
        return self._database.run(lambda db: db.sql.execute(query, (name, TAIL)).fetchall())

    def roster(self) -> Roster:
        """Return who there is and was."""
        return self._database.run(_roster, READ)

    def retire(self, worker: str, fold: Fold) -> bool:
        """Fold a gone worker's row in one transaction."""

        def work(db: Opened) -> bool:
            sql = db.sql
            query = "SELECT beat, taken FROM worker WHERE id = ? AND beat IS NOT NULL"
            found = sql.execute(query, (worker,)).fetchone()
            if found is None:
                return False
            beat, taken = found
            _retire(sql, fold(beat, _retired(sql), taken))
            at = db.tick()
            sql.execute(
                "UPDATE worker SET beat = NULL, taken = ?, taken_at = ? WHERE id = ?",
                (beat, at, worker),
            )
            _keep_tail(sql, worker, at)
            return True

        return self._database.run(work, WRITE)

    def restore(self, missing: Missing) -> None:
        """Write what is missing in one transaction."""

        def work(db: Opened) -> None:
            sql, now = db.sql, db.tick()
            shift_s = time.time() - now
            found = missing(_roster(db))
            if found is None:
                return
            if found.retired is not None:
                _retire(sql, found.retired)
            sql.executemany(
                "INSERT INTO worker(id, taken_at, taken) VALUES(?1, ?2, ?3) "
                "ON CONFLICT(id) DO UPDATE SET taken_at = ?2, taken = ?3",
                [(id, now, taken) for id, taken in found.taken.items()],
            )
            sql.executemany(
                _BEAT, [(id, beat.at - shift_s, beat.data) for id, beat in found.beats.items()]
            )

        self._database.run(work, WRITE)

    def trim(self, cursor: int) -> None:
        """Delete what snapshots cover and what has outlived its time; frees, never shrinks."""

        def work(db: Opened) -> None:
            sql, now = db.sql, db.tick()
            _trim_log(sql, "worker = ? AND id <= ? AND at < ?", self.worker, cursor, now - LOG_S)
            _trim_log(
                sql,
                "id < coalesce((SELECT id FROM log WHERE at >= ?2 ORDER BY id LIMIT 1), 1 << 62) "
                "AND worker NOT IN (SELECT id FROM worker WHERE beat IS NOT NULL AND at >= ?1)",
                now - self.keep_s,
                now - GONE_LOG_S,
            )
            sql.execute(
                "DELETE FROM snap WHERE at < CASE bucket WHEN ? THEN ? ELSE ? END",
                (LASTING, now - self.longest_s, now - self.keep_s),
            )
            sql.execute("DELETE FROM note WHERE at < ?", (now - self.keep_s,))
            # A worker that came back is corrected as long as it lives, hence the NULL.
            sql.execute(
                "DELETE FROM worker WHERE beat IS NULL AND (taken_at < ? OR id IN (SELECT id FROM "
                "worker WHERE beat IS NULL ORDER BY taken_at DESC LIMIT -1 OFFSET ?))",
                (now - TAKEN_S, MOST_TAKEN),
            )

        self._database.run(work, WRITE)
        self._database.check_wal()

    def leave(self) -> None:
        """Close the file."""
        self._database.close()

    def lag_s(self) -> float | None:
        """Return how long ago the file was last written or read."""
        answered_s = self._database.answered_s
        return None if answered_s is None else time.monotonic() - answered_s


def _entries(db: Opened, rows: Iterable[tuple[int, str, float, bytes]]) -> list[Entry]:
    shift_s = time.time() - db.tick()
    return [Entry(id, worker, at + shift_s, data) for id, worker, at, data in rows]


def _add_notes(sql: Connection, worker: str, at: float, notes: Iterable[bytes]) -> None:
    sql.executemany(
        "INSERT INTO note(worker, at, data) VALUES(?, ?, ?)", [(worker, at, one) for one in notes]
    )


def _roster(db: Opened) -> Roster:
    shift_s = time.time() - db.tick()
    beats, taken = {}, {}
    for id, at, beat, took in db.sql.execute("SELECT id, at, beat, taken FROM worker"):
        if beat is not None:
            beats[id] = Beat(beat, at + shift_s)
        if took is not None:
            taken[id] = took
    return Roster(beats, _retired(db.sql), taken, db.tick() + shift_s, db.epoch)


def _retire(sql: Connection, retired: bytes) -> None:
    sql.execute("INSERT OR REPLACE INTO meta VALUES('retired', ?)", (retired,))


def _retired(sql: Connection) -> bytes | None:
    found = sql.execute("SELECT value FROM meta WHERE key = 'retired'").fetchone()
    return found[0] if found else None


def _salt(sql: Connection, day: int) -> bytes | None:
    found = sql.execute("SELECT value FROM salt WHERE day = ?", (day,)).fetchone()
    return found[0] if found else None


def _secret(sql: Connection) -> bytes | None:
    found = sql.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()
    return found[0] if found else None


def _make_secret(sql: Connection, made: bytes, salts: Mapping[int, bytes]) -> bytes:
    sql.execute("INSERT OR IGNORE INTO meta VALUES('secret', ?)", (made,))
    sql.executemany("INSERT OR IGNORE INTO salt VALUES(?, ?)", salts.items())
    return _secret(sql) or made


def _make_salt(sql: Connection, day: int, made: bytes) -> bytes:
    sql.execute("INSERT OR IGNORE INTO salt VALUES(?, ?)", (day, made))
    sql.execute("DELETE FROM salt WHERE day < ?", (day - 1,))
    return _salt(sql, day) or made


def _keep_tail(sql: Connection, worker: str, at: float) -> None:
    """Keep a gone worker's entries as a snapshot, behind those of an earlier time it was gone.

    They stay in the log for a while, so that nobody who reads it has a gap.
    """
    query = "SELECT data FROM snap WHERE worker = ? AND bucket = ?"
    found = sql.execute(query, (worker, TAIL)).fetchone()
    rows = sql.execute("SELECT data FROM log WHERE worker = ? ORDER BY id", (worker,))
    tail = (found[0] if found else b"") + tail_of(data for (data,) in rows)
    if tail:
        sql.execute(
            "INSERT OR REPLACE INTO snap(worker, bucket, at, data) VALUES(?, ?, ?, ?)",
            (worker, TAIL, at, tail),
        )


def _trim_log(sql: Connection, condition: str, *values: object) -> None:
    """Delete entries, and leave a mark for readers who have not come so far."""
    (last,) = sql.execute(f"SELECT max(id) FROM log WHERE {condition}", values).fetchone()
    if last is not None:
        sql.execute(f"DELETE FROM log WHERE {condition}", values)
        sql.execute("UPDATE meta SET value = max(value, ?) WHERE key = 'trimmed'", (last,))
