from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from flask import Flask

from flask_realtime_monitor import Activity, RealtimeMonitor, signals
from flask_realtime_monitor.ingest import Raw
from flask_realtime_monitor.testing import strict
from flask_realtime_monitor.viewers import HeldViewer, Pass

from .support.apps import House
from .support.waiting import DEADLINE_S, wait_until

NAMES = ("activity_recorded", "session_started", "session_ended", "viewer_connected")


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def heard(house: House) -> Iterator[list[tuple[str, Any, dict[str, Any]]]]:
    found: list[tuple[str, Any, dict[str, Any]]] = []
    receivers = []
    for name in NAMES:

        def receive(sender: Any, name: str = name, **sent: Any) -> None:
            found.append((name, sender, sent))

        getattr(signals, name).connect(receive, house.app)
        receivers.append(receive)
    yield found
    for name, receiver in zip(NAMES, receivers, strict=True):
        getattr(signals, name).disconnect(receiver, house.app)


def beat(house: House) -> None:
    house.app.extensions["realtime_monitor"].live.beat()


def names(heard: list[tuple[str, Any, dict[str, Any]]]) -> list[str]:
    return [name for name, _, _ in heard]


def test_what_happens_is_told_in_order_by_the_app(
    house: House, heard: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    house.visit("/item/1", "ana", "Ana")
    house.visit("/item/2", "ana", "Ana")
    beat(house)
    assert names(heard) == ["session_started", "activity_recorded", "activity_recorded"]
    assert {id(sender) for _, sender, _ in heard} == {id(house.app)}
    assert heard[0][2]["session"]["user"] == {"id": "ana", "name": "Ana"}
    assert heard[0][2]["session"]["is_active"] is True
    assert heard[2][2]["activity"]["path"] == "/item/2"


def test_a_receiver_that_changes_what_it_is_told_changes_nothing(house: House) -> None:
    def first(_: Flask, activity: dict[str, Any]) -> None:
        activity["data"].clear()

    def second(_: Flask, session: dict[str, Any]) -> None:
        session["agent"]["browser"] = session["user"]["name"] = "nonsense"

    with (
        signals.activity_recorded.connected_to(first, house.app),
        signals.session_started.connected_to(second, house.app),
    ):
        house.monitor.track("paid", user="ana", amount=12)
        house.visit("/", "bob", agent="Mozilla/5.0 Firefox/140.0")
        beat(house)
    house.visit("/", "eve", agent="Mozilla/5.0 Firefox/140.0")
    assert house.monitor.get_activities()[2]["data"] == {"amount": 12}
    assert "nonsense" not in house.get("sessions").text


def test_the_end_of_a_session_is_told(
    house: House, heard: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    house.visit("/", "ana")
    beat(house)
    live = house.app.extensions["realtime_monitor"].live
    later = live.clock.now_ms() + 10_000_000
    live.clock.now_ms = lambda: later
    beat(house)
    assert names(heard)[-1] == "session_ended"
    assert heard[-1][2]["session"]["user"]["id"] == "ana"
    assert heard[-1][2]["session"]["is_active"] is False


def test_who_opens_the_page_is_told(
    house: House, heard: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    house.client.get("/monitor/", headers={"X-User": "boss"})
    (name, _, sent) = heard[0]
    assert (name, sent["user"], sent["role"]) == (
        *("viewer_connected", {"id": "boss", "name": None}, "reveal"),
    )


def test_where_there_is_no_stream_who_opens_one_is_told_and_logged_once(
    house: House, heard: list[tuple[str, Any, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    def ask(query: str = "", **more: str) -> Any:
        return house.client.get(f"/monitor/stream{query}", headers={"X-User": "boss", **more})

    first = ask()
    assert '"reason":"limit"' in first.text
    (id,) = re.findall(r"^id: (.*)$", first.text, re.MULTILINE)
    for again in (ask(**{"Last-Event-ID": id}), ask(f"?last_event_id={id}"), ask("?after=limit")):
        assert '"reason":"limit"' in again.text
    house.client.head("/monitor/stream")
    assert names(heard) == ["viewer_connected"]
    assert heard[0][2] == {"user": {"id": "boss", "name": None}, "role": "reveal"}
    assert caplog.messages.count("user 'boss' opened the stream (reveal)") == 1
    ask()
    assert names(heard) == ["viewer_connected"] * 2


def test_a_receiver_that_waits_keeps_nobody_who_publishes_or_ends_waiting(house: House) -> None:
    go_on = Event()
    told: list[str] = []

    def wait(_: Any, role: str, **__: Any) -> None:
        go_on.wait(DEADLINE_S)
        told.append(role)

    live = house.app.extensions["realtime_monitor"].live
    credential = live.broadcaster.credentials.shared(b"ann", lambda _: None)
    with signals.viewer_disconnected.connected_to(wait, house.app):
        for _ in range(2):
            viewer = HeldViewer(Pass("view", None, credential), 0)
            assert live.broadcaster.admit(viewer)
            live.broadcaster.join(viewer, "")
            live.broadcaster.leave(viewer)
        live.receivers.tell_last()
        assert told == []
        go_on.set()
        wait_until(lambda: told == ["view", "view"], "both are told of")


def test_a_sign_out_ends_streams_before_the_app_is_told_of_anything(house: House) -> None:
    order: list[str] = []
    live = house.app.extensions["realtime_monitor"].live
    live.ingest.left = lambda user_id: order.append(f"{user_id} is sent away")
    with signals.activity_recorded.connected_to(
        lambda _, activity: order.append(activity["kind"]), house.app
    ):
        house.visit("/item/1", "ana")
        live.tracker.left.append("ana")  # as a sign-out does
        beat(house)
        wait_until(lambda: len(order) == 2, "both have been told")
    assert order == ["ana is sent away", "request"]


def test_one_activity_that_fails_keeps_back_neither_a_count_nor_a_sign_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = house.app.extensions["realtime_monitor"].live
    house.visit("/item/1", "ana")
    wait_until(lambda: not live.ingest.queue, "the loop has folded it")
    left: list[str] = []
    live.ingest.left = left.append

    def fail(*_: Any, **__: Any) -> Any:
        live.tracker.left.append("ana")
        raise ValueError("no activity")

    with live._beating, monkeypatch.context() as patch:  # the loop folds as well
        patch.setattr(live.tracker, "fold", fail)
        excluded = live.tracker.traffic.excluded
        done = Raw("request", live.clock.monotonic(), "", "", None, path_info="/item/2")
        live.ingest.queue.extend([None, done])
        with pytest.raises(ValueError, match="no activity"):
            live.ingest.fold()
    assert live.tracker.traffic.excluded == excluded + 1
    assert left == ["ana"]


def test_who_opens_the_page_is_logged_unless_the_app_wants_less(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def opened(name: str, level: int = logging.NOTSET) -> list[str]:
        app = Flask(name)
        RealtimeMonitor(app, authorize=lambda: True, identify=lambda: "boss")
        app.logger.getChild("realtime_monitor").setLevel(level)
        caplog.clear()
        app.test_client().get("/monitor/")
        assert app.logger.getEffectiveLevel() == logging.WARNING
        return caplog.messages

    assert opened("told") == ["user 'boss' opened the page (reveal)"]
    assert opened("silent", logging.WARNING) == []


class OfTheApp(BaseException):
    """As gevent's Timeout: no Exception."""


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, OfTheApp])
def test_the_loop_outlives_whatever_the_app_s_code_raises_in_it(
    house: House, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    strict(house.app, False)
    told: list[str] = []

    def broken(sender: Any, **_: Any) -> None:
        told.append("receiver")
        if told.count("receiver") == 1:
            raise error

    @house.monitor.before_record
    def scrub(activity: Activity) -> Activity:
        told.append("hook")
        if told.count("hook") == 1:
            raise error
        return activity

    with signals.activity_recorded.connected_to(broken, house.app):
        for number in (1, 2, 3):
            house.visit("/")
            wait_until(lambda number=number: told.count("hook") == number, "the loop to fold")
        wait_until(lambda: told.count("receiver") == 2, "both to be told")
    stats = house.monitor.get_stats()
    assert (stats["requests_total"], stats["excluded"], stats["dropped"]["activities"]) == (2, 1, 0)


def test_an_exit_in_before_record_ends_the_reading_call_and_loses_nothing_else(
    house: House,
) -> None:
    strict(house.app, False)

    @house.monitor.before_record
    def scrub(activity: Activity) -> Activity:
        if activity.path == "/item/2":
            raise SystemExit
        return activity

    live = house.app.extensions["realtime_monitor"].live
    with live._beating:  # the loop is not to be first
        for number in (1, 2, 3):
            house.visit(f"/item/{number}")
        with pytest.raises(SystemExit):
            house.monitor.get_stats()
        assert house.monitor.get_stats()["excluded"] == 1
        paths = [one["path"] for one in house.monitor.get_activities()]
    assert paths == ["/item/3", "/item/1"]


def test_a_receiver_that_raises_disturbs_nobody(
    house: House, heard: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    strict(house.app, False)

    def broken(sender: Any, **_: Any) -> None:
        raise LookupError

    with signals.activity_recorded.connected_to(broken, house.app):
        house.visit("/")
        house.visit("/")
        beat(house)
    assert house.monitor.get_stats()["requests_total"] == 2
    assert "session_started" in names(heard)
