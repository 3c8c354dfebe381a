"""The stream, read strictly over a real connection."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .support import streaming
from .support.gunicorn_server import GunicornServer
from .support.merging import comparable, merged
from .support.sse import Event
from .support.streaming import StreamingServer
from .support.viewer import Viewer
from .support.waiting import DEADLINE_S, wait_until

pytestmark = pytest.mark.server
ADMIN = {"X_Admin": "yes"}
Own = Callable[..., StreamingServer]


@pytest.fixture(scope="module")
def shared() -> Iterator[GunicornServer]:
    made = GunicornServer("tests.apps.lifecycle:served()")
    yield made
    made.close()


@pytest.fixture
def server(shared: GunicornServer) -> GunicornServer:
    """The shared server, with nobody watching any more."""
    wait_until(lambda: viewers(shared) == 0, "the last test's viewers are gone")
    return shared


def viewers(server: GunicornServer) -> int:
    return int(server.json("stats", **ADMIN)["viewers"])


def test_it_begins_with_a_snapshot_of_all(server: GunicornServer) -> None:
    with Viewer(server, **ADMIN) as viewer:
        assert viewer.answer.status == 200
        headers = {name.lower(): value for name, value in viewer.answer.getheaders()}
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
        first = viewer.next()
        assert first.event == "snapshot"
        assert viewer.parser.retry_ms
        assert set(first.data) == {
            *("as_of", "role", "stats", "users", "sessions", "activities"),
            *("endpoints", "in_flight", "workers"),
        }


def test_updates_merge_to_the_snapshot_of_the_later_moment(server: GunicornServer) -> None:
    chance = random.Random(4)
    paths = ("/", "/data", "/fail", "/no-such-page", "/shop/item/3")
    with Viewer(server, **ADMIN) as viewer:
        held: Any = viewer.next("snapshot").data
        for round_number in range(4):
            for _ in range(chance.randint(1, 15)):
                headers = {"User_Agent": f"agent {chance.randint(1, 30)}"}
                if chance.random() < 0.5:
                    headers["X_User"] = f"u{chance.randint(1, 9)}"
                server.ask(chance.choice(paths), **headers)
            server.ask(f"/round/{round_number}")
            while f"/round/{round_number}" not in [one["path"] for one in held["activities"][:1]]:
                held = merged(held, viewer.next("update").data)
        with Viewer(server, **ADMIN) as other:
            later = other.next("snapshot")
        while viewer.events[-1].id != later.id:  # the other's coming is news as well
            held = merged(held, viewer.next("update").data)
    assert comparable(held) == comparable(later.data)


def followed(server: StreamingServer, coding: str, begins: threading.Event) -> list[Event]:
    """Watch from some moment on until the last request is told; return all that came."""
    assert begins.wait(DEADLINE_S)
    with Viewer(server, Accept_Encoding=coding, **streaming.ADMIN) as viewer:
        return read_to(viewer, "/page/last")


def read_to(viewer: Viewer, what: str) -> list[Event]:
    while what not in str(viewer.next().data.get("activities")):
        pass
    return viewer.events


def states_of(came: list[Event]) -> dict[str, Any]:
    """Return, by the event's id, what a viewer shows after each event."""
    states, held = {}, came[0].data
    for event in came:
        held = event.data if event.event == "snapshot" else merged(held, event.data)
        states[event.id or ""] = comparable(held)
    return states


def test_whenever_somebody_came_all_show_the_same_at_each_moment(own: Own) -> None:
    """Viewers come while requests do, and more of those than lists hold; ids name the moments."""
    server, chance = own(UPDATE_INTERVAL=0.1), random.Random(35)
    count = 1500
    begins = {number: threading.Event() for number in chance.sample(range(1, count), 10)}
    with ThreadPoolExecutor(11) as pool, Viewer(server, **streaming.ADMIN) as first:
        all_of_it = pool.submit(read_to, first, "/page/after-all")
        following = [
            pool.submit(followed, server, ("gzip", "identity")[n % 2], begin)
            for n, begin in enumerate(begins.values())
        ]
        for number in range(count):
            headers = {"User_Agent": f"agent {chance.randint(1, 200)}"}
            if chance.random() < 0.5:
                headers["X_User"] = f"u{chance.randint(1, 150)}"
            server.ask(f"/page/{number % 30}", **headers)
            if number in begins:
                begins[number].set()
        server.ask("/page/last")
        told = [one.result() for one in following]
        wait_until(lambda: server.viewers == 1, "only the first is left")
        server.ask("/page/after-all")
        all_of_it.result()
        with Viewer(server, **streaming.ADMIN) as late:
            told.append([late.next()])
            while told[-1][0].id not in [event.id for event in first.events]:
                first.next()  # the other's coming is news as well
    shown = states_of(first.events)
    last = shown[told[-1][0].id or ""]
    assert (last["stats"]["requests_total"], last["stats"]["total_sessions"] > 100) == (1502, True)
    for came in told:
        assert came[0].event == "snapshot"
        states = {id: state for id, state in states_of(came).items() if id in shown}
        assert states, "the first has skipped all of it"
        assert states == {id: shown[id] for id in states}


