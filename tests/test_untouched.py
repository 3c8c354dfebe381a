"""The app answers as if the monitor were not there, even where all of it fails."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import current_thread
from typing import Any

import pytest
from flask import Flask, session
from flask_login import LoginManager, UserMixin, login_user
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.pulse import Pulse
from flask_realtime_monitor.state import EXTENSION
from flask_realtime_monitor.testing import break_everything

from .apps.lifecycle import bare_app, create_app
from .support.waiting import wait_until

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
PATHS = (
    "/",
    "/data",
    "/no-such-page",
    "/fail",
    "/gone",
    "/fault",
    "/teapot",
    "/body",
    "/with-context",
    "/file",
    "/disk-file",
    "/away",
    "/folder",
    "/wsgi",
    "/echo",
    "/shop/item/7",
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """The broken monitor says so; that is not what is tested here.

    A loop that outlives its test would log a traceback while the next app compiles its routes:
    CPython 3.11 parses code for both, and not in two threads at once (gh-106905).
    """
    loggers = [logging.getLogger(name) for name in ("lifecycle", "flask_realtime_monitor")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def answer(app: Flask, path: str, method: str) -> tuple[Any, ...]:
    environ = EnvironBuilder(path, method=method, data=b"x=1").get_environ()
    body, status, headers = run_wsgi_app(app, environ)
    try:
        content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    # The clock's own header may differ by a second.
    return status, [pair for pair in headers if pair[0] != "Date"], content


@pytest.fixture(scope="module")
def bare() -> Flask:
    return bare_app()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_answers_are_byte_equal(bare: Flask, path: str, method: str) -> None:
    expected = answer(bare, path, method)
    app, _ = create_app()
    assert answer(app, path, method) == expected
    assert answer(app, path, method) == expected  # and the second time, with a session there


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
def test_answers_stay_byte_equal_while_every_call_of_ours_raises(
    bare: Flask, path: str, method: str
) -> None:
    app, _ = create_app()
    break_everything(app)
    app.extensions[EXTENSION].live.beat()  # the loop's first failure is told now, not later
    assert answer(app, path, method) == answer(bare, path, method)


@pytest.mark.parametrize("path", ["/leave/exit", "/leave/interrupt", "/leave/greenlet"])
def test_exits_pass_through_unchanged(path: str) -> None:
    kinds = []
    for app in (bare_app(), create_app()[0]):
        with pytest.raises(BaseException) as raised:
            answer(app, path, "GET")
        kinds.append((type(raised.value), raised.value.args))
    assert kinds[0] == kinds[1]


def test_the_app_s_session_is_neither_read_nor_written() -> None:
    app = Flask("sessions")
    app.secret_key = "of the test"
    monitor = RealtimeMonitor(app)

    @app.get("/")
    def page() -> str:
        return "page"

    @app.get("/read")
    def read() -> str:
        return str(session.get("a"))

    client = app.test_client()
    first = client.get("/")
    assert "Set-Cookie" not in first.headers
    assert "Vary" not in first.headers
    assert client.get("/read").headers["Vary"] == "Cookie"
    assert monitor.get_stats()["requests_total"] == 2


def test_the_app_s_user_loader_is_never_called_by_us() -> None:
    app = Flask("logins")
    app.secret_key = "of the test"
    monitor = RealtimeMonitor(app)
    manager = LoginManager(app)
    loaded = []

    class Person(UserMixin):
        id = "42"

    @manager.user_loader
    def load(user_id: str) -> Person:
        loaded.append(user_id)
        return Person()

    @app.get("/in")
    def sign_in() -> str:
        login_user(Person())
        return "in"

    @app.get("/public")
    def public() -> str:
        return "public"

    client = app.test_client()
    client.get("/in")
    loaded.clear()
    client.get("/public")
    assert loaded == []
    assert [one["id"] for one in monitor.get_active_users()] == ["42"]


def test_6000_mixed_requests_are_counted_exactly_and_leave_nothing_in_flight() -> None:
    app, monitor = create_app()
    paths = ("/", "/data", "/no-such-page", "/fail", "/gone", "/file", "/with-context", "/away")
    chosen = random.Random(6).choices(paths, k=6000)

    def visit(number: int) -> int:
        headers = {"X-User": f"u{number % 50}", "User-Agent": f"agent {number % 50}"}
        with app.test_client().get(chosen[number], headers=headers) as found:
            found.get_data()
            return found.status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(visit, range(6000)))
    stats = monitor.get_stats()
    assert stats["requests_total"] == 6000
    assert stats["errors_total"] == statuses.count(500) == chosen.count("/fail")
    assert (stats["in_flight"], stats["active_users"], stats["total_sessions"]) == (0, 50, 50)
    assert sum(one["requests"] for one in monitor.get_active_sessions(1000)) == 6000
    assert stats["dropped"] == {"sessions": 0, "activities": 0, "events": 0}


def test_the_loop_keeps_its_pause_when_a_test_of_the_app_replaces_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beats, slept = Counter[str](), Counter[str]()

    class Living:
        def beat(self) -> float:
            beats["beat"] += 1
            return 0.01

    living = Living()
    monkeypatch.setattr("time.sleep", lambda _: slept.update([current_thread().name]))
    Pulse().start_loop(living.beat, "living", 0.01)
    wait_until(lambda: beats["beat"] > 2, "it goes on")
    assert "living" not in slept
