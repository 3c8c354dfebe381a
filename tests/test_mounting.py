"""Apps beside, within and below others: each sees its own requests, and our pages stay ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask, Response, request, url_for
from flask.cli import routes_command
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.testing import strict

from .support.gunicorn_server import GunicornServer

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def bare(name: str = "home", **options: Any) -> Flask:
    app = Flask(name, **options)
    app.add_url_rule("/", name, lambda: name)
    return app


def monitored(app: Flask, **settings: Any) -> RealtimeMonitor:
    app.config.update({f"REALTIME_MONITOR_{name}": one for name, one in settings.items()})
    monitor = RealtimeMonitor(app, authorize=lambda: True)
    strict(app)
    return monitor


def endpoints(monitor: RealtimeMonitor) -> list[str]:
    stats = monitor.get_stats()
    found = [one["endpoint"] for one in monitor.get_activities()]
    assert (stats["requests_total"], stats["in_flight"]) == (len(found), 0)
    return found


def test_apps_side_by_side_see_their_own_alone() -> None:
    one, two = bare("one"), bare("two")
    monitors = [monitored(one), monitored(two)]
    client = Client(DispatcherMiddleware(one, {"/two": two}))
    client.get("/")
    client.get("/two/")
    assert [endpoints(monitor) for monitor in monitors] == [["one"], ["two"]]
    page = client.get("/two/monitor/").text
    assert "/two/monitor/assets/" in page
    assert client.get("/two/monitor/api/v1/endpoints").get_json()["total"] == 1


@pytest.mark.parametrize("is_monitored", [True, False])
def test_an_app_that_a_middleware_calls_is_not_ours(is_monitored: bool) -> None:
    app, other = bare("ours"), bare("other")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/other": other})  # type: ignore[method-assign]
    monitor = monitored(app)
    if is_monitored:
        monitored(other)
    assert Client(app).get("/other/").text == "other"
    assert Client(app).get("/").text == "ours"
    assert endpoints(monitor) == ["ours"]


def test_our_pages_are_ours_wherever_a_middleware_has_moved_the_app() -> None:
    app = bare()
    inner = app.wsgi_app
    app.wsgi_app = DispatcherMiddleware(bare("none"), {"/below": inner})  # type: ignore[method-assign]
    monitor = monitored(app)
    client = Client(app)
    client.get("/below/")
    for path in ("/", "/api/v1/stats", "/nothing"):
        found = client.get("/below/monitor" + path)
        assert found.headers.getlist("Cache-Control") == ["no-store"]
        assert found.headers["Referrer-Policy"] == "no-referrer"
    assert endpoints(monitor) == ["home"]
    assert monitor.get_stats()["excluded"] == 3


@pytest.mark.parametrize("copies", [False, True])
def test_our_headers_stand_while_recording_is_off_wherever_a_middleware_has_moved_us(
    copies: bool,
) -> None:
    app = bare()
    inner: Wsgi = app.wsgi_app

    def moved(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ = dict(environ) if copies else environ
        environ.update(PATH_INFO=environ["PATH_INFO"].removeprefix("/app"), SCRIPT_NAME="/app")
        return inner(environ, start_response)

    app.wsgi_app = moved  # type: ignore[method-assign]
    monitor = monitored(app)
    monitor.enabled = False

    @app.after_request
    def opened(response: Response) -> Response:
        response.headers.update({"Access-Control-Allow-Origin": "*", "Cache-Control": "public"})
        return response

    client = app.test_client()
    assert client.get("/app/").headers["Cache-Control"] == "public"
    for path in ("/", "/api/v1/stats", "/nothing"):
        headers = client.get("/app/monitor" + path).headers
        assert headers.getlist("Cache-Control") == ["no-store"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
    assert "Content-Security-Policy" in client.get("/app/monitor/").headers
    assert monitor.get_stats()["excluded"] == 0


def test_our_headers_stand_where_a_hook_of_the_app_answers_in_our_place() -> None:
    app = bare()
    monitored(app)
    app.before_request(lambda: "not now")
    found = app.test_client().get("/monitor/api/v1/stats")
    assert (found.text, found.headers["Cache-Control"]) == ("not now", "no-store")


def test_routes_of_the_app_under_our_prefix_are_the_app_s(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("late")
    monitor = monitored(app)

    @app.get("/monitor/report")
    def report() -> Response:
        return Response("report", headers={"Cache-Control": "max-age=60"})

    app.add_url_rule("/monitor/", "own", lambda: "own")
    app.add_url_rule("/monitored", "near", lambda: "near")
    client = app.test_client()
    found = client.get("/monitor/report")
    assert (found.text, found.headers.getlist("Cache-Control")) == ("report", ["max-age=60"])
    assert "Referrer-Policy" not in found.headers
    assert client.get("/monitor/nothing").headers["Cache-Control"] == "no-store"
    assert endpoints(monitor) == ["report"]
    assert monitor.get_stats()["excluded"] == 1
    (said,) = (one for one in caplog.messages if "URL_PREFIX" in one)
    assert "/monitor/report (report), /monitor/ (own)" in said
    assert "near" not in said


def test_routes_of_the_app_at_another_subdomain_are_the_app_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Flask("subdomains", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    app.add_url_rule("/monitor/", "early", lambda: "early", subdomain="early")
    monitor = monitored(app)
    app.add_url_rule("/monitor/<x>", "late", lambda x: x, subdomain="late")
    client = app.test_client()
    for name, path in (("early", ""), ("late", "stream")):
        found = client.get(f"/monitor/{path}", base_url=f"http://{name}.example.com")
        assert (found.status_code, found.headers.get("Cache-Control")) == (200, None)
    assert endpoints(monitor) == ["late", "early"]
    assert "URL_PREFIX" not in caplog.text


def test_an_app_that_lists_its_rules_finds_names_of_methods_in_ours() -> None:
    app = bare()
    monitored(app)
    listed = {rule.rule: sorted(rule.methods or ()) for rule in app.url_map.iter_rules()}
    assert listed["/monitor/"] == listed["/monitor/<path:_>"] == ["GET", "HEAD"]
    assert listed["/monitor/api/v1/sessions/<session_id>/end"] == ["POST"]
    reading = [r.rule for r in app.url_map.iter_rules() if r.methods and "GET" in r.methods]
    assert "/monitor/stream" in reading
    said = app.test_cli_runner().invoke(routes_command).output
    assert re.search(r"realtime_monitor\.stats +GET +/monitor/api/v1/stats", said)


@pytest.mark.parametrize("is_on", [True, False])
def test_an_inner_app_s_pages_and_visitors_are_not_the_outer_one_s(is_on: bool) -> None:
    outer, inner = bare("outer"), bare("inner")
    asked: list[str] = []
    inner_one = monitored(inner)
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/in": inner})  # type: ignore[method-assign]
    outer_one = monitored(outer)
    outer_one.identify(lambda: asked.append(request.path))
    flying: list[Any] = []
    inner.add_url_rule("/fly", "fly", lambda: flying.append(outer_one.get_stats()) or "flown")
    inner_one.enabled = is_on
    client = Client(outer)
    for path in ("/in/", "/in/fly", "/in/monitor/", "/in/nothing"):
        client.get(path)
    assert (endpoints(outer_one), asked) == ([], [])
    assert [one["in_flight"] for one in flying] == [0]
    assert outer_one.get_stats()["excluded"] == 0
    assert endpoints(inner_one) == (["(unmatched)", "fly", "inner"] if is_on else [])
    headers = client.get("/in/monitor/").headers
    assert headers.getlist("Cache-Control") == ["no-store"]


def test_an_inner_app_without_a_monitor_is_not_in_flight_either() -> None:
    outer, inner = bare("outer"), bare("inner")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/in": inner})  # type: ignore[method-assign]
    monitor = monitored(outer)
    seen: list[int] = []

    def fly() -> str:
        seen.append(monitor.get_stats()["in_flight"])
        return "flown"

    def lost(_: Exception) -> str:
        return fly()

    inner.add_url_rule("/fly", "fly", fly)
    inner.register_error_handler(404, lost)
    for path in ("/in/fly", "/in/nothing"):
        Client(outer).get(path)
    assert seen == [0, 0]
    assert endpoints(monitor) == []


def test_a_middleware_may_be_a_generator() -> None:
    app = bare()
    inner: Wsgi = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/own":
            start_response("200 OK", [])
            yield b"own"
        else:
            yield from inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    monitor = monitored(app)
    assert [Client(app).get(path).text for path in ("/", "/own")] == ["home", "own"]
    assert endpoints(monitor) == ["home"]


@pytest.mark.parametrize("is_first", [True, False])
def test_the_address_is_the_one_the_app_sees_wherever_proxy_fix_stands(is_first: bool) -> None:
    app = bare()
    if is_first:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    monitor = monitored(app, IP="full")
    if not is_first:
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    app.test_client().get("/", headers={"X-Forwarded-For": "198.51.100.9, 203.0.113.7"})
    assert monitor.get_active_sessions()[0]["ip"] == "203.0.113.7"


def test_without_proxy_fix_a_forged_address_is_nobody_s() -> None:
    app = bare()
    monitor = monitored(app, IP="full")
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=7"}
    app.test_client().get("/", headers=forged)
    assert monitor.get_active_sessions()[0]["ip"] == "127.0.0.1"


def test_rules_told_apart_by_host_leave_our_pages_at_each() -> None:
    app = Flask("hosts", host_matching=True, static_folder=None)
    monitor = monitored(app)
    app.add_url_rule("/", "shop", lambda: url_for("realtime_monitor.page"), host="shop.example")
    client = app.test_client()
    assert client.get("/", base_url="http://shop.example").text == "/monitor/"
    for host in ("shop.example", "Other.example:81"):
        at = f"http://{host}"
        assert client.get("/monitor", base_url=at).headers["Location"] == "/monitor/"
        page = client.get("/monitor/", base_url=at)
        assert page.status_code == 200
        assert 'src="/monitor/assets/' in page.text
        assert client.get("/monitor/api/v1/stats", base_url=at).status_code == 200
    assert endpoints(monitor) == ["shop"]


def test_rules_told_apart_by_subdomain_are_recorded_and_our_pages_at_the_domain() -> None:
    app = Flask("subdomains", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    monitor = monitored(app)
    app.add_url_rule("/", "shop", lambda: "shop", subdomain="shop")
    client = app.test_client()
    client.get("/", base_url="http://shop.example.com")
    assert client.get("/monitor/", base_url="http://example.com").status_code == 200
    assert client.get("/monitor/", base_url="http://shop.example.com").status_code == 404
    assert endpoints(monitor) == ["shop"]


def test_what_the_app_adds_to_its_urls_is_not_added_to_ours() -> None:
    app = bare()
    monitored(app, WALL_TOKEN="w" * 24)
    app.url_defaults(lambda _, values: values.setdefault("tenant", "x"))
    client = app.test_client()
    for path in ("", "/", "/wall/" + "w" * 24):
        found = client.get("/monitor" + path)
        assert "tenant" not in found.text + found.headers.get("Location", "")
    assert 'data-api="/monitor/api/v1"' in client.get("/monitor/").text


@pytest.mark.parametrize("prefix", ["/überwacht", "/a b", "/100%", "/admin/live/", "/monitor.v1"])
def test_any_prefix_is_known_for_ours(prefix: str) -> None:
    app = bare()
    monitor = monitored(app, URL_PREFIX=prefix)
    found = app.test_client().get(quote(prefix.rstrip("/")) + "/")
    assert (found.status_code, found.headers["Cache-Control"]) == (200, "no-store")
    assert endpoints(monitor) == []
    assert monitor.get_stats()["excluded"] == 1


def test_a_doubled_slash_in_the_prefix_tells_a_stranger_nothing() -> None:
    app = bare()
    monitored(app, URL_PREFIX="/admin/live")
    client = app.test_client()
    answers = [client.get(path) for path in ("/admin//live/", "/admin//nothing/")]
    assert [one.status_code for one in answers] == [404, 404]


def test_slashes_that_do_not_matter_to_the_app_change_nothing_for_us() -> None:
    app = bare()
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    monitored(app)
    client = app.test_client()
    found = [client.get("/monitor" + path).status_code for path in ("", "/", "/api/v1/stats/")]
    assert found == [308, 200, 200]


def test_a_class_based_view_may_be_exempt_in_each_way_flask_has() -> None:
    app = Flask("classes")
    monitor = monitored(app)

    class Plain(MethodView):
        def get(self) -> str:
            return request.path

    class Decorated(Plain):
        decorators = [monitor.exempt]  # noqa: RUF012  (as Flask has it)

    exempt = monitor.exempt(type("Exempt", (Plain,), {}))
    app.add_url_rule("/plain", view_func=Plain.as_view("plain"))
    app.add_url_rule("/decorated", view_func=Decorated.as_view("decorated"))
    app.add_url_rule("/exempt", view_func=exempt.as_view("exempt"))
    app.add_url_rule("/method", view_func=monitor.exempt(Plain().get))
    for path in ("/plain", "/decorated", "/exempt", "/method"):
        assert app.test_client().get(path).text == path
    assert endpoints(monitor) == ["plain"]
    assert monitor.get_stats()["excluded"] == 3


@pytest.mark.server
@pytest.mark.parametrize("prefixes", ["a,b", ",", "a,a"])
def test_apps_of_one_name_in_one_worker_see_their_own_alone(prefixes: str) -> None:
    server = GunicornServer("tests.apps.tenants:app", PREFIXES=prefixes)

    def asked(of: str, what: str) -> Any:
        return json.loads(server.ask(f"{of}/monitor/api/v1/{what}")[1])

    try:
        for path in ("/ana", "/two/bob", "/ana"):
            server.ask(path)
        seen = [[one["path"] for one in asked(of, "activities")["items"]] for of in ("", "/two")]
        assert seen == [["/ana", "/ana"], ["/bob"]]
        assert [asked(of, "stats")["coverage"]["workers"] for of in ("", "/two")] == [1, 1]
        problems = [asked(of, "health")["problems"] for of in ("", "/two")]
    finally:
        server.close()
    said = ["STORE_PREFIX" in one for all_ in problems for one in all_]
    assert said == ([True] if prefixes == "a,a" else [])
    assert problems[0] == []
