"""Every way a request can go is recorded once, and nothing stays in flight."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import werkzeug
from flask import Blueprint, Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.state import EXTENSION
from flask_realtime_monitor.testing import strict

from .apps.lifecycle import bare_app, create_app


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("lifecycle").setLevel(logging.CRITICAL)


@pytest.fixture
def app_and_monitor() -> tuple[Flask, RealtimeMonitor]:
    app, monitor = create_app()
    strict(app)
    return app, monitor


@pytest.fixture
def app(app_and_monitor: tuple[Flask, RealtimeMonitor]) -> Flask:
    return app_and_monitor[0]


@pytest.fixture
def monitor(app_and_monitor: tuple[Flask, RealtimeMonitor]) -> RealtimeMonitor:
    return app_and_monitor[1]


def only(monitor: RealtimeMonitor) -> dict[str, Any]:
    """Return the one activity there is; nothing is in flight."""
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["in_flight"]) == (1, 0)
    (activity,) = monitor.get_activities()
    assert stats["errors_total"] == int(activity["error"] is not None or activity["status"] >= 500)
    return activity


CASES = [
    # method, path, status, endpoint's start, error
    ("GET", "/", 200, "plain", None),
    ("HEAD", "/", 200, "plain", None),
    ("OPTIONS", "/", 200, "plain", None),
    ("GET", "/data", 200, "data", None),
    ("GET", "/no-such-page", 404, "(unmatched)", None),
    ("POST", "/", 405, "(unmatched)", None),
    ("FOO", "/", 405, "(unmatched)", None),
    ("GET", "/folder", 308, "(unmatched)", None),
    ("GET", "/shop/item/7", 200, "shop.item", None),
    ("GET", "/shop/item/seven", 404, "(unmatched)", None),
    ("GET", "/gone", 410, "gone", None),
    ("GET", "/fault", 500, "fault", None),
    ("GET", "/fail", 500, "fail", "ValueError"),
    ("GET", "/teapot", 418, "teapot", None),
    ("GET", "/nothing", 500, "nothing", "TypeError"),
    ("GET", "/early", 200, "(unmatched)", None),
    ("GET", "/before-fails", 500, "plain", "RuntimeError"),
    ("GET", "/after-fails", 500, "plain", "RuntimeError"),
    ("GET", "/body", 200, "body", None),
    ("HEAD", "/body", 200, "body", None),
    ("GET", "/with-context", 200, "with_context", None),
    ("GET", "/file", 200, "file", None),
    ("HEAD", "/file", 200, "file", None),
    ("GET", "/disk-file", 200, "disk_file", None),
    ("GET", "/away", 302, "away", None),
    ("GET", "/wsgi", 202, "wsgi", None),
    ("POST", "/echo", 200, "echo", None),
]


@pytest.mark.parametrize(("method", "path", "status", "endpoint", "error"), CASES)
def test_recorded_once_as_it_was(
    app: Flask,
    monitor: RealtimeMonitor,
    method: str,
    path: str,
    status: int,
    endpoint: str,
    error: str | None,
) -> None:
    with app.test_client().open(path, method=method) as answer:
        assert answer.status_code == status
        answer.get_data()
    activity = only(monitor)
    assert activity["endpoint"].startswith(endpoint)
    assert (activity["status"], activity["error"]) == (status, error)
    assert activity["method"] == ("OTHER" if method == "FOO" else method)
    assert activity["path"] == path
    assert activity["kind"] == "request"


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/fail", "/away", "/folder", "/early"])
def test_a_body_in_memory_counts_at_once_though_nobody_reads_it(
    app: Flask, monitor: RealtimeMonitor, path: str
) -> None:
    answer = app.test_client().get(path)
    only(monitor)
    answer.close()


@pytest.mark.parametrize("path", ["/leave/exit", "/leave/interrupt", "/leave/greenlet"])
def test_what_ends_a_worker_passes_and_is_recorded(
    app: Flask, monitor: RealtimeMonitor, path: str
) -> None:
    with pytest.raises(BaseException) as raised:
        app.test_client().get(path)
    activity = only(monitor)
    assert activity["status"] is None
    assert activity["error"] == type(raised.value).__name__


def test_the_name_of_an_exception_s_class_is_cut(app: Flask, monitor: RealtimeMonitor) -> None:
    @app.get("/made-up")
    def made_up() -> str:
        raise type("E" * 10_000, (Exception,), {})

    app.test_client().get("/made-up")
    assert only(monitor)["error"] == "E" * 127 + "…"


@pytest.mark.parametrize("path", ["/fail", "/nothing", "/before-fails"])
def test_an_exception_that_flask_passes_on_is_recorded(
    app: Flask, monitor: RealtimeMonitor, path: str
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(Exception) as raised:
        app.test_client().get(path)
    activity = only(monitor)
    assert activity["status"] is None
    assert activity["error"] == type(raised.value).__name__


class Sessions(SecureCookieSessionInterface):
    """Breaks where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if self.where == "none":
            return None
        if self.where == "open":
            raise RuntimeError("no session today")
        return super().open_session(app, request)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if self.where == "save":
            raise RuntimeError("not kept")
        super().save_session(app, session, response)