def test_nothing_changed_is_only_a_heartbeat(server: GunicornServer) -> None:
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        viewer.until_comments(2)
        found = [event for event in viewer.events if event.event == "update"]
        assert not any(event.data.get("activities") for event in found)


def test_heartbeats_come_however_seldom_there_is_news(own: Own) -> None:
    server = own(UPDATE_INTERVAL=60, HEARTBEAT_INTERVAL=1)
    with Viewer(server, **streaming.ADMIN) as viewer:
        viewer.next("snapshot")
        viewer.until_comments(3)


def test_ids_begin_with_one_epoch_and_grow(server: GunicornServer) -> None:
    with Viewer(server, **ADMIN) as viewer:
        ids = [viewer.next("snapshot").id]
        for number in range(3):
            server.ask(f"/grow/{number}")
            ids.append(viewer.next("update").id)
    epochs = {str(id).partition("-")[0] for id in ids}
    places = [[int(n) for n in str(id).partition("-")[2].split(".")[:2]] for id in ids]
    assert len(epochs) == 1
    assert places == sorted(places)


@pytest.mark.parametrize("by_header", [True, False])
def test_it_goes_on_without_gap_or_duplicate(server: GunicornServer, by_header: bool) -> None:
    with Viewer(server, **ADMIN) as first, Viewer(server, **ADMIN) as other:
        last = first.next("snapshot")
        other.next("snapshot")
        first.close()
        for number in range(3):
            server.ask(f"/missed/{by_header}/{number}")
            while f"/missed/{by_header}/{number}" not in str(other.events[-1].data):
                other.next("update")
        query = "" if by_header else f"?last_event_id={last.id}"
        headers = {**ADMIN, **({"Last_Event_ID": last.id or ""} if by_header else {})}
        with Viewer(server, f"/monitor/stream{query}", **headers) as back:
            seen: list[str] = []
            while len(seen) < 3:
                event = back.next()
                assert event.event == "update"
                new = [one["path"] for one in event.data.get("activities", ())]
                seen += [path for path in new if f"/missed/{by_header}" in path]
    assert seen == [f"/missed/{by_header}/{number}" for number in range(3)]


@pytest.mark.parametrize("id", ["nonsense", "0-0.0", "ffffffff-1.1", "-", "a-b.c", "x" * 500])
def test_an_id_of_no_use_brings_a_snapshot(server: GunicornServer, id: str) -> None:
    with Viewer(server, Last_Event_ID=id, **ADMIN) as viewer:
        assert viewer.next().event == "snapshot"


def test_at_the_cap_it_says_when_to_come_again(server: GunicornServer) -> None:
    watching = [Viewer(server, **ADMIN) for _ in range(8)]
    try:
        for one in watching:
            one.next("snapshot")
        refused = Viewer(server, **ADMIN)
        assert refused.answer.status == 503
        assert int(refused.answer.getheader("Retry-After") or 0) > 0
        refused.close()
        server.ask("/nobody-was-sent-away")
        assert all(one.next("update") for one in watching)
    finally:
        for one in watching:
            one.close()


def test_a_viewer_who_leaves_is_noticed(server: GunicornServer) -> None:
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        assert viewers(server) == 1
    wait_until(lambda: viewers(server) == 0, "the viewer is gone")


def test_one_who_does_not_read_disturbs_nobody(server: GunicornServer) -> None:
    with Viewer(server, **ADMIN) as hung, Viewer(server, **ADMIN) as other:
        hung.next("snapshot")
        other.next("snapshot")
        for number in range(20):
            server.ask(f"/hung/{number}")
            while f"/hung/{number}" not in str(other.events[-1].data):
                other.next("update")


def test_who_is_forgotten_is_gone_from_every_view(server: GunicornServer) -> None:
    server.ask("/", X_User="to-forget")
    with Viewer(server, **ADMIN) as viewer:
        assert "to-forget" in str(viewer.next("snapshot").data)
        server.ask("/forget/to-forget", "POST")
        assert "to-forget" not in str(viewer.next("snapshot").data)


def test_head_is_answered_without_a_stream(server: GunicornServer) -> None:
    answer, connection = server.open("/monitor/stream", "HEAD", **ADMIN)
    assert answer.status == 200
    assert (answer.getheader("Content-Type") or "").startswith("text/event-stream")
    connection.close()
    assert viewers(server) == 0


def test_a_stranger_gets_no_stream(server: GunicornServer) -> None:
    assert server.ask("/monitor/stream") == (403, b"forbidden\n")
