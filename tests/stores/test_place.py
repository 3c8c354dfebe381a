"""Where "auto" lies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor.processes import born_at
from flask_realtime_monitor.stores import MemoryStore, StoreError, open_store
from flask_realtime_monitor.stores import place as place_module
from flask_realtime_monitor.stores.file import StoreFile
from flask_realtime_monitor.stores.place import (
    Master,
    clear_dead,
    find_place,
    gunicorn_master,
    has_elders,
    is_alive,
)
from tests.support.descriptors import none_left
from tests.support.gunicorn_server import GunicornServer
from tests.support.waiting import wait_until

OURS = Master(os.getpid(), born_at(os.getpid()) or 0)
DEAD = Master(2**22 + 5, 7)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder for temporary files there is."""
    real = os.path.isdir
    monkeypatch.setattr(
        os.path, "isdir", lambda path: real(path) and str(path).startswith(str(tmp_path))
    )
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def as_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "gunicorn_master", lambda: OURS)


def folder_in(base: Path) -> Path:
    return base / f"flask-realtime-monitor-{os.geteuid()}"


def file_of(base: Path, app_name: str, master: Master) -> Path:
    folder_in(base).mkdir(mode=0o700, exist_ok=True)
    stem = place_module._stem(app_name)
    return folder_in(base) / f"{stem}-{master.pid}-{master.start}.sqlite"


def test_a_worker_shares_the_file_of_its_master_and_app(base: Path, as_worker: None) -> None:
    place = find_place("shop")
    assert place.url == f"sqlite:///{file_of(base, 'shop', OURS)}"
    assert (place.reason, place.is_guest) == (None, False)
    assert find_place("other").url != place.url
    assert find_place("Shop").url != place.url
    assert ".." not in Path(find_place("../../x").url).name[:3]


def test_a_worker_that_comes_later_finds_the_file_where_there_is_no_more_room(
    base: Path, as_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy = base / "run"
    roomy.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(roomy))
    rooms = {str(roomy): place_module.ROOM_BYTES, str(base): 1}
    monkeypatch.setattr(place_module, "_room_bytes", lambda one: rooms[os.path.dirname(one)])
    first = find_place("shop").url
    assert str(roomy) in first
    Path(first.removeprefix("sqlite:///")).touch()
    rooms[str(roomy)] = 0
    assert find_place("shop").url == first
    assert str(roomy) not in find_place("other").url


def test_a_planted_folder_is_passed_over(
    base: Path, as_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = base / "run"
    planted.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(planted))
    (base / "trap").mkdir()
    folder_in(planted).symlink_to(base / "trap")
    assert str(planted) not in find_place("shop").url
    folder_in(base).rmdir()
    folder_in(base).symlink_to(base / "trap")
    place = find_place("shop")
    assert place.url == "memory:"
    assert place.reason and "REALTIME_MONITOR_STORE" in place.reason


def test_a_shell_is_the_guest_of_the_one_living_master(base: Path) -> None:
    assert find_place("shop") == ("memory:", None, False)
    file_of(base, "shop", DEAD).touch()
    file_of(base, "other", OURS).touch()
    assert find_place("shop").url == "memory:"
    file_of(base, "shop", OURS).touch()
    place = find_place("shop")
    assert place == (f"sqlite:///{file_of(base, 'shop', OURS)}", None, True)


def test_a_shell_that_makes_more_apps_or_fewer_finds_the_server(base: Path) -> None:
    names = ["shop", "shop 2", "shop 3"]
    file_of(base, "shop 3", OURS).touch()
    assert find_place("shop 2").url == "memory:"
    assert find_place("shop 2", names).url == f"sqlite:///{file_of(base, 'shop 3', OURS)}"
    assert open_store("auto", worker="w1", app_name="shop").is_guest
    assert not open_store("auto", worker="w1", app_name="shop", prefix="shop").is_guest
    file_of(base, "shop 2", OURS).touch()  # and its very own before any other
    assert find_place("shop 2", names).url == f"sqlite:///{file_of(base, 'shop 2', OURS)}"
    assert find_place("shop", names).reason


