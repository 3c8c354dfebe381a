"""The life and death of workers and viewers: nobody waits for anybody."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import Any

import pytest

from .support.gunicorn_server import GunicornServer, is_alive
from .support.lines import Line
from .support.networks import Network
from .support.viewer import Viewer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
Serve = Callable[..., GunicornServer]
Watch = Callable[[GunicornServer, int, str], list[Viewer]]
HalfOpen = Callable[[GunicornServer, int], list[socket.socket]]
PATIENT = ("--graceful-timeout", "30")


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[GunicornServer] = []

    def start(*options: str, **settings: Any) -> GunicornServer:
        made.append(GunicornServer("tests.apps.watching:app", *options, **settings))
        return made[-1]

    yield start
    for server in made:
        server.close()


def admin(server: GunicornServer, name: str = "ann") -> str:
    """Sign an admin in; return the cookie."""
    answer, connection = server.open(f"/in/{name}")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    connection.close()
    return cookie


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Open streams, each with its snapshot; closed at the end."""
    opened: list[Viewer] = []

    def watch(server: GunicornServer, count: int, cookie: str) -> list[Viewer]:
        found = [Viewer(server, Cookie=cookie) for _ in range(count)]
        opened.extend(found)
        for one in found:
            one.next("snapshot")
        return found

    yield watch
    for one in opened:
        one.close()


def viewers(server: GunicornServer, cookie: str) -> int:
    return int(server.json("stats", Cookie=cookie)["viewers"])


def problems(server: GunicornServer) -> str:
    """Return what in the log nobody wants to see."""
    lines = server.log().splitlines()
    return "\n".join(one for one in lines if "Traceback" in one or "Error" in one or "ERROR" in one)


# -- how workers end -----------------------------------------------------------------------------


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("own", ["", "hand_on", "ignore"])
def test_a_worker_told_to_stop_says_goodbye_to_all(
    serve: Serve, watch: Watch, own: str, preload: tuple[str, ...]
) -> None:
    server = serve(*PATIENT, *preload, OWN_SIGTERM=own)
    watching = watch(server, 5, admin(server))
    assert server.process is not None
    pids = server.workers()
    # The master would wait 30 s for a worker whose app has swallowed the signal.
    targets = pids if own == "ignore" else [server.process.pid]
    for pid in targets:
        os.kill(pid, signal.SIGTERM)
    for one in watching:
        bye = one.next("bye", deadline_s=5)
        assert bye.data["reason"] == "restart"
        assert one.rest() == []
    if own == "ignore":
        assert server.ask("/pid")[0] == 200
        server.stop(signal.SIGQUIT)
    else:
        wait_until(lambda: not any(map(is_alive, pids)), "the worker is gone", 10)
    assert problems(server) == ""


def test_a_reload_sends_viewers_to_the_new_workers(serve: Serve, watch: Watch) -> None:
    server = serve(*PATIENT, "--workers", "2")
    cookie = admin(server)
    watching = watch(server, 6, cookie)
    assert server.process is not None
    before = server.workers()
    os.kill(server.process.pid, signal.SIGHUP)
    for one in watching:
        assert one.next("bye").data["reason"] == "restart"
    wait_until(lambda: not any(map(is_alive, before)), "the old workers are gone", 10)
    for old in watching:
        with Viewer(server, Cookie=cookie, Last_Event_ID=old.events[-2].id or "") as one:
            assert one.next().event in ("snapshot", "update")
    assert problems(server) == ""


def test_a_worker_at_its_last_request_lets_its_streams_go(serve: Serve, watch: Watch) -> None:
    server = serve(*PATIENT, "--max-requests", "30")
    first = server.workers()
    (one,) = watch(server, 1, admin(server))
    while one.events[-1].event != "bye":
        server.ask("/pid")
        one.next()
    assert one.events[-1].data["reason"] == "restart"
    wait_until(lambda: not any(map(is_alive, first)), "the worker is gone", 10)
    assert server.ask("/pid")[0] == 200


def test_a_changed_file_ends_streams_at_once(serve: Serve, watch: Watch, tmp_path: Path) -> None:
    source = tmp_path / "module.txt"
    source.write_text("before")
    extra = ("--reload", "--reload-engine", "poll", "--reload-extra-file", str(source))
    server = serve(*PATIENT, *extra)
    before = server.workers()
    (one,) = watch(server, 1, admin(server))
    # Later than any clock's tick: the engine compares times of writing.
    os.utime(source, (source.stat().st_mtime + 10,) * 2)
    assert one.next("bye").data["reason"] == "restart"
    wait_until(lambda: not any(map(is_alive, before)), "the old worker is gone", 10)
    wait_until(lambda: server.ask("/pid")[0] == 200, "the new one answers")


