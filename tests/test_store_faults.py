"""Whatever happens to the store, requests are not harmed, and the picture is whole again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread, get_ident

import pytest

from flask_realtime_monitor.ingest import QUEUE_SIZE
from flask_realtime_monitor.state import EXTENSION
from flask_realtime_monitor.stores.redis import RedisStore

from .support.apps import House
from .support.gunicorn_server import GunicornServer
from .support.lines import Line, line_to_each
from .support.relay import Relay
from .support.sights import agree, everything, told, visit
from .support.valkey import ValkeyServer, missing
from .support.waiting import wait_until

pytestmark = pytest.mark.server
APP = "tests.apps.shared:served()"
Serve = Callable[..., GunicornServer]
Connect = Callable[..., list[Line]]
Own = Callable[..., ValkeyServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start gunicorn with a store and two workers; stopped at the end."""
    started: list[GunicornServer] = []

    def start(
        store: str, *options: str, workers: int = 2, within: tuple[str, ...] = ()
    ) -> GunicornServer:
        keep = ("--keep-alive", "60", "--workers", str(workers))
        started.append(GunicornServer(APP, *keep, *options, within=within, STORE=store))
        return started[-1]

    yield start
    for server in started:
        server.close()


def problems(line: Line) -> str:
    return str(line.api("health")["problems"])


def warnings(server: GunicornServer) -> int:
    """Return how often the log says that the store does not take what was seen."""
    return server.log().count("the store does not take")


class Knocking:
    """Keeps asking a line while something is wrong."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.answers: list[str] = []
        self._is_over = Event()
        self._thread = Thread(target=self._knock)
        self._thread.start()

    def _knock(self) -> None:
        while not self._is_over.is_set():
            self.answers.append(self.line.get("/", agent="knocking", X_User="user-0"))
            self._is_over.wait(0.005)

    def close(self) -> None:
        """Stop; every request was answered."""
        self._is_over.set()
        self._thread.join()
        assert set(self.answers) == {"home"}


def test_while_a_server_is_frozen_requests_go_on_and_the_picture_says_what_is_missing(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey()
    server = serve(valkey.url)
    lines = lines_to(server)
    visit(lines, 40)
    before = agree(lines)
    (asking,) = [line for line in lines_to(server) if line.pid == lines[0].pid]
    valkey.freeze()
    with closing(Knocking(asking)) as knocking:
        for line in lines:
            wait_until(lambda line=line: "did not answer" in problems(line), "it says why")  # type: ignore[misc]
            wait_until(
                lambda line=line: not line.api("stats")["coverage"]["complete"],  # type: ignore[misc]
                "it says that something is missing",
            )
            assert told(line)["requests_total"] >= before["requests_total"]
        wait_until(lambda: len(knocking.answers) > 300, "requests go on while it is frozen")
    count = len(knocking.answers) + 2  # and who asked which worker is whose
    valkey.thaw()
    opened = told(lines[0])["requests_total"]
    whole = agree(lines)
    assert whole["requests_total"] >= before["requests_total"] + count - 2
    assert opened <= whole["requests_total"]
    assert everything(lines[0]) == everything(lines[1])
    assert warnings(server) <= 2, "one a minute and worker"


def test_a_server_that_lost_everything_is_refilled_exactly(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey()
    server = serve(valkey.url)
    lines = lines_to(server)
    visit(lines, 100)
    before = agree(lines)
    whole = everything(lines[0])
    valkey.kill()
    visit(lines, 20)
    valkey.start()
    after = agree(lines, requests_total=before["requests_total"] + 20)
    assert {**after, "requests_total": 0} == {**before, "requests_total": 0}
    wait_until(lambda: everything(lines[0]) == everything(lines[1]), "both have all of it")
    found = everything(lines[0])
    assert set(found.sessions) == set(whole.sessions)
    assert len(found.feed) == before["requests_total"] + 20
    assert set(whole.feed) < set(found.feed)
    late = everything(lines_to(serve(valkey.url))[0])
    assert len(late.sessions) >= len(found.sessions)
    assert set(found.feed) < set(late.feed)


def test_a_server_that_comes_back_with_what_it_had_saved_is_refilled_exactly(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey("dbfilename saved")
    server = serve(valkey.url)
    lines = lines_to(server)
    visit(lines, 40)
    agree(lines)
    valkey.ask("SAVE")
    visit(lines, 60)
    before = agree(lines)
    whole = everything(lines[0])
    valkey.kill()
    valkey.start()
    assert agree(lines, requests_total=before["requests_total"]) == before
    # Who was here has read it all; who comes now finds what the server has.
    for line in lines_to(serve(valkey.url)):

        def has_all(line: Line = line) -> bool:
            found = everything(line).sessions
            return all(found.get(id) == one for id, one in whole.sessions.items() if one[2])

        wait_until(has_all, "it has all that the users did")


def test_a_server_that_is_not_there_yet_takes_all_when_it_comes(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey()
    valkey.freeze()
    server = serve(valkey.url)
    lines = lines_to(server)
    visit(lines, 700)  # more than the queue holds
    wait_until(lambda: "did not answer" in problems(lines[0]), "it says why")
    valkey.thaw()
    found = agree(lines, active_users=5)
    assert found["requests_total"] >= 700


def test_no_request_asks_a_frozen_server_for_the_salt_of_a_new_day(
    own_valkey: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even those that find the queue full."""
    asked_by: set[int] = set()
    real = RedisStore.salt

    def noted(store: RedisStore, day: int) -> bytes:
        asked_by.add(get_ident())
        return real(store, day)

    monkeypatch.setattr(RedisStore, "salt", noted)
    valkey = own_valkey()
    house = House(STORE=valkey.url)
    client = house.app.test_client()
    live = house.app.extensions[EXTENSION].live
    client.get("/")
    assert house.monitor.get_stats()["requests_total"] == 1
    midnight_s = 86_400.0
    now_at = live.clock.now_at
    valkey.freeze()
    monkeypatch.setattr(live.clock, "now_at", lambda: now_at() + midnight_s)
    asked_by.clear()
    for _ in range(3 * QUEUE_SIZE):
        assert client.get("/").status_code == 200
    assert get_ident() not in asked_by
    assert len(live.ingest.queue) > QUEUE_SIZE, "they wait for the salt"
    valkey.thaw()
    wait_until(
        lambda: house.monitor.get_stats()["requests_total"] == 3 * QUEUE_SIZE + 1, "all are told"
    )
    assert live.ingest.dropped == 0
    live.sharing.store.leave()


