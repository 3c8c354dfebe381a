"""How a stream ends by the server's will, and how often the gate is asked before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from .support.gunicorn_server import GunicornServer
from .support.viewer import Viewer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
Serve = Callable[..., GunicornServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[GunicornServer] = []

    def start(**environ: str) -> GunicornServer:
        made.append(GunicornServer("tests.apps.watching:app", **environ))
        return made[-1]

    yield start
    for server in made:
        server.close()


def sign_in(server: GunicornServer, name: str) -> str:
    """Sign somebody in; return the cookie."""
    answer, connection = server.open(f"/in/{name}")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    connection.close()
    return cookie


def test_an_old_stream_asks_its_browser_to_come_again(serve: Serve) -> None:
    server = serve(STREAM_MAX_AGE="1")
    cookie = sign_in(server, "ann")
    with Viewer(server, Cookie=cookie) as viewer:
        bye = viewer.next("bye")
        assert bye.data["reason"] == "renew"
        assert 0 <= bye.data["retry_ms"] <= 1000
        assert viewer.rest() == []
    last_id = viewer.events[-2].id
    with Viewer(server, Cookie=cookie, Last_Event_ID=last_id) as viewer:
        assert [one.event for one in viewer.rest()][-1] == "bye"
        assert "snapshot" not in [one.event for one in viewer.events]


def test_who_may_no_longer_watch_is_shown_out(serve: Serve) -> None:
    server = serve()
    ann, bob = sign_in(server, "ann"), sign_in(server, "bob")
    with Viewer(server, Cookie=ann) as hers, Viewer(server, Cookie=bob) as his:
        hers.next("snapshot")
        his.next("snapshot")
        wait_until(lambda: asked(server) > 4, "the gate was asked again, and said yes")
        server.ask("/demote/ann", "POST")
        bye = hers.next("bye")
        assert bye.data["reason"] == "unauthorized"
        assert hers.rest() == []
        before = asked(server)
        wait_until(lambda: asked(server) > before, "his gate was asked again")
        assert not his.is_over
        assert "bye" not in [one.event for one in his.events]
    again, connection = server.open("/monitor/stream", Cookie=ann)
    assert again.status == 403
    connection.close()


def asked(server: GunicornServer) -> int:
    return int(json.loads(server.ask("/asked")[1])["stream"])


@pytest.mark.parametrize(
    ("who", "out"), [("ann", "/out"), ("ann" * 60, "/out"), ("ann", "/out/unrecorded")]
)
def test_a_sign_out_ends_all_streams_of_that_user(serve: Serve, who: str, out: str) -> None:
    server = serve(REAUTHORIZE_INTERVAL="3600")
    here, there, other = (sign_in(server, name) for name in (who, who, "bob"))
    with (
        Viewer(server, Cookie=here) as one,
        Viewer(server, Cookie=there) as two,
        Viewer(server, Cookie=other) as bob,
    ):
        for viewer in (one, two, bob):
            viewer.next("snapshot")
        server.ask(out, Cookie=here)
        for viewer in (one, two):
            assert viewer.next("bye").data["reason"] == "unauthorized"
        assert bob.next("update")
        server.ask("/in/carl")
        assert bob.next("update")
        assert "bye" not in [event.event for event in bob.events]


def test_now_and_then_a_whole_snapshot_comes_where_something_changed(serve: Serve) -> None:
    server = serve(RESYNC_INTERVAL="1")
    with Viewer(server, Cookie=sign_in(server, "ann")) as viewer:
        first = viewer.next("snapshot")
        server.ask("/asked")
        later = viewer.next("snapshot")
        assert later.data["stats"]["requests_total"] > first.data["stats"]["requests_total"]
        seen = len(viewer.events)
        viewer.until_comments(viewer.parser.comments + 3)
        assert [one.event for one in viewer.events[seen:]] == []
