"""The app of apps/lifecycle.py under a real gunicorn."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from .support.gunicorn_server import GunicornServer
from .support.viewer import Viewer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
APP = "tests.apps.lifecycle:served()"
ADMIN = {"X_Admin": "yes"}


@pytest.fixture
def server() -> Iterator[GunicornServer]:
    made = GunicornServer(APP)
    yield made
    made.close()


def stats(server: GunicornServer) -> Any:
    return server.json("stats", **ADMIN)


def test_33_requests_of_5_users_give_exactly_these_numbers(server: GunicornServer) -> None:
    for number in range(31):
        server.ask("/", X_User=f"user-{number % 5}")
    assert server.ask("/fail", X_User="user-1")[0] == 500
    assert server.ask("/body", X_User="user-2")[1] == b"piecepiecepiece"
    found = stats(server)
    assert (found["requests_total"], found["active_users"], found["errors_total"]) == (33, 5, 1)
    assert found["in_flight"] == 0
    (body,) = server.json("activities?q=/body", **ADMIN)["items"]
    assert body["duration_ms"] >= 290


def test_no_cookie_and_no_vary(server: GunicornServer) -> None:
    answer, connection = server.open("/")
    assert not {"set-cookie", "vary"} & {name.lower() for name, _ in answer.getheaders()}
    connection.close()


def test_who_leaves_in_the_middle_is_no_longer_in_flight(server: GunicornServer) -> None:
    answer, connection = server.open("/endless")
    answer.read(100)
    assert stats(server)["in_flight"] == 1
    answer.close()
    connection.close()
    wait_until(lambda: stats(server)["in_flight"] == 0, "the left stream has ended")
    assert stats(server)["requests_total"] == 1


def test_a_slow_request_is_seen_with_its_user_and_age(server: GunicornServer) -> None:
    server.ask("/", X_User="ana")
    asking = Thread(target=server.ask, args=("/slow",), kwargs={"X_User": "ana"})
    asking.start()
    waiting = wait_until(
        lambda: [
            one
            for one in server.json("in-flight", **ADMIN)["items"]
            if one["path"] == "/slow" and one["age_s"] >= 0.5
        ],
        "the slow request is listed",
    )
    assert waiting[0]["user"] == {"id": "ana", "name": None}
    asking.join()
    assert server.json("in-flight", **ADMIN) | {"as_of": 0} == {"items": [], "total": 0, "as_of": 0}


def test_a_file_is_sent_whole(server: GunicornServer) -> None:
    status, content = server.ask("/disk-file")
    assert status == 200
    assert content.startswith(b'"""One app')
    assert stats(server)["in_flight"] == 0


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_says_bye_and_goes(server: GunicornServer, kind: signal.Signals) -> None:
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        stopping = Thread(target=server.stop, args=(kind,))
        stopping.start()
        assert viewer.rest()[-1].data["reason"] == "restart"
        stopping.join()
    assert "Traceback" not in server.log()


def test_a_reload_brings_a_new_worker_and_viewers_come_back(server: GunicornServer) -> None:
    assert server.process is not None
    (old,) = server.workers()
    with Viewer(server, **ADMIN) as viewer:
        last = viewer.next("snapshot")
        server.process.send_signal(signal.SIGHUP)
        assert viewer.rest()[-1].data["reason"] == "restart"
    wait_until(lambda: old not in server.workers() and server.workers(), "a new worker")
    with Viewer(server, Last_Event_ID=last.id or "", **ADMIN) as viewer:
        assert viewer.next().event == "snapshot"
    assert "Traceback" not in server.log()


def test_a_killed_worker_is_replaced_and_counts_anew(server: GunicornServer) -> None:
    server.ask("/")
    (old,) = server.workers()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: old not in server.workers() and server.workers(), "a new worker")
    server.ask("/")
    assert stats(server)["requests_total"] == 1


def test_with_two_workers_the_picture_is_whole() -> None:
    server = GunicornServer(APP, "--workers", "2")
    try:
        assert stats(server)["coverage"]["complete"] is True
        health = server.json("health", **ADMIN)
        assert health["status"] == "ok"
        assert health["store"]["url"].startswith("sqlite:")
    finally:
        server.close()


def test_a_sync_worker_gives_a_bounded_answer() -> None:
    server = GunicornServer(APP, worker="sync")
    try:
        with Viewer(server, **ADMIN) as viewer:
            assert [event.event for event in viewer.rest()] == ["snapshot", "bye"]
            assert viewer.events[-1].data["reason"] == "limit"
        assert server.ask("/")[0] == 200
    finally:
        server.close()


def test_it_works_with_preload() -> None:
    server = GunicornServer(APP, "--preload")
    try:
        server.ask("/", X_User="ana")
        assert stats(server)["active_users"] == 1
        with Viewer(server, **ADMIN) as viewer:
            viewer.next("snapshot")
            server.ask("/", X_User="bob")
            assert viewer.next("update").data["stats"]["active_users"] == 2
    finally:
        server.close()
