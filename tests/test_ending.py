"""An admin ends a session: who may, what is refused, what is left of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask_wtf import CSRFProtect
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flask_realtime_monitor import ConfigError, RealtimeMonitor, User, signals
from flask_realtime_monitor.stores import StoreError
from flask_realtime_monitor.tokens import Tokens

from .support.apps import House

HERE = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
ADMIN = {"X-User": "root", "X-Name": "Root"}


class Place(House):
    """An app whose admins may end sessions."""

    def __init__(self, role: Any = "act", has_hook: bool = True, **settings: Any) -> None:
        super().__init__(is_open=None, **settings)
        self.role = role
        self.monitor.authorize(lambda: self.role)
        self.ended: list[dict[str, Any]] = []
        if has_hook:
            self.monitor.on_end_session(self.ended.append)

    def token(self, **headers: str) -> str:
        """The token of a page that an admin opens; empty where there is none."""
        html = self.client.get("/monitor/", headers={**ADMIN, **headers}).text
        found = re.search(r'<body[^>]* data-token="([^"]*)"', html)
        return found.group(1) if found else ""

    def end(self, session_id: str, token: str | None = None, **more: Any) -> Any:
        """Ask as the page does, unless told otherwise."""
        sent = self.token() if token is None else token
        headers = {**HERE, **ADMIN, "X-Monitor-Token": sent, **more.pop("headers", {})}
        return self.client.post(
            f"/monitor/api/v1/sessions/{session_id}/end",
            headers={name: one for name, one in headers.items() if one is not None},
            **more,
        )

    def id_of(self, user: str) -> str:
        (found,) = self.get("sessions", query_string={"user": user}).json["items"]
        id: str = found["id"]
        return id


@pytest.fixture
def place() -> Place:
    made = Place()
    made.visit("/item/1", "ana", "Ana", agent="ana's")
    made.visit("/item/2", "bob", agent="bob's")
    return made


# -- ending ------------------------------------------------------------------------------------


def test_the_hook_runs_once_and_the_session_is_over(place: Place) -> None:
    before = place.monitor.get_session(place.id_of("ana"))
    assert before is not None
    answer = place.end(before["id"])
    assert answer.status_code == 200
    assert place.ended == [before]
    again = place.get(f"sessions/{before['id']}")
    assert again.status_code == 404
    assert again.json["ended_at"] == answer.json["ended_at"] >= before["last_seen_at"]
    assert [one["user"]["id"] for one in place.get("sessions").json["items"]] == ["bob"]
    assert [one["id"] for one in place.get("users").json["items"]] == ["bob"]
    second = place.end(before["id"])
    assert (second.status_code, second.json["ended_at"]) == (404, answer.json["ended_at"])
    assert len(place.ended) == 1


def test_totals_do_not_fall_and_requests_stay_in_the_feed(place: Place) -> None:
    place.end(place.id_of("ana"))
    assert place.get("stats").json["requests_total"] == 2
    assert place.get("activities", query_string={"path": "/item/1"}).json["total"] == 1


def test_what_the_visitor_does_next_is_another_session(place: Place) -> None:
    id = place.id_of("ana")
    place.end(id)
    place.visit("/item/3", "ana", agent="ana's")
    assert place.id_of("ana") != id
    assert place.get(f"sessions/{id}").status_code == 404
    (session,) = place.get("sessions", query_string={"user": "ana"}).json["items"]
    assert session["requests"] == 1


def test_its_end_is_told_before_what_happens_next(place: Place) -> None:
    told: list[str] = []

    def recorded(_: Any, activity: dict[str, Any]) -> None:
        told.append(activity["name"] or activity["path"])

    def started(_: Any, session: dict[str, Any]) -> None:
        told.append("started")

    def ended(_: Any, session: dict[str, Any]) -> None:
        told.append("ended")

    live = place.app.extensions["realtime_monitor"].live
    with (
        live._beating,  # the loop is not to be in between
        signals.activity_recorded.connected_to(recorded, place.app),
        signals.session_started.connected_to(started, place.app),
        signals.session_ended.connected_to(ended, place.app),
    ):
        place.end(place.id_of("ana"))
        place.visit("/item/3", "ana", agent="ana's")
        live._beat()
    assert told[-4:] == ["session ended", "ended", "started", "/item/3"]


def test_a_guest_s_session_can_be_ended() -> None:
    place = Place()
    place.visit(agent="guest's")
    (guest,) = place.get("sessions").json["items"]
    assert place.end(guest["id"]).status_code == 200
    assert place.ended[0]["user"] is None
    assert place.get("sessions").json["total"] == 0
    place.visit(agent="guest's")
    (again,) = place.get("sessions").json["items"]
    assert again["id"] != guest["id"]


def test_what_was_joined_ends_as_one_by_either_id() -> None:
    for is_by_guest in (True, False):
        place = Place()
        place.visit(agent="browser")
        (guest,) = place.get("sessions").json["items"]
        place.visit("/", "ana", agent="browser")
        id = place.id_of("ana")
        assert place.end(guest["id"] if is_by_guest else id).status_code == 200
        assert place.ended[0]["id"] == id
        assert place.get("sessions").json["total"] == 0
        for one in (id, guest["id"]):
            assert "ended_at" in place.get(f"sessions/{one}").json
        place.visit(agent="browser")
        place.visit("/", "ana", agent="browser")
        (session,) = place.get("sessions").json["items"]
        assert session["requests"] == 2
        assert session["id"] not in (id, guest["id"])


def test_others_behind_the_same_address_go_on() -> None:
    place = Place()
    for name in ("ana", "bob", ""):
        place.visit("/", name, agent="the office's")
    before = {one["id"]: one for one in place.get("sessions").json["items"]}
    assert len(before) == 3
    place.end(place.id_of("ana"))
    for name in ("bob", ""):
        place.visit("/", name, agent="the office's")
    after = place.get("sessions").json["items"]
    # One user is left, and was no guest's neighbour alone: what belongs together is shown so.
    assert {one["id"] for one in after} <= set(before)
    assert sum(one["requests"] for one in after) == 4
    assert "ana" not in {one["user"] and one["user"]["id"] for one in after}


def test_ending_one_s_own_session_is_allowed(place: Place) -> None:
    place.visit("/", "root", "Root", agent="root's")
    assert place.end(place.id_of("root")).status_code == 200


@pytest.mark.parametrize("id", ["0123456789abcdef", "nonsense", "x" * 16, "é", "..", "%2e%2e"])
def test_an_unknown_session_is_404(place: Place, id: str) -> None:
    found = place.end(id)
    assert (found.status_code, place.ended) == (404, [])
    assert "ended_at" not in found.json


def test_what_the_hook_does_to_its_session_changes_nothing_else(place: Place) -> None:
    def meddle(session: dict[str, Any]) -> None:
        session["user"]["id"] = session["agent"]["browser"] = "changed"
        raise ValueError("on purpose")

    place.monitor.on_end_session(meddle)
    before = place.monitor.get_session(place.id_of("ana"))
    assert place.end(place.id_of("ana")).status_code == 500
    assert place.monitor.get_session(place.id_of("ana")) == before


def test_a_hook_that_raises_leaves_the_session(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise LookupError("secret inside")

    place.monitor.on_end_session(fail)
    id = place.id_of("ana")
    answer = place.end(id)
    assert answer.status_code == 500
    assert "LookupError" in answer.json["error"]
    assert "secret inside" not in answer.text
    assert place.get(f"sessions/{id}").status_code == 200
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None and "secret inside" in caplog.text
    assert id in record.getMessage()
    assert not [one for one in caplog.messages if "ended session" in one]
    place.monitor.on_end_session(place.ended.append)  # and it can be tried again
    assert place.end(id).status_code == 200


def test_while_the_hook_runs_nobody_else_starts_it(place: Place) -> None:
    id, inside = place.id_of("ana"), []

    def slow(_: dict[str, Any]) -> None:
        inside.append(place.end(id).status_code)

    place.monitor.on_end_session(slow)
    assert place.end(id).status_code == 200
    assert inside == [409]


def test_the_hook_may_erase_the_person(place: Place) -> None:
    place.monitor.on_end_session(lambda session: place.monitor.forget(session["user"]["id"]))
    assert place.end(place.id_of("ana")).json["ended_at"] is not None
    for name in ("users", "sessions", "activities"):
        assert place.get(name, query_string={"q": "ana"}).json["total"] == 0


def test_the_hook_runs_inside_the_viewer_s_request(place: Place) -> None:
    seen: list[str] = []
    place.monitor.on_end_session(lambda _: seen.append(request.headers["X-User"]))
    place.end(place.id_of("ana"))
    assert seen == ["root"]


def test_signals_tell_of_the_end(place: Place) -> None:
    told: list[tuple[str, Any]] = []

    def ended(_: Flask, session: Any) -> None:
        told.append(("ended", session["id"]))

    def recorded(_: Flask, activity: Any) -> None:
        told.append((activity["name"], activity["session"]))

    id = place.id_of("ana")
    with (
        signals.session_ended.connected_to(ended, place.app),
        signals.activity_recorded.connected_to(recorded, place.app),
    ):
        place.end(id)
        place.app.extensions["realtime_monitor"].live.beat()
    assert told == [("session ended", id), ("ended", id)]


# -- what is told of it ------------------------------------------------------------------------


def test_one_line_in_the_log_names_admin_and_session(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    id = place.id_of("ana")
    place.end(id)
    assert [one for one in caplog.messages if "ended session" in one] == [
        f"user 'root' ended session {id} of user 'ana'"
    ]


def test_no_name_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    evil = "x\nuser 'root' ended\x1b[2J\u202e\u2028"
    place.monitor.identify(lambda: User(evil))
    place.visit()
    place.end(place.get("sessions").json["items"][0]["id"])
    (line,) = [one for one in caplog.messages if "ended session" in one]
    assert line.isprintable()
    assert line.startswith('user "x\\nuser') and "\\x1b" in line and "\\u202e" in line


def test_an_admin_nobody_knows_and_a_guest(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    place.visit(agent="guest's")
    (guest,) = place.get("sessions").json["items"]
    nobody = {"X-User": None, "X-Name": None}
    token = place.token(**{"X-User": ""})
    assert place.end(guest["id"], token, headers=nobody).status_code == 200
    assert f"somebody unknown ended session {guest['id']} of a guest" in caplog.messages
    (line,) = place.get("activities", query_string={"kind": "custom"}).json["items"]
    assert (line["data"], line["user"], line["session"]) == ({}, None, guest["id"])


def test_the_feed_has_the_end_with_the_admin_s_name(place: Place) -> None:
    id = place.id_of("ana")
    place.end(id)
    (line,) = place.get("activities", query_string={"kind": "custom"}).json["items"]
    assert place.get("activities").json["items"][0] == line
    assert (line["name"], line["session"]) == ("session ended", id)
    assert line["user"] == {"id": "ana", "name": "Ana"}
    assert line["data"] == {"by": "root", "name": "Root"}
    assert (line["path"], line["endpoint"], line["status"]) == (None, None, None)
    ids = [one["id"] for one in place.get("activities").json["items"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("who", ["ana", "root"])
def test_erasing_either_takes_the_line_away(place: Place, who: str) -> None:
    place.end(place.id_of("ana"))
    place.monitor.forget(who)
    assert place.get("activities", query_string={"kind": "custom"}).json["total"] == 0
    assert who not in place.get("activities").text


def test_before_record_may_drop_the_line(place: Place) -> None:
    place.monitor.before_record(lambda one: None if one.name == "session ended" else one)
    assert place.end(place.id_of("ana")).status_code == 200
    assert place.get("activities", query_string={"kind": "custom"}).json["total"] == 0


# -- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [True, "reveal"])
def test_without_the_role_there_is_nothing(place: Place, role: Any) -> None:
    id, token = place.id_of("ana"), place.token()
    place.role = role
    assert place.token() == ""
    found = place.end(id, token)
    assert (found.status_code, place.ended) == (404, [])
    assert found.json == place.get("nothing-at-all").json


def test_without_the_hook_there_is_nothing() -> None:
    place = Place(has_hook=False)
    place.visit("/", "ana")
    assert "data-token" not in place.client.get("/monitor/", headers=ADMIN).text
    found = place.end(place.id_of("ana"), "any")
    assert found.status_code == 404
    assert place.get("sessions").json["total"] == 1


def test_a_stranger_is_refused_as_everywhere(place: Place) -> None:
    id, token = place.id_of("ana"), place.token()
    place.role = False
    found = place.end(id, token)
    assert (found.status_code, found.json) == (403, {"error": "forbidden"})
    assert place.ended == []


@pytest.mark.parametrize("hook", [None, "end", 7])
def test_a_hook_that_is_none_is_refused(hook: Any) -> None:
    with pytest.raises(ConfigError, match="on_end_session must be a function"):
        RealtimeMonitor().on_end_session(hook)


def test_an_async_hook_is_refused() -> None:
    async def end(session: dict[str, Any]) -> None:
        """Sign out."""

    with pytest.raises(ConfigError, match="on_end_session is an async def"):
        RealtimeMonitor(on_end_session=end)


# -- forged requests ---------------------------------------------------------------------------

Forge = Callable[[Place, str], Any]


def form(headers: dict[str, str | None]) -> Forge:
    """A form of another page: it can send no header of its own."""

    def send(place: Place, id: str) -> Any:
        body = {"data": '{"a":"=b"}', "content_type": "text/plain"}
        return place.end(id, headers={"X-Monitor-Token": None, **headers}, **body)

    return send


def fetched(**headers: str | None) -> Forge:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda place, id: place.end(id, headers=named)


FORGED: dict[str, Forge] = {
    "cross-site": fetched(Sec_Fetch_Site="cross-site"),
    "cross-site navigation": fetched(Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate"),
    "same-site": fetched(Sec_Fetch_Site="same-site"),
    "none": fetched(Sec_Fetch_Site="none"),
    "empty": fetched(Sec_Fetch_Site=""),
    "another case": fetched(Sec_Fetch_Site="Same-Origin"),
    "no header at all": fetched(Sec_Fetch_Site=None),
    "origin null": fetched(Sec_Fetch_Site=None, Origin="null"),
    "origin of another": fetched(Sec_Fetch_Site=None, Origin="http://evil.example"),
    "origin of another port": fetched(Sec_Fetch_Site=None, Origin="http://localhost:81"),
    "origin of a longer name": fetched(Sec_Fetch_Site=None, Origin="http://localhost.evil.example"),
    "origin with a user": fetched(Sec_Fetch_Site=None, Origin="http://localhost@evil.example"),
    "origin that is none": fetched(Sec_Fetch_Site=None, Origin="http://["),
    "origin right but site wrong": fetched(Sec_Fetch_Site="cross-site", Origin="http://localhost"),
    "no token": fetched(X_Monitor_Token=None),
    "empty token": lambda place, id: place.end(id, ""),
    "wrong token": lambda place, id: place.end(id, "0" * 64),
    "token that is not ASCII": lambda place, id: place.end(id, "é" * 64),
    "cut token": lambda place, id: place.end(id, place.token()[:-1]),
    "longer token": lambda place, id: place.end(id, place.token() + "0"),
    "somebody else's token": lambda place, id: place.end(id, place.token(**{"X-User": "eve"})),
    "another app's token": lambda place, id: place.end(id, Place().token()),
    "token in the query": lambda place, id: place.end(
        id, "", query_string={"token": place.token()}
    ),
    "text/plain form": form({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}),
    "text/plain form, same site": form({"Sec-Fetch-Site": "same-site", "Origin": "null"}),
    "text/plain form of our own": form({"Origin": "null"}),
    "text/plain form, old browser": form({"Sec-Fetch-Site": None, "Origin": "null"}),
}


@pytest.mark.parametrize("has_csrf", [False, True])
@pytest.mark.parametrize("case", FORGED)
def test_what_another_page_sends_is_refused(case: str, has_csrf: bool) -> None:
    place = Place()
    if has_csrf:
        CSRFProtect(place.app)
    place.visit("/", "ana")
    id = place.id_of("ana")
    answer = FORGED[case](place, id)
    assert answer.status_code == 403
    assert place.ended == []
    assert place.get(f"sessions/{id}").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_no_other_method_ends_anything(place: Place, method: str) -> None:
    id = place.id_of("ana")
    headers = {**HERE, **ADMIN, "X-Monitor-Token": place.token()}
    answer = place.client.open(f"/monitor/api/v1/sessions/{id}/end", method=method, headers=headers)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert place.ended == []
    override = {**headers, "X-HTTP-Method-Override": "POST"}
    place.client.get(f"/monitor/api/v1/sessions/{id}/end?_method=POST", headers=override)
    assert place.ended == []


def test_all_other_routes_stay_closed_to_post(place: Place) -> None:
    headers = {**HERE, **ADMIN, "X-Monitor-Token": place.token()}
    for path in ("/", "/api/v1/sessions", f"/api/v1/sessions/{place.id_of('ana')}", "/x/end"):
        answer = place.client.post(f"/monitor{path}", headers=headers)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("origin", ["http://localhost", "https://LOCALHOST"])
def test_an_older_browser_tells_by_its_origin(place: Place, origin: str) -> None:
    answer = place.end(place.id_of("ana"), headers={"Sec-Fetch-Site": None, "Origin": origin})
    assert answer.status_code == 200


def test_a_token_is_good_for_its_viewer_today_and_tomorrow() -> None:
    at = [86_400.0 * 20_000]
    tokens = Tokens(lambda: b"secret", lambda: at[0])
    made = {who: tokens.make(who) for who in ("ana", "bob", "", "nobody", None)}
    assert len(set(made.values())) == len(made)
    for days, is_good in ((0, True), (1.9, True), (2, False), (-1, False)):
        at[0] = 86_400.0 * (20_000 + days)
        assert all(tokens.fits(one, who) is is_good for who, one in made.items())
    assert not Tokens(lambda: b"another", lambda: 86_400.0 * 20_000).fits(made["ana"], "ana")
    assert not tokens.fits("\ud800", "\ud800")


def test_without_the_store_there_is_no_token_and_no_end(place: Place) -> None:
    id, token = place.id_of("ana"), place.token()
    live = place.app.extensions["realtime_monitor"].live

    def down() -> bytes:
        raise StoreError("down")

    live.sharing.store.secret = down
    assert place.token() == ""
    assert place.end(id, token).status_code == 503
    assert place.ended == []


# -- beside Flask-WTF --------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "/app"])
@pytest.mark.parametrize("order", ["before", "after", "after a request"])
def test_csrf_protect_neither_stops_us_nor_is_weakened(order: str, below: str) -> None:
    app = Flask("protected")
    if below:  # by a middleware within ours
        app.wsgi_app = DispatcherMiddleware(None, {below: app.wsgi_app})  # type: ignore
    app.secret_key = "of the tests"
    csrf = CSRFProtect(app) if order == "before" else CSRFProtect()
    monitor = RealtimeMonitor(app, authorize=lambda: "act", on_end_session=lambda _: None)
    if order != "before":
        csrf.init_app(app)

    @app.post("/buy")
    def buy() -> str:
        return "bought"

    @app.get("/")
    def home() -> str:
        return "home"

    client = app.test_client()
    client.get(f"{below}/", headers={"User-Agent": "somebody"})
    (session,) = monitor.get_active_sessions()
    if order == "after a request":
        assert client.post(f"{below}/buy").status_code == 400
    page = client.get(f"{below}/monitor/").text
    token = re.findall(r'data-token="(\w+)"', page)[0]
    answer = client.post(
        f"{below}/monitor/api/v1/sessions/{session['id']}/end",
        headers={**HERE, "X-Monitor-Token": token},
    )
    assert (answer.status_code, set(answer.json or ())) == (200, {"ended_at"})
    assert client.post(f"{below}/buy").status_code == 400
    assert client.post(f"{below}/monitor/", headers=HERE).status_code == 405


def test_another_extension_of_that_name_is_left_alone(place: Place) -> None:
    place.app.extensions["csrf"] = object()
    assert place.end(place.id_of("ana")).status_code == 200
