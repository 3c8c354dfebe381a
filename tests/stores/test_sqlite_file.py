"""What happens to the SQLite store when its file is not well, or not ours."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor.errors import ConfigError
from flask_realtime_monitor.stores import Flush, Gap, Store, StoreError, open_store
from flask_realtime_monitor.stores import database as database_module
from flask_realtime_monitor.stores import sqlite as sqlite_module
from flask_realtime_monitor.stores.sqlite import SQLiteStore
from tests.support.gunicorn_server import ROOT
from tests.support.waiting import wait_until

Left = Callable[[Any], Any]
NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def frame(text: bytes = b"x") -> Flush:
    return Flush(text, [(1, b"blob")], b"1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "monitor.sqlite"


@pytest.fixture(params=["explicit", "auto"])
def opened(request: pytest.FixtureRequest, path: Path, left: Left) -> Callable[..., Store]:
    is_auto = request.param == "auto"

    def make(worker: str = "w1", **rest: Any) -> Store:
        store = SQLiteStore(f"sqlite:///{path}", worker=worker, lives_with_master=is_auto, **rest)
        left(store)
        return store

    return make


def test_who_has_opened_it_lets_others_do_so_at_once_under_gevent_too(path: Path) -> None:
    script = f"""
from gevent import monkey
monkey.patch_all()
import gevent, os
gevent.sleep(0)  # there is a loop, whose next turn may be long in coming
from flask_realtime_monitor.stores.file import StoreFile
file = StoreFile({str(path)!r})
for _ in range(2):
    with file.held():
        pass
