"""An SQLite file that several processes write to, and that is made anew when it is lost."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn, TypeVar

from ..processes import boot_id
from .base import StoreError
from .file import Busy, Look, StoreFile
from .place import clear_dead
from .walindex import Connection

T = TypeVar("T")

#: Says in the file's header that it is ours.
APPLICATION_ID = 0x46524D53
SCHEMA_VERSION = 1
#: How long (s) a call waits for the other processes; longer while the file is being opened.
BUSY_S = 0.05
OPEN_S = 1.0
_PAUSE_S = 0.002
#: A reader that was stopped in the middle keeps the write-ahead log from being used again. When
#: it has grown to this, the picture moves to a new file.
MOST_WAL_BYTES = 256 << 20
#: Measured with 350 KB per flush: the least CPU, and no flush that pays for many others.
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 250

_TABLES = """
CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, worker TEXT, at REAL, data BLOB);
CREATE INDEX log_worker ON log(worker);
CREATE TABLE snap(worker TEXT, bucket INTEGER, at REAL, data BLOB, PRIMARY KEY(bucket, worker));
CREATE INDEX snap_at ON snap(at);
CREATE TABLE worker(id TEXT PRIMARY KEY, at REAL, beat BLOB, taken_at REAL, taken BLOB);
CREATE TABLE note(id INTEGER PRIMARY KEY AUTOINCREMENT, worker TEXT, at REAL, data BLOB);
CREATE TABLE meta(key TEXT PRIMARY KEY, value);
CREATE TABLE salt(day INTEGER PRIMARY KEY, value BLOB);
"""

#: Connections that a parent process made. Closing one here would meddle with the parent's files.
_INHERITED: list[sqlite3.Connection] = []


class _Damaged(Exception):
    """The file is to be made anew."""


class Opened(NamedTuple):
    """The file as this process has it open.

    ``base_s`` is what the store's clock is ahead of the time since the system's start;
    ``last_note`` the newest note when it was opened.
    """

    pid: int
    sql: Connection
    look: Look
    epoch: str
    since_at: float
    base_s: float
    last_note: int

    def tick(self) -> float:
        """Return the store's time: near the wall clock, but it never jumps with it."""
        return self.base_s + _since_boot_s()


