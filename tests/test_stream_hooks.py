"""A stream in an app whose hooks and middlewares touch every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .support.gunicorn_server import GunicornServer
from .support.streaming import ADMIN
from .support.viewer import Viewer
from .test_ways import is_bounded

pytestmark = pytest.mark.server
Serve = Callable[[str], GunicornServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[GunicornServer] = []

    def start(kind: str) -> GunicornServer:
        made.append(GunicornServer("tests.apps.collecting:app", COLLECT=kind))
        return made[-1]

    yield start
    for server in made:
        server.close()


def viewers(server: GunicornServer) -> int:
    found: int = server.json("stats", **ADMIN)["viewers"]
    return found


@pytest.mark.parametrize("kind", ["tagged", "measured", "packed", "copied"])
def test_a_hook_that_reads_every_body_does_not_read_the_stream(serve: Serve, kind: str) -> None:
    server = serve(kind)
    for more in ({}, {"Accept_Encoding": "gzip"}):
        with Viewer(server, **ADMIN, **more) as viewer:
            viewer.next("snapshot")
            answer = viewer.answer
            assert answer.getheader("Content-Length") is None
            assert answer.getheader("Content-Encoding") == more.get("Accept_Encoding")
            assert answer.getheader("Cache-Control") == "no-store, no-transform"
            server.ask("/page/seen-by-all")
            while "seen-by-all" not in str(viewer.events[-1].data):
                viewer.next("update")


@pytest.mark.parametrize("kind", ["whole", "late", "changed"])
def test_where_a_middleware_keeps_the_stream_back_there_is_one_answer(
    serve: Serve, kind: str
) -> None:
    """Nothing is written to a connection that has not been told what comes."""
    server = serve(kind)
    ways = ({}, {"Accept_Encoding": "gzip"})[: 1 if kind == "changed" else 2]
    for more in ways:
        with Viewer(server, **ADMIN, **more) as viewer:
            assert viewer.answer.status == 200
            assert is_bounded(viewer.rest())
    assert viewers(server) == 0
    assert server.log().count("no stream here: a middleware") == 1
    assert server.log().count("opened the stream") == len(ways)


@pytest.mark.parametrize("kind", ["closed", "renamed"])
def test_a_hook_may_answer_in_the_stream_s_place(serve: Serve, kind: str) -> None:
    server = serve(kind)
    assert server.ask("/monitor/stream", **ADMIN) == (503, b"we are closed")
