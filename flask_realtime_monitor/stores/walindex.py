"""What tells, without asking SQLite, that nobody has written to its file since.

Beside a file in WAL mode lies its wal-index, ``-shm``. It begins with the head of the newest
transaction, twice: a count of the transactions, where they end in the log, salts and checksums
("The WAL-Index Header" in SQLite's description of the WAL format). Whoever commits replaces it
before the commit is told: the same head is the same picture.

SQLite's locks on that file are the process's own, and are lost as soon as any descriptor of it is
closed there. So what is opened here is kept until this process has no connection to the file left.
It is read, not mapped: a file that somebody cuts off is short then, and no fault of the memory.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HEAD_SIZE = 48
_VERSIONS = (3_007_000).to_bytes(4, "little"), (3_007_000).to_bytes(4, "big")
_IS_READY = 12  # where a byte says so
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Connection(sqlite3.Connection):
    """A connection that knows the head of its file's wal-index."""

    def __init__(self, path: str, *args: Any, **options: Any) -> None:
        self._wal_index: _WalIndex | None = _WalIndex(path)
        super().__init__(path, *args, **options)

    def close(self) -> None:
        """Close it; the wal-index after it."""
        super().close()
        self._wal_index = None

    def begin_watch(self) -> None:
        """Find the wal-index, which is there once something has been read."""
        if self._wal_index is not None:
            self._wal_index.open()

    def head(self) -> bytes | None:
        """Return what differs after each commit of anybody's; None where that cannot be told."""
        return None if self._wal_index is None else self._wal_index.head()


class _WalIndex:
    """The wal-index of a file, as one connection uses it; lives as long."""

    def __init__(self, path: str) -> None:
        self._path = path + "-shm"
        self._process = _this_process()
        self._descriptor: int | None = None
        with self._process.held():
            self._process.users[self._path] += 1

    def __del__(self) -> None:
        self._process.leave(self._path)

    def open(self) -> None:
        with self._process.held():
            self._descriptor = self._process.descriptor(self._path)

    def head(self) -> bytes | None:
        if self._descriptor is None:
            return None
        try:
            head = os.pread(self._descriptor, 2 * _HEAD_SIZE, 0)
        except OSError:
            return None
        is_whole = head[:_HEAD_SIZE] == head[_HEAD_SIZE:]  # else somebody commits just now
        return head if is_whole and head[:4] in _VERSIONS and head[_IS_READY] else None


class _Process:
    """What this process has open: descriptors of the files that have lain at a path."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._left: deque[str] = deque()
        self.users: Counter[str] = Counter()
        self._descriptors: dict[str, dict[tuple[int, int], int]] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            self._tidy()
            yield

    def descriptor(self, path: str) -> int | None:
        known = self._descriptors.setdefault(path, {})
        try:
            found = os.lstat(path)
            file = found.st_dev, found.st_ino
            if file not in known:
                known[file] = os.open(path, _FLAGS)
        except OSError:
            return None
        return known[file]

    def leave(self, path: str) -> None:
        """One user less; the garbage collector may say so while this very thread is held."""
        self._left.append(path)
        if self._pid == os.getpid() and self._lock.acquire(blocking=False):
            try:
                self._tidy()
            finally:
                self._lock.release()

    def _tidy(self) -> None:
        while self._left:
            path = self._left.popleft()
            self.users[path] -= 1
            if not self.users[path]:
                del self.users[path]
                for descriptor in self._descriptors.pop(path, {}).values():
                    os.close(descriptor)


_processes: dict[int, _Process] = {}


def _this_process() -> _Process:
    """Return what is of this process: a parent's lock may be held for ever."""
    pid = os.getpid()
    return _processes.get(pid) or _processes.setdefault(pid, _Process())
