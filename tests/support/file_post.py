"""A real SQLite file that workers of one process share, on a time that is moved by hand."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time as true_time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from flask_realtime_monitor import estate, flusher, legacy, replicas, timeline
from flask_realtime_monitor.stores import StoreError, database, sqlite
from flask_realtime_monitor.stores.sqlite import SQLiteStore

from .records import Time


class FilePost:
    """As ``several.Post``, of a file in a folder of its own; it can be kept and put back."""

    def __init__(self, time: Time) -> None:
        self.is_down = False
        self.loses_answers = False
        self._folder = Path(tempfile.mkdtemp())  # nobody else's to read, as the store demands
        self._path = self._folder / "monitor.sqlite"
        self._kept = self._folder / "kept"
        self._stores: list[SQLiteStore] = []

    def open(self, worker: str, keep_s: float) -> SQLiteStore:
        """Return one worker's end of it."""
        store = SQLiteStore(f"sqlite:///{self._path}", worker=worker, keep_s=keep_s)
        run = store._database.run

        def run_or_fail(work: Callable[..., Any], begin: str = "") -> Any:
            if self.is_down:
                raise StoreError("the file is down")
            found = run(work, begin)
            if self.loses_answers and begin == "BEGIN IMMEDIATE":
                raise StoreError("the answer was lost")
            return found

        store._database.run = run_or_fail  # type: ignore[method-assign]
        self._stores.append(store)
        return store

    def empty(self) -> None:
        """Lose everything."""
        for path in self._folder.glob(f"{self._path.name}*"):
            path.unlink()

    def keep(self) -> None:
        """Take a copy."""
        self._copy(self._path, self._kept)

    def go_back(self) -> None:
        """Have what the copy had, if one was taken."""
        if self._kept.exists():
            self._copy(self._kept, self._path)

    def close(self) -> None:
        """Take it away."""
        self.is_down = self.loses_answers = False
        for store in self._stores:
            store.leave()
        shutil.rmtree(self._folder)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)


@contextmanager
def clocks_of(time: Time) -> Iterator[None]:
    """Let all that shares a picture read one time in place of the machine's clocks."""
    clocks = mock.Mock(
        time=lambda: time.now_s + 1e9,
        monotonic=lambda: time.now_s,
        clock_gettime=lambda _id: time.now_s,
        sleep=true_time.sleep,
    )
    with (
        mock.patch.object(flusher, "time", clocks),
        mock.patch.object(replicas, "time", clocks),
        mock.patch.object(estate, "time", clocks),
        mock.patch.object(legacy, "time", clocks),
        mock.patch.object(timeline, "time", clocks),
        mock.patch.object(database, "time", clocks),
        mock.patch.object(sqlite, "time", clocks),
    ):
        yield
