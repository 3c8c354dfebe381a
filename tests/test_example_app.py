"""The example shop, its visitors, and `make run`, which starts both."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server

import example_app
from example_app import PEOPLE, PRODUCTS, Visitor, monitor
from flask_realtime_monitor.testing import strict

from .support.ports import free_port

ROOT = Path(__file__).parent.parent
DEADLINE_S = 30


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    # With "auto" it would read the picture of a shop that somebody runs on this machine.
    monkeypatch.setenv("REALTIME_MONITOR_STORE", "memory:")
    app = example_app.create_app()
    strict(app)
    return app.test_client()


def activities(client: FlaskClient) -> list[dict[str, Any]]:
    with client.application.app_context():
        return monitor.get_activities()


def sign_in(client: FlaskClient, username: str, password: str | None = None) -> int:
    form = {"username": username, "password": username if password is None else password}
    return client.post("/login", data=form).status_code


# -- the shop ---------------------------------------------------------------------------------


def test_the_first_page_has_the_products_and_the_way_to_the_dashboard(client: FlaskClient) -> None:
    page = client.get("/").text
    assert 'href="/monitor/"' in page
    assert all(product.name in page for product in PRODUCTS)


def test_the_dashboard_refuses_strangers_and_customers(client: FlaskClient) -> None:
    assert client.get("/monitor/api/v1/stats").status_code == 403
    sign_in(client, "demo")
    assert client.get("/monitor/api/v1/stats").status_code == 403


def test_the_admin_may_watch(client: FlaskClient) -> None:
    assert sign_in(client, "admin") == 303
    assert client.get("/monitor/").status_code == 200


@pytest.mark.parametrize("username", ["demo", "guest", "admin"])
def test_the_sign_in_page_states_the_accounts_there_are(client: FlaskClient, username: str) -> None:
    assert f"<code>{username}</code> / <code>{username}</code>" in client.get("/login").text
    assert sign_in(client, username) == 303


@pytest.mark.parametrize(
    ("username", "password"), [("demo", "guest"), ("nobody", "nobody"), ("", "")]
)
def test_a_wrong_password_signs_nobody_in(
    client: FlaskClient, username: str, password: str
) -> None:
    assert sign_in(client, username, password) == 401
    assert "Sign out" not in client.get("/").text


def test_an_order_is_seen_with_its_title_and_its_buyer(client: FlaskClient) -> None:
    sign_in(client, "guest")
    client.post("/cart", data={"product": 2})
    assert "Sencha" in client.get("/cart").text
    client.post("/checkout")
    client.post("/checkout")  # an empty basket is no order
    assert "Nothing in it yet" in client.get("/cart").text

    seen = activities(client)
    orders = [one for one in seen if (one["title"] or "").startswith("Order ")]
    assert [one["user"] for one in orders] == [{"id": "guest", "name": "Guest"}]
    added = [one for one in seen if one["kind"] == "custom"]
    assert [(one["name"], one["data"]) for one in added] == [
        ("added to cart", {"product": "Sencha"})
    ]


def test_a_sign_out_is_seen_and_empties_the_basket(client: FlaskClient) -> None:
    sign_in(client, "demo")
    client.post("/cart", data={"product": 1})
    client.post("/logout")
    assert "Basket (0)" in client.get("/").text
    kinds = [one["kind"] for one in activities(client)]
    assert (kinds.count("login"), kinds.count("logout")) == (1, 1)


def test_a_search_finds_by_name_and_text(client: FlaskClient) -> None:
    assert "Silver Needle" in client.get("/search?q=MELON").text
    assert "Nothing" in client.get("/search?q=coffee").text


@pytest.mark.parametrize("path", ["/product/99", "/no-such-page"])
def test_what_is_not_there_is_a_404(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_failure_is_recorded_but_its_traceback_is_not_logged(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert client.get("/fail").status_code == 500
    assert "KettleError" not in caplog.text
    failed = activities(client)[0]
    assert (failed["status"], failed["error"]) == (500, "KettleError")


def test_the_slow_page_takes_two_seconds(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert client.get("/slow").status_code == 200
    assert 2 in slept


def test_the_report_streams_a_line_for_each_product(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    report = client.get("/report")
    assert report.is_streamed
    assert len(report.text.splitlines()) == len(PRODUCTS)


def test_the_download_is_a_file(client: FlaskClient) -> None:
    with client.get("/download") as download:
        assert download.data == Path(example_app.__file__).read_bytes()
        assert "attachment" in download.headers["Content-Disposition"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_on_another_site_does_nothing(client: FlaskClient, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert client.post("/cart", data={"product": 1}, headers=headers).status_code == 403
    assert "Basket (0)" in client.get("/").text


# -- the visitors -----------------------------------------------------------------------------


def crowd(count: int) -> list[Visitor]:
    return [Visitor(number, "http://shop.invalid", threading.Event()) for number in range(count)]


def test_half_of_the_visitors_have_an_account_each_one_of_their_own() -> None:
    usernames = [visitor.username for visitor in crowd(20) if visitor.username]
    assert len(usernames) == len(set(usernames)) == 10
    assert set(usernames) <= set(example_app.ACCOUNTS)


def test_as_many_as_may_come_are_all_different() -> None:
    everybody = crowd(2 * len(PEOPLE))
    assert len({visitor.agent for visitor in everybody}) == len(everybody)
    assert len({visitor.username for visitor in everybody}) == len(PEOPLE) + 1


@pytest.mark.server
@pytest.mark.parametrize("deed", example_app.DEEDS, ids=lambda deed: deed[0])
def test_every_deed_of_a_visitor_is_answered_as_the_shop_means_it(
    deed: tuple[str, float, dict[str, str] | None],
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("random.choices", lambda *_: [deed])
    monkeypatch.setattr("random.uniform", lambda *_: 0.01)
    server = make_server("127.0.0.1", 0, client.application, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    is_over = threading.Event()
    visitor = Visitor(0, f"http://127.0.0.1:{server.server_port}", is_over)
    serving.start()
    visitor.start()
    path, _, form = deed
    try:
        wait_for(lambda: statuses(client, path, "GET" if form is None else "POST"), path)
    finally:
        is_over.set()
        visitor.join()
        server.shutdown()
        serving.join()
        server.server_close()
    expected = {"/fail": 500, "/no-such-page": 404}.get(path, 200 if form is None else 303)
    assert statuses(client, path, "GET" if form is None else "POST") == {expected}


def statuses(client: FlaskClient, path: str, method: str) -> set[int]:
    """Return with what a path was answered; any product counts for the first."""
    begin = path.partition("?")[0].partition("{")[0]
    seen = [one for one in activities(client) if one["kind"] == "request"]
    return {
        one["status"]
        for one in seen
        if one["method"] == method
        and (one["path"].startswith(begin) if "{" in path else one["path"] == begin)
    }


@pytest.mark.parametrize("count", [-1, 2 * len(PEOPLE) + 1])
def test_a_crowd_of_the_wrong_size_is_refused(
    count: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["example_app.py", "visitors", f"--count={count}"])
    with pytest.raises(SystemExit, match="2"):
        example_app.main()
    assert f"--count is {count}; write a number from 0 to 200" in capsys.readouterr().err


# -- make run ---------------------------------------------------------------------------------


def wait_for(condition: Callable[[], Any], what: str) -> None:
    tick = threading.Event()
    for _ in range(DEADLINE_S * 10):
        if condition():
            return
        tick.wait(0.1)
    pytest.fail(f"waited {DEADLINE_S} s for {what}")


def get(port: int, path: str) -> int | None:
    """Return the status of a page, None where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def living(group: int) -> list[str]:
    """Return the command lines of a process group, the dead aside that nobody has reaped."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgrp = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError):
            continue  # it ended while we looked
    return found


@contextmanager
def make_run(log: Path, visitors: int = 4) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `make run` with this environment's programs; nothing is installed."""
    port = free_port()
    bin_ = Path(sys.executable).parent
    command = ["make", "run", f"BIN={bin_}", "-o", ".venv/installed-example"]
    with log.open("wb") as output:
        make = subprocess.Popen(
            [*command, f"PORT={port}", f"DEMO_VISITORS={visitors}"],
            cwd=ROOT,
            env={**os.environ, "MAKEFLAGS": ""},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: get(port, "/") == 200, "the shop")
        yield make, port
    finally:
        if living(make.pid):
            os.killpg(make.pid, signal.SIGKILL)
        make.wait()


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("end", ["ctrl-c", "make told", "make killed", "gunicorn killed"])
def test_make_run_leaves_no_process_behind(end: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with make_run(log) as (make, _):
        wait_for(lambda: any("visitors" in line for line in living(make.pid)), "visitors")
        if end == "ctrl-c":
            os.killpg(make.pid, signal.SIGINT)
        elif end == "make told":
            make.terminate()
        elif end == "make killed":
            make.kill()
            make.wait()
        else:
            children = Path(f"/proc/{make.pid}/task/{make.pid}/children").read_text()
            os.kill(int(children.split()[0]), signal.SIGKILL)
        wait_for(lambda: not living(make.pid), "everything to end")
    assert "Traceback" not in log.read_text()


@pytest.mark.server
def test_the_visitors_are_seen_by_the_admin_within_seconds(tmp_path: Path) -> None:
    with make_run(tmp_path / "log") as (_, port):
        admin = Admin(port)
        named = [visitor.username for visitor in crowd(4) if visitor.username]
        wait_for(
            lambda: all(f'"{name}"' in admin.read("api/v1/sessions")[0] for name in named),
            "people who sign in",
        )


class Admin:
    """The shop's admin, on a new connection each time, so that any of the workers may answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with self._connected() as connection:
            connection.request("POST", "/login", "username=admin&password=admin", self._headers)
            answer = connection.getresponse()
            answer.read()
        self._headers = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}

    def read(self, *paths: str) -> list[str]:
        """Return pages under the monitor's prefix, all told by the same worker."""
        found = []
        with self._connected() as connection:
            for path in paths:
                connection.request("GET", f"/monitor/{path}", headers=self._headers)
                found.append(connection.getresponse().read().decode())
        return found

    def look(self) -> tuple[str, str]:
        """Return who tells, and what: the numbers and rows of API and page."""
        names = ("health", "stats", "users", "sessions", "activities", "endpoints")
        page, *answers = self.read("", *(f"api/v1/{name}" for name in names))
        health, stats, *lists = [json.loads(one) for one in answers]
        numbers = ("requests_total", "active_users", "total_sessions", "latency_ms")
        told = [stats[name] for name in numbers]
        # The order of what happened in the same millisecond is left open.
        told += [sorted(map(str, one["items"])) for one in lists]
        told += sorted(re.findall(r'data-value>[^<]*|class="sub"[^<]*|data-key="[^"]*"', page))
        # What a worker itself has recorded tells it from one that served more or fewer pages.
        used = {one["name"]: one["used"] for one in health["limits"]}
        return str(used["activities"]), str(told)

    def _connected(self) -> closing[HTTPConnection]:
        return closing(HTTPConnection("127.0.0.1", self._port, timeout=5))


@pytest.mark.server
def test_page_and_api_tell_the_same_whichever_worker_answers(tmp_path: Path) -> None:
    with make_run(tmp_path / "log", visitors=0) as (_, port):
        admin = Admin(port)

        def tell() -> tuple[int, int]:
            """Return how many there are who tell, and how many different things."""
            looks = [admin.look() for _ in range(12)]
            return len({who for who, _ in looks}), len({what for _, what in looks})

        def both_have_served() -> bool:
            get(port, "/")
            return tell()[0] == 2

        wait_for(both_have_served, "both workers to have served, and not equally many")
        wait_for(lambda: tell() == (2, 1), "both workers to tell the same")
        (stats,) = admin.read("api/v1/stats")
        coverage = json.loads(stats)["coverage"]
        assert (coverage["workers"], coverage["hosts"], coverage["complete"]) == (2, 1, True)
