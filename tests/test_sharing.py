"""One right picture, whichever worker answers; real gunicorn, the store that "auto" takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor import Activity

from .apps.shared import create_app
from .support.gunicorn_server import ROOT, GunicornServer
from .support.lines import ADMIN, Line
from .support.viewer import Viewer
from .support.waiting import elsewhere, wait_until

pytestmark = pytest.mark.server
APP = "tests.apps.shared:served()"
Serve = Callable[..., GunicornServer]
Connect = Callable[..., list[Line]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start gunicorn with some workers; stopped at the end."""
    started: list[GunicornServer] = []

    def start(workers: int, *options: str, **environ: str) -> GunicornServer:
        keep = ("--keep-alive", "60", "--workers", str(workers))
        started.append(GunicornServer(APP, *keep, *options, **environ))
        return started[-1]

    yield start
    for server in started:
        server.close()


def visit(lines: list[Line], n: int, people: int) -> None:
    """Make requests, each by the next worker; none of them is the first of its user alone."""
    for number in range(n):
        user = f"user-{number % people}"
        lines[number % len(lines)].get("/", agent=f"agent {number % people}", X_User=user)


def told(line: Line, *names: str) -> list[Any]:
    """Return some of the stats, the requests that found out who answers left out."""
    stats = line.api("stats")
    return [stats[name] for name in names]


def covered(line: Line) -> tuple[int, int, int, bool]:
    """Return how many workers there are, report, on how many hosts, and if that is all."""
    found = line.api("stats")["coverage"]
    return found["workers"], found["workers_reporting"], found["hosts"], found["complete"]


def agree(lines: list[Line], wanted: list[Any], *names: str) -> None:
    """Wait until every worker says the same, and then that it stays so."""
    wait_until(
        lambda: all(told(line, *names) == wanted for line in lines),
        f"all say {wanted}, not {[told(line, *names) for line in lines]}",
    )


@pytest.mark.parametrize(
    ("workers", "options"),
    [(1, ()), (2, ()), (4, ()), (4, ("--preload",))],
    ids=["1", "2", "4", "4 preload"],
)
def test_every_worker_tells_the_same_exact_totals(
    serve: Serve, lines_to: Connect, workers: int, options: tuple[str, ...]
) -> None:
    server = serve(workers, *options)
    lines = lines_to(server)
    wait_until(
        lambda: len({told(line, "requests_total")[0] for line in lines}) == 1,
        "all have seen the first requests",
    )
    before = told(lines[0], "requests_total")[0]
    visit(lines, 400, 50)
    agree(lines, [before + 400, 50], "requests_total", "active_users")
    for line in lines:
        wait_until(
            lambda line=line: covered(line) == (workers, workers, 1, True),  # type: ignore[misc]
            "all workers are covered",
        )
    sessions = [
        {one["id"]: one["requests"] for one in line.api("sessions?limit=1000")["items"]}
        for line in lines
    ]
    assert all(one == sessions[0] for one in sessions)
    assert sum(sessions[0].values()) == before + 400
    feeds = [[one["id"] for one in line.api("activities?limit=1000")["items"]] for line in lines]
    assert all(feed == feeds[0] for feed in feeds)
    assert len(set(feeds[0])) == before + 400


def test_who_was_killed_loses_nothing_it_had_written(serve: Serve, lines_to: Connect) -> None:
    server = serve(3)
    lines = lines_to(server)
    visit(lines, 90, 9)
    wait_until(
        lambda: len({told(line, "requests_total")[0] for line in lines}) == 1, "all are told"
    )
    whole = told(lines[0], "requests_total", "errors_total", "total_sessions", "active_users")
    os.kill(lines[0].pid, signal.SIGKILL)
    rest = lines[1:]

    def is_gone() -> bool:
        coverage = rest[0].api("stats")["coverage"]
        return bool(coverage["workers"] == 2 and coverage["complete"])

    wait_until(is_gone, "the killed worker is gone")
    names = ("requests_total", "errors_total", "total_sessions", "active_users")
    agree(rest, whole, *names)
    new = wait_until(
        lambda: [line for line in lines_to(server) if line.pid not in {r.pid for r in rest}],
        "another worker has taken its place",
    )
    visit([*new, *rest], 30, 9)
    wait_until(
        lambda: len({told(line, "requests_total")[0] for line in [*new, *rest]}) == 1,
        "all are told",
    )
    assert told(new[0], "total_sessions", "active_users") == [whole[2], whole[3]]
    assert told(new[0], "requests_total")[0] >= whole[0] + 30