@pytest.mark.parametrize(
    ("where", "status", "endpoint"),
    [("open", 500, "(unmatched)"), ("save", 500, "plain"), ("none", 200, "plain")],
)
def test_a_session_of_the_app_s_that_breaks_is_only_its_own_trouble(
    app: Flask, monitor: RealtimeMonitor, where: str, status: int, endpoint: str
) -> None:
    app.secret_key = "of the test"
    app.session_interface = Sessions(where)
    app.login_manager = object()  # type: ignore[attr-defined]  # so that the session is looked at
    with app.test_client().get("/") as answer:
        assert answer.status_code == status
        answer.get_data()
    activity = only(monitor)
    assert activity["status"] == status
    assert activity["endpoint"].startswith(endpoint)


def test_a_client_that_keeps_its_contexts_counts_each_request_once(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    with app.test_client() as client:
        client.get("/")
        assert (request.path, monitor.get_stats()["requests_total"]) == ("/", 1)
        client.get("/data")
        monitor.track("seen in the test")
        assert (request.path, monitor.get_stats()["requests_total"]) == ("/data", 2)
    assert [one["path"] for one in monitor.get_activities()] == ["/data", "/data", "/"]
    assert monitor.get_stats()["in_flight"] == 0


def test_a_blueprint_within_another_is_recorded_under_each_of_its_names(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    inner, outer = Blueprint("inner", "inner"), Blueprint("outer", "outer")
    inner.add_url_rule("/page", "page", lambda: "page")
    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/a")
    app.register_blueprint(outer, url_prefix="/b", name="again")
    for path in ("/a/inner/page", "/b/inner/page"):
        app.test_client().get(path)
    names = [one["endpoint"] for one in monitor.get_activities()]
    assert names == ["again.inner.page", "outer.inner.page"]


@pytest.mark.parametrize("is_passed", [True, False])
def test_a_body_passed_through_and_what_is_called_on_its_close_stay_as_they_are(
    app: Flask, monitor: RealtimeMonitor, is_passed: bool
) -> None:
    closed = []

    @app.get("/through")
    def through() -> Response:
        answer = Response(iter([b"as it is"]), direct_passthrough=is_passed)
        answer.call_on_close(lambda: closed.append(True))
        return answer

    with app.test_client().get("/through") as answer:
        assert answer.get_data() == b"as it is"
    assert closed == ([] if is_passed else [True])  # as Werkzeug does it
    only(monitor)


def test_a_stream_lasts_until_its_last_byte(app: Flask, monitor: RealtimeMonitor) -> None:
    assert app.test_client().get("/body").text == "piecepiecepiece"
    assert only(monitor)["duration_ms"] >= 290


def test_a_stream_is_in_flight_until_it_is_read(app: Flask, monitor: RealtimeMonitor) -> None:
    answer = app.test_client().get("/body")
    stats = monitor.get_stats()
    assert (stats["in_flight"], stats["requests_total"]) == (1, 0)
    answer.close()
    only(monitor)


def test_a_stream_that_breaks_is_an_error_and_keeps_the_status_sent(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    answer = app.test_client().get("/broken-body")
    with pytest.raises(OSError, match="in the middle"):
        answer.get_data()
    activity = only(monitor)
    assert (activity["status"], activity["error"]) == (200, "OSError")


def test_a_stream_that_is_only_dropped_ends(app: Flask, monitor: RealtimeMonitor) -> None:
    environ = EnvironBuilder("/body").get_environ()
    body = app(environ, lambda status, headers, exc_info=None: lambda _: None)
    assert monitor.get_stats()["in_flight"] == 1
    del body
    environ.clear()
    only(monitor)


def test_a_file_stays_one_for_the_server_and_ends_with_its_close(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    class Wrapper:
        def __init__(self, file: Any, size: int = 8192) -> None:
            self.file = file

        def __iter__(self) -> Any:
            return iter(lambda: self.file.read(100), b"")

        def close(self) -> None:
            self.file.close()

    environ = EnvironBuilder("/disk-file").get_environ() | {"wsgi.file_wrapper": Wrapper}
    body = app(environ, lambda status, headers, exc_info=None: lambda _: None)
    assert isinstance(body, Wrapper)
    assert monitor.get_stats()["in_flight"] == 1
    body.close()
    only(monitor)
    assert body.file.closed


class Closed:
    """A file that takes no attribute, as those of C take none."""

    __slots__ = ("_file",)

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._file.read(size)
        return found

    def __iter__(self) -> Any:
        return iter([self.read()])

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)


@pytest.mark.parametrize("wrap", [lambda file: file, Closed])
def test_a_file_that_a_server_marks_for_itself_stays_that_file(
    app: Flask, monitor: RealtimeMonitor, wrap: Any
) -> None:
    """uWSGI's wrapper returns the file; any other body it would send line by line."""
    marked = []

    def mark(file: Any, size: int = 8192) -> Any:
        marked.append(wrap(file))
        return marked[-1]

    environ = EnvironBuilder("/disk-file").get_environ() | {"wsgi.file_wrapper": mark}
    body = app(environ, lambda status, headers, exc_info=None: lambda _: None)
    assert monitor.get_stats()["in_flight"] == 1
    assert (body is marked[0]) is (wrap is not Closed)
    body.close()  # type: ignore[attr-defined]
    assert marked[0].closed
    only(monitor)


def test_a_request_within_a_request_is_one_of_its_own(app: Flask, monitor: RealtimeMonitor) -> None:
    @app.get("/outer")
    def outer() -> str:
        return app.test_client().get("/").text

    assert app.test_client().get("/outer").text == "plain"
    assert monitor.get_stats()["requests_total"] == 2
    assert {one["path"] for one in monitor.get_activities()} == {"/", "/outer"}
    assert monitor.get_stats()["in_flight"] == 0


@pytest.mark.parametrize(
    ("line", "status"), [("Awesome", None), ("299 Own", 299), ("²³ Odd", None)]
)
def test_a_status_line_of_the_app_s_own_is_recorded(
    app: Flask, monitor: RealtimeMonitor, line: str, status: int | None
) -> None:
    @app.get("/own-line")
    def own_line() -> Response:
        return Response("x", status=line)

    app.test_client().get("/own-line")
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["dropped"]["activities"]) == (1, 0)
    assert monitor.get_activities()[0]["status"] == status


def test_a_request_context_without_a_request_is_none(app: Flask, monitor: RealtimeMonitor) -> None:
    with app.test_request_context("/"):
        pass
    assert monitor.get_stats()["requests_total"] == 0


def test_what_a_middleware_answers_is_no_request_of_the_app(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/ping-me":
            start_response("200 OK", [])
            return [b"pong"]
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    assert Client(app).get("/ping-me").text == "pong"
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["in_flight"]) == (0, 0)


def test_a_middleware_s_own_request_is_in_flight_without_a_route() -> None:
    """A Request of Werkzeug's own lies in the environ where Flask's will be."""
    app, shown = bare_app(), []
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        assert werkzeug.Request(environ).path == "/data"
        shown.extend(app.extensions[EXTENSION].live.picture.in_flight()["items"])
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    monitor = RealtimeMonitor(app)
    strict(app)
    assert Client(app).get("/data").status_code == 200
    assert [(one["path"], one["endpoint"]) for one in shown] == [("/data", "(unmatched)")]
    assert only(monitor)["endpoint"].startswith("data")


def test_a_failing_teardown_passes_and_the_request_counts(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    with pytest.raises(RuntimeError, match="in teardown_request"):
        run_wsgi_app(app, EnvironBuilder("/teardown-fails").get_environ())
    assert monitor.get_stats()["in_flight"] == 0
    assert monitor.get_stats()["requests_total"] == 1


def test_excluded_requests_are_counted_as_that_and_nowhere_else(
    app: Flask, monitor: RealtimeMonitor
) -> None:
    client = app.test_client()
    client.get("/healthz")
    client.get("/favicon.ico")
    client.get("/monitor/api/v1/stats")
    client.get("/", headers={"User-Agent": "kube-probe/1.31"})
    stats = monitor.get_stats()
    assert (stats["excluded"], stats["requests_total"], stats["in_flight"]) == (4, 0, 0)
    assert monitor.get_activities() == []


def test_a_secret_in_the_path_is_never_kept(app: Flask, monitor: RealtimeMonitor) -> None:
    app.test_client().get("/shop/reset/hunter2?password=hunter2")
    activity = only(monitor)
    assert activity["path"] == "/shop/reset/<token>"
    assert "hunter2" not in str(monitor.get_activities()) + str(monitor.get_active_sessions())


def test_33_requests_of_5_users(app: Flask, monitor: RealtimeMonitor) -> None:
    client = app.test_client()
    for number in range(32):
        client.get("/", headers={"X-User": f"user-{number % 5}"})
    client.get("/fail", headers={"X-User": "user-0"})
    stats = monitor.get_stats()
    assert (stats["requests_total"], stats["active_users"], stats["errors_total"]) == (33, 5, 1)