def test_a_slow_page_is_sent_to_its_end_while_streams_end_at_once(
    serve: Serve, watch: Watch
) -> None:
    server = serve(*PATIENT)
    (one,) = watch(server, 1, admin(server))
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"GET /slow/1.5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    while not one.events[-1].data.get("stats", {}).get("in_flight"):
        one.next("update")
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGTERM)
    assert one.next("bye")
    connection.settimeout(10)
    answer = b""
    while data := connection.recv(65536):
        answer += data
    connection.close()
    assert answer.endswith(b"slow")


# -- never in the way ----------------------------------------------------------------------------


def test_streams_take_none_of_the_servers_connections(serve: Serve, watch: Watch) -> None:
    server = serve("--worker-connections", "4")
    cookie = admin(server)
    watching = watch(server, 20, cookie)
    assert server.ask("/pid")[0] == 200
    assert viewers(server, cookie) == 20
    for one in watching:
        assert one.next("update")
        one.close()
    wait_until(lambda: viewers(server, cookie) == 0, "they are gone")
    assert problems(server) == ""


def test_no_descriptor_is_left_behind(serve: Serve, watch: Watch) -> None:
    server = serve()
    cookie = admin(server)
    (pid,) = server.workers()
    watch(server, 1, cookie)[0].close()
    wait_until(lambda: viewers(server, cookie) == 0, "the first is gone")
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(3):
        for one in watch(server, 10, cookie):
            one.close()
    wait_until(lambda: viewers(server, cookie) == 0, "all are gone")
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "their descriptors are closed")


def test_at_the_cap_nobody_is_sent_away_and_a_place_is_found_again(
    serve: Serve, watch: Watch
) -> None:
    server = serve(MAX_VIEWERS="3")
    cookie = admin(server)
    watching = watch(server, 3, cookie)
    for _ in range(5):
        refused, connection = server.open("/monitor/stream", Cookie=cookie)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
        connection.close()
    assert all(one.next("update") for one in watching)
    watching.pop().close()
    wait_until(lambda: viewers(server, cookie) == 2, "one has left")
    watching += watch(server, 1, cookie)


def test_a_viewer_for_every_second_descriptor_and_no_more(serve: Serve, watch: Watch) -> None:
    server = serve()
    cookie = admin(server)
    (pid,) = server.workers()
    watch(server, 1, cookie)[0].close()
    limits = Path(f"/proc/{pid}/limits").read_text()
    soft, hard = next(
        line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")
    )
    assert soft == hard
    used = {one["name"]: one["limit"] for one in server.json("health", Cookie=cookie)["limits"]}
    assert used["viewers"] == min(int(soft), 1_048_576) // 2


def descriptors(pid: int) -> int:
    """Return how many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_s(pid: int) -> float:
    """Return the CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def half_open() -> Iterator[HalfOpen]:
    """Connect, and say nothing, or half of what is to be said; closed at the end."""
    opened: list[socket.socket] = []

    def connect(server: GunicornServer, count: int) -> list[socket.socket]:
        found = [socket.create_connection((server.address, server.port)) for _ in range(count)]
        opened.extend(found)
        for one in found[::2]:
            one.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\nUser-Ag")
        return found

    yield connect
    for one in opened:
        one.close()


def all_see(watching: list[Viewer], what: str) -> None:
    """Read each viewer's updates until something is told."""
    for one in watching:
        while what not in str(one.events[-1].data):
            one.next("update")


def test_who_connects_and_asks_nothing_takes_nothing_from_viewers(
    serve: Serve, watch: Watch, half_open: HalfOpen
) -> None:
    """With all of the server's connections taken the streams go on, and nothing is left of it."""
    server = serve("--worker-connections", "20", "--keep-alive", "60")
    cookie = admin(server)
    (pid,) = server.workers()
    watching = watch(server, 30, cookie)
    line = Line(server)
    before = descriptors(pid)
    silent = half_open(server, 300)
    wait_until(lambda: descriptors(pid) == before + 19, "all connections are taken")
    line.get("/no-such-page/meanwhile")
    all_see(watching, "/no-such-page/meanwhile")
    assert descriptors(pid) == before + 19
    line.close()
    for one in silent:
        one.close()
    assert server.ask("/pid")[0] == 200
    wait_until(lambda: descriptors(pid) < before, "nothing is held for who has gone")
    stats = server.json("stats", Cookie=cookie)
    assert (stats["viewers"], stats["in_flight"]) == (30, 0)
    all_see(watching, "/pid")
    assert problems(server) == ""


