from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import flask_login
import pytest
from blinker import Signal
from flask import Flask
from werkzeug.local import LocalProxy

from flask_realtime_monitor import ConfigError, RealtimeMonitor, beats
from flask_realtime_monitor.stores.sqlite import SQLiteStore
from flask_realtime_monitor.testing import strict

from .support.apps import House
from .support.waiting import wait_until


def test_a_second_init_app_is_refused() -> None:
    app = Flask("twice")
    monitor = RealtimeMonitor(app)
    with pytest.raises(ConfigError, match="has a monitor already"):
        monitor.init_app(app)
    with pytest.raises(ConfigError, match="has a monitor already"):
        RealtimeMonitor(app)


def test_init_app_after_the_first_request_is_refused() -> None:
    app = Flask("late")
    app.test_client().get("/")
    with pytest.raises(ConfigError, match="after the app's first request"):
        RealtimeMonitor(app)


def test_what_is_no_flask_app_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes the Flask app, not str"):
        RealtimeMonitor("app")  # type: ignore[arg-type]


async def asynchronous() -> bool:
    return True


@pytest.mark.parametrize("name", ["authorize", "identify", "before_record"])
def test_a_hook_that_is_no_plain_function_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a function"):
        RealtimeMonitor(Flask("hooks"), **{name: True})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="write a plain def"):
        getattr(RealtimeMonitor(Flask("hooks")), name)(asynchronous)


def test_a_prefix_the_app_uses_itself_is_refused() -> None:
    app = Flask("taken")
    app.add_url_rule("/monitor/own", "own", lambda: "own")
    with pytest.raises(ConfigError, match="the app has a rule of its own"):
        RealtimeMonitor(app)


def test_disabled_it_adds_no_route_and_no_hook() -> None:
    house = House(ENABLED=False)
    assert house.visit("/") == 200
    assert house.client.get("/monitor/").status_code == 404
    assert [rule.rule for rule in house.app.url_map.iter_rules() if "monitor" in rule.rule] == []
    assert house.app.wsgi_app == Flask.wsgi_app.__get__(house.app)
    assert not any(signal.has_receivers_for(house.app) for signal in signals_of_others())


def test_init_app_opens_nothing() -> None:
    before = {*threading.enumerate()}  # of other tests' apps, which may end meanwhile
    house = House(STORE="auto")
    assert house.app.extensions["realtime_monitor"].lives == {}
    assert before.issuperset(threading.enumerate())


def test_recording_can_be_switched_off_while_it_runs() -> None:
    house = House()
    house.monitor.enabled = False
    house.visit("/")
    house.monitor.enabled = True
    house.visit("/item/seen")
    assert [one["path"] for one in house.monitor.get_activities()] == ["/item/seen"]


def test_one_object_serves_several_apps() -> None:
    monitor = RealtimeMonitor()
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        monitor.init_app(app)
        app.add_url_rule("/", "home", lambda: "home")
    apps[0].test_client().get("/")
    with apps[0].app_context():
        assert monitor.get_stats()["requests_total"] == 1
    with apps[1].app_context():
        assert monitor.get_stats()["requests_total"] == 0
    with pytest.raises(RuntimeError, match="several apps and none of them is current"):
        monitor.get_stats()


def test_without_an_app_there_is_nothing_to_read() -> None:
    with pytest.raises(RuntimeError, match="no app"):
        RealtimeMonitor().get_stats()


def test_an_exempt_view_is_only_counted() -> None:
    house = House()

    @house.app.get("/quiet")
    @house.monitor.exempt
    def quiet() -> str:
        house.monitor.track("not kept")
        return "quiet"

    house.visit("/quiet")
    stats = house.monitor.get_stats()
    assert (stats["excluded"], stats["requests_total"], stats["in_flight"]) == (1, 0, 0)
    assert house.monitor.get_activities() == []


def test_what_is_tracked_and_annotated_in_a_request_is_its_visitor_s() -> None:
    house = House()

    @house.app.get("/order")
    def order() -> str:
        house.monitor.annotate("Order 123")
        house.monitor.track("order paid", amount=12, card_token="4111")
        return "paid"

    house.visit("/order", "ana")
    custom, request = house.monitor.get_activities()
    assert (request["kind"], request["title"]) == ("request", "Order 123")
    assert (custom["kind"], custom["name"]) == ("custom", "order paid")
    assert custom["data"] == {"amount": 12, "card_token": "<card_token>"}
    assert custom["user"] == {"id": "ana", "name": None}
    assert custom["session"] == request["session"]


def test_what_is_tracked_and_annotated_is_what_it_was_then() -> None:
    house = House()

    @house.app.get("/cart")
    def cart() -> str:
        items = ["tea"]
        here = LocalProxy(lambda: flask.request.path)
        house.monitor.annotate(here)  # type: ignore[arg-type]  # as of a lazy translation
        house.monitor.track("put in", items=items, here=here)
        items.clear()
        return "cart"

    house.visit("/cart")
    custom, request = house.monitor.get_activities()
    assert request["title"] == "/cart"
    assert custom["data"] == {"items": "['tea']", "here": "/cart"}


@pytest.mark.parametrize("limit", [0, -1])
def test_none_wanted_is_an_empty_list(limit: int) -> None:
    house = House()
    house.visit("/", "ana")
    monitor = house.monitor
    calls = (monitor.get_active_users, monitor.get_active_sessions, monitor.get_activities)
    assert [call(limit) for call in calls] == [[], [], []]


