"""The stream through a real nginx, with the configurations that people have."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .support.gunicorn_server import ROOT
from .support.served import Nginx
from .support.sse import Parser
from .support.streaming import ADMIN, StreamingServer
from .support.viewer import Viewer
from .support.waiting import wait_until
from .support.whatwg import EventStream
from .support.wire import Wire

pytestmark = pytest.mark.server
DOCUMENTED: list[str] = re.findall(
    r"```nginx\n(.*?)```", (ROOT / "docs" / "deployment.md").read_text(), re.DOTALL
)


def documented(number: int, upstream: str) -> str:
    """Return a file of the documentation, with the places that differ on each machine replaced."""
    site = DOCUMENTED[number]
    assert "listen 443 ssl;" in site
    site = site.replace("listen 443 ssl;", "listen 127.0.0.1:{port};")
    site = re.sub(r"\n +ssl_certificate\S* [^;]*;", "", site)
    assert "127.0.0.1:8000" in site
    return site.replace("127.0.0.1:8000", upstream)


def site(upstream: str, *lines: str) -> str:
    """Return the least that passes requests on, and some lines more."""
    more = "\n".join(lines)
    return f"""
    server {{
        listen 127.0.0.1:{{port}};
        location / {{ proxy_pass http://{upstream}; {more} }}
    }}"""


HTTP_1_1 = ("proxy_http_version 1.1;", 'proxy_set_header Connection "";')
GZIP = (
    *("gzip on;", "gzip_types text/event-stream application/json;", "gzip_proxied any;"),
    *("gzip_min_length 0;", "gzip_http_version 1.0;"),
)
SITES: dict[str, Callable[[str], str]] = {
    "documented": lambda upstream: documented(0, upstream),
    "HTTP/1.0": site,
    "HTTP/1.1": lambda upstream: site(upstream, *HTTP_1_1),
    "gzip": lambda upstream: site(upstream, *GZIP),
    "gzip by nginx alone": lambda upstream: site(
        upstream, *GZIP, 'proxy_set_header Accept-Encoding "";'
    ),
    "gzip by nginx alone, HTTP/1.1": lambda upstream: site(
        upstream, *HTTP_1_1, *GZIP, 'proxy_set_header Accept-Encoding "";'
    ),
    "large buffers": lambda upstream: site(
        upstream, "proxy_buffering on;", "proxy_buffers 8 512k;", "proxy_buffer_size 512k;"
    ),
}
Behind = Callable[..., Nginx]
Own = Callable[..., StreamingServer]


class TwoDoors(StreamingServer):
    """Listens on a port and on a Unix socket, with few connections to give."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__("--bind", f"unix:{path}", "--worker-connections", "6")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoDoors]:
    made = TwoDoors(tmp_path_factory.mktemp("gunicorn") / "socket")
    yield made
    made.close()


@pytest.fixture
def server(shared: TwoDoors) -> TwoDoors:
    """The shared server, with nobody watching any more."""
    wait_until(lambda: shared.viewers == 0, "the last test's viewers are gone")
    return shared


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    """Put an nginx in front, of this configuration."""
    made: list[Nginx] = []

    def start(site: str) -> Nginx:
        made.append(Nginx(site, tmp_path))
        return made[-1]

    yield start
    for one in made:
        one.close()


def upstream(server: StreamingServer) -> str:
    return f"{server.address}:{server.port}"


def wire(front: Nginx, path: str = "/monitor/stream", **headers: str) -> Wire:
    return Wire((front.address, front.port), path, **{**ADMIN, **headers})


# -- as it comes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_every_event_comes_as_it_happens(
    server: TwoDoors, behind: Behind, name: str, coding: str
) -> None:
    """Each is awaited before the next is caused: a proxy that collects would never pass one on."""
    front = behind(SITES[name](upstream(server)))
    parser, second = Parser(), EventStream()
    with wire(front, Accept_Encoding=coding or "identity") as line:
        assert line.status == 200
        assert line.headers["content-type"] == "text/event-stream"
        assert line.headers["cache-control"] == "no-store, no-transform"
        assert line.headers.get("content-encoding", "") == coding
        unpacked = zlib.decompressobj(31) if coding else None
        seen: list[str] = []

        def read_until(what: str) -> None:
            while what not in " ".join(seen):
                data = line.next()
                assert data, "the stream ended"
                plain = unpacked.decompress(data) if unpacked else data
                events = parser.feed(plain)
                assert [json.loads(one.data) for one in second.feed(plain)] == [
                    one.data for one in events
                ]
                seen.extend(f"{one.event} {one.data}" for one in events)

        read_until("snapshot")
        for number in range(3):
            front.ask(f"/page/through-{number}")
            read_until(f"/page/through-{number}")
        while parser.comments < 2:
            data = line.next()
            parser.feed(unpacked.decompress(data) if unpacked else data)
    wait_until(lambda: server.viewers == 0, "who has left behind the proxy is gone")


@pytest.mark.parametrize("name", ["documented", "HTTP/1.0", "HTTP/1.1"])
def test_a_stream_that_the_server_ends_ends_well(own: Own, behind: Behind, name: str) -> None:
    """The last event, the last chunk, and the next worker goes on."""
    server = own(STREAM_MAX_AGE=1)
    front = behind(SITES[name](upstream(server)))
    with Viewer(front, **ADMIN) as viewer:
        viewer.next("snapshot")
        assert [one.event for one in viewer.rest()][-1:] == ["bye"]
        last = [one.id for one in viewer.events if one.id][-1]
    with Viewer(front, Last_Event_ID=last or "", **ADMIN) as viewer:
        assert "snapshot" not in [one.event for one in viewer.rest()]


def test_refusals_come_through(server: TwoDoors, behind: Behind) -> None:
    front = behind(SITES["documented"](upstream(server)))
    assert front.ask("/monitor/stream") == (403, b"forbidden\n")
    assert front.ask("/monitor/stream", "POST", **ADMIN)[0] == 405
    answer, connection = front.open("/monitor/stream", "HEAD", **ADMIN)
    assert answer.status == 200
    connection.close()
    assert server.viewers == 0


# -- silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [(), HTTP_1_1], ids=["HTTP/1.0", "HTTP/1.1"])
def test_comments_keep_a_quiet_stream_open(
    server: TwoDoors, behind: Behind, lines: tuple[str, ...]
) -> None:
    """A comment each second, a time-out of three: it lives through more than two of these."""
    front = behind(site(upstream(server), *lines, "proxy_read_timeout 3s;"))
    with Viewer(front, **ADMIN) as viewer:
        viewer.next("snapshot")
        viewer.until_comments(7)
        front.ask("/page/still-there")
        while "still-there" not in str(viewer.events[-1].data):
            viewer.next("update")


@pytest.mark.parametrize("lines", [(), HTTP_1_1], ids=["HTTP/1.0", "HTTP/1.1"])
def test_cut_by_a_time_out_it_goes_on_without_gap_or_duplicate(
    own: Own, behind: Behind, lines: tuple[str, ...]
) -> None:
    server = own(HEARTBEAT_INTERVAL=10)
    front = behind(site(upstream(server), *lines, "proxy_read_timeout 3s;"))
    parser, last = Parser(), ""
    seen: list[str] = []
    names: list[str] = []
    for round_number in range(2):
        with wire(front, Last_Event_ID=last) as line, suppress(EOFError):
            while data := line.next():  # cut, the body is not ended as it should be
                for event in parser.feed(data):
                    last = event.id or last
                    names.append(event.event)
                    seen += [one["path"] for one in event.data.get("activities", ())]
        assert parser.is_between_events
        wait_until(lambda: server.viewers == 0, "the app has noticed")
        for number in range(3):
            front.ask(f"/page/cut-{round_number}-{number}")
    assert names[0] == "snapshot"
    assert set(names[1:]) == {"update"}, "it went on where it was, and nobody said goodbye"
    assert seen == [f"/page/cut-0-{number}" for number in range(3)]


# -- caches --------------------------------------------------------------------------------------


def test_a_cache_keeps_nothing_of_ours(server: TwoDoors, behind: Behind, tmp_path: Path) -> None:
    """Not the stream, not the page, not the JSON; a page of the app's own shows that it works."""
    kept = tmp_path / "cache"
    front = behind(
        f"proxy_cache_path {kept} keys_zone=all:1m;"
        + site(
            upstream(server),
            *("proxy_cache all;", "proxy_cache_valid any 1h;", "proxy_cache_key $uri;"),
            "add_header X-Cache $upstream_cache_status always;",
        )
    )

    def is_from_cache(path: str) -> bool:
        answer, connection = front.open(path, **ADMIN)
        answer.read()
        connection.close()
        return answer.getheader("X-Cache") == "HIT"

    assert not is_from_cache("/page/kept")
    assert is_from_cache("/page/kept")
    for path in ("/monitor/", "/monitor/api/v1/stats", "/monitor/api/v1/sessions"):
        for _ in range(2):
            assert not is_from_cache(path), path
    snapshots = []
    for _ in range(2):
        with Viewer(front, **ADMIN) as viewer:
            assert viewer.answer.getheader("X-Cache") == "MISS"
            snapshots.append(viewer.next("snapshot").data["as_of"])
            front.ask(f"/page/fresh-{len(snapshots)}")
            viewer.next("update")
    assert snapshots[0] < snapshots[1]
    # A stranger does not get from the cache what an admin was shown.
    for path in ("/monitor/", "/monitor/api/v1/stats", "/monitor/stream"):
        assert front.ask(path)[0] == 403
    stored = [path.read_bytes() for path in kept.rglob("*") if path.is_file()]
    assert len(stored) >= 1
    assert not any(b"/monitor/" in data for data in stored)


# -- places --------------------------------------------------------------------------------------


def test_under_a_path_every_url_has_it(server: TwoDoors, behind: Behind) -> None:
    """The second file of the documentation."""
    front = behind(documented(1, upstream(server)))
    page = front.ask("/app/monitor/", **ADMIN)[1].decode()
    urls = re.findall(r'(?:href|src|data-[a-z-]+)="(/[^"]*)"', page)
    assert "/app/monitor/stream" in page
    assert urls
    assert all(url.startswith("/app/") for url in urls), urls
    for url in urls:
        if "/assets/" in url:
            assert front.ask(url, **ADMIN)[0] == 200
    with Viewer(front, "/app/monitor/stream", **ADMIN) as viewer:
        viewer.next("snapshot")
        front.ask("/app/page/below")
        while "/page/below" not in str(viewer.events[-1].data):
            viewer.next("update")


@pytest.mark.parametrize("name", ["documented", "HTTP/1.0"])
def test_behind_a_unix_socket_streams_take_no_connection(
    server: TwoDoors, behind: Behind, name: str
) -> None:
    """More of them than gunicorn has connections, and the app goes on answering."""
    front = behind(SITES[name](f"unix:{server.path}" + ("" if name == "documented" else ":")))
    watching = [Viewer(front, **ADMIN) for _ in range(9)]
    try:
        for viewer in watching:
            viewer.next("snapshot")
        assert server.viewers == 9
        assert front.ask("/page/over-a-file") == (200, b"over-a-file")
        for viewer in watching:
            while "over-a-file" not in str(viewer.events[-1].data):
                viewer.next("update")
    finally:
        for viewer in watching:
            viewer.close()
    wait_until(lambda: server.viewers == 0, "all are gone")


def test_straight_at_the_unix_socket_an_address_is_nobodys(server: TwoDoors) -> None:
    for version in ("1.0", "1.1"):
        with Wire(str(server.path), version=version, **ADMIN) as line:
            assert line.until(b"\nevent: snapshot\n")
    assert server.log().count("Traceback") == 0


def test_the_address_behind_a_proxy_is_the_visitors(server: TwoDoors, behind: Behind) -> None:
    front = behind(SITES["documented"](upstream(server)))
    front.ask("/page/whose", X_User="addressed", X_Forwarded_For="198.51.100.7")
    items = server.json("sessions?q=addressed", **ADMIN)["items"]
    # Masked to /24; the header that the visitor made up counts for nothing.
    assert [one["ip"] for one in items] == ["127.0.0.0"]
