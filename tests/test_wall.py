"""The wall: an address that opens totals, and by nothing can be made to open more."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_realtime_monitor.totals import NUMBERS
from flask_realtime_monitor.web import wall
from flask_realtime_monitor.web.assets import content_hash, files

from .support.apps import House
from .support.merging import CLOCKED, merged
from .support.streaming import StreamingServer
from .support.viewer import Viewer

TOKEN = "a-wall-for-nobody-but-us"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO")
WRONG = ("x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "tök" + TOKEN, "%00" + TOKEN, "%ff" * 30)
SECRETS = ("sib-id", "Sibyl", "/item/", "home", "tests", "worker-", "10.0.0")
LISTS = ("users", "sessions", "activities", "endpoints", "in_flight", "workers")
Own = Callable[..., StreamingServer]


def house(is_open: bool | None = None, **settings: Any) -> House:
    made = House(is_open=is_open, WALL_TOKEN=TOKEN, **settings)
    made.visit("/item/tea", user="sib-id", name="Sibyl", agent="tests")
    made.visit("/fail", user="sib-id", name="Sibyl", agent="tests")
    return made


def answer(house: House, path: str, method: str = "GET", **headers: str) -> tuple[Any, ...]:
    """Return status, headers and body, whatever the test client would make of the request."""
    environ = EnvironBuilder("/", method=method, headers=headers).get_environ()
    environ["PATH_INFO"] = path.encode().decode("latin-1")
    body, status, found = run_wsgi_app(house.app, environ)
    return status, sorted(found.items()), b"".join(body)


def test_it_opens_without_a_gate_and_shows_totals_alone() -> None:
    made = house()
    page = made.client.get(f"/monitor/wall/{TOKEN}")
    assert page.status_code == 200
    assert ">1 user signed in<" in page.text
    assert [one for one in SECRETS if one in page.text] == []
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    stream = made.client.get(f"/monitor/wall/{TOKEN}/stream").text
    assert [one for one in SECRETS if one in stream] == []
    (data,) = [json.loads(one[6:]) for one in stream.split("\n") if '"stats"' in one]
    assert set(data) == {"as_of", "role", "stats"}
    assert data["role"] == "wall"
    assert data["stats"]["requests_total"] == 2
    assert data["stats"]["active_users"] == 1


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def test_it_has_every_number_of_the_stats_and_no_text() -> None:
    made = house()
    text = made.client.get(f"/monitor/wall/{TOKEN}/stream").text
    (line,) = [one for one in text.split("\n") if '"stats"' in one]
    stats = json.loads(line[6:])["stats"]
    assert list(texts(stats)) == []
    # What is new in stats stays away from the wall until somebody has thought about it.
    assert set(stats) == set(NUMBERS) == set(made.picture.stats())


def _version() -> str:
    with House().app.app_context():
        return content_hash()


VERSION = _version()


@pytest.mark.parametrize("rest", ["", "/stream", f"/assets/{VERSION}/wall.js"])
@pytest.mark.parametrize("is_open", [None, False])
@pytest.mark.parametrize("has_wall", [True, False])
def test_a_wrong_token_is_as_if_there_were_no_wall(
    rest: str, is_open: bool | None, has_wall: bool
) -> None:
    made = house(is_open) if has_wall else House(is_open=is_open)
    for method in METHODS:
        wanted = answer(made, "/monitor/no-such-thing", method)
        assert wanted[0] == ("404 NOT FOUND" if is_open is None else "403 FORBIDDEN")
        for token in (*WRONG, *([] if has_wall else [TOKEN])):
            assert answer(made, f"/monitor/wall/{token}{rest}", method) == wanted, (token, method)


@pytest.mark.parametrize("rest", ["", "/stream", f"/assets/{VERSION}/wall.js"])
def test_for_an_admin_too_there_is_nothing_at_a_wrong_one(rest: str) -> None:
    made = house(True)
    for method in METHODS:
        wanted = answer(made, "/monitor/no-such-thing", method)
        for token in WRONG:
            assert answer(made, f"/monitor/wall/{token}{rest}", method) == wanted


@pytest.mark.parametrize("rest", ["", "/stream"])
def test_nothing_widens_it(rest: str) -> None:
    """An admin's cookie, a role by any name, another method: it stays what it is."""
    made = house(True, METRICS_TOKEN="a-token-of-enough-length")
    made.monitor.authorize(lambda: "act")
    made.monitor.on_end_session(lambda session: None)
    widening: list[tuple[str, dict[str, str]]] = [
        ("?role=act&reveal=1&wall=0", {}),
        ("?limit=1000&q=Sibyl&user=sib-id", {}),
        ("?last_event_id=0-1.2.3", {"Last-Event-ID": "0-1.2.3"}),
        ("", {"Cookie": "role=admin; session=x", "X-Role": "act", "X-User": "sib-id"}),
        ("", {"Authorization": "Bearer a-token-of-enough-length"}),
        ("", {"X-HTTP-Method-Override": "POST", "X-Original-URL": "/monitor/"}),
        ("", {"Accept": "application/json", "X-Requested-With": "XMLHttpRequest"}),
    ]
    for query, headers in widening:
        found = made.client.get(f"/monitor/wall/{TOKEN}{rest}{query}", headers=headers)
        assert found.status_code == 200
        assert [one for one in SECRETS if one in found.text] == []
        assert "data-token" not in found.text
        assert '"role":"act"' not in found.text
    for method in METHODS[2:]:
        status, _, body = answer(made, f"/monitor/wall/{TOKEN}{rest}", method)
        assert (status, body) == ("405 METHOD NOT ALLOWED", b"only GET and HEAD\n")


