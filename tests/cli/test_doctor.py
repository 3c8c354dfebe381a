"""What the doctor makes of that which a worker says of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor import beats
from flask_realtime_monitor.processes import born_at
from flask_realtime_monitor.stores import open_store
from flask_realtime_monitor.stores.base import Flush
from tests.support.apps import House

DETACHED = {"class": "GeventWorker", "connections": 1000, "is_patched": True, "most_viewers": 5000}
HELD = {**DETACHED, "holds_streams": True}
ROOM = ("ok", "0 are connected; there is room")
Told = Callable[..., tuple[str, str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return (mark, text) of the viewers, where one worker has so many and serves in such a way."""
    tmp_path.chmod(0o700)
    url = f"sqlite:///{tmp_path}/monitor.sqlite"

    def ask(serving: dict[str, Any], viewers: int = 0, most: int = 0) -> tuple[str, str]:
        me = os.getpid()
        beat = {"host": "web", "boot": beats.machine(), "pid": me, "born": born_at(me)}
        store = open_store(url, worker="w1")
        data = beats.encode({**beat, "item": {"viewers": viewers}, "serving": serving})
        store.flush(Flush(None, (), data))
        store.leave()
        app = House(STORE=url, MAX_VIEWERS=most).app
        result = app.test_cli_runner().invoke(args=["monitor", "doctor", "--json"])
        checks = json.loads(result.stdout)["checks"]
        (found,) = (one for one in checks if one["name"] == "viewers")
        return found["mark"], found["text"]

    return ask


def test_streams_that_keep_no_connection_may_be_more_than_there_are(told: Told) -> None:
    assert told({**DETACHED, "most_viewers": 2000}, most=2000) == ROOM
    assert told({**HELD, "class": "ThreadWorker"}, most=2000) == ROOM, "it has no streams at all"


def test_viewers_who_could_take_every_connection_are_a_fault(told: Told) -> None:
    mark, text = told({**HELD, "most_viewers": 2000}, most=2000)
    assert mark == "fault"
    assert "MAX_VIEWERS is 2000" in text
    assert "one of a worker's 1000 connections" in text
    assert "raise worker_connections to twice as many" in text
    assert told({**HELD, "most_viewers": 500}, most=500) == ROOM


@pytest.mark.parametrize(
    ("serving", "viewers", "most", "remedy"),
    [
        (HELD, 400, 0, "at most 500 viewers; raise worker_connections"),
        (DETACHED, 4000, 0, "at most 5000 viewers; raise the limit of its descriptors"),
        ({**DETACHED, "most_viewers": 10}, 8, 10, "at most 10 viewers; raise REALTIME_MONITOR_MAX"),
        ({**DETACHED, "most_viewers": 90}, 72, 100, "at most 90 viewers; raise the limit of its"),
    ],
    ids=["connections", "descriptors", "set", "set too high"],
)
def test_few_places_left_are_told_with_what_gives_more(
    told: Told, serving: dict[str, Any], viewers: int, most: int, remedy: str
) -> None:
    mark, text = told(serving, viewers, most)
    assert mark == "warn"
    assert f"web:{os.getpid()} has {viewers} of {remedy}" in text
    assert told(serving, viewers - 1, most)[0] == "ok"