def test_rows_that_make_no_sense_are_said(own_valkey: Own) -> None:
    valkey = own_valkey()
    house = House(STORE=valkey.url)
    house.app.test_client().get("/")
    assert house.monitor.get_stats()["requests_total"] == 1
    live = house.app.extensions[EXTENSION].live
    assert not [one for one in live.picture.health()["problems"] if "no sense" in one]
    (beats,) = valkey.ask("KEYS", "*:beats")
    valkey.ask("HSET", beats, "short", b"x")
    wait_until(
        lambda: [one for one in live.picture.health()["problems"] if "no sense" in one],
        "it is said",
    )
    live.sharing.store.leave()


def test_a_server_far_away_makes_no_request_wait(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey()
    with closing(Relay(valkey.port, late_s=0.1)) as relay:
        server = serve(valkey.url.replace(str(valkey.port), str(relay.port)))
        lines = lines_to(server)
        visit(lines, 200)
        agree(lines, active_users=5)
        assert everything(lines[0]) == everything(lines[1])
        for line in lines:  # on a busy machine a worker may be silent for a while
            wait_until(lambda line=line: problems(line) == "[]", "all is well")  # type: ignore[misc]


def spoil(valkey: ValkeyServer, how: str) -> str:
    """Make a server refuse; return what the health card says of it."""
    if how == "password":
        valkey.ask("CONFIG", "SET", "requirepass", "secret")
        valkey.ask_as("secret", "CLIENT", "KILL", "TYPE", "normal")
        return "password"
    if how == "replica":
        valkey.ask("REPLICAOF", "127.0.0.1", "1")
        return "READONLY"
    if how == "full":
        valkey.ask("CONFIG", "SET", "maxmemory", "1")
        return "maxmemory"
    (log,) = valkey.ask("KEYS", "*:log")
    valkey.ask("RENAME", log, "put-away")
    valkey.ask("SET", log, "something else")
    return "WRONGTYPE"


def mend(valkey: ValkeyServer, how: str) -> None:
    if how == "password":
        valkey.ask_as("secret", "CONFIG", "SET", "requirepass", "")
    elif how == "replica":
        valkey.ask("REPLICAOF", "NO", "ONE")
    elif how == "full":
        valkey.ask("CONFIG", "SET", "maxmemory", "0")
    else:
        (log,) = valkey.ask("KEYS", "*:log")
        valkey.ask("RENAME", "put-away", log)


@pytest.mark.parametrize("how", ["password", "replica", "full", "wrong type"])
def test_a_server_that_refuses_is_named_once_and_harms_no_request(
    serve: Serve, lines_to: Connect, own_valkey: Own, how: str
) -> None:
    valkey = own_valkey()
    server = serve(valkey.url)
    lines = lines_to(server)
    visit(lines, 20)
    before = agree(lines)
    reason = spoil(valkey, how)
    visit(lines, 20)
    for line in lines:
        wait_until(lambda line=line: reason in problems(line), "it says why")  # type: ignore[misc]
    visit(lines, 20)
    told_s = [line.api("health")["store"]["lag_s"] for line in lines]
    wait_until(
        lambda: all(
            line.api("health")["store"]["lag_s"] > lag_s + 1
            for line, lag_s in zip(lines, told_s, strict=True)
        ),
        "it has been tried again a few times",
    )
    assert warnings(server) == 2, "one for each worker, not one for each flush"
    mend(valkey, how)
    agree(lines, requests_total=before["requests_total"] + 40)
    for line in lines:
        wait_until(lambda line=line: problems(line) == "[]", "all is well")  # type: ignore[misc]
    assert everything(lines[0]) == everything(lines[1])


# -- the file ------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in a folder of its own."""
    tmp_path.chmod(0o700)
    return tmp_path / "monitor.sqlite"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def fill_with_garbage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def fill_log_too(path: Path) -> None:
    """Leave nothing: what lies in the write-ahead log may be all there is, and mends the file."""
    for one in (path, Path(f"{path}-wal")):
        fill_with_garbage(one)


def remove(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


@pytest.mark.parametrize("spoil", [truncate, fill_with_garbage, remove])
@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_a_file_that_is_lost_is_made_anew_and_refilled(
    serve: Serve,
    lines_to: Connect,
    path: Path,
    spoil: Callable[[Path], None],
    kind: str,
) -> None:
    server = serve("auto" if kind == "auto" else f"sqlite:///{path}")
    lines = lines_to(server)
    visit(lines, 60)
    before = agree(lines)
    whole = everything(lines[0])
    shown = lines[0].api("health")["store"]["url"].removeprefix("sqlite:///")
    spoil(Path(shown))
    visit(lines, 20)
    after = agree(lines, requests_total=before["requests_total"] + 20)
    assert {**after, "requests_total": 0} == {**before, "requests_total": 0}
    wait_until(lambda: everything(lines[0]) == everything(lines[1]), "both have all of it")
    found = everything(lines[1])
    assert set(found.sessions) == set(whole.sessions)
    assert len(found.feed) == before["requests_total"] + 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    size = ("-o", "size=4m,mode=700")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", *size, "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing(f"no disk can be mounted: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_harms_no_request(serve: Serve, lines_to: Connect, small_disk: Path) -> None:
    server = serve(f"sqlite:///{small_disk}/monitor.sqlite")
    lines = lines_to(server)
    visit(lines, 20)
    before = agree(lines)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    said: set[str] = set()

    def is_degraded() -> bool:
        # Some of the file's pages are free, so it may take a while until one is missing.
        visit(lines, 50, people=500)
        said.update(one for line in lines for one in line.api("health")["problems"][:1])
        return bool(said)

    rounds = 1
    while not is_degraded():
        rounds += 1
    assert "cannot be used" in str(said)
    filler.unlink()
    agree(lines, requests_total=before["requests_total"] + 50 * rounds)
    assert warnings(server) <= 4
    for line in lines:
        wait_until(lambda line=line: problems(line) == "[]", "all is well")  # type: ignore[misc]


def test_a_file_that_may_not_be_written_harms_no_request(
    serve: Serve, lines_to: Connect, path: Path
) -> None:
    # root may write anywhere, unless it has put that away
    modest = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    server = serve(f"sqlite:///{path}", within=() if os.geteuid() else modest)
    lines = lines_to(server)
    visit(lines, 20)
    before = agree(lines)
    parts = [path.parent, *path.parent.glob("monitor.sqlite*")]
    modes = [one.stat().st_mode for one in parts]
    for one, mode in zip(parts, modes, strict=True):
        one.chmod(mode & ~0o222)
    # Who has it open goes on; who comes now cannot open it.
    victim = lines[0].pid
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.workers(), "another one comes")
    new, old = sorted(lines_to(server), key=lambda line: line.pid == lines[1].pid)
    visit([new, old], 20)
    wait_until(lambda: "cannot be used" in problems(new), "it says why")
    wait_until(lambda: not new.api("stats")["coverage"]["complete"], "it shows a part")
    for one, mode in zip(parts, modes, strict=True):
        one.chmod(mode)
    assert agree([new, old])["requests_total"] >= before["requests_total"] + 20
    assert everything(new) == everything(old)
    for line in (new, old):
        wait_until(lambda line=line: problems(line) == "[]", "all is well")  # type: ignore[misc]


def test_workers_that_are_killed_while_they_write_spoil_nothing(
    serve: Serve, lines_to: Connect, path: Path
) -> None:
    server = serve(f"sqlite:///{path}", workers=3)
    seen = 0

    def look() -> None:
        nonlocal seen
        total = server.json("stats", X_Admin="yes")["requests_total"]
        assert total >= seen, f"the total fell from {seen} to {total}"
        seen = total

    for number in range(12):
        for line in line_to_each(server):
            with closing(line):
                visit([line], 15, people=50)
        look()
        victim = server.workers()[number % 3]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in server.workers(), "another one comes")  # type: ignore[misc]
        look()
    lines = lines_to(server)
    agree(lines)
    assert not list(path.parent.glob("*.broken"))
    server.stop()
    integrity = subprocess.run(
        [sys.executable, "-c", _CHECK, str(path)], capture_output=True, text=True, check=True
    )
    assert integrity.stdout == "ok\n"


_CHECK = (
    "import sqlite3, sys;"
    "print(*sqlite3.connect(sys.argv[1]).execute('pragma quick_check').fetchone())"
)


# -- the store goes after a worker has gone ------------------------------------------------------


def kill_one(lines: list[Line], kept: Callable[[], bytes | None]) -> int:
    """Kill the last worker, and wait until its totals are among those of the gone in the store.

    Returns:
        How many requests all had seen.
    """
    visit(lines, 90, one_fails_in=9)
    total = agree(lines)["requests_total"]
    os.kill(lines.pop().pid, signal.SIGKILL)
    wait_until(lambda: kept() is not None, "it is taken over")
    assert agree(lines)["requests_total"] == total
    return int(total)


def agree_on(lines: list[Line], total: int) -> None:
    """See that no total falls on the way, and that all come to tell the same."""

    def same() -> bool:
        found = [told(line)["requests_total"] for line in lines]
        assert min(found) >= total, "a total fell"
        return set(found) == {total}

    wait_until(same, "all tell the same")


def says_what_is_lost(line: Line) -> bool:
    complete = line.api("stats")["coverage"]["complete"]
    return "workers that are gone" in problems(line) and not complete


@pytest.mark.parametrize("spoil", [fill_log_too, remove])
def test_the_totals_of_a_killed_worker_outlive_the_file(
    serve: Serve, lines_to: Connect, spoil: Callable[[Path], None]
) -> None:
    server = serve("auto", workers=3)
    lines = lines_to(server)
    shown = Path(lines[0].api("health")["store"]["url"].removeprefix("sqlite:///"))

    def kept() -> bytes | None:
        with closing(sqlite3.connect(shown)) as sql:
            found = sql.execute("SELECT value FROM meta WHERE key = 'retired'").fetchone()
        return found and found[0]

    total = kill_one(lines, kept)
    for _ in range(2):
        spoil(shown)
        agree_on(lines, total)
        for line in lines:
            wait_until(lambda line=line: says_what_is_lost(line), "it says what is lost")  # type: ignore[misc]
    new = next(line for line in lines_to(server) if line.pid not in {one.pid for one in lines})
    told_by_new = told(new)["requests_total"]
    wait_until(lambda: told(lines[0])["requests_total"] >= told_by_new >= total, "so does the new")


def test_the_totals_of_a_killed_worker_outlive_a_server_that_lost_everything(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey()
    server = serve(valkey.url, workers=3)
    lines = lines_to(server)

    def kept() -> bytes | None:
        (gone,) = valkey.ask("KEYS", "*:gone") or [b"none"]
        found: bytes | None = valkey.ask("HGET", gone, "retired")
        return found

    total = kill_one(lines, kept)
    for lose in (lambda: valkey.ask("FLUSHALL"), lambda: (valkey.kill(), valkey.start())):
        lose()
        agree_on(lines, total)
        for line in lines:
            wait_until(lambda line=line: says_what_is_lost(line), "it says what is lost")  # type: ignore[misc]
        wait_until(kept, "the server has it again")  # the workers know it all the while


def test_the_totals_of_those_before_a_reload_outlive_a_server_that_had_saved_less(
    serve: Serve, lines_to: Connect, own_valkey: Own
) -> None:
    valkey = own_valkey("dbfilename saved")
    server = serve(valkey.url)
    before = lines_to(server)
    visit(before, 40)
    agree(before)
    valkey.ask("SAVE")  # what is saved knows none of the workers who will find it
    visit(before, 20)
    old = server.workers()
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not set(old) & set(server.workers()), "the old ones are gone")
    lines = lines_to(server)
    visit(lines, 60)
    total = agree(lines)["requests_total"]
    assert total >= 120
    valkey.kill()
    valkey.start()
    agree_on(lines, total)
    visit(lines, 10)
    wait_until(
        lambda: {told(line)["requests_total"] for line in lines} == {total + 10}, "it goes on"
    )


def test_who_is_killed_with_the_file_is_counted(serve: Serve, lines_to: Connect) -> None:
    server = serve("auto", workers=3)
    lines = lines_to(server)
    visit(lines, 90)
    total = agree(lines)["requests_total"]
    shown = Path(lines[0].api("health")["store"]["url"].removeprefix("sqlite:///"))
    victim = lines.pop()
    os.kill(victim.pid, signal.SIGKILL)
    remove(shown)
    agree_on(lines, total)


def test_the_totals_of_those_before_a_reload_outlive_an_explicit_file(
    serve: Serve, lines_to: Connect, path: Path
) -> None:
    server = serve(f"sqlite:///{path}")
    before = lines_to(server)
    visit(before, 60)
    total = agree(before)["requests_total"]
    old = server.workers()
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not set(old) & set(server.workers()), "the old ones are gone")
    lines = lines_to(server)

    def are_taken_over() -> bool:
        with closing(sqlite3.connect(path)) as sql:
            (living,) = sql.execute("SELECT count(beat) FROM worker").fetchone()
        return bool(living == len(lines))

    wait_until(are_taken_over, "they are taken over")
    assert agree(lines)["requests_total"] >= total
    total = agree(lines)["requests_total"]
    remove(path)
    agree_on(lines, total)
    server.stop()
    server.start()
    assert told(lines_to(server)[0])["requests_total"] >= total


