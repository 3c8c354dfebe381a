from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask_login import LoginManager, UserMixin, login_user

from flask_realtime_monitor import ConfigError, RealtimeMonitor, access
from flask_realtime_monitor.access import Access
from flask_realtime_monitor.gates import login_attribute
from flask_realtime_monitor.tokens import Tokens

from .support.apps import House


async def coroutine() -> bool:
    return True


class Column:
    """As an ORM's column: comparing it makes a condition, which is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        raise TypeError("the boolean value of this clause is not defined")

    __hash__ = None  # type: ignore[assignment]


ODD: list[Any] = [
    "yes",
    "True",
    2,
    1.0,
    object(),
    Response("sign in first", 302),
    ("page", 200),
    [],
    Column(),
    0,
    "",
    False,
    None,
]


def house_with(gate: Any) -> House:
    house = House(is_open=None)
    house.monitor.authorize(gate)
    return house


@pytest.mark.parametrize("answer", [True, 1, "view", "reveal", "act"])
def test_an_exact_yes_opens(answer: Any) -> None:
    assert house_with(lambda: answer).get("stats").status_code == 200


@pytest.mark.parametrize("answer", ODD, ids=lambda one: str(one).partition(" at 0x")[0])
def test_anything_else_is_a_no_logged_once_with_what_to_return(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    house = house_with(lambda: answer)
    with caplog.at_level(logging.WARNING, "flask_realtime_monitor"):
        assert [house.get("stats").status_code for _ in range(3)] == [403] * 3
    (said,) = caplog.messages
    assert type(answer).__name__ in said
    assert "return True" in said


def test_each_kind_of_no_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [False, None, "no", None, False, "nobody", b"no"]
    house = house_with(lambda: answers.pop(0))
    for _ in list(answers):
        house.get("stats")
    kinds = [said.partition("returned ")[2].partition(":")[0] for said in caplog.messages]
    assert kinds == ["False (bool)", "None (NoneType)", "str", "bytes"]


def test_a_coroutine_is_a_no(caplog: pytest.LogCaptureFixture) -> None:
    house = house_with(lambda: coroutine())  # noqa: PLW0108 (an async def itself is refused)
    assert house.get("stats").status_code == 403
    assert "returned coroutine" in caplog.messages[0]


def test_a_gate_that_raises_is_a_no_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def gate() -> bool:
        raise LookupError("the database is gone")

    house = house_with(gate)
    assert [house.get("stats").status_code for _ in range(3)] == [403] * 3
    (record,) = caplog.records
    assert "the authorize gate raised LookupError" in record.getMessage()
    assert "return True" in record.getMessage()


def test_without_a_gate_there_is_nothing_to_see(caplog: pytest.LogCaptureFixture) -> None:
    house = House(is_open=None)
    assert house.get("stats").status_code == 404
    assert "@monitor.authorize" in caplog.messages[0]


def test_only_in_debug_the_body_says_why() -> None:
    house = house_with(lambda: "yes")
    assert house.get("stats").json == {"error": "forbidden"}
    house.app.debug = True
    assert "returned str; return True" in house.get("stats").json["error"]


@pytest.mark.parametrize("is_open", [None, False])
def test_the_metrics_token_opens_the_metrics_alone(is_open: bool | None) -> None:
    token = "a-token-of-enough-length"
    house = House(is_open=is_open, METRICS_TOKEN=token)
    bearer = {"Authorization": f"Bearer {token}"}
    assert house.client.get("/monitor/metrics", headers=bearer).status_code == 200
    for wrong in ("Bearer nope", f"Basic {token}", "Bearer tök", token, ""):
        found = house.client.get("/monitor/metrics", headers={"Authorization": wrong})
        assert found.status_code in (403, 404)
    assert house.get("stats", headers=bearer).status_code in (403, 404)
    assert house.client.get("/monitor/", headers=bearer).status_code in (403, 404)


def test_the_metrics_token_may_be_any_text() -> None:
    house = House(is_open=None, METRICS_TOKEN="schlüssel-für-metriken")
    sent = "Bearer schlüssel-für-metriken".encode().decode("latin-1")
    found = house.client.get("/monitor/metrics", headers={"Authorization": sent})
    assert found.status_code == 200


SECRET = "a-secret-of-enough-length"
NEAR = [
    "x",
    SECRET[0],
    SECRET[:-1],
    SECRET[:-1] + "x",
    "x" + SECRET[1:],
    SECRET + "x",
    SECRET.upper(),
    "x" * len(SECRET),
    "x" * 4000,
    "tök" + SECRET,
]


@pytest.mark.parametrize("what", ["metrics", "wall", "page"])
def test_how_near_a_wrong_token_is_cannot_be_told_from_the_time_it_takes(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong, and where, all of it is compared with all of the right one, at once.

    The right one comes second: by its length, which is always the same, the time goes.
    """
    compared: list[tuple[bytes, bytes]] = []

    def noting(sent: bytes, right: bytes) -> bool:
        compared.append((sent, right))
        return hmac.compare_digest(sent, right)

    asked = Access(lambda: None, SECRET, SECRET)
    tokens = Tokens(lambda: b"key", lambda: 86_400.0 * 20_000)
    tries: dict[str, Callable[[str], bool]] = {
        "metrics": lambda one: asked.opens_metrics("Bearer " + one.encode().decode("latin-1")),
        "wall": asked.opens_wall,
        "page": lambda one: tokens.fits(one, "ana"),
    }
    right = {"metrics": [SECRET], "wall": [SECRET]}.get(what) or [
        Tokens(lambda: b"key", lambda day=day: 86_400.0 * day).make("ana")
        for day in (20_000, 19_999)
    ]
    assert tries[what](right[0])
    monkeypatch.setattr(access, "compare_digest", noting)
    monkeypatch.setattr("flask_realtime_monitor.tokens.compare_digest", noting)
    for wrong in [*NEAR, right[0][:-1], right[0] + "x"]:
        compared.clear()
        assert not tries[what](wrong)
        assert compared == [(wrong.encode(), one.encode()) for one in right], wrong


def test_the_gate_for_flask_login_lets_in_whose_attribute_is_true() -> None:
    app = Flask("logins")
    app.secret_key = "of the tests"
    RealtimeMonitor(app, authorize=login_attribute("is_admin"))
    manager = LoginManager(app)

    class Person(UserMixin):
        def __init__(self, id: str) -> None:
            self.id = id
            self.is_admin = id == "admin"

    manager.user_loader(Person)

    @app.get("/in/<name>")
    def sign_in(name: str) -> str:
        login_user(Person(name))
        return name

    client = app.test_client()
    statuses = [client.get("/monitor/api/v1/stats").status_code]
    for name in ("ana", "admin"):
        client.get(f"/in/{name}")
        statuses.append(client.get("/monitor/api/v1/stats").status_code)
    assert statuses == [403, 403, 200]


@pytest.mark.parametrize("name", ["", "is admin", 7])
def test_a_gate_for_what_is_no_attribute_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="name of a user's attribute"):
        login_attribute(name)