@pytest.mark.parametrize("is_open", [None, False])
def test_it_opens_nobody_else_s_door(is_open: bool | None) -> None:
    made = house(is_open)
    refused = {None: 404, False: 403}[is_open]
    for path in (
        "/",
        "/stream",
        "/metrics",
        "/api/v1/stats",
        f"/wall/{TOKEN}/api/v1/sessions",
        f"/wall/{TOKEN}/sessions",
        f"/wall/{TOKEN}/stream/x",
        f"/wall/{TOKEN}/metrics",
        f"/{TOKEN}",
        f"/assets/{VERSION}/wall.js",
    ):
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
            found = made.client.get(f"/monitor{path}?token={TOKEN}", headers=headers)
            assert found.status_code == refused, path


def test_its_own_files_are_there_and_no_other() -> None:
    made = house()
    for name in files():
        found = made.client.get(f"/monitor/wall/{TOKEN}/assets/{VERSION}/{name}")
        assert (found.status_code == 200) is (name in wall.FILES), name
        assert found.status_code in (200, 404)
    assert set(files()) > wall.FILES
    for name in wall.FILES:  # what a script of the wall's imports is the wall's, too
        for line in files()[name].decode().splitlines():
            if line.startswith("import "):
                assert line.split('"')[1].removeprefix("./") in wall.FILES


def test_another_site_s_page_reads_nothing() -> None:
    made = house()
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert made.client.get(f"/monitor/wall/{TOKEN}/stream", headers=headers).status_code == 403
    headers["Sec-Fetch-Mode"] = "navigate"
    assert made.client.get(f"/monitor/wall/{TOKEN}", headers=headers).status_code == 200


def test_the_token_may_be_any_text_that_a_path_can_hold() -> None:
    made = House(is_open=None, WALL_TOKEN="schlüssel-für-die-große-wand")
    assert made.client.get("/monitor/wall/schlüssel-für-die-große-wand").status_code == 200
    assert made.client.get("/monitor/wall/schlussel-fur-die-große-wand").status_code == 404


def test_the_token_is_in_no_log_and_no_viewer_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = house(True)
    asked: list[str] = []
    made.monitor.identify(lambda: asked.append("who"))
    with caplog.at_level(logging.DEBUG):
        for path in (TOKEN, f"{TOKEN}/stream", TOKEN[:-1], f"{TOKEN}x/stream"):
            made.client.get(f"/monitor/wall/{path}")
    assert TOKEN[:-1] not in caplog.text
    assert asked == []
    everything = [made.get(name).text for name in ("activities", "in-flight", "sessions", "health")]
    assert TOKEN[:-1] not in "".join(everything)


def with_lists(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {**snapshot, **{name: [] for name in LISTS}}


@pytest.mark.server
def test_its_stream_merges_and_counts_as_any_other(own: Own) -> None:
    server, chance = own(WALL_TOKEN=TOKEN, MAX_VIEWERS=3, has_gate=False), random.Random(5)
    path = f"/monitor/wall/{TOKEN}/stream"
    with Viewer(server, path) as one, Viewer(server, path):
        held = with_lists(one.next("snapshot").data)
        for number in range(4):
            for _ in range(chance.randint(1, 9)):
                agent = f"agent {chance.randint(1, 9)}"
                server.ask(f"/page/{number}", User_Agent=agent, X_User="sib-id", X_Name="Sibyl")
            update = one.next("update").data
            assert set(update) == {"as_of", "stats"}
            held = merged(held, update)
        with Viewer(server, path) as third:
            later = third.next("snapshot")
            with Viewer(server, path) as refused:
                assert refused.answer.status == 503
        while one.events[-1].id != later.id:
            held = merged(held, one.next("update").data)
        wanted = merged(with_lists(later.data), {})["stats"]
        for name in set(wanted) - CLOCKED - {"coverage", "history"}:
            assert held["stats"][name] == wanted[name], name
        minutes = [[m for m in s["history"] if m["requests"]] for s in (held["stats"], wanted)]
        assert minutes[0] == minutes[1]
        text = json.dumps([event.data for event in one.events])
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.server
def test_a_wall_goes_on_where_it_was(own: Own) -> None:
    server = own(WALL_TOKEN=TOKEN)
    path = f"/monitor/wall/{TOKEN}/stream"
    with Viewer(server, path) as one, Viewer(server, path) as other:
        last_id = one.next("snapshot").id or ""
        other.next("snapshot")
        one.close()
        server.ask("/page/missed")
        while "requests_total" not in other.next("update").data["stats"]:
            pass
        with Viewer(server, path, Last_Event_ID=last_id) as back:
            seen: Any = {}
            while "requests_total" not in seen.get("stats", {}):
                event = back.next()
                assert event.event == "update"
                seen = event.data
            assert seen["stats"]["requests_total"] == 1