print(*os.listdir("/proc/self/fd"))
with file.held():
    print(*os.listdir("/proc/self/fd"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, meanwhile = (len(line.split()) for line in done.stdout.splitlines())
    assert meanwhile == before + 1


def test_files_are_private_whatever_the_umask(path: Path, left: Left) -> None:
    folder = path.parent / "made"
    before = os.umask(0)
    try:
        left(open_store(f"sqlite:///{folder}/x.sqlite", worker="w1")).flush(frame())
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {one.name: one.stat().st_mode & 0o777 for one in folder.iterdir()}
    assert set(modes) == {"x.sqlite", "x.sqlite-wal", "x.sqlite-shm"}
    assert set(modes.values()) == {0o600}


def test_an_explicit_file_survives_everybody_s_end(path: Path, left: Left) -> None:
    one = left(open_store(f"sqlite:///{path}", worker="w1"))
    before = (one.flush(frame()).epoch, one.since_at(), one.salt(20_000))
    one.leave()
    path.chmod(0o644)
    two = left(open_store(f"sqlite:///{path}", worker="w2"))
    assert (two.epoch(), two.since_at(), two.salt(20_000)) == before
    assert [entry.data for entry in two.load().entries] == [b"x"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_after_another_start_of_the_system_auto_begins_anew_and_a_file_goes_on(
    opened: Callable[..., Store], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = opened()
    epoch = one.flush(frame()).epoch
    one.leave()
    monkeypatch.setattr(database_module, "boot_id", lambda: "another")
    monkeypatch.setattr(database_module, "_since_boot_s", lambda: 5.0)
    is_same = one.epoch() == epoch
    assert is_same is ("explicit" in request.node.callspec.id)
    one.flush(frame())
    assert abs(one.roster().beats["w1"].at - time.time()) < 20


def cut_off(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def fill_with_garbage(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(os.urandom(size))


def remove_all(path: Path) -> None:
    for one in path.parent.glob("*.sqlite*"):
        one.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"")
    other.replace(path)


@pytest.mark.parametrize(
    "harm", [Path.unlink, remove_all, cut_off, cut_in_half, fill_with_garbage, replace]
)
def test_a_file_that_is_lost_is_made_anew_and_everybody_moves_there(
    opened: Callable[..., Store], path: Path, harm: Callable[[Path], None]
) -> None:
    one, two = opened("w1"), opened("w2")
    for number in range(40):
        one.flush(Flush(b"x" * 50_000, [(number, b"y" * 20_000)], b"1"))
    epoch, since_at, salt = two.flush(frame()).epoch, two.since_at(), two.salt(20_000)
    cursor = two.load().cursor
    harm(path)

    def epochs() -> set[str]:
        found = set()
        for store in (one, two):
            try:
                found.add(store.flush(Flush(b"new", [(7, b"blob")], b"1")).epoch)
            except StoreError:
                found |= {"", "none"}
        return found

    # One that has everything in its memory may not notice before the other writes or reads.
    wait_until(lambda: len(epochs() - {epoch}) == 1 and len(epochs()) == 1, "one new epoch", 5)
    late = opened("late")
    assert late.epoch() == one.epoch() == two.epoch() != epoch
    assert late.since_at() == since_at
    assert two.salt(20_000) == salt
    with pytest.raises(Gap):
        two.read_since(cursor)
    assert {worker for worker, _, _ in late.load().snapshots} == {"w1", "w2"}


def test_what_is_no_database_is_set_aside_not_lost(path: Path, left: Left) -> None:
    path.write_bytes(b"a letter " * 100)
    left(open_store(f"sqlite:///{path}", worker="w1")).flush(frame())
    assert path.with_name("monitor.sqlite.broken").read_bytes() == b"a letter " * 100


def test_another_program_s_database_is_left_alone(path: Path, left: Left) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers(name)")
    other.commit()
    other.close()
    before = path.read_bytes()
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    with pytest.raises(StoreError, match="another program"):
        store.flush(frame())
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "is_newer"), [(99, True), (0, False)])
def test_a_file_of_an_older_release_is_made_anew_and_a_newer_one_is_left(
    path: Path, left: Left, version: int, is_newer: bool
) -> None:
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    epoch = store.epoch()
    store.leave()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA user_version={version}")
    other.close()
    if is_newer:
        with pytest.raises(StoreError, match="newer release"):
            store.epoch()
    else:
        assert store.epoch() != epoch


def test_links_are_not_followed(path: Path, left: Left) -> None:
    target = path.with_name("target")
    target.write_bytes(b"precious")
    for make in (path.symlink_to, path.hardlink_to):
        make(target)
        store = left(open_store(f"sqlite:///{path}", worker="w1"))
        with pytest.raises(StoreError, match="link"):
            store.flush(frame())
        path.unlink()
    dangling = path.with_name("dangling")
    path.symlink_to(dangling)
    with pytest.raises(StoreError, match="is a link"):
        store.flush(frame())
    assert not dangling.exists()
    assert target.read_bytes() == b"precious"


def test_a_folder_that_is_a_link_or_open_to_others_is_refused(path: Path, left: Left) -> None:
    real, link = path.parent / "real", path.parent / "link"
    real.mkdir(mode=0o700)
    link.symlink_to(real)
    with pytest.raises(StoreError, match="is a link"):
        left(open_store(f"sqlite:///{link}/x.sqlite")).epoch()
    real.chmod(0o777)
    store = left(open_store(f"sqlite:///{real}/x.sqlite"))
    with pytest.raises(StoreError, match="written by others"):
        store.epoch()
    real.chmod(0o755)
    store.epoch()
    missing = left(open_store(f"sqlite:///{path.parent}/no/where/x.sqlite"))
    with pytest.raises(StoreError, match="No such file"):
        missing.epoch()


@needs_root
def test_what_belongs_to_another_user_is_refused(path: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{path}"))
    path.write_bytes(b"")
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="another user"):
        store.epoch()
    path.unlink()
    os.chown(path.parent, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="another user"):
        store.epoch()
    os.chown(path.parent, 0, 0)
    store.epoch()


@pytest.fixture
def small_disk(path: Path) -> Iterator[Path]:
    folder = path.parent / "disk"
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_what_was_written_stays(small_disk: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{small_disk}/x.sqlite", worker="w1"))
    epoch = store.flush(frame()).epoch
    with pytest.raises(StoreError, match="full"):
        store.flush(Flush(b"x" * 2_000_000, [], b"1"))
    assert store.flush(frame(b"y")).epoch == epoch
    assert [entry.data for entry in store.load().entries] == [b"x", b"y"]


def test_a_disk_that_is_read_only_is_said(small_disk: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{small_disk}/x.sqlite", worker="w1"))
    store.flush(frame())
    store.leave()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="cannot be used"):
        store.flush(frame())
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    store.flush(frame())


def test_a_limit_on_the_file_s_size_is_said(path: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    store.flush(frame())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreError, match="cannot be used"):
            store.flush(Flush(b"x" * 500_000, [], b"1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    store.flush(frame())


def test_a_stopped_writer_makes_the_others_busy_for_a_moment_only(path: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    cursor = store.flush(frame()).cursor
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began_s = time.monotonic()
    with pytest.raises(StoreError, match="busy"):
        store.flush(frame())
    assert time.monotonic() - began_s < database_module.BUSY_S + 0.5
    assert store.read_since(cursor) == []
    other.execute("ROLLBACK")
    other.close()
    store.flush(frame())


def test_a_log_that_cannot_be_used_again_is_left_behind(
    path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MOST_WAL_BYTES", 4 << 20)
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    epoch = store.flush(frame()).epoch
    stopped = sqlite3.connect(path, isolation_level=None)
    stopped.execute("BEGIN")
    stopped.execute("SELECT count(*) FROM log").fetchone()

    def moves() -> bool:
        flushed = store.flush(Flush(b"x" * 500_000, [], b"1"))
        store.trim(flushed.cursor)
        return flushed.epoch != epoch

    wait_until(moves, "there is a new file")
    stopped.close()


def test_trimming_leaves_a_mark_for_those_who_have_not_come_so_far(
    path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "LOG_S", -1.0)
    one, two = (left(open_store(f"sqlite:///{path}", worker=name)) for name in ("w1", "w2"))
    begin = two.load().cursor
    two.flush(frame(b"his"))
    last = one.flush(frame(b"mine")).cursor
    one.trim(last)
    with pytest.raises(Gap):
        two.read_since(begin)
    assert two.read_since(last) == []
    assert [entry.data for entry in two.load().entries] == [b"his"]
    monkeypatch.setattr(sqlite_module, "GONE_LOG_S", -1.0)
    assert one.retire("w2", lambda beat, retired, taken: b"1")
    one.flush(frame(b"mine"))
    one.trim(0)
    assert [entry.data for entry in two.load().entries] == [b"mine"]


def test_what_nobody_wrote_again_goes_with_time(path: Path, left: Left) -> None:
    one = left(open_store(f"sqlite:///{path}", worker="w1", keep_s=0.0))
    one.flush(Flush(b"x", [(1, b"blob")], b"1", [b"note"]))
    one.salt(20_000)
    one.salt(20_002)
    one.trim(0)
    loaded = one.load()
    assert (loaded.snapshots, loaded.notes) == ([], [])
    days = sqlite3.connect(path)
    assert [day for (day,) in days.execute("SELECT day FROM salt")] == [20_002]
    days.close()


def test_only_so_many_gone_workers_are_remembered(
    path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "MOST_TAKEN", 2)
    url = f"sqlite:///{path}"
    one = left(open_store(url, worker="w1"))
    for name in ("g1", "g2", "g3"):
        left(open_store(url, worker=name)).flush(frame())
        assert one.retire(name, lambda beat, retired, taken: b"1")
    one.trim(0)
    assert set(one.roster().taken) == {"g2", "g3"}


def test_the_wall_clock_may_jump(path: Path, left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    one = left(open_store(f"sqlite:///{path}", worker="w1", keep_s=60.0))
    one.flush(frame())
    real = time.time
    for jump_s in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
        one.trim(0)
        assert len(one.load().snapshots) == 1
        roster = one.roster()
        assert 0 <= roster.now - roster.beats["w1"].at < 20
        assert abs(roster.now - time.time()) < 1


def test_a_path_that_does_not_begin_at_the_root_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="four slashes"):
        open_store("sqlite:///x.sqlite")


def test_a_child_opens_the_file_itself(path: Path, left: Left) -> None:
    store = left(open_store(f"sqlite:///{path}", worker="w1"))
    store.flush(frame())
    code = """if True:
        import os, sys
        from flask_realtime_monitor.stores import Flush, open_store
        store = open_store(sys.argv[1], worker="parent")
        store.flush(Flush(b"parent", [], b"1"))
        child = os.fork()
        store.flush(Flush(b"child" if child == 0 else b"again", [], b"1"))
        store.leave()
        if child == 0:
            os._exit(0)
        sys.exit(os.waitpid(child, 0)[1])
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, store.url], check=True, cwd=ROOT, timeout=60
    )
    assert {entry.data for entry in store.load().entries} == {b"x", b"parent", b"child", b"again"}


@pytest.mark.server
def test_writers_killed_forty_times_leave_nothing_broken_or_locked(path: Path, left: Left) -> None:
    url = f"sqlite:///{path}"
    reader = left(open_store(url, worker="reader"))
    epoch = reader.flush(frame()).epoch
    acknowledged: dict[str, int] = {}
    for round in range(20):
        names = [f"{round}a", f"{round}b"]
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.stores.writer", url, name],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for name in names
        ]
        for name, writer in zip(names, writers, strict=True):
            assert writer.stdout is not None
            for _ in range(3 + round % 4):
                acknowledged[name] = int(writer.stdout.readline())
            writer.kill()
            last = writer.stdout.read().split()
            acknowledged[name] = int(last[-1]) if last else acknowledged[name]
            writer.stdout.close()
            writer.wait()
        assert reader.flush(frame()).epoch == epoch
    beats = reader.roster().beats
    for name, number in acknowledged.items():
        assert int(beats[name].data) >= number
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
