"""What one worker ends is over in all; the documented example, served by two."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from flask_realtime_monitor import shapes

from .support.gunicorn_server import GunicornServer
from .support.several import Mate
from .support.shop import Shop
from .support.viewer import Viewer
from .support.waiting import DEADLINE_S, wait_until
from .test_several import Team

# -- in one process ----------------------------------------------------------------------------


def sessions(mate: Mate) -> dict[str, Any]:
    return {one["id"]: one for one in mate.picture.sessions(1000)["items"]}


def whose(team: Team, user: str) -> str:
    found = [one for mate in team.mates for one in sessions(mate).values()]
    (id,) = {one["id"] for one in found if one["user"] and one["user"]["id"] == user}
    return id


def test_every_worker_ends_its_part_and_says_when() -> None:
    team = Team()
    for mate in (0, 1):
        team.visit(mate, 1, "ana")
    team.visit(1, 2, "bob")
    team.flush()
    id = whose(team, "ana")
    team.mates[0].end(id)
    assert id not in sessions(team.mates[0])  # at once, the other's part too
    team.time.pass_(0.25)
    team.flush()
    late = team.mate("late")
    for mate in (*team.mates, late):
        mate.flush()
        assert [one["user"]["id"] for one in sessions(mate).values()] == ["bob"]
    ends = {mate.picture.ended_at(id) for mate in team.mates}
    assert len(ends) == 1 and None not in ends


def ends_of(team: Team, id: str) -> set[float | None]:
    """Return when each worker says that a session ended."""
    assert all(mate.picture.session(id) is None for mate in team.mates)
    return {mate.picture.ended_at(id) for mate in team.mates}


@pytest.mark.parametrize("is_read", [True, False])
def test_every_worker_says_the_same_of_a_session_that_timed_out(is_read: bool) -> None:
    team = Team(session_timeout=60, active_window=60)
    team.visit(0, 1, "ana")
    team.time.pass_(7)
    team.visit(1, 1, "ana")
    team.flush()
    id = whose(team, "ana")
    last_at = sessions(team.mates[2])[id]["last_seen_at"]
    if not is_read:
        for mate in team.mates:
            mate.picture._index.unload()
    team.time.pass_(62)
    team.flush()
    found = ends_of(team, id)
    assert [*found] == [pytest.approx(last_at + 60, abs=0.002)]
    for _ in range(200):  # until the rows are gone
        team.time.pass_(1)
        for mate in team.mates:
            mate.tracker.expire()
            mate.flusher._last_s -= 1.0  # as if so much time had passed there, too
        team.flush()
    assert not any(mate.tracker.sessions.rows for mate in team.mates)
    assert ends_of(team, id) == found


def test_every_worker_says_the_same_after_a_sign_out() -> None:
    team = Team()
    team.visit(0, 1, None)
    team.time.pass_(1)
    team.visit(1, 1, "ana")
    team.flush()
    id = whose(team, "ana")
    guest = shapes.session_id(1)
    for mate in team.mates:
        assert mate.picture.session(guest) is not None
    team.time.pass_(1)
    out_at = team.mates[2].tracker.clock.now_at()
    team.visit(2, 1, "ana", kind="logout")
    team.mates[2].flush()
    team.time.pass_(1)
    team.flush()
    team.time.pass_(1)
    for one in (id, guest):
        assert [*ends_of(team, one)] == [pytest.approx(out_at, abs=0.002)]


def test_a_worker_that_never_saw_it_can_end_it_too() -> None:
    team = Team()
    team.visit(1, 1, None)
    team.visit(1, 1, "ana")
    team.flush()
    id = whose(team, "ana")
    assert sessions(team.mates[2])[id]["requests"] == 2
    team.mates[2].end(id)
    assert team.mates[2].picture.session(id) is None
    assert team.mates[2].picture.ended_at(id) is not None
    team.flush()
    assert all(not sessions(mate) for mate in team.mates)


def test_an_end_is_final_even_where_a_request_came_before_the_news() -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.visit(1, 1, "ana")
    team.flush()
    id = whose(team, "ana")
    team.mates[0].end(id)
    team.time.pass_(0.1)
    team.visit(1, 1, "ana")  # it ended there after the end here
    team.flush()
    assert all(not sessions(mate) for mate in team.mates)
    for mate in (0, 1, 2):
        team.visit(mate, 1, "ana")
    team.flush()
    again = whose(team, "ana")
    assert again != id
    assert all(sessions(mate)[again]["requests"] == 3 for mate in team.mates)


def test_of_two_behind_one_address_the_other_keeps_the_session() -> None:
    team = Team()
    for mate, user in ((0, "ana"), (1, "ana"), (1, "bob"), (2, None)):
        team.visit(mate, 1, user)
    team.flush()
    before = sessions(team.mates[0])
    id = whose(team, "ana")
    team.mates[0].end(id)
    team.flush()
    team.time.pass_(1)
    for mate in (0, 1, 2):  # at workers that have not seen them yet, too
        team.visit(mate, 1, "bob")
        team.visit(mate, 1, None)
    team.flush()
    for mate in team.mates:
        after = sessions(mate)
        assert set(after) <= set(before) - {id}
        assert sum(one["requests"] for one in after.values()) == 8
        assert {one["user"] and one["user"]["id"] for one in after.values()} <= {"bob", None}


def test_who_was_seen_since_in_such_company_goes_on() -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.visit(0, 1, "bob")
    team.flush()
    id = whose(team, "ana")
    team.mates[0].end(id)
    team.time.pass_(0.1)
    team.visit(1, 1, "ana")
    team.flush()
    assert all(sessions(mate)[id]["requests"] == 1 for mate in team.mates)


def test_news_that_comes_late_ends_no_later_session() -> None:
    team = Team()
    team.visit(0, 1, "ana")
    team.visit(1, 1, "ana")
    team.flush()
    id = whose(team, "ana")
    team.post.is_down = True
    team.mates[0].end(id)
    team.mates[0].flush()
    team.time.pass_(30)
    team.visit(0, 1, "ana")
    (again,) = sessions(team.mates[0])
    team.post.is_down = False
    team.flush()
    assert all(set(sessions(mate)) == {again} for mate in team.mates)


# -- served ------------------------------------------------------------------------------------


class Browser:
    """Somebody with a cookie, at one worker."""

    def __init__(self, server: GunicornServer, agent: str) -> None:
        self._connection = HTTPConnection(server.address, server.port, timeout=DEADLINE_S)
        self._headers = {"User-Agent": agent}

    def ask(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = None if form is None else urlencode(form)
        if form:
            named["Content-Type"] = "application/x-www-form-urlencoded"
        method = "GET" if form is None else "POST"
        self._connection.request(method, path, body, {**self._headers, **named})
        answer = self._connection.getresponse()
        text = answer.read().decode()
        cookie = answer.getheader("Set-Cookie")
        if cookie is not None:
            self._headers["Cookie"] = cookie.partition(";")[0]
        return answer.status, text

    @property
    def cookie(self) -> str:
        return self._headers["Cookie"]

    def worker(self, server: GunicornServer) -> int | None:
        """The pid of the worker that has this connection."""
        port: int = self._connection.sock.getsockname()[1]
        return server.holder(port)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.close()


def one_at_each(server: GunicornServer, name: str) -> tuple[Browser, Browser]:
    """The same browser at both workers, signed in."""
    first = Browser(server, name)
    assert first.ask("/sign-in", {"name": name})[0] == 200

    def other() -> Browser | None:
        made = Browser(server, name)
        made._headers = first._headers
        made.ask("/")
        if made.worker(server) != first.worker(server):
            return made
        made.close()
        return None

    return first, wait_until(other, "a connection to the other worker")


@pytest.mark.server
def test_the_example_signs_out_and_the_other_worker_knows(shop: Shop) -> None:
    here, there = one_at_each(shop, "ana")
    bob, bob_there = one_at_each(shop, "bob")

    def api(asking: Browser, path: str) -> Any:
        return json.loads(asking.ask(f"/monitor/api/v1/{path}")[1])

    def listed(asking: Browser) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = api(asking, "sessions?user=bob")["items"]
        return items

    bob.ask("/")
    wait_until(
        lambda: (
            [one["requests"] for one in listed(here)] == [one["requests"] for one in listed(there)]
            and len(api(here, f"sessions/{listed(here)[0]['id']}")["why"]["workers"]) == 2
        ),
        "both have seen bob at both",
    )
    (session,) = listed(here)
    page = here.ask("/monitor/")[1]
    (token,) = re.findall(r'data-token="(\w+)"', page)
    with Viewer(shop, Cookie=here.cookie, User_Agent="ana") as viewer:
        viewer.next("snapshot")
        sent = {"Sec_Fetch_Site": "same-origin", "X_Monitor_Token": token}
        # The page of one worker is good at the other.
        status, text = there.ask(shop.end_path(session), {}, **sent)
        assert status == 200, text
        ended_at = json.loads(text)["ended_at"]
        assert "ended_at" in api(there, f"sessions/{session['id']}")
        wait_until(lambda: "ended_at" in api(here, f"sessions/{session['id']}"), "told")
        assert api(here, f"sessions/{session['id']}")["ended_at"] == ended_at
        assert listed(here) == listed(there) == []
        while session["id"] not in viewer.next("update").data.get("removed", {}).get(
            "sessions", ()
        ):
            pass
        assert bob.ask("/")[1] == bob_there.ask("/")[1] == "somebody"
        # The admin's own view goes on.
        assert here.ask("/monitor/")[0] == 200
        viewer.next("update")
        assert not [one for one in viewer.events if one.event == "bye"]
    (line,) = api(here, "activities?kind=custom")["items"]
    assert (line["session"], line["data"]["by"]) == (session["id"], "ana")
    wait_until(lambda: api(there, "activities?kind=custom")["items"] == [line], "the same feed")
    assert shop.log().count(f"user 'ana' ended session {session['id']} of user 'bob'") == 1
    bob.ask("/sign-in", {"name": "bob"})
    assert bob.ask("/")[1] == "bob"
    for one in (here, there, bob, bob_there):
        one.close()