class Database:
    """Runs pieces of work on the file, one after the other, each whole or not at all.

    Nothing here switches to another greenlet between BEGIN and COMMIT. Busy is waited for with
    ``time.sleep``, which gevent has patched in its workers: SQLite's own waiting would stop them.

    Args:
        file: where it is.
        lives_with_master: the file is "auto"'s. It belongs to one start of the system, may be
            thrown away when something is wrong with it, and is shown to be in use.
    """

    def __init__(self, file: StoreFile, *, lives_with_master: bool) -> None:
        self._file = file
        self._lives_with_master = lives_with_master
        self._locks: dict[int, threading.Lock] = {}
        self._opened: Opened | None = None
        self._size_bytes = 0
        self._damaged: Look | None = None
        self._since_at: float | None = None
        #: Carried over into a new file, so that visitors keep their ids.
        self.salts: dict[int, bytes] = {}
        self.answered_s: float | None = None

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._file.path

    def run(self, work: Callable[[Opened], T], begin: str = "") -> T:
        """Return what a piece of work gives, within the transaction that ``begin`` opens.

        Raises:
            StoreError: busy for longer than BUSY_S, or the file cannot be used.
        """
        ends_s = time.monotonic() + (BUSY_S if self._opened else OPEN_S)
        has_mended = False
        while True:
            try:
                with self._lock():
                    found = self._once(work, begin)
                self.answered_s = time.monotonic()
                return found
            except Busy:
                if time.monotonic() >= ends_s:
                    raise
            except _Damaged as damage:
                if has_mended:
                    raise StoreError(f"{self._file.path} is damaged: {damage}") from damage
                has_mended = True
                continue
            time.sleep(_PAUSE_S)

    def head(self) -> bytes | None:
        """Return what is the same for as long as nobody has written, by one look at two files.

        None where that has to be asked: also of a file that is another one now, or cut off.
        """
        opened = self._opened
        if opened is None or opened.pid != os.getpid() or self._damaged is not None:
            return None
        try:
            found = os.lstat(self._file.path)
        except OSError:
            return None
        device, inode, _ = opened.look
        if found.st_ino != inode or found.st_dev != device or found.st_size < self._size_bytes:
            return None
        return opened.sql.head()

    def give_up(self, opened: Opened, why: str) -> NoReturn:
        """Leave the place to a new file, in which the work is done that found this one damaged."""
        self._damaged = opened.look
        raise _Damaged(why)

    def check_wal(self) -> None:
        """Give the file up when its write-ahead log cannot be used again."""
        try:
            size_bytes = os.stat(self._file.path + "-wal").st_size
        except OSError:
            return
        if size_bytes > MOST_WAL_BYTES and self._opened:
            self._damaged = self._opened.look

    def close(self) -> None:
        """Close the file; the next work opens it again."""
        with self._lock():
            self._close()
            self._file.rest()

    def _lock(self) -> threading.Lock:
        """Return the lock of this process: a parent's may be held for ever."""
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.Lock())

    def _once(self, work: Callable[[Opened], T], begin: str) -> T:
        try:
            opened = self._open()
            try:
                if begin:
                    opened.sql.execute(begin)
                found = work(opened)
                if begin:
                    opened.sql.execute("COMMIT")
                return found
            except BaseException:
                if opened.sql.in_transaction:
                    opened.sql.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._wrong(error) from error

    def _wrong(self, error: sqlite3.Error) -> Exception:
        """Return what an error of SQLite's means; the file is closed unless it was only busy."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            return Busy(f"{self._file.path} is busy: other processes write to it")
        opened = self._opened
        self._close()
        is_lost = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if opened and (is_lost or "no such table" in str(error)):
            self._damaged = opened.look
            return _Damaged(str(error))
        return StoreError(f"{self._file.path} cannot be used: {error}")

    def _open(self) -> Opened:
        opened = self._opened
        if opened and opened.pid != os.getpid():
            _INHERITED.append(opened.sql)
            opened = self._opened = None
        if opened:
            if not self._is_lost(opened):
                return opened
            self._close()
        with self._file.held():
            opened = self._opened = self._find()
        self._damaged, self._size_bytes = None, opened.look.size_bytes
        self._since_at = opened.since_at
        return opened

    def _is_lost(self, opened: Opened) -> bool:
        """Whether the file is no longer there, was replaced, cut off, or given up."""
        try:
            found = os.lstat(self._file.path)
        except OSError:
            return True
        look = Look(found.st_dev, found.st_ino, found.st_size)
        if look.is_same(opened.look) and look.size_bytes < self._size_bytes:
            self._damaged = opened.look
        self._size_bytes = look.size_bytes
        return not look.is_same(opened.look) or self._damaged is not None

    def _find(self) -> Opened:
        """Open the file that is there, or a new one in its place."""
        if self._lives_with_master:
            self._file.live()
            clear_dead(self._file.folder)
        look = self._file.look()
        is_damaged = bool(look and self._damaged and look.is_same(self._damaged))
        if look and look.size_bytes and not is_damaged:
            self._file.keep_private()
            opened = self._read()
            if opened:
                return opened
        # Also when there is no file: what SQLite left beside the old one would be mixed into it.
        self._file.remove()
        self._file.make()
        sql = self._connect()
        try:
            _tune(sql)
            self._write_tables(sql)
        finally:
            sql.close()
        opened = self._read()
        if not opened:
            raise StoreError(f"{self._file.path} cannot be used: it does not keep what is written")
        return opened

    def _read(self) -> Opened | None:
        """Open a file that is ours and good; None leaves the place to a new one.

        Raises:
            StoreError: it is another program's, or a newer release's.
        """
        sql = self._connect()
        opened = None
        try:
            _tune(sql)
            opened = self._verify(sql)
            sql.begin_watch()
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            sql.close()
            if not self._lives_with_master:
                # The path may have been a mistake, and the file somebody's work.
                self._file.set_aside()
        finally:
            if not opened:
                sql.close()
        return opened

    def _verify(self, sql: Connection) -> Opened | None:
        (owner,) = sql.execute("PRAGMA application_id").fetchone()
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        if owner != APPLICATION_ID:
            raise StoreError(
                f"{self._file.path} is a database of another program; choose another path"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(f"{self._file.path} was written by a newer release of this package")
        if version < SCHEMA_VERSION:
            return None
        meta = dict(sql.execute("SELECT key, value FROM meta"))
        look = self._file.look()
        if "epoch" not in meta or not look:
            return None
        if meta["boot"] != boot_id():
            if self._lives_with_master:
                return None
            meta["base_s"] = _base_s()
            change = "UPDATE meta SET value = ? WHERE key = ?"
            sql.executemany(change, [(boot_id(), "boot"), (meta["base_s"], "base_s")])
        (last_note,) = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'note'").fetchone()
        return Opened(
            os.getpid(), sql, look, meta["epoch"], meta["since_at"], meta["base_s"], last_note
        )

    def _connect(self) -> Connection:
        return Connection(self._file.path, timeout=0, isolation_level=None, check_same_thread=False)

    def _write_tables(self, sql: sqlite3.Connection) -> None:
        """Begin a picture.

        Cursors begin at the time in microseconds, far above what any earlier file has reached: a
        reader that comes with one of those is told that there is a gap.
        """
        begins = int(time.time() * 1_000_000)
        meta = {
            "epoch": secrets.token_hex(4),
            "since_at": self._since_at or time.time(),
            "boot": boot_id(),
            "base_s": _base_s(),
            "trimmed": begins,
        }
        sql.execute(f"PRAGMA page_size={PAGE_BYTES}")
        sql.execute("PRAGMA journal_mode=WAL")
        sql.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.split(";"):
            sql.execute(statement)
        sql.executemany("INSERT INTO meta VALUES(?, ?)", meta.items())
        sql.executemany("INSERT INTO salt VALUES(?, ?)", self.salts.items())
        first = [("log", begins), ("note", begins)]
        sql.executemany("INSERT INTO sqlite_sequence(name, seq) VALUES(?, ?)", first)
        sql.execute(f"PRAGMA application_id={APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        sql.execute("COMMIT")

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened and opened.pid == os.getpid():
            opened.sql.close()
        elif opened:
            _INHERITED.append(opened.sql)


def _tune(sql: sqlite3.Connection) -> None:
    # The log is for the living: what the last seconds before a power cut wrote may be lost.
    sql.execute("PRAGMA synchronous=OFF")
    sql.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    sql.execute("PRAGMA journal_size_limit=16777216")


def _base_s() -> float:
    return time.time() - _since_boot_s()


def _since_boot_s() -> float:
    """Return the seconds since the system's start: the same in all its processes."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