def test_totals_never_fall_while_workers_come_and_go(serve: Serve) -> None:
    server = serve(1, "--max-requests", "40")
    assert server.process is not None
    seen = [0]
    sent = 0

    def look() -> int:
        stats = server.json("stats", X_Admin="yes")
        assert stats["requests_total"] >= seen[-1], "a total fell"
        seen.append(stats["requests_total"])
        return int(stats["requests_total"])

    for kind in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU):
        for number in range(60):
            server.ask("/", X_User=f"user-{number % 5}")
            sent += 1
            if not number % 10:
                look()
        os.kill(server.process.pid, kind)
    wait_until(lambda: look() == sent, f"all {sent} requests are told, not {seen[-1]}")
    assert server.json("stats", X_Admin="yes")["active_users"] == 5


def test_a_guest_who_signs_in_at_another_worker_stays_one_row(
    serve: Serve, lines_to: Connect
) -> None:
    first, second = lines_to(serve(2))
    for _ in range(3):
        first.get("/page/before", agent="browser")
    second.get("/in/ana", agent="browser")
    second.get("/page/after", agent="browser")

    def story(line: Line) -> Any:
        found = [one for one in line.api("sessions")["items"] if one["user"]]
        return found[0] if len(found) == 1 and found[0]["requests"] == 5 else None

    for line in (first, second):
        session = wait_until(lambda line=line: story(line), "guest and user are one")  # type: ignore[misc]
        assert session["user"]["id"] == "ana"
        acts = line.api(f"sessions/{session['id']}")["activities"]
        # Two workers may have seen two of them in one millisecond.
        assert [one["at"] for one in acts] == sorted((one["at"] for one in acts), reverse=True)
        assert sorted(one["path"] for one in acts if one["kind"] == "request") == [
            *("/in/ana", "/page/after"),
            *["/page/before"] * 3,
        ]


def test_a_sign_out_ends_the_session_everywhere(serve: Serve, lines_to: Connect) -> None:
    first, second = lines_to(serve(2))
    first.get("/in/ana", agent="browser")
    second.share_cookie(first)
    second.get("/page/1", agent="browser")
    for line in (first, second):
        wait_until(lambda line=line: line.api("users")["total"] == 1, "ana is here")  # type: ignore[misc]
    second.get("/out", agent="browser")
    for line in (first, second):
        wait_until(lambda line=line: line.api("users")["total"] == 0, "ana has left")  # type: ignore[misc]
    first.get("/page/2", agent="browser", Cookie="")
    guests = wait_until(
        lambda: [one for one in second.api("sessions")["items"] if one["path"] == "/page/2"],
        "the visitor begins anew",
    )
    assert guests[0]["requests"] == 1


def test_who_is_forgotten_is_nowhere(serve: Serve, lines_to: Connect) -> None:
    first, second = lines_to(serve(2))
    for line in (first, second):
        line.get("/page/x", agent="browser", X_User="ana-the-secret")
    wait_until(lambda: "ana-the-secret" in str(second.api("activities")), "ana is in the feed")
    first.get("/forget?name=ana-the-secret")
    for line in (first, second):
        for name in ("users", "sessions", "activities"):
            wait_until(
                lambda line=line, name=name: "ana-the-secret" not in str(line.api(name)),  # type: ignore[misc]
                f"nothing of hers is in {name}",
            )


def test_a_request_in_flight_is_seen_by_all(serve: Serve, lines_to: Connect) -> None:
    from threading import Thread

    first, second = lines_to(serve(2))
    asking = Thread(target=first.get, args=("/slow",), kwargs={"X_User": "ana"})
    asking.start()
    waiting = wait_until(
        lambda: [one for one in second.api("in-flight")["items"] if one["path"] == "/slow"],
        "the slow request is listed",
    )
    assert waiting[0]["age_s"] >= 0
    asking.join()
    wait_until(lambda: second.api("stats")["in_flight"] == 0, "it has ended")


