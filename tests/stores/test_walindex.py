"""Whether somebody has written to an SQLite store, told by the head of its wal-index."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_realtime_monitor.stores import Entry, Flush, Gap
from flask_realtime_monitor.stores.sqlite import SQLiteStore

FRAME = Flush(b"frame", [], b"beat")
BEAT = Flush(None, [], b"beat")
#: A byte of the wal-index on which SQLite holds a lock for as long as a process has it open.
IN_USE_AT = 128

Left = Callable[[Any], Any]
Open = Callable[..., SQLiteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "monitor.sqlite"


@pytest.fixture
def opened(path: Path, left: Left) -> Open:
    def make(worker: str) -> SQLiteStore:
        store: SQLiteStore = left(SQLiteStore(f"sqlite:///{path}", worker=worker))
        return store

    return make


def _statements_of(store: SQLiteStore) -> list[str]:
    """Return a list to which all that SQLite is asked from now on is added."""
    opened = store._database._opened
    assert opened is not None
    found: list[str] = []
    opened.sql.set_trace_callback(found.append)
    return found


def test_sqlite_is_not_asked_while_nobody_writes(opened: Open) -> None:
    writer, reader = opened("w1"), opened("w2")
    cursor = writer.flush(FRAME).cursor
    reader.load()
    assert reader.read_since(cursor) == []
    asked = _statements_of(reader)
    assert reader.read_since(cursor) == []
    assert asked == []
    writer.flush(BEAT)
    assert reader.read_since(cursor) == []
    assert asked != []


def test_another_cursor_is_another_question(opened: Open) -> None:
    writer, reader = opened("w1"), opened("w2")
    before, cursor = (writer.flush(FRAME).cursor for _ in range(2))
    assert reader.read_since(cursor) == []
    assert [entry.cursor for entry in reader.read_since(before)] == [cursor]
    with pytest.raises(Gap):
        reader.read_since(cursor + 1)


@pytest.mark.parametrize(
    "harm",
    [
        lambda side: os.truncate(side, 0),
        lambda side: side.write_bytes(b"\xff" * 136),
        lambda side: side.write_bytes(b"\0" * 136),
    ],
    ids=["cut off", "garbage", "zeros"],
)
def test_a_head_that_makes_no_sense_tells_nothing(
    harm: Callable[[Path], object], path: Path, opened: Open
) -> None:
    reader = opened("w1")
    reader.flush(FRAME)
    assert reader._database.head() is not None
    side = Path(f"{path}-shm")
    good = side.read_bytes()
    with side.open("r+b") as kept:  # closed last, for SQLite's own sake
        harm(side)
        assert reader._database.head() is None
        kept.write(good)


def test_a_file_that_is_gone_or_another_one_tells_nothing(path: Path, opened: Open) -> None:
    writer, reader = opened("w1"), opened("w2")
    cursor = writer.flush(FRAME).cursor
    assert reader.read_since(cursor) == []
    for side in ("-wal", "-shm", ""):
        path.with_name(path.name + side).unlink()
    assert reader._database.head() is None
    writer.flush(FRAME)  # makes it anew
    assert reader._database.head() is None
    with pytest.raises(Gap):
        reader.read_since(cursor)


def _is_in_use(path: Path) -> bool:
    """Ask from outside whether this process still has SQLite's lock on the wal-index."""
    code = (
        "import fcntl, sys\n"
        "with open(sys.argv[1] + '-shm', 'r+b') as side:\n"
        "    try:\n"
        f"        fcntl.lockf(side, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, {IN_USE_AT})\n"
        "    except BlockingIOError:\n"
        "        print('in use')\n"
    )
    found = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, check=True)
    return bool(found.stdout)


def test_one_store_that_leaves_takes_no_lock_from_another(path: Path, opened: Open) -> None:
    one, two = opened("w1"), opened("w2")
    one.flush(FRAME)
    two.flush(FRAME)
    assert _is_in_use(path)
    one.leave()
    assert _is_in_use(path)


def test_nothing_stays_open_after_the_last_has_left(path: Path, opened: Open) -> None:
    one, two = opened("w1"), opened("w2")
    for store in (one, two):
        store.flush(FRAME)
    for store in (one, two):
        store.leave()
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if link.startswith(str(path))]


Step = tuple[str, int]
_steps = st.lists(
    st.tuples(
        st.sampled_from(["frame", "beat", "tell", "trim", "read", "ahead"]), st.integers(0, 1)
    )
)


@given(_steps)
@settings(max_examples=60)
def test_who_looks_at_the_head_first_reads_what_who_asks_at_once_does(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/monitor.sqlite"
        stores = [SQLiteStore(url, worker=f"w{number}") for number in range(3)]
        *writers, asking = stores
        newest = [writers[0].flush(FRAME).cursor]
        reached = [newest[0], newest[0]]
        for what, who in steps:
            if what in ("frame", "beat"):
                newest.append(writers[who].flush(FRAME if what == "frame" else BEAT).cursor)
            elif what == "tell":
                writers[who].tell(b"note")
            elif what == "trim":
                writers[who].trim(newest[-1])
            else:
                cursor = reached[who] + (what == "ahead")
                found = _read(writers[who], cursor)
                asking._read_to = None, 0
                assert found == _read(asking, cursor)
                if found and what == "read":
                    reached[who] = found[-1][0]
        for store in stores:
            store.leave()


def _read(store: SQLiteStore, cursor: int) -> list[tuple[int, str, bytes]] | None:
    try:
        found: list[Entry] = store.read_since(cursor, 2)
    except Gap:
        return None
    return [(entry.cursor, entry.worker, entry.data) for entry in found]
