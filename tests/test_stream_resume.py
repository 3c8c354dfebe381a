"""A viewer who is cut off goes on at any worker, and sees what it would have seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support.gunicorn_server import GunicornServer
from .support.lines import Line
from .support.merging import comparable, merged
from .support.viewer import Viewer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
Watch = Callable[..., "Watching"]
FAST = {"REALTIME_MONITOR_UPDATE_INTERVAL": "0.2", "REALTIME_MONITOR_HEARTBEAT_INTERVAL": "1"}


@pytest.fixture
def server() -> Iterator[GunicornServer]:
    made = GunicornServer(
        "tests.apps.shared:served()", "--workers", "2", "--keep-alive", "60", **FAST
    )
    yield made
    made.close()


@pytest.fixture
def watch(server: GunicornServer) -> Iterator[Watch]:
    """Open a stream at one worker, by its pid; closed at the end."""
    opened: list[Watching] = []

    def watch(pid: int, last_id: str = "") -> Watching:
        opened.append(Watching(server, pid, last_id))
        return opened[-1]

    yield watch
    for one in opened:
        one.viewer.close()


class Watching:
    """A viewer at one worker, and all it holds."""

    def __init__(self, server: GunicornServer, pid: int, last_id: str = "") -> None:
        """Try until that worker answers: the kernel gives connections to either."""
        self.viewer = wait_until(lambda: self._at(server, pid, last_id), f"a stream at {pid}")
        self.held: Any = None

    @staticmethod
    def _at(server: GunicornServer, pid: int, last_id: str) -> Viewer | None:
        headers = {"Last_Event_ID": last_id} if last_id else {}
        viewer = Viewer(server, X_Admin="yes", **headers)
        if server.holder(viewer.local_port) == pid:
            return viewer
        viewer.close()
        return None

    def read(self, event: str | None = None) -> str:
        """Take in the next event; return its name."""
        found = self.viewer.next(event)
        self.held = found.data if found.event == "snapshot" else merged(self.held, found.data)
        return found.event

    @property
    def last_id(self) -> str:
        return next(one.id for one in reversed(self.viewer.events) if one.id) or ""

    def read_until(self, path: str) -> None:
        """Read until somebody was there."""
        while self.held is None or path not in [one["path"] for one in self.held["activities"]]:
            self.read()

    def picture(self) -> Any:
        """Return what is held; the newest of what two workers told, in the order of its time."""
        found = comparable(self.held)
        found["activities"].sort(key=lambda one: (-one["at"], one["id"]))
        del found["activities"][80:]
        return found


@pytest.mark.parametrize("seed", range(3))
def test_another_worker_goes_on_where_the_first_was(
    server: GunicornServer, watch: Watch, lines_to: Callable[..., list[Line]], seed: int
) -> None:
    chance = random.Random(seed)
    lines = lines_to(server)
    here, there = server.workers()
    # Somebody watches at the other worker, so that it knows what has left its lists.
    other = watch(there)
    other.read("snapshot")
    began_at = other.held["as_of"]
    mine = watch(here)
    mine.read("snapshot")
    number = 0
    while other.viewer.events[-1].data["as_of"] < began_at + 4:
        number += 1
        busy(lines, chance)
        lines[0].get(f"/page/before-{number}")
        mine.read_until(f"/page/before-{number}")
        other.read_until(f"/page/before-{number}")
    mine.viewer.close()
    busy(lines, chance)
    lines[chance.randint(0, 1)].get("/page/missed")
    other.read_until("/page/missed")
    back = watch(there, mine.last_id)
    back.held = mine.held
    assert back.read() == "update"
    lines[0].get("/page/after")
    back.read_until("/page/after")
    final = watch(there)
    final.read("snapshot")
    while back.last_id != final.last_id:
        (back if back.last_id < final.last_id else final).read()
    assert back.picture() == final.picture()


def test_who_came_and_went_while_nobody_looked_is_in_no_view(
    server: GunicornServer, watch: Watch, lines_to: Callable[..., list[Line]]
) -> None:
    lines = lines_to(server)
    here, there = server.workers()
    earlier = watch(there)  # what it shows is known there from now on, and looked at no more
    earlier.read("snapshot")
    earlier.viewer.close()
    mine = watch(here)
    mine.read("snapshot")
    known_at = earlier.held["as_of"]
    while mine.viewer.events[-1].data["as_of"] < known_at + 4:  # the time before is not known there
        lines[0].get("/page/9", "somebody")
        mine.read()
    lines[0].get("/in/eve", "eve's browser")
    lines[0].get("/page/1", "eve's browser")
    mine.read_until("/page/1")
    mine.viewer.close()
    lines[0].get("/out", "eve's browser")
    lines[0].api("stats")  # writes it; at the other worker nobody may look before
    back = watch(there, mine.last_id)
    back.held = mine.held
    back.read()
    lines[1].get("/page/2", "somebody else")
    back.read_until("/page/2")
    final = watch(there)
    final.read("snapshot")
    while back.last_id != final.last_id:
        (back if back.last_id < final.last_id else final).read()
    assert back.picture() == final.picture()


def busy(lines: list[Line], chance: random.Random) -> None:
    """Let all kinds of people do all kinds of things."""
    for _ in range(chance.randint(3, 9)):
        line = chance.choice(lines)
        agent = f"agent {chance.randint(1, 25)}"
        headers = {"X_User": f"u{chance.randint(1, 9)}"} if chance.random() < 0.4 else {}
        line.get(f"/page/{chance.randint(1, 20)}", agent, **headers)
        if chance.random() < 0.1:
            name = f"guest{chance.randint(1, 9)}"
            line.get("/page/1", name)
            line.get(f"/in/{name}", name)
            if chance.random() < 0.5:
                line.get("/out", name)


def test_who_was_erased_meanwhile_is_in_no_view(
    server: GunicornServer, watch: Watch, lines_to: Callable[..., list[Line]]
) -> None:
    lines = lines_to(server)
    here, there = server.workers()
    other = watch(there)
    other.read("snapshot")
    mine = watch(here)
    lines[0].get("/page/x", "erased", X_User="to-erase")
    mine.read("snapshot")
    mine.read_until("/page/x")
    mine.viewer.close()
    lines[0].get("/forget?name=to-erase", "somebody")
    other.read("snapshot")
    wait_until(
        lambda: not any("to-erase" in str(line.api("users")) for line in lines), "erased everywhere"
    )
    back = watch(there, mine.last_id)
    back.held = mine.held
    back.read()
    assert "to-erase" not in str(back.held)