@pytest.mark.parametrize(("most", "places"), [("0", 64), ("1000", 96)], ids=["derived", "set"])
def test_without_a_descriptor_left_streams_go_on_and_nothing_spins(
    serve: Serve, watch: Watch, half_open: HalfOpen, most: str, places: int
) -> None:
    """Viewers leave some to the app, also where more of them were allowed than there are."""
    limited = ("prlimit", "--nofile=128:128")
    server = serve("--keep-alive", "60", within=limited, MAX_VIEWERS=most)
    cookie = admin(server)
    (pid,) = server.workers()
    line = Line(server)
    watching = watch(server, places, cookie)
    with Viewer(server, Cookie=cookie) as refused:
        assert refused.answer.status == 503
    silent = half_open(server, 128)
    wait_until(lambda: descriptors(pid) == 128, "no descriptor is left")
    wait_until(lambda: "Too many open files" in server.log(), "the server has noticed")
    line.get("/no-such-page/meanwhile")
    all_see(watching, "/no-such-page/meanwhile")
    began_s, used_s, said = monotonic(), cpu_s(pid), server.log().count("Too many open files")
    watching[0].until_comments(watching[0].parser.comments + 3)  # heartbeats of a second each
    assert cpu_s(pid) - used_s < (monotonic() - began_s) / 4
    assert server.log().count("Too many open files") - said < 100
    for one in (line, *silent):
        one.close()
    assert server.ask("/pid")[0] == 200
    for viewer in watching:
        viewer.close()
    wait_until(lambda: viewers(server, cookie) == 0, "they have left")
    watch(server, places, cookie)


def test_while_the_app_lets_nobody_work_nobody_is_gone_and_then_all_comes_at_once(
    serve: Serve, watch: Watch, lines_to: Callable[..., list[Line]]
) -> None:
    """Afterwards what was missed comes at once, not tick by tick; and nobody was taken for gone."""
    server = serve("--workers", "2", "--keep-alive", "60", UPDATE_INTERVAL="0.5")
    cookie = admin(server)
    (viewer,) = watch(server, 1, cookie)
    busy = server.holder(viewer.local_port)
    assert busy is not None
    other = next(line for line in lines_to(server) if line.pid != busy)
    waiting = [line for _ in range(6) for line in lines_to(server) if line.pid == busy]
    told: list[tuple[float, list[dict[str, Any]]]] = []
    is_over = Event()

    def go_on(line: Line) -> None:
        while not is_over.is_set():
            line.get("/no-such-page/after")

    with ThreadPoolExecutor(len(waiting)) as pool:
        used_s, first, *others = cpu_s(busy), *waiting
        spun = pool.submit(first.get, "/spin/3.0")
        wait_until(lambda: cpu_s(busy) - used_s > 0.3, "it spins")
        after = [pool.submit(go_on, line) for line in others]
        try:
            while not spun.done():
                other.get("/no-such-page/meanwhile")
                workers = json.loads(other.get("/monitor/api/v1/workers", Cookie=cookie))
                told.append((time(), workers["items"]))
            ended_at = time()
            while sum(event.data["as_of"] > ended_at for event in viewer.events) < 3:
                viewer.next("update")
        finally:
            is_over.set()
        assert [one.result() for one in after] == [None] * len(after)
    for _, items in told:
        assert [one["is_reporting"] for one in items] == [True, True]
    came_at = [event.data["as_of"] for event in viewer.events]
    pauses_s = [later - at for at, later in pairwise(came_at)]
    missed = pauses_s.index(max(pauses_s)) + 1
    assert pauses_s[missed - 1] > 2.0, "it let us work"
    # What was answered well before: this test, too, may learn late that the worker is free again.
    before = sum(at < came_at[missed] - 0.2 for at, _ in told)
    assert viewer.events[missed].data["stats"]["requests_total"] > before > 0
    assert min(pauses_s[1:]) > 0.1, "each missed tick was made good"
    for event in viewer.events[1:]:
        assert "workers" not in event.data.get("removed", {})
        assert all(one.get("is_reporting", True) for one in event.data.get("workers", ()))
    assert problems(server) == ""


# -- viewers who are slow, or gone ---------------------------------------------------------------


