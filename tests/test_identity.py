from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, request
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from werkzeug.local import LocalProxy

from flask_realtime_monitor import Activity, RealtimeMonitor, User, signals
from flask_realtime_monitor.testing import strict
from flask_realtime_monitor.visitors import NotReadyError, Visitors

from .support.apps import House
from .support.waiting import wait_until


def who_is(answer: Any) -> tuple[RealtimeMonitor, Flask]:
    app = Flask("who")
    monitor = RealtimeMonitor(app, identify=lambda: answer)
    app.add_url_rule("/", "home", lambda: "home")
    app.test_client().get("/")
    return monitor, app


@pytest.mark.parametrize(
    ("answer", "id", "name"),
    [
        (User("7", "Ana"), "7", "Ana"),
        (User(7), "7", None),  # type: ignore[arg-type]
        ("7", "7", None),
        (7, "7", None),
    ],
)
def test_a_user_an_id_or_a_number_is_a_user(answer: Any, id: str, name: str | None) -> None:
    monitor, _ = who_is(answer)
    (one,) = monitor.get_active_users()
    assert (one["id"], one["name"]) == (id, name)


@pytest.mark.parametrize("answer", [None, False, "", User(""), User(None, "Ana")])  # type: ignore[arg-type]
def test_none_and_nothing_are_anonymous(answer: Any) -> None:
    monitor, _ = who_is(answer)
    assert monitor.get_active_users() == []
    assert monitor.get_stats()["anonymous_sessions"] == 1


def test_a_hook_that_raises_leaves_a_guest() -> None:
    app = Flask("who")

    def broken() -> str:
        raise LookupError

    monitor = RealtimeMonitor(app, identify=broken)
    app.add_url_rule("/", "home", lambda: "home")
    assert app.test_client().get("/").text == "home"
    assert monitor.get_stats()["anonymous_sessions"] == 1


def test_a_proxy_is_what_it_stands_for_while_the_request_is_there() -> None:
    app = Flask("who")
    monitor = RealtimeMonitor(app, identify=lambda: LocalProxy(lambda: request.args.get("who")))
    strict(app)
    app.add_url_rule("/", "home", lambda: "home")
    app.test_client().get("/?who=ana")
    assert [one["id"] for one in monitor.get_active_users()] == ["ana"]
    app.test_client().get("/", headers={"User-Agent": "another"})
    assert monitor.get_stats()["anonymous_sessions"] == 1


LONG = "x" * 200


@pytest.mark.parametrize("id", [LONG, "Ünï" * 60, "\ud800 is lone", "10" * 64, 2**700])
def test_an_id_means_the_same_wherever_it_is_given(id: Any) -> None:
    monitor, app = who_is(id)
    monitor.authorize(lambda: True)
    client = app.test_client()
    (kept,) = (one["id"] for one in monitor.get_active_users())
    assert len(kept) <= 128
    with app.test_request_context():
        viewer = app.extensions["realtime_monitor"].live.viewer()
    assert viewer.id == kept
    if "\ud800" not in (asked := str(id)):  # no URL can say that
        found = client.get("/monitor/api/v1/user", query_string={"id": asked}).get_json()
        assert found["user"]["id"] == kept
        for name in ("users", "sessions", "activities"):
            items = client.get(f"/monitor/api/v1/{name}", query_string={"user": asked})
            assert items.get_json()["total"] == 1
    monitor.forget(id)
    assert monitor.get_active_users() == monitor.get_activities() == []


def test_people_whose_ids_begin_alike_stay_two() -> None:
    house = House()
    for number, end in enumerate("ab"):
        house.visit("/", LONG + end, agent=f"agent {number}")
    house.monitor.track("done", user=LONG + "a")
    assert {one["id"][:100] for one in house.monitor.get_active_users()} == {LONG[:100]}
    house.monitor.forget(LONG + "a")
    (left,) = house.monitor.get_active_users()
    house.visit("/", left["id"], agent="agent 1")
    (same,) = house.monitor.get_active_users()
    assert (same["id"], same["requests"]) == (left["id"], 2)
    assert len(house.monitor.get_activities()) == 2
    house.monitor.forget(left["id"])
    assert house.monitor.get_activities() == []


def test_an_id_that_before_record_gives_is_kept_as_any_other() -> None:
    house = House()
    house.monitor.before_record(lambda activity: replace(activity, user=User(LONG)))
    house.visit("/")
    house.monitor.forget(LONG)
    assert house.monitor.get_activities() == []


