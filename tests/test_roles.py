"""The roles on streams of a real server: who sees what, and that nobody goes on with another's."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from .support.merging import comparable, merged
from .support.streaming import StreamingServer
from .support.viewer import Viewer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
Own = Callable[..., StreamingServer]
VIEW = {"X_Role": "view"}
ADMIN = {"X_Role": "admin"}
TOKEN = "a-wall-for-nobody-but-us"
WALL = f"/monitor/wall/{TOKEN}/stream"
SECRETS = ("sib-id", "Sibyl", "kept-to-herself", "Her Title")
SIBYL = {"X_User": "sib-id", "X_Name": "Sibyl", "X_Title": "Her Title"}
BEHIND = {"X_Forwarded_For": "203.0.113.77"}


def whole(viewer: Viewer) -> str:
    return json.dumps([event.data for event in viewer.events])


def drift(server: StreamingServer, chance: random.Random) -> None:
    """Let some people do something."""
    for _ in range(chance.randint(1, 9)):
        headers = {"User_Agent": f"agent {chance.randint(1, 20)}"}
        if chance.random() < 0.6:
            headers.update(SIBYL, X_User=f"sib-id-{chance.randint(1, 5)}")
        server.ask(f"/page/kept-to-herself/{chance.randint(1, 9)}", **headers, **BEHIND)


@pytest.mark.parametrize("worker", ["gevent", "sync"])
def test_a_masked_stream_merges_to_its_snapshot_and_names_nobody(own: Own, worker: str) -> None:
    server, chance = own(worker=worker, WALL_TOKEN=TOKEN), random.Random(3)
    drift(server, chance)
    if worker == "sync":  # a snapshot at a time
        with Viewer(server, **VIEW) as masked:
            assert masked.rest()[0].data["role"] == "view"
            assert not [one for one in SECRETS if one in whole(masked)]
        return
    with Viewer(server, **VIEW) as masked, Viewer(server, **ADMIN) as revealed:
        held: Any = masked.next("snapshot").data
        assert held["role"] == "view"
        assert "Sibyl" in str(revealed.next("snapshot").data)
        for _ in range(4):
            drift(server, chance)
            held = merged(held, masked.next("update").data)
        with Viewer(server, **VIEW) as other:
            later = other.next("snapshot")
        while masked.events[-1].id != later.id:
            held = merged(held, masked.next("update").data)
        assert comparable(held) == comparable(later.data)
        assert any(event.data.get("users") for event in masked.events[1:])
        assert not [one for one in SECRETS if one in whole(masked)]


def test_nobody_goes_on_with_what_another_role_was_shown(own: Own) -> None:
    server = own(WALL_TOKEN=TOKEN)
    server.ask("/page/kept-to-herself", **SIBYL)
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "reveal": ("/monitor/stream", ADMIN),
        "view": ("/monitor/stream", VIEW),
        "wall": (WALL, {}),
    }
    ids: dict[str, str] = {}
    watching = [Viewer(server, path, **headers) for path, headers in ways.values()]
    try:
        for role, viewer in zip(ways, watching, strict=True):
            first = viewer.next("snapshot")
            assert first.data["role"] == role
            ids[role] = first.id or ""
        # Something to miss, so that going on would not be silence.
        server.ask("/page/kept-to-herself/too", **SIBYL)
        for viewer in watching:
            viewer.next("update")
        for role, (path, headers) in ways.items():
            for whose, id in ids.items():
                for query, more in ((f"?last_event_id={id}", {}), ("", {"Last_Event_ID": id})):
                    with Viewer(server, path + query, **headers, **more) as back:
                        found = back.next()
                        assert found.event == ("update" if whose == role else "snapshot")
                        assert role == "reveal" or not [s for s in SECRETS if s in whole(back)]
    finally:
        for viewer in watching:
            viewer.close()


def test_who_gets_another_role_comes_back_in_it(own: Own) -> None:
    server = own()
    server.ask("/page/kept-to-herself", **SIBYL)
    with Viewer(server, **VIEW) as masked:
        masked.next("snapshot")
        server.ask("/doors/names/open", "POST")
        events = [*masked.events, *masked.rest()]
    assert events[-1].data["reason"] == "renew"
    assert not [one for one in SECRETS if one in json.dumps([one.data for one in events])]
    last_id = [one.id for one in events if one.id][-1] or ""
    with Viewer(server, Last_Event_ID=last_id, **VIEW) as revealed:
        first = revealed.next()
        assert (first.event, first.data["role"]) == ("snapshot", "reveal")
        assert "Sibyl" in str(first.data)
        server.ask("/doors/names/shut", "POST")
        assert revealed.rest()[-1].data["reason"] == "renew"
    last_id = [one.id for one in revealed.events if one.id][-1] or ""
    with Viewer(server, Last_Event_ID=last_id, **VIEW) as masked:
        first = masked.next()
        assert (first.event, first.data["role"]) == ("snapshot", "view")
        assert not [one for one in SECRETS if one in whole(masked)]


def test_all_workers_give_the_same_pseudonym(own: Own, lines_to: Callable[..., Any]) -> None:
    server = own("--workers", "2", "--keep-alive", "60")
    lines = lines_to(server)
    for number, line in enumerate(lines):
        line.get(f"/page/{number}", f"agent {number}", **SIBYL)

    def told() -> list[Any] | None:
        found = [json.loads(line.get("/monitor/api/v1/users", "view", **VIEW)) for line in lines]
        users = [page["items"] for page in found]
        is_whole = all(len(one) == 1 and one[0]["requests"] == 2 for one in users)
        return users if is_whole else None

    mine, theirs = wait_until(told, "both know both requests")
    assert mine == theirs
    assert "Sibyl" not in str(mine)


def test_a_request_in_flight_at_another_worker_shows_its_rule(
    own: Own, lines_to: Callable[..., Any]
) -> None:
    server = own("--workers", "2", "--keep-alive", "60")
    lines = lines_to(server)
    lines[0].get("/page/first", "somebody")  # so that this worker tells the others of itself
    answer, connection = server.open("/slow/kept-to-herself", **SIBYL)
    try:

        def told() -> list[Any] | None:
            found = []
            for line in lines:
                text = line.get("/monitor/api/v1/in-flight", "view", **VIEW)
                assert "kept-to-herself" not in text
                found.append([one["path"] for one in json.loads(text)["items"]])
            return found if all(found) else None

        assert wait_until(told, "both show it") == [["/slow/<name>"], ["/slow/<name>"]]
    finally:
        answer.close()
        connection.close()