def test_outside_a_request_something_is_tracked_of_a_user() -> None:
    house = House()
    house.visit("/", "7")
    house.monitor.track("mail sent", user=7)
    assert house.monitor.get_activities()[0]["user"] == {"id": "7", "name": None}


def test_what_is_tracked_may_have_data_of_any_name() -> None:
    house = House()
    house.monitor.track("added", name="Sencha", self="tea")
    house.monitor.track(name="paid", amount=12)
    paid, added = house.monitor.get_activities()
    assert (added["name"], added["data"]) == ("added", {"name": "Sencha", "self": "tea"})
    assert (paid["name"], paid["data"]) == ("paid", {"amount": 12})
    with pytest.raises(TypeError, match="none was given"):
        house.monitor.track(amount=12)


def test_nothing_of_ours_raises_in_the_app_s_own_code() -> None:
    house = House()
    strict(house.app, False)
    hostile: Any = type("Hostile", (), {"__str__": lambda self: 1 / 0})()
    house.monitor.track(hostile, user=hostile, data=hostile)
    with house.app.test_request_context("/"):
        house.monitor.annotate(hostile)
    assert house.visit("/") == 200
    assert house.monitor.get_stats()["requests_total"] == 1


def test_who_is_forgotten_leaves_no_trace() -> None:
    house = House()
    house.visit("/item/of-ana", "ana", "Ana")
    house.visit("/", "bob", "Bob", agent="another")
    house.monitor.forget("ana")
    everything = str([house.get(path).text for path in ("users", "sessions", "activities")])
    assert "ana" not in everything.lower()
    assert [one["id"] for one in house.monitor.get_active_users()] == ["bob"]


def test_the_others_are_told_at_once_to_forget(tmp_path: Path) -> None:
    """A worker may be killed before it writes the next time."""
    tmp_path.chmod(0o700)
    url = f"sqlite:///{tmp_path / 'monitor.sqlite'}"
    house = House(STORE=url, FLUSH_INTERVAL=2)
    house.visit("/", "ana")
    house.monitor.get_stats()  # all else is written
    house.monitor.forget("ana")
    found = SQLiteStore(url, worker="another", keep_s=60).notes()
    assert [beats.decode(note)["kind"] for _, note in found] == ["forget"]


def test_nobody_cannot_be_forgotten() -> None:
    house = House()
    house.visit("/", "None", "Nina None")
    with pytest.raises(TypeError, match="id of a user"):
        house.monitor.forget(None)  # type: ignore[arg-type]
    assert [one["id"] for one in house.monitor.get_active_users()] == ["None"]


def signals_of_others() -> Iterator[Signal]:
    for module in (flask.signals, flask_login.signals):
        yield from (one for one in vars(module).values() if isinstance(one, Signal))


def test_an_app_that_nobody_uses_any_more_goes_and_leaves_nothing_behind() -> None:
    def left() -> tuple[int, ...]:
        gc.collect()
        return (
            *(len(signal.receivers) for signal in signals_of_others()),
            threading.active_count(),
        )

    def use() -> weakref.ref[Flask]:
        house = House()
        flask_login.LoginManager(house.app)
        house.visit("/", "ana")
        house.visit("/fail")
        assert house.get("stats").json["requests_total"] == 2
        return weakref.ref(house.app)

    use()
    before = left()
    apps = [use() for _ in range(20)]

    def are_gone() -> bool:
        return all(now <= then for now, then in zip(left(), before, strict=True))

    wait_until(are_gone, "receivers and threads to go")
    assert all(app() is None for app in apps)


def test_a_monitor_keeps_the_app_it_was_given_but_not_what_a_factory_made() -> None:
    monitor = RealtimeMonitor()

    def use() -> weakref.ref[Flask]:
        app = Flask("made")
        monitor.init_app(app)
        app.test_client().get("/")
        assert monitor.get_stats()["requests_total"] == 1  # its only app
        return weakref.ref(app)

    for _ in range(3):
        made = use()

        def is_gone(made: weakref.ref[Flask] = made) -> bool:
            gc.collect()
            return made() is None

        wait_until(is_gone, "the app to go")
    with pytest.raises(RuntimeError, match="has no app yet"):
        monitor.get_stats()
    given = RealtimeMonitor(Flask("given"))
    gc.collect()
    assert given.get_stats()["requests_total"] == 0


def test_whoever_reads_may_change_what_they_are_given() -> None:
    house = House()
    house.visit("/", "ana", "Ana")
    monitor = house.monitor

    def read() -> list[Any]:
        sessions = monitor.get_active_sessions()
        story = monitor.get_session(sessions[0]["id"])
        return [sessions, monitor.get_active_users(), monitor.get_activities(), story]

    def numbers() -> Any:
        stats = monitor.get_stats()
        return stats["history"], stats["latency_ms"], stats["coverage"], stats["dropped"]

    given, whole = [read(), numbers()], repr([read(), numbers()])
    spoil(given)
    assert repr([read(), numbers()]) == whole


def spoil(value: Any) -> None:
    """Change whatever can be changed."""
    if isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            spoil(one)
    if isinstance(value, dict | list):
        value.clear()
