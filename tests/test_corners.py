"""The corners of what is promised: rare requests, and what is easily overlooked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.routing import BaseConverter, Map

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.cli.console import Cell
from flask_realtime_monitor.cli.screen import activity_row
from flask_realtime_monitor.stores import StoreError
from flask_realtime_monitor.testing import strict

from .support.records import Bench


def monitored(**settings: Any) -> tuple[Flask, RealtimeMonitor]:
    app = Flask("found")
    app.config.update({f"REALTIME_MONITOR_{name}": one for name, one in settings.items()})
    monitor = RealtimeMonitor(app, authorize=lambda: True)
    strict(app)
    return app, monitor


class WebSocketResponse(Response):
    """As flask-sock's under gunicorn: the connection is over, there is nothing left to send."""

    def __call__(self, *_: Any) -> Any:
        raise StopIteration


def test_a_websocket_that_has_ended_is_no_error() -> None:
    app, monitor = monitored()
    app.add_url_rule("/socket", "socket", WebSocketResponse)
    with pytest.raises(StopIteration):
        app.test_client().get("/socket")
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["in_flight"]) == (1, 0)
    assert stats["errors_total"] == 0
    assert monitor.get_activities()[0]["error"] is None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/slash/SECRET", 308),
        ("GET", "//slash/SECRET", 308),
        ("GET", "/shop//slash/SECRET/", 308),
        ("POST", "/reset/SECRET", 405),
        ("GET", "/api/SECRET/user", 404),
        ("GET", "/api/SECRET/users/7", 404),
        ("GET", "/API/SECRET/users", 404),
        ("GET", "/api/SECRET\n/user", 404),
        ("GET", "/api/users\n/SECRET/users", 404),
    ],
)
def test_a_secret_in_a_path_is_hidden_where_flask_answers_by_itself(
    method: str, path: str, status: int
) -> None:
    app, monitor = monitored()
    for rule in ("/slash/<token>/", "/shop/slash/<token>/", "/reset/<token>", "/api/<key>/users"):
        app.add_url_rule(rule, rule, lambda **_: "")
    found = app.test_client().open("/", method=method, environ_overrides={"PATH_INFO": path})
    assert found.status_code == status
    assert "SECRET" not in monitor.get_activities()[0]["path"]


def test_a_secret_of_a_request_in_flight_is_hidden_before_any_has_ended() -> None:
    app, _ = monitored()
    app.add_url_rule("/reset/<token>", "reset", lambda token: token)
    shown = app.extensions["realtime_monitor"].live.ingest.path_of("/reset/SECRET/", None, None)
    assert shown == "/reset/<token>"


class Regex(BaseConverter):
    """The converter that many an app has."""

    def __init__(self, url_map: Map, regex: str) -> None:
        super().__init__(url_map)
        self.regex = regex


@pytest.mark.parametrize(
    "rule",
    [
        """/a/<regex("[^/>]+"):token>/<n>""",
        """/a/<regex('(?P<y>[A-Z]+)'):token>/<n>""",
        """/a/<regex("(?:x:y|[A-Z<]+)"):token>/<n>""",
        """/a/<any("s:ecret","SECRET"):token>/<n>""",
        """/a/<string(length=6):token>/<n>""",
    ],
)
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a/SECRET/5", "/a/<token>/5"),
        ("/a/SECRET/5/", "/a/<token>/<n>"),
        ("/a/SECRET", "/a/<token>/…"),
    ],
)
def test_a_secret_is_hidden_whatever_its_converter_is_told(
    rule: str, path: str, shown: str
) -> None:
    app, monitor = monitored()
    app.url_map.converters["regex"] = Regex
    app.add_url_rule(rule, "a", lambda **_: "")
    app.test_client().get(path)
    assert monitor.get_activities()[0]["path"] == shown