def test_a_process_that_is_no_worker_reads_the_picture(serve: Serve, lines_to: Connect) -> None:
    lines = lines_to(serve(2))
    visit(lines, 20, 4)
    agree(lines, [4], "active_users")
    script = (
        "from tests.apps.shared import create_app; import json\n"
        "app, monitor = create_app()\n"
        "print(json.dumps(monitor.get_stats()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    stats = json.loads(out.stdout)
    assert stats["active_users"] == 4
    assert stats["coverage"]["workers"] == 2


def test_a_process_that_serves_itself_beside_a_server_counts_its_own_alone(
    serve: Serve, lines_to: Connect
) -> None:
    lines = lines_to(serve(2))
    visit(lines, 20, 4)
    agree(lines, [4], "active_users")
    before = told(lines[0], "requests_total")
    script = (
        "from tests.apps.shared import create_app; import json\n"
        "app, monitor = create_app()\n"
        "theirs = monitor.get_stats()['active_users']\n"
        "app.test_client().get('/', headers={'X-User': 'eve'})\n"
        "print(json.dumps([theirs, monitor.get_stats(), monitor.get_activities()]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    theirs, stats, feed = json.loads(out.stdout)
    assert theirs == 4
    assert (stats["requests_total"], stats["active_users"], len(feed)) == (1, 1, 1)
    assert stats["coverage"]["workers"] == 1
    assert told(lines[0], "requests_total") == before


def test_a_fork_of_a_worker_does_not_go_on_as_that_worker(serve: Serve, lines_to: Connect) -> None:
    server = serve(2)
    lines = lines_to(server)
    visit(lines, 20, 4)
    agree(lines, [4], "active_users")
    before = told(lines[0], "requests_total")[0]
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        of_pid = {line.pid: line for line in lines}

        def watched() -> list[int]:
            found = lines[0].api("workers")["items"]
            return [one["pid"] for one in found if one["viewers"]]

        (pid,) = wait_until(watched, "one worker has the viewer")
        (other,) = [line for line in lines if line.pid != pid]
        child = int(of_pid[pid].get("/fork"))
        try:
            os.kill(pid, signal.SIGSTOP)  # from now on it would be the child that speaks
            viewer.drain()
            wait_until(lambda: covered(other)[1] == 1, "the worker is silent")
            assert not viewer.drain()
        finally:
            os.kill(child, signal.SIGKILL)
            os.kill(pid, signal.SIGCONT)
    visit(lines, 20, 4)
    agree(lines, [before + 21], "requests_total")


def test_a_hook_of_the_app_may_read_the_picture(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    app, monitor = create_app(f"sqlite:///{tmp_path}/monitor")
    seen: list[int] = []

    @monitor.before_record
    def look(activity: Activity) -> Activity:
        seen.append(monitor.get_stats()["requests_total"])
        return activity

    for number in range(3):
        elsewhere(lambda: app.test_client().get("/"))
        wait_until(lambda number=number: len(seen) > number, "it was folded by the loop")
    assert elsewhere(monitor.get_stats)["requests_total"] == 3


@pytest.mark.parametrize("what", ["forget", "sign out", "sign out unrecorded"])
def test_what_a_worker_does_first_of_all_is_told_to_the_others(tmp_path: Path, what: str) -> None:
    tmp_path.chmod(0o700)
    (app, one), (fresh, other) = (create_app(f"sqlite:///{tmp_path}/monitor") for _ in range(2))
    ana = {"X-User": "ana"}
    app.test_client().get("/page/x", headers=ana)
    assert one.get_stats()["active_users"] == 1
    if what == "forget":
        other.forget("ana")
    else:
        if what == "sign out unrecorded":
            other.before_record(lambda _: None)
        fresh.test_client().get("/out", headers=ana)
    wait_until(lambda: one.get_stats()["active_users"] == 0, "she is gone")
    assert one.get_active_users() == other.get_active_users() == []


def test_who_comes_back_after_the_end_is_shown_anew_by_every_worker(
    serve: Serve, lines_to: Connect
) -> None:
    short = {f"REALTIME_MONITOR_{name}": "2" for name in ("SESSION_TIMEOUT", "ACTIVE_WINDOW")}
    lines = lines_to(serve(2, **short))

    def requests() -> list[list[int]]:
        return [[one["requests"] for one in line.api("users")["items"]] for line in lines]

    for _ in range(3):
        lines[0].get("/", agent="somebody", X_User="ana")
    wait_until(lambda: not any(requests()), "the session has ended")
    lines[0].get("/", agent="somebody", X_User="ana")
    found = wait_until(lambda: all(told := requests()) and told, "she is back")
    assert found == [[1], [1]]