def test_of_several_masters_a_shell_takes_none_and_names_them(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Master(os.getppid(), born_at(os.getppid()) or 0)
    for master in (OURS, parent):
        file_of(base, "shop", master).touch()
    place = find_place("shop")
    assert place.url == "memory:"
    assert place.reason and str(OURS.pid) in place.reason and str(parent.pid) in place.reason
    store = open_store("auto", worker="w1", app_name="shop")
    assert isinstance(store, MemoryStore)
    assert store.reason == place.reason


def test_a_process_whose_name_is_no_text_is_looked_for_as_any_other(
    base: Path, tmp_path: Path
) -> None:
    program = os.fsencode(tmp_path) + b"/caf\xc3"
    os.symlink(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as named:
        try:
            name = Path(f"/proc/{named.pid}/comm")
            wait_until(lambda: b"\xc3" in name.read_bytes(), "it has its name")
            born = born_at(named.pid) or 0
            assert is_alive(Master(named.pid, born))
            assert not is_alive(Master(named.pid, born - 1))
            old = file_of(base, "shop", Master(named.pid, born - 1))
            old.touch()
            clear_dead(str(folder_in(base)))
            assert not old.exists()
        finally:
            named.kill()


def test_files_of_dead_masters_go_unless_somebody_uses_them(base: Path) -> None:
    dead, used, ours = (
        file_of(base, name, master)
        for name, master in (("dead", DEAD), ("used", DEAD), ("ours", OURS))
    )
    stranger = folder_in(base) / "notes.sqlite"
    user = StoreFile(str(used))
    user.live()
    for path in (dead, used, ours):
        for side in ("", "-wal", "-shm"):
            Path(f"{path}{side}").touch()
    stranger.touch()
    clear_dead(str(folder_in(base)))
    left = {one.name.replace("-wal", "").replace("-shm", "") for one in folder_in(base).iterdir()}
    assert left == {used.name, used.name + ".lock", ours.name, stranger.name}
    user.rest()
    clear_dead(str(folder_in(base)))
    left = {one.name.replace("-wal", "").replace("-shm", "") for one in folder_in(base).iterdir()}
    assert left == {ours.name, stranger.name}


def test_this_process_lives_and_is_no_worker() -> None:
    assert gunicorn_master() is None
    assert is_alive(OURS)
    assert is_alive(Master(os.getpid(), 0))
    assert not is_alive(Master(os.getpid(), OURS.start + 1))
    assert not is_alive(DEAD)
    assert not is_alive(Master(DEAD.pid, 0))
    with none_left():  # what cannot be looked up now is not dead: its file would go
        assert is_alive(OURS)
        assert not is_alive(DEAD)


def test_without_a_worker_s_id_auto_shares_nothing() -> None:
    assert isinstance(open_store("auto"), MemoryStore)


@pytest.fixture(params=[(), ("--preload",)], ids=["", "preload"])
def server(request: pytest.FixtureRequest) -> Iterator[GunicornServer]:
    made = GunicornServer("tests.apps.place:app", "--workers", "2", *request.param)
    yield made
    made.close()


def told_by_both(server: GunicornServer) -> dict[int, Any]:
    told: dict[int, Any] = {}

    def ask() -> bool:
        one = json.loads(server.ask("/")[1])
        told[one["pid"]] = one
        return len(told) == 2

    wait_until(ask, "both workers have answered")
    return told


@pytest.mark.server
def test_the_workers_of_a_gunicorn_share_a_file_that_goes_after_it(server: GunicornServer) -> None:
    told = told_by_both(server)
    assert server.process is not None
    (url,) = {one["url"] for one in told.values()}
    (epoch,) = {one["epoch"] for one in told.values()}
    path = Path(url.removeprefix("sqlite:///"))
    assert f"-{server.process.pid}-" in path.name
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    guest = open_store("auto", worker="shell", app_name="place")
    assert guest.is_guest

    def reads() -> bool:
        # The folder is that of all servers here; the file may be waited for in vain for a second.
        with suppress(StoreError):
            return guest.epoch() == epoch
        return False

    wait_until(reads, "a process that only reads finds the workers' file")
    guest.leave()

    os.kill(server.workers()[0], signal.SIGKILL)
    wait_until(lambda: not set(told) >= set(server.workers()), "a new worker")
    again = told_by_both(server)
    assert {one["epoch"] for one in again.values()} == {epoch}

    server.stop()
    server.start()
    new = told_by_both(server)
    assert {one["epoch"] for one in new.values()} != {epoch}
    assert not path.exists()


@pytest.mark.parametrize(("seconds", "is_elder"), [(-60, False), (0, False), (60, True)])
def test_an_elder_is_a_worker_that_began_well_before_this_one(
    monkeypatch: pytest.MonkeyPatch, seconds: int, is_elder: bool
) -> None:
    assert not has_elders(), "this process is no worker"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        ticks = {OURS.pid: OURS.start, other.pid: OURS.start - seconds * os.sysconf("SC_CLK_TCK")}
        monkeypatch.setattr(place_module, "born_at", ticks.get)
        monkeypatch.setattr(place_module, "gunicorn_master", lambda: OURS)
        assert has_elders() is is_elder
        other.kill()