def test_a_secret_is_hidden_that_the_app_takes_out_of_the_arguments() -> None:
    app, monitor = monitored()

    @app.url_value_preprocessor
    def take(_: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        values.clear()

    app.add_url_rule("/reset/<token>/<n>", "reset", lambda: "")
    assert app.test_client().get("/reset/SECRET/5").status_code == 200
    assert monitor.get_activities()[0]["path"] == "/reset/<token>/<n>"


def test_a_path_that_was_no_secret_with_one_method_is_one_with_another() -> None:
    app, monitor = monitored()
    app.add_url_rule("/a/<name>", "read", lambda name: name, methods=["GET"])
    app.add_url_rule("/a/<token>", "write", lambda token: token, methods=["POST"])
    client = app.test_client()
    for method in ("GET", "POST"):
        client.open("/a/b", method=method)
    assert [one["path"] for one in monitor.get_activities()] == ["/a/<token>", "/a/b"]


def test_a_path_made_to_be_compared_for_ever_is_not() -> None:
    app, monitor = monitored()
    app.add_url_rule("/a/<token>/<b>/<c>/<d>/end", "a", lambda **_: "")
    app.test_client().get("/", environ_overrides={"PATH_INFO": "/a/" + "x/" * 4000 + "\n"})
    assert monitor.get_activities()[0]["path"] == "/a/<token>/…"


@pytest.mark.parametrize(("status", "errors"), [(499, 0), (500, 1), (599, 1), (600, 0), (999, 0)])
def test_a_5xx_answer_is_an_error_and_no_other(status: int, errors: int) -> None:
    app, monitor = monitored()
    app.add_url_rule("/", "home", lambda: Response("home", status))
    client = app.test_client()
    client.get("/")
    (session,) = monitor.get_active_sessions()
    (endpoint,) = client.get("/monitor/api/v1/endpoints").get_json()["items"]
    assert monitor.get_stats()["errors_total"] == session["errors"] == endpoint["errors"] == errors
    (activity,) = monitor.get_activities()
    assert activity["status"] == status
    assert (Cell(str(status), "bad") in activity_row(activity)) is bool(errors)
    found = client.get("/monitor/api/v1/activities?status=5xx").get_json()
    assert found["total"] == errors


def test_a_status_that_is_none_is_in_no_class() -> None:
    app, monitor = monitored()
    monitor.before_record(lambda activity: replace(activity, status=50))
    client = app.test_client()
    client.get("/")
    assert monitor.get_activities()[0]["status"] == 50
    assert client.get("/monitor/api/v1/activities?status=5xx").get_json()["total"] == 0


def test_what_a_new_visitor_s_teardown_tracks_is_of_the_session() -> None:
    app, monitor = monitored()
    app.add_url_rule("/", "home", lambda: "home")
    app.teardown_request(lambda _: monitor.track("torn down"))
    app.test_client().get("/")
    custom, request = monitor.get_activities()
    assert (custom["name"], request["kind"]) == ("torn down", "request")
    assert custom["session"] == request["session"] is not None


def test_stats_and_worker_agree_on_what_was_dropped() -> None:
    app, monitor = monitored()

    @app.get("/much")
    def much() -> str:
        for number in range(103):
            monitor.track("done", number=number)
        return "much"

    client = app.test_client()
    client.get("/much")
    stats = monitor.get_stats()
    (worker,) = client.get("/monitor/api/v1/workers").get_json()["items"]
    assert stats["dropped"]["activities"] == worker["dropped"]["activities"] == 3


def test_what_waits_for_a_salt_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    app, monitor = monitored()
    parts = app.extensions["realtime_monitor"].live

    def away(_: int) -> bytes:
        raise StoreError("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(parts.sharing, "salt", away)
        app.test_client().get("/nowhere")
        stats = monitor.get_stats()
        assert (stats["requests_total"], stats["coverage"]["complete"]) == (0, False)
        assert "not shown yet: 1 " in " ".join(parts.picture.health()["problems"])
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["coverage"]["complete"]) == (1, True)
    assert parts.picture.health()["problems"] == []


def test_is_authenticated_and_id_is_nobody_for_a_guest() -> None:
    app, monitor = monitored()
    monitor.identify(lambda: "X-User" in request.headers and request.headers["X-User"])
    app.test_client().get("/")
    assert monitor.get_activities()[0]["user"] is None


def test_without_an_app_it_says_to_call_init_app() -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        RealtimeMonitor().get_stats()


@pytest.mark.parametrize("user", [None, "ana"])
def test_an_activity_s_id_is_never_given_twice(user: str | None) -> None:
    bench = Bench(session_timeout=120, active_window=60)
    bench.visit(4, user)
    bench.time.pass_(121)
    bench.tracker.expire()
    bench.visit(4, user)
    first, second = bench.picture.activities()["items"]
    assert first["id"] != second["id"]


def test_a_doubled_slash_before_the_prefix_changes_nothing() -> None:
    app, monitor = monitored()
    environ = {"PATH_INFO": "//monitor/api/v1/stats"}
    found = app.test_client().get("/", environ_overrides=environ)
    assert found.headers.get("Cache-Control") == "no-store"
    assert monitor.get_activities() == []