def test_who_it_is_is_asked_once_for_each_request_that_is_recorded() -> None:
    house = House(EXCLUDE=("static", "/healthz", "kube-probe*", "/bücher/*"))
    asked: list[str] = []

    def who() -> str:
        asked.append(request.path)
        return "ana"

    def quiet_but_tracked() -> str:
        house.monitor.track("asked for")
        return "quiet"

    house.monitor.identify(who)
    house.app.add_url_rule("/exempt", view_func=house.monitor.exempt(lambda: "x"), endpoint="x")
    house.app.add_url_rule("/healthz", "healthz", quiet_but_tracked)
    for path in ("/", "/static/none", "/exempt", "/bücher/1", "/none", "/fail", "/healthz"):
        house.client.get(path)
    house.client.get("/", headers={"User-Agent": "kube-probe/1.31"})
    assert asked == ["/", "/none", "/fail", "/healthz"]
    assert house.monitor.get_stats()["requests_total"] == 3
    assert house.monitor.get_activities(1)[0]["user"] == {"id": "ana", "name": None}


class Person(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


@pytest.fixture
def shop() -> tuple[Flask, RealtimeMonitor]:
    app = Flask("logins")
    app.secret_key = "of the tests"
    monitor = RealtimeMonitor(app)
    strict(app)
    LoginManager(app).user_loader(Person)

    @app.get("/in/<name>")
    def sign_in(name: str) -> str:
        login_user(Person(name))
        return name

    @app.get("/out")
    def sign_out() -> str:
        logout_user()
        return "out"

    @app.get("/")
    def home() -> str:
        return "home"

    return app, monitor


def test_flask_login_tells_who_it_is_and_when_they_come_and_go(
    shop: tuple[Flask, RealtimeMonitor],
) -> None:
    app, monitor = shop
    client = app.test_client()
    client.get("/")
    client.get("/in/ana")
    (one,) = monitor.get_active_sessions()
    assert (one["user"], one["requests"]) == ({"id": "ana", "name": None}, 2)
    client.get("/out")
    assert monitor.get_active_users() == []
    assert monitor.get_session(one["id"]) is None
    kinds = [act["kind"] for act in reversed(monitor.get_activities())]
    assert kinds == ["request", "request", "login", "request", "logout"]
    assert monitor.get_activities()[0]["user"] == {"id": "ana", "name": None}
    client.get("/")
    (new,) = monitor.get_active_sessions()
    assert (new["user"], new["requests"]) == (None, 1)


def test_who_takes_over_in_the_same_request_is_seen_to(shop: tuple[Flask, RealtimeMonitor]) -> None:
    app, monitor = shop

    @app.get("/as/<name>")
    def take_over(name: str) -> str:
        logout_user()
        login_user(Person(name))
        return name

    client = app.test_client()
    for path in ("/", "/in/ana", "/as/bob"):
        client.get(path)
    (bob,) = monitor.get_active_sessions()
    assert (bob["user"], bob["requests"]) == ({"id": "bob", "name": None}, 1)
    assert [one["id"] for one in monitor.get_active_users()] == ["bob"]


def test_the_hook_is_asked_once_also_where_somebody_signs_out(
    shop: tuple[Flask, RealtimeMonitor],
) -> None:
    app, monitor = shop
    asked: list[str] = []

    @monitor.identify
    def who() -> User | None:
        asked.append(request.path)
        return User(f"no. {current_user.id}", "Ana") if current_user.is_authenticated else None

    client = app.test_client()
    for path in ("/", "/in/1", "/out", "/"):
        client.get(path)
    assert asked == ["/", "/in/1", "/out", "/"]
    found = [(act["kind"], act["path"], act["user"]) for act in monitor.get_activities()]
    ana = {"id": "no. 1", "name": "Ana"}
    assert found[:3] == [("request", "/", None), ("logout", "/out", ana), ("request", "/out", ana)]
    assert monitor.get_active_users() == []


def test_the_hook_is_asked_again_where_somebody_takes_over(
    shop: tuple[Flask, RealtimeMonitor],
) -> None:
    app, monitor = shop

    @app.get("/as/<name>")
    def take_over(name: str) -> str:
        logout_user()
        login_user(Person(name))
        return name

    @monitor.identify
    def who() -> str | None:
        return current_user.get_id()  # type: ignore[no-any-return]  # it has no types

    client = app.test_client()
    for path in ("/in/ana", "/as/bob"):
        client.get(path)
    assert [one["id"] for one in monitor.get_active_users()] == ["bob"]
    found = [(act["kind"], act["user"]["id"]) for act in reversed(monitor.get_activities())]
    assert found[2:] == [("request", "bob"), ("login", "bob"), ("logout", "ana")]


@pytest.mark.parametrize("by", ["exempt", "dropped", "broken", "exit"])
def test_a_sign_out_that_is_not_recorded_ends_the_session_all_the_same(
    shop: tuple[Flask, RealtimeMonitor], by: str
) -> None:
    app, monitor = shop
    strict(app, False)
    if by == "exempt":
        monitor.exempt(app.view_functions["sign_out"])

    @monitor.before_record
    def scrub(activity: Activity) -> Activity | None:
        if by == "exempt" or activity.kind != "logout":
            return activity
        if by == "dropped":
            return None
        raise LookupError if by == "broken" else SystemExit

    ended: list[Any] = []

    def hear(_: Flask, session: dict[str, Any]) -> None:
        ended.append(session["user"])

    client = app.test_client()
    with signals.session_ended.connected_to(hear, app):
        for path in ("/", "/in/ana", "/out"):
            client.get(path)
        with suppress(SystemExit):
            monitor.get_stats()
        wait_until(lambda: ended == [{"id": "ana", "name": None}], "the end to be told")
    client.get("/")
    (new,) = monitor.get_active_sessions()
    assert (new["user"], new["requests"]) == (None, 1)
    assert "logout" not in {one["kind"] for one in monitor.get_activities()}


def test_a_sign_out_of_nobody_is_none(shop: tuple[Flask, RealtimeMonitor]) -> None:
    app, monitor = shop
    app.test_client().get("/out")
    assert [one["kind"] for one in monitor.get_activities()] == ["request"]


def salted(known: set[int]) -> Visitors:
    return Visitors(lambda day: bytes([day % 256]) * 16, 1800, known.__contains__)


def visitor_at(
    visitors: Visitors, at: float, address: str = "203.0.113.7", agent: str = "a"
) -> int:
    visitors.fetch(at)
    visitors.turn(at)
    return visitors.visitor(address, agent)


def test_a_visitor_is_a_keyed_hash_that_changes_with_the_day() -> None:
    visitors = salted(set())
    today = visitor_at(visitors, 86_400 * 5)
    assert today == visitor_at(visitors, 86_400 * 5 + 80_000)
    assert today != visitor_at(visitors, 86_400 * 5, "203.0.113.8")
    assert today != visitor_at(visitors, 86_400 * 5, agent="other")
    assert today != visitor_at(visitors, 86_400 * 6)


def test_who_was_here_before_midnight_keeps_the_id_for_a_while() -> None:
    known: set[int] = set()
    visitors = salted(known)
    before = visitor_at(visitors, 86_400 * 6 - 60)
    known.add(before)
    assert visitor_at(visitors, 86_400 * 6 + 60) == before
    assert visitor_at(visitors, 86_400 * 6 + 1900) != before


def test_without_a_salt_the_last_one_stays_in_use_and_nobody_is_asked() -> None:
    asked: list[int] = []

    def salt(day: int) -> bytes:
        asked.append(day)
        return bytes([day]) * 16

    visitors = Visitors(salt, 1800, lambda _: False)
    with pytest.raises(NotReadyError):
        visitors.visitor("203.0.113.7", "a")
    today = visitor_at(visitors, 86_400 * 5)
    with pytest.raises(NotReadyError):
        visitors.turn(86_400 * 6)
    assert visitors.visitor("203.0.113.7", "a") == today
    assert asked == [5]
    visitors.fetch(86_400 * 6)
    visitors.fetch(86_400 * 6 + 1)
    assert visitors.turn(86_400 * 6)
    assert visitors.visitor("203.0.113.7", "a") != today
    assert asked == [5, 6]


def test_two_processes_with_random_salts_give_different_ids() -> None:
    import secrets

    first, second = (
        Visitors(lambda _day, salt=salt: salt, 1800, lambda _: False)
        for salt in (secrets.token_bytes(16), secrets.token_bytes(16))
    )
    assert visitor_at(first, 0) != visitor_at(second, 0)
