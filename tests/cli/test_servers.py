"""The commands as processes of their own beside a real gunicorn."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.gunicorn_server import ROOT, GunicornServer
from tests.support.lines import Line, line_to_each
from tests.support.relay import Relay
from tests.support.valkey import ValkeyServer, binary
from tests.support.waiting import DEADLINE_S, wait_until

pytestmark = pytest.mark.server
APP = "tests.apps.shared:served()"
ADMIN = ("--header", "X-Admin: yes")


class Shop:
    """A gunicorn of two workers, and the command line beside it.

    Args:
        name: the app's, its own unless it is given.
    """

    def __init__(self, store: str, name: str = "") -> None:
        self.environ = {
            "STORE": store,
            "APP_NAME": name or f"shop-{secrets.token_hex(4)}",
            "REALTIME_MONITOR_HEARTBEAT_INTERVAL": "1",
        }
        self.server = GunicornServer(APP, "--keep-alive", "60", "--workers", "2", **self.environ)
        self.lines: list[Line] = []

    def open(self) -> list[Line]:
        """Return a line to each worker."""
        self.lines += line_to_each(self.server)
        return self.lines

    def flask(self, *words: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ``flask monitor ...``."""
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env={**os.environ, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.flask(*words, "--json").stdout)

    @staticmethod
    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "flask", "--app", APP, "monitor", *words]

    #: What a script begins with.
    HEAD = (
        "import os; from tests.apps.shared import create_app\n"
        "app, monitor = create_app(os.environ['STORE'])\n"
    )

    def python(self, script: str) -> str:
        """Run a script as cron would."""
        return subprocess.run(
            [sys.executable, "-c", self.HEAD + script],
            cwd=ROOT,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self.server.close()


Open = Callable[..., Shop]


@pytest.fixture
def open_shop() -> Iterator[Open]:
    opened: list[Shop] = []

    def make(*words: str) -> Shop:
        opened.append(Shop(*words))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    """A shop with the store that "auto" takes."""
    return open_shop("auto")


@pytest.fixture(params=["auto", "sqlite", "valkey"])
def any_shop(request: pytest.FixtureRequest, open_shop: Open, tmp_path: Any) -> Iterator[Shop]:
    """A shop with each store."""
    if request.param == "valkey":
        valkey = ValkeyServer(binary())
        yield open_shop(valkey.url)
        valkey.close()
        return
    tmp_path.chmod(0o700)
    yield open_shop("auto" if request.param == "auto" else f"sqlite:///{tmp_path}/monitor.sqlite")


def visit(lines: list[Line], *people: str) -> None:
    """Let each person ask each worker, which has told the others when this returns."""
    for line in lines:
        for user in people:
            line.get("/page/x", agent=f"agent of {user}", X_User=user)
        line.api("stats")  # a reading call writes first


def knows(line: Line, user: str) -> bool:
    """Tell whether a worker shows anything of a person."""
    return any(user in str(line.api(name)) for name in ("users", "sessions", "activities"))


def test_all_outputs_tell_the_same(any_shop: Shop) -> None:
    lines = any_shop.open()
    visit(lines, "ana", "bob")
    names = ("requests_total", "active_users", "active_sessions", "total_sessions")

    def told(stats: Any) -> list[Any]:
        coverage = {**stats["coverage"], "oldest_report_s": None}
        return [*(stats[name] for name in names), coverage]

    wait_until(lambda: told(lines[0].api("stats")) == told(lines[1].api("stats")), "both agree")
    asked = told(any_shop.json("stats"))
    assert asked == told(lines[0].api("stats"))
    assert asked[-1]["workers"] == 2, "who only reads is no worker"
    assert (
        json.loads(any_shop.python("import json; s = monitor.get_stats(); print(json.dumps(s))"))[
            "requests_total"
        ]
        == asked[0]
    )
    assert {one["id"] for one in any_shop.json("who")["items"]} == {"ana", "bob"}
    text = any_shop.flask("who").stdout
    assert "ana" in text and "bob" in text
    assert "/page/x" in any_shop.flask("tail").stdout
    assert len(any_shop.flask("export", "users", "--csv").stdout.splitlines()) == 3
    assert any_shop.flask("doctor").stdout.count("ok ") >= 5
    assert told(lines[1].api("stats"))[-1]["workers"] == 2


def test_who_is_forgotten_by_a_command_is_nowhere(any_shop: Shop) -> None:
    lines = any_shop.open()
    visit(lines, "ana-the-secret", "bob")
    for line in lines:
        wait_until(lambda line=line: knows(line, "ana-the-secret"), "ana is known")  # type: ignore[misc]
    told = any_shop.json("forget", "ana-the-secret")
    assert told == {"user": "ana-the-secret", "workers": 2, "late": []}
    for line in lines:
        wait_until(lambda line=line: not knows(line, "ana-the-secret"), "ana is gone")  # type: ignore[misc]
        assert knows(line, "bob")
        assert line.api("stats")["coverage"]["workers"] == 2
    assert "ana-the-secret" not in any_shop.flask("export").stdout


def test_who_is_forgotten_by_a_cron_job_is_nowhere(any_shop: Shop) -> None:
    lines = any_shop.open()
    visit(lines, "ana-the-secret")
    for line in lines:
        wait_until(lambda line=line: knows(line, "ana-the-secret"), "ana is known")  # type: ignore[misc]
    any_shop.python("monitor.forget('ana-the-secret')")
    for line in lines:
        wait_until(lambda line=line: not knows(line, "ana-the-secret"), "ana is gone")  # type: ignore[misc]
        assert line.api("stats")["coverage"]["workers"] == 2
    visit(lines[:1], "ana-the-secret")  # who comes again is somebody new
    wait_until(lambda: knows(lines[1], "ana-the-secret"), "ana came again")


def test_who_only_reads_hears_of_those_whose_worker_is_gone(any_shop: Shop) -> None:
    lines = any_shop.open()
    visit(lines[:1], "ana")
    visit(lines[1:], "bob-the-secret")
    wait_until(lambda: knows(lines[0], "bob-the-secret"), "bob is known")
    os.kill(lines[1].pid, signal.SIGKILL)
    script = """
import time
def known(): return "bob-the-secret" in str([monitor.get_active_users(), monitor.get_activities()])
peers = app.extensions["realtime_monitor"].live.sharing.peers
def wait(is_so):
    ends_s = time.monotonic() + DEADLINE_S
    while not is_so() and time.monotonic() < ends_s: time.sleep(0.05)
wait(lambda: known() and any(one.is_gone for one in peers.sources))
print(known() and known(), flush=True)
input()
wait(lambda: not known())
print(known())
""".replace("DEADLINE_S", str(DEADLINE_S))
    reader = subprocess.Popen(
        [sys.executable, "-c", any_shop.HEAD + script],
        cwd=ROOT,
        env={**os.environ, **any_shop.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None and reader.stdout is not None
    assert reader.stdout.readline() == "True\n"
    any_shop.flask("forget", "bob-the-secret")
    assert reader.communicate("go on\n", timeout=2 * DEADLINE_S)[0] == "False\n"


def test_what_a_cron_job_tracks_is_in_every_picture(any_shop: Shop) -> None:
    lines = any_shop.open()
    visit(lines, "ana")

    def tracked() -> list[Any]:
        feed = [one for line in lines for one in line.api("activities")["items"]]
        return [(one["name"], one["user"], one["data"]) for one in feed if one["kind"] == "custom"]

    any_shop.python("monitor.track('imported', user='ana', rows=3)")
    wait_until(lambda: len(tracked()) >= 2, "both have heard of it")
    assert tracked() == 2 * [("imported", {"id": "ana", "name": None}, {"rows": 3})]
    wait_until(lambda: lines[0].api("stats")["coverage"]["workers"] == 2, "the job is gone")
    assert lines[0].api("stats")["coverage"]["complete"]


def test_who_has_tracked_something_still_reads_and_tells(shop: Shop) -> None:
    lines = shop.open()
    visit(lines, "ana-the-secret", "bob")
    script = """
monitor.track("begun", user="bob")
print(monitor.get_stats()["active_users"], monitor.get_stats()["coverage"]["workers"])
monitor.forget("ana-the-secret")
"""
    assert shop.python(script).split() == ["2", "2"]
    for line in lines:
        wait_until(lambda line=line: not knows(line, "ana-the-secret"), "ana is gone")  # type: ignore[misc]


def test_a_process_that_makes_one_app_more_finds_the_server(shop: Shop) -> None:
    lines = shop.open()
    visit(lines, "ana")
    script = (
        "_, monitor = create_app(os.environ['STORE']); print(monitor.get_stats()['active_users'])"
    )
    assert shop.python(script).split() == ["1"]


def test_a_worker_that_hangs_is_named_by_forget_and_doctor(shop: Shop) -> None:
    lines = shop.open()
    visit(lines, "ana")
    wait_until(lambda: lines[0].api("stats")["coverage"]["workers"] == 2, "both report")
    os.kill(lines[1].pid, signal.SIGSTOP)
    try:
        assert f":{lines[1].pid}" in shop.flask("forget", "ana", code=1).stderr
        assert f":{lines[1].pid}" in shop.flask("doctor", code=1).stdout
        assert (
            "not every worker"
            in shop.flask("wait-idle", "--seconds", "0", "--timeout", "0", code=1).stderr
        )
    finally:
        os.kill(lines[1].pid, signal.SIGCONT)
    wait_until(lambda: not knows(lines[1], "ana"), "it erases when it is back")


def test_when_the_server_has_ended_nothing_is_shown(shop: Shop) -> None:
    visit(shop.open(), "ana")
    wait_until(lambda: shop.json("stats")["active_users"] == 1, "ana is there")
    for line in shop.lines:
        line.close()
    shop.server.stop()
    found = shop.flask("stats", "--json", code=1)
    assert found.stdout == ""
    assert "no gunicorn" in found.stderr


def test_of_two_servers_none_is_taken(open_shop: Open) -> None:
    name = f"shop-{secrets.token_hex(4)}"
    for one in (open_shop("auto", name), open_shop("auto", name)):
        visit(one.open(), "ana")
        masters = re.escape(str(one.server.process.pid if one.server.process else ""))
    found = wait_until(
        lambda: (done := one.flask("stats", "--json", code=1)) and done.stderr, "both have files"
    )
    assert re.search(rf"2 servers .*{masters}", found)


def test_a_restart_waits_for_who_is_in_the_middle(shop: Shop, tmp_path: Path) -> None:
    (first, second) = shop.open()
    done = tmp_path / "done"
    asking = Thread(
        target=first.get, args=(f"/until-there-is{done}",), kwargs={"X_User": "ana"}, daemon=True
    )
    asking.start()
    now = ("wait-idle", "--seconds", "0", "--timeout", "0")
    wait_until(lambda: "/until" in str(second.api("in-flight")["items"]), "it is seen")
    assert "1 in flight, the oldest GET /until-there-is" in shop.flask(*now, code=1).stderr
    done.touch()
    assert shop.flask("wait-idle", "--seconds", "0.5", "--timeout", "30").stdout == "idle\n"
    asking.join()


def test_tail_goes_on_until_it_is_told_to_end(shop: Shop) -> None:
    lines = shop.open()
    visit(lines, "ana")
    with subprocess.Popen(
        shop.command("tail", "-f", "-n", "1", "--json"),
        cwd=ROOT,
        env={**os.environ, **shop.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline())]
            for number in range(4):
                lines[number % 2].get(f"/page/new-{number}")
            new = {f"/page/new-{number}" for number in range(4)}
            while not new <= {one["path"] for one in told}:
                told.append(json.loads(process.stdout.readline()))
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
    ids = [one["id"] for one in told]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("environ", "is_plain"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True),
        ({"TERM": "dumb", "NO_COLOR": ""}, True),
    ],
    ids=["colours", "NO_COLOR", "dumb"],
)
def test_top_draws_anew_until_it_is_told_to_end(
    shop: Shop, environ: dict[str, str], is_plain: bool
) -> None:
    visit(shop.open(), "ana")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        shop.command("top", "--interval", "0.2"),
        cwd=ROOT,
        env={**os.environ, **shop.environ, **environ},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while shown.count(b"flask monitor top") < 3:
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # its end is an error of the terminal's
            while more := os.read(ours, 65_536):
                shown += more
        assert process.wait(DEADLINE_S) == 0
    os.close(ours)
    assert b"ana" in shown
    assert (b"\x1b" not in shown) == is_plain
    # Only the tool's own: colours, the cursor's way home, and erasing.
    rest = re.sub(rb"\x1b\[[0-9;]*[mHJK]", b"", shown).replace(b"\r\n", b"\n")
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", rest.replace(b"^C", b""))


def test_the_doctor_sees_the_page_and_its_stream(shop: Shop) -> None:
    visit(shop.open(), "ana")
    found = shop.flask("doctor", "--url", shop.server.url, *ADMIN).stdout
    assert re.search(r"ok +url ", found)
    assert re.search(r"ok +stream +the first byte", found)
    assert re.search(r"ok +stream +what comes later", found)
    refused = shop.flask("doctor", "--url", shop.server.url + "/monitor/").stdout
    assert "403: the gate refuses strangers" in refused
    wrong = shop.flask("doctor", "--url", shop.server.url + "/elsewhere", *ADMIN, code=1).stdout
    assert "404, and not of the monitor" in wrong


def test_the_doctor_finds_a_stream_that_is_held_back(shop: Shop) -> None:
    visit(shop.open(), "ana")
    relay = Relay(shop.server.port, late_s=0.6)
    try:
        url = f"http://127.0.0.1:{relay.port}"
        found = shop.flask("doctor", "--url", url, *ADMIN, code=1).stdout
        assert re.search(r"fault +stream .*proxy_buffering off", found)
    finally:
        relay.close()
    gone = shop.flask("doctor", "--url", url, *ADMIN, code=1).stdout
    assert re.search(r"fault +url .*cannot be asked", gone)


def test_the_doctor_knows_sync_workers(open_shop: Open) -> None:
    shop = open_shop("auto")
    shop.server.close()
    shop.server = GunicornServer(APP, "--workers", "1", worker="sync", **shop.environ)
    shop.server.ask("/monitor/api/v1/stats", X_Admin="yes")  # a reading call writes first
    found = shop.flask("doctor").stdout
    assert re.search(r"warn +server .*SyncWorker.*--worker-class gevent", found)
    found = shop.flask("doctor", "--url", shop.server.url, *ADMIN).stdout
    assert re.search(r"warn +stream +it ends at once", found)
