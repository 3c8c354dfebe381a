from __future__ import annotations

import re
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_realtime_monitor.web import ROUTES

from .support.apps import House

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")
HANDSHAKE = {"Connection": "keep-alive, Upgrade", "Upgrade": "websocket"}
PATHS = [re.sub("<[^>]*>", "x", path) for path, _, _ in ROUTES] + [
    "",
    "/api",
    "/api/v1/sessions/",
    "/stream/",
    "//",
    "/assets/x",
    "/api/v1/Stats",
]


def answer(house: House, path: str, method: str = "GET", **headers: str) -> Any:
    environ = EnvironBuilder("/", method=method, headers=headers).get_environ()
    environ["PATH_INFO"] = path
    body, status, found = run_wsgi_app(house.app, environ)
    content = b"".join(body)
    return status, found, content


@pytest.mark.parametrize("is_open", [None, False])
def test_every_route_refuses_a_stranger_alike_whatever_the_method(is_open: bool | None) -> None:
    house = House(is_open=is_open)
    seen = set()
    for path in PATHS:
        for method, more in [*((one, {}) for one in METHODS), ("GET", HANDSHAKE)]:
            status, headers, content = answer(house, "/monitor" + path, method, **more)
            kind = "api" if "/api/" in path else "text"
            seen.add((kind, status, content if method != "HEAD" else None, str(headers)))
    expected = "404 NOT FOUND" if is_open is None else "403 FORBIDDEN"
    assert {status for _, status, _, _ in seen} == {expected}
    bodies = {(kind, content) for kind, _, content, _ in seen if content is not None}
    assert len(bodies) == 2  # one in JSON, one in text
    assert len({(kind, headers) for kind, _, _, headers in seen}) <= 2


def test_what_is_an_api_route_is_said_behind_the_prefix() -> None:
    house = House(is_open=False, URL_PREFIX="/api/monitor")
    found = {
        path: answer(house, "/api/monitor" + path) for path in ("/", "/stream", "/api/v1/stats")
    }
    kinds = {
        path: headers["Content-Type"].partition(";")[0] for path, (_, headers, _) in found.items()
    }
    assert kinds == {
        "/": "text/plain",
        "/stream": "text/plain",
        "/api/v1/stats": "application/json",
    }


@pytest.fixture(scope="module")
def open_house() -> House:
    return House()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", [one for one in METHODS if one not in ("GET", "HEAD")])
def test_for_a_viewer_other_methods_are_not_allowed(
    open_house: House, path: str, method: str
) -> None:
    status, headers, _ = answer(open_house, "/monitor" + path, method)
    if path.endswith("/end") and method == "POST":  # as if there were nothing, for most
        assert status == "404 NOT FOUND"
        return
    assert status == "405 METHOD NOT ALLOWED"
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/assets/0/main.js"])
def test_what_is_not_there_is_404(path: str) -> None:
    assert answer(House(), "/monitor" + path)[0] == "404 NOT FOUND"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URL": "/monitor/"},
        {"X-Rewrite-URL": "/monitor/"},
        {"X-Forwarded-Prefix": "/monitor"},
        {"X-Script-Name": "/monitor"},
    ],
)
def test_no_header_leads_to_our_pages(headers: dict[str, str]) -> None:
    found = House().client.get("/", headers=headers)
    assert (found.text, found.headers.get("Cache-Control")) == ("home", None)


@pytest.mark.parametrize("path", ["//monitor/", "///monitor/stream", "/monitor/../monitor/x"])
def test_a_way_round_meets_the_same_gate(path: str) -> None:
    assert answer(House(is_open=False), path)[0] == "403 FORBIDDEN"
    assert answer(House(is_open=False), "/monitor;a=b/")[0] == "404 NOT FOUND"


@pytest.mark.parametrize("q", ["%00", "%ff%fe", "x" * 10_000, "%F0%9F%98%80", "limit=1", "*", "("])
@pytest.mark.parametrize("name", ["users", "sessions", "activities", "endpoints", "in-flight"])
def test_nothing_that_is_searched_for_is_a_fault(name: str, q: str) -> None:
    house = House()
    house.visit("/item/x", "ana")
    found = house.get(f"{name}?q={q}")
    assert (found.status_code, found.json["items"]) == (200, [])


def test_every_answer_has_our_headers_whatever_the_app_s_hooks_do() -> None:
    house = House()

    @house.app.after_request
    def meddle(response: Any) -> Any:
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response

    for path in ("/", "/api/v1/stats", "/metrics", "/nothing"):
        _, headers, _ = answer(house, "/monitor" + path)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Access-Control-Allow-Origin" not in headers
    _, own, _ = answer(house, "/item/x")
    assert own["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize("path", ["/", "/stream", "/api/v1/stats"])
def test_another_site_s_page_reads_nothing(path: str) -> None:
    client = House().client
    there = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert client.get(f"/monitor{path}", headers=there).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.head(f"/monitor{path}", headers=link).status_code == 200


def test_the_page_has_a_strict_policy() -> None:
    headers = answer(House(), "/monitor/")[1]
    policy = headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy


def test_the_prefix_without_its_slash_leads_to_the_page() -> None:
    status, headers, _ = answer(House(), "/monitor")
    assert (status, headers["Location"]) == ("308 PERMANENT REDIRECT", "/monitor/")


def test_the_page_s_files_may_be_kept_for_ever() -> None:
    house = House()
    html = house.client.get("/monitor/").text
    paths = re.findall(r'(?:src|href)="(/monitor/assets/[^"]+)"', html)
    names = sorted(path.rpartition("/")[2] for path in paths)
    assert names == ["early.js", "icon.svg", "main.js", "page.css"]
    for path in paths:
        status, headers, content = answer(house, path)
        assert (status, bool(content)) == ("200 OK", True)
        assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
        again = answer(house, path, If_None_Match=headers["ETag"])
        assert again[0] == "200 OK" or again[2] == b""


def test_no_path_leads_out_of_the_page_s_folder() -> None:
    house = House()
    version = re.search(r"/assets/(\w+)/main.js", house.client.get("/monitor/").text)
    assert version
    for path in ("../__init__.py", "..%2f__init__.py", "/etc/passwd", "cards/../../web/api.py"):
        found = answer(house, f"/monitor/assets/{version.group(1)}/{path}")
        assert found[0] == "404 NOT FOUND"


def test_a_fault_in_a_view_shows_no_stack(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.app.extensions["realtime_monitor"].guard.is_strict = False

    def broken() -> None:
        raise RuntimeError("secret inside")

    house.picture.stats = broken  # type: ignore[assignment, method-assign]
    found = house.get("stats")
    assert found.status_code == 500
    assert "secret inside" not in found.text
    assert "secret inside" in caplog.text
