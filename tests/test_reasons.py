"""Why a session is shown, and a user with all that is known of them."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask_login import LoginManager, UserMixin, login_user

from flask_realtime_monitor import RealtimeMonitor

from .support.apps import House
from .support.several import Mate
from .test_several import Team


def why(house: House, user: str | None) -> Any:
    query = {"who": "guests"} if user is None else {"user": user}
    (item,) = house.get("sessions", query_string=query).json["items"]
    found = house.get(f"sessions/{item['id']}").json
    assert found == house.monitor.get_session(item["id"])
    return found["why"]


def test_it_has_its_shape() -> None:
    house = House(SESSION_TIMEOUT=600, IP="full")
    house.visit("/", "ana")
    house.visit("/", "ana")
    (session,) = house.get("sessions").json["items"]
    (worker,) = house.get("workers").json["items"]
    assert why(house, "ana") == {
        "rule": "identify",
        "joined": False,
        "workers": [
            {
                "id": worker["id"],
                "host": worker["host"],
                "requests": 2,
                "last_seen_at": session["last_seen_at"],
            }
        ],
        "first_by": worker["id"],
        "ends_at": pytest.approx(session["last_seen_at"] + 600),
        "ip_kept": "full",
    }


def test_the_rule_is_who_was_asked() -> None:
    house = House()
    house.visit("/", "ana", agent="one")
    house.visit("/", agent="other")
    assert (why(house, "ana")["rule"], why(house, None)["rule"]) == ("identify", "visitor")


def test_the_rule_of_flask_login_and_of_nothing() -> None:
    app = Flask("logins")
    app.secret_key = "of the tests"
    monitor = RealtimeMonitor(app)
    manager = LoginManager(app)

    class Person(UserMixin):  # type: ignore[misc]
        id = "ana"

    manager.user_loader(lambda _: Person())

    @app.get("/in")
    def sign_in() -> str:
        login_user(Person())
        return "in"

    app.test_client().get("/in")
    (session,) = monitor.get_active_sessions()

    def rule() -> Any:
        found = monitor.get_session(session["id"])
        assert found is not None
        return found["why"]["rule"]

    assert rule() == "flask_login"
    del app.login_manager
    assert rule() is None


def test_a_guest_who_signed_in_is_joined() -> None:
    house = House()
    house.visit("/", agent="browser")
    house.visit("/", "ana", agent="browser")
    found = why(house, "ana")
    assert found["joined"] is True
    assert found["rule"] == "identify"
    assert [one["requests"] for one in found["workers"]] == [2]


def test_with_a_request_in_flight_it_does_not_end() -> None:
    house, seen = House(), []

    @house.app.get("/look")
    def look() -> str:
        seen.append(why(house, "ana")["ends_at"])
        return "looked"

    house.visit("/", "ana", agent="one")
    house.visit("/look", "ana", agent="one")
    assert seen == [None]
    assert why(house, "ana")["ends_at"] is not None


def test_it_ends_when_it_says() -> None:
    team = Team(count=1, session_timeout=60, active_window=60)
    (mate,) = team.mates
    team.visit(0, 1, "ana")
    (item,) = mate.picture.sessions()["items"]
    found = mate.picture.session(item["id"])
    assert found is not None
    ends_in_s = found["why"]["ends_at"] - item["last_seen_at"]
    team.time.pass_(ends_in_s - 0.5)
    assert mate.picture.session(item["id"]) is not None
    team.time.pass_(1.5)
    assert mate.picture.session(item["id"]) is None


def test_it_names_every_worker_that_saw_it() -> None:
    team = Team()
    for mate in (1, 0, 1, 1):
        team.visit(mate, 1, "ana")
        team.time.pass_(1)
    team.visit(2, 2, "bob")
    team.flush()
    (item,) = [one for one in team.mates[2].picture.sessions()["items"] if one["requests"] == 4]

    def told(mate: Mate) -> Any:
        found = mate.picture.session(item["id"])
        assert found is not None
        return found["why"]

    first = told(team.mates[0])
    assert [(one["id"], one["host"], one["requests"]) for one in first["workers"]] == [
        ("mate1", "mate1", 3),
        ("mate0", "mate0", 1),
    ]
    assert first["first_by"] == "mate1"
    assert first["workers"][0]["last_seen_at"] == item["last_seen_at"]
    assert first["workers"][1]["last_seen_at"] == item["last_seen_at"] - 2
    assert all(told(mate) == first for mate in team.mates)


# -- a user ------------------------------------------------------------------------------------


def test_a_user_comes_with_sessions_and_what_was_done() -> None:
    house = House()
    house.visit("/item/0", agent="phone")  # as a guest first
    for number in range(1, 4):
        house.visit(f"/item/{number}", "ana", "Ana", agent="phone" if number % 2 else "desk")
    house.visit("/item/9", "bob")
    found = house.get("user", query_string={"id": "ana"}).json
    assert set(found) == {"user", "sessions", "activities"}
    assert [found["user"]] == house.get("users", query_string={"user": "ana"}).json["items"]
    sessions = house.get("sessions", query_string={"user": "ana"}).json["items"]
    assert found["sessions"] == sessions
    assert len(sessions) == 2
    # Two sessions may have been seen in the same millisecond.
    assert sorted(one["path"] for one in found["activities"]) == [
        *("/item/0", "/item/1", "/item/2", "/item/3")
    ]
    at = [one["at"] for one in found["activities"]]
    assert at == sorted(at, reverse=True)


def test_of_a_user_there_is_no_more_than_a_page_shows() -> None:
    house = House()
    for number in range(102):
        house.visit(f"/item/{number}", "ana", agent=f"agent {number}")
    found = house.get("user?id=ana").json
    assert found["user"]["sessions"] == 102
    assert len(found["sessions"]) == 100
    assert [one["path"] for one in found["activities"]] == [
        f"/item/{number}" for number in range(101, 51, -1)
    ]


@pytest.mark.parametrize(
    "id", ["a/b", "../x", "/", "//x", ".", "é", "a?b&id=c#d", " ", "\x00", "%2F"]
)
def test_a_user_s_id_may_be_any_text(id: str) -> None:
    house = House()
    house.monitor.identify(lambda: id)
    house.visit()
    found = house.get("user", query_string={"id": id})
    assert (found.status_code, found.json["user"]["id"]) == (200, id)


@pytest.mark.parametrize("query", ["", "?id=", "?id=nobody", "?id=ANA", "?name=ana"])
def test_an_unknown_user_is_404(query: str) -> None:
    house = House()
    house.visit("/", "ana")
    found = house.get(f"user{query}")
    assert (found.status_code, found.json) == (404, {"error": "no such user"})