def deaf(server: GunicornServer, cookie: str) -> socket.socket:
    """Return a viewer who reads nothing but the headers."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(
        f"GET /monitor/stream HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n".encode()
    )
    connection.recv(64)
    return connection


def test_who_does_not_read_is_let_go_and_disturbs_nobody(serve: Serve, watch: Watch) -> None:
    server = serve()
    cookie = admin(server)
    stuck = [deaf(server, cookie) for _ in range(3)]
    (reader,) = watch(server, 1, cookie)
    wait_until(lambda: viewers(server, cookie) == 4, "all watch")
    number = 0

    def only_the_reader_is_left() -> bool:
        nonlocal number
        for _ in range(20):
            number += 1
            server.ask(f"/no-such-page/{number}/{'x' * 150}", User_Agent=f"agent {number}")
        while f"/no-such-page/{number}/" not in str(reader.events[-1].data):
            reader.next()
        return viewers(server, cookie) == 1

    wait_until(only_the_reader_is_left, "the stuck ones are gone", 60)
    assert server.json("stats", Cookie=cookie)["dropped"]["events"] > 0
    for one in stuck:
        one.close()
    assert problems(server) == ""


def test_who_catches_up_gets_a_snapshot_of_the_end(serve: Serve) -> None:
    server = serve()
    cookie = admin(server)
    slow = Viewer(server, Cookie=cookie)
    slow.next("snapshot")
    number = 0

    def has_skipped() -> bool:
        nonlocal number
        for _ in range(40):
            number += 1
            server.ask(f"/no-such-page/{number}/{'x' * 200}", User_Agent=f"agent {number}")
        return bool(server.json("stats", Cookie=cookie)["dropped"]["events"])

    wait_until(has_skipped, "something was skipped", 60)
    server.ask("/no-such-page/last")
    while "/no-such-page/last" not in str(slow.events[-1].data):
        slow.next()
    assert [one.event for one in slow.events].count("snapshot") > 1
    slow.close()


def test_a_reset_is_noticed(serve: Serve) -> None:
    server = serve()
    cookie = admin(server)
    connection = deaf(server, cookie)
    wait_until(lambda: viewers(server, cookie) == 1, "it watches")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_until(lambda: viewers(server, cookie) == 0, "it is gone")
    assert problems(server) == ""


def test_who_talks_is_not_listened_to(serve: Serve, watch: Watch) -> None:
    server = serve()
    cookie = admin(server)
    (one,) = watch(server, 1, cookie)
    sock = one.connection.sock or one.answer.fp.raw._sock  # type: ignore[union-attr]
    for _ in range(50):
        sock.sendall(b"GET /monitor/api/v1/stats HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    server.ask("/pid")
    assert one.next("update")
    one.close()
    wait_until(lambda: viewers(server, cookie) == 0, "it is gone")


AWAY = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.argv[3].encode())
while connection.recv(65536):
    pass
"""


def test_who_vanishes_without_a_word_is_gone_within_half_a_minute() -> None:
    network = Network(40)
    server, away = None, None
    try:
        server = GunicornServer("tests.apps.watching:app", address="0.0.0.0")
        cookie = admin(server)
        request = f"GET /monitor/stream HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
        away = subprocess.Popen(
            [*network.within, sys.executable, "-c", AWAY, network.here, str(server.port), request]
        )
        wait_until(lambda: viewers(server, cookie) == 1, "somebody watches from elsewhere")
        network.cut()
        wait_until(lambda: viewers(server, cookie) == 0, "nobody does any more", 30)
        assert away.poll() is None
    finally:
        if away is not None:
            away.kill()
            away.wait()
        if server is not None:
            server.close()
        network.close()


# -- the gate ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", ["hangs", "raises"])
def test_a_gate_that_does_not_answer_lets_nobody_watch_on(
    serve: Serve, watch: Watch, mood: str
) -> None:
    server = serve()
    ann, bob = admin(server, "ann"), admin(server, "bob")
    watching = [*watch(server, 2, ann), *watch(server, 1, bob)]
    server.ask(f"/gate/{mood}", "POST")
    for one in watching:
        assert one.next("bye", deadline_s=20).data["reason"] == "unauthorized"
        assert one.rest() == []
    assert server.ask("/pid")[0] == 200


def test_viewers_who_show_the_same_are_asked_about_once(serve: Serve, watch: Watch) -> None:
    server = serve(REAUTHORIZE_INTERVAL="1")
    watching = watch(server, 10, admin(server))
    before = asked(server)
    wait_until(lambda: asked(server) >= before + 3, "the gate was asked again")
    comments = watching[0].parser.comments
    after = asked(server)
    watching[0].until_comments(comments + 3)  # three heartbeats of a second each
    assert asked(server) - after < 10


def asked(server: GunicornServer) -> int:
    return int(json.loads(server.ask("/asked")[1])["stream"])