# -- the server begins anew ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_an_explicit_file_remembers_over_a_restart(
    serve: Serve, lines_to: Connect, path: Path, kind: signal.Signals
) -> None:
    server = serve(f"sqlite:///{path}")
    lines = lines_to(server)
    visit(lines, 60)
    before = agree(lines)
    whole = everything(lines[0])
    server.stop(kind)
    server.start()
    lines = lines_to(server)
    visit(lines, 20)
    after = agree(lines, active_users=5, since_at=before["since_at"])
    assert after["requests_total"] >= before["requests_total"] + 20
    found = everything(lines[0])
    assert set(whole.sessions) <= set(found.sessions)
    assert sum(one[0] for one in found.sessions.values()) == after["requests_total"]
    assert set(whole.feed) < set(found.feed)


def test_no_total_falls_and_no_ghost_stays_over_sixty_generations(serve: Serve) -> None:
    server = serve("auto", "--max-requests", "25", "--max-requests-jitter", "5", workers=4)
    seen = sent = 0

    def look() -> int:
        nonlocal seen
        stats = server.json("stats", X_Admin="yes")
        assert stats["requests_total"] >= seen, "a total fell"
        seen = stats["requests_total"]
        return int(seen)

    while sent < 1600:
        for number in range(40):
            assert server.ask("/", X_User=f"user-{number % 5}")[0] == 200
        sent += 40
        look()
    wait_until(lambda: look() == sent, f"all {sent} requests are told, not {seen}")
    stats = server.json("stats", X_Admin="yes")
    assert stats["active_users"] == 5
    workers = server.json("workers", X_Admin="yes")["items"]
    assert len(workers) <= 5, "none but those that run"
    sessions = server.json("sessions", X_Admin="yes")["items"]
    assert sum(one["requests"] for one in sessions) == sent
