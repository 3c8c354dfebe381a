"""The stream byte by byte, on a real server, read by two parsers that share nothing.

The numbers in brackets are the lines of the list of what a stream has to be. What a browser decides
is in browser/test_stream.py, what a proxy does in test_proxies.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from flask_realtime_monitor import sse

from .support.merging import comparable, merged
from .support.sse import Event, Parser
from .support.streaming import ADMIN, StreamingServer
from .support.valkey import missing
from .support.viewer import Viewer
from .support.waiting import wait_until
from .support.whatwg import EventStream, Message
from .support.wire import Wire

pytestmark = pytest.mark.server
Own = Callable[..., StreamingServer]


@pytest.fixture(scope="module")
def shared() -> Iterator[StreamingServer]:
    made = StreamingServer()
    yield made
    made.close()


@pytest.fixture
def server(shared: StreamingServer) -> StreamingServer:
    """The shared server, with nobody watching any more."""
    wait_until(lambda: shared.viewers == 0, "the last test's viewers are gone")
    return shared


def read_by_both(data: bytes, size: int) -> tuple[list[Event], list[Message]]:
    """Return what both parsers make of the same bytes, in pieces of one size."""
    strict, forgiving = Parser(), EventStream()
    events: list[Event] = []
    messages: list[Message] = []
    for start in range(0, len(data), size):
        events += strict.feed(data[start : start + size])
        messages += forgiving.feed(data[start : start + size])
    assert strict.retry_ms == forgiving.reconnection_ms
    assert strict.comments == len(forgiving.comments)
    assert not "".join(forgiving.comments).strip()
    return events, messages


# -- the answer's head ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_head_says_what_it_is_and_that_nobody_may_keep_it(
    server: StreamingServer, version: str
) -> None:
    """[1 to 5, 37]."""
    with server.wire(version=version) as line:
        assert line.status == 200
        assert line.headers["content-type"] == "text/event-stream"
        assert line.headers["cache-control"] == "no-store, no-transform"
        assert line.headers["x-accel-buffering"] == "no"
        assert line.headers["x-content-type-options"] == "nosniff"
        assert not {"content-length", "content-encoding", "etag"} & line.headers.keys()
        # What stands there is the server's own; none is for a proxy to keep or to cut.
        assert line.headers["connection"] in ("keep-alive", "close")
        assert line.is_chunked == (version == "1.1")
        assert line.until(b"event: snapshot")


def test_the_app_sets_no_connection_header() -> None:
    """[5] Such a header is the server's (PEP 3333 forbids it)."""
    from .support.apps import House

    house = House()
    with house.client.get("/monitor/stream", buffered=False) as answer:
        hop_by_hop = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}
        assert not hop_by_hop & {name.lower() for name, _ in answer.headers}


def test_the_first_bytes_are_the_time_to_wait_and_come_before_any_event(
    server: StreamingServer,
) -> None:
    """[6, 7, 23] Headers and a first piece come at once, without a mark of byte order."""
    waits = []
    for _ in range(8):
        with server.wire() as line:
            first = line.next()
            name, _, value = first.partition(b": ")
            assert name == b"retry"
            assert value.endswith(b"\n\n")
            assert value.strip().isdigit()
            waits.append(int(value))
    assert len(set(waits)) > 1, "all come back at the same time"
    assert all(1000 <= one <= 5000 for one in waits)


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "*/*", "application/json", "text/html", ""]
)
def test_whatever_is_accepted_it_is_a_stream(server: StreamingServer, accept: str) -> None:
    """[38] Nothing is negotiated but the coding."""
    with server.wire(Accept=accept) as line:
        assert line.headers["content-type"] == "text/event-stream"
        line.until(b"event: snapshot")


# -- framing -------------------------------------------------------------------------------------


def test_each_chunk_is_whole_events(server: StreamingServer) -> None:
    """[8, 9, 10, 19, 20, 21, 25] One write an event; the strict parser holds what is in it."""
    parser = Parser()
    chunks: list[bytes] = []
    names: list[str] = []
    with server.wire() as line:
        while names.count("update") < 4 or parser.comments < 1:
            chunks.append(line.next())
            assert chunks[-1].endswith(b"\n\n")
            names += [event.event for event in parser.feed(chunks[-1])]
            assert parser.is_between_events
            if names.count("update") < 4:
                server.ask("/page/framing")
    assert names[0] == "snapshot"
    assert set(names[1:]) == {"update"}
    assert all(chunk.count(b"\ndata: ") <= 1 for chunk in chunks)
    assert b": \n\n" in chunks


HOSTILE_PATHS = (
    *("a\r", "b\n", "c\r\n", "d\0", "e\n\n", "f\r\rdata: x", "g\nid: 1\nevent: bye\ndata: {}\n\n"),
    *(" h", ":i", "data: x", "id: 1", "retry: 1", "event: open", "\ufeffj", "k "),
    *("l\u2028m", "n\u2029o", "p\x85q", "r\vs", "t\fu", "v\x1cw\x1dx\x1ey"),
    *("\U0001f600 z", "\U0010ffff", "\u00e9\u4e2d\u6587", "\\u0000", '"},{"', "</script>"),
)
HOSTILE_NAMES = (
    *("data: x", "id: 1", "event: open", ": comment", "retry: 1", "\nid: 1", "\r\rdata: x"),
    *(" leading", "trailing\n", "two\n\nlines", "\0", "\ufeff", "\U0001f600", "\u2028", "\x85"),
    *("\ud83d", "\udc00\ud83d", "a\udfff"),
)


def test_hostile_texts_are_read_alike_by_both_parsers(server: StreamingServer) -> None:
    """[10, 11, 12, 14, 15, 16, 17] Line ends of any kind, colons, astral and broken text."""
    sent = []
    with server.wire() as line:
        data = line.until(b"event: snapshot")
        for number, path in enumerate(HOSTILE_PATHS):
            name = HOSTILE_NAMES[number % len(HOSTILE_NAMES)]
            shown = quote(name, safe="", errors="surrogatepass")
            who = {"X_User": f"hostile-{number}", "X_Name": shown}
            assert server.ask(f"/page/{quote(path, safe='')}", **who)[0] in (200, 404)
            sent.append((f"/page/{path}", name))
        server.ask("/page/%ED%A0%80", X_User="surrogate")
        server.ask("/page/%FF%FE", X_User="no-utf-8")
        server.ask("/page/the-end")
        data += line.until(b"the-end")
    for size in (1, 2, 3, 7, len(data)):
        events, messages = read_by_both(data, size)
        assert [(one.event, one.id or "") for one in events] == [
            (one.type, one.last_event_id) for one in messages
        ]
        assert [one.data for one in events] == [json.loads(one.data) for one in messages]
        assert {one.type for one in messages} <= {"snapshot", "update"}
        seen = {
            one["user"]["id"]: (one["path"], one["user"]["name"])
            for event in events
            if event.event == "update"
            for one in event.data.get("activities", ())
            if one["user"]
        }
        for number, (path, name) in enumerate(sent):
            assert seen[f"hostile-{number}"][0] == path
            shown = seen[f"hostile-{number}"][1]
            if any("\ud800" <= one <= "\udfff" for one in name):
                assert "\ufffd" in shown
            else:
                assert shown == name
        assert "\ufffd" in seen["surrogate"][0]
        assert "\ufffd" in seen["no-utf-8"][0]


def test_names_of_events_are_few_and_none_is_a_browsers_own() -> None:
    """[13, 17] Nor is there an event without data, which a browser would drop."""
    assert {"snapshot", "update", "bye"} == sse.EVENTS
    assert not sse.EVENTS & {"open", "error", "message"}
    assert all(name.isascii() and name.isalpha() for name in sse.EVENTS)
    assert b"data: {}\n\n" in sse.encode("update", {})


def test_all_viewers_of_a_worker_get_the_same_bytes(server: StreamingServer) -> None:
    """[22] So an id means the same whoever got it."""
    with server.wire() as one, server.wire() as other:
        for line in (one, other):
            line.until(b"event: snapshot")
        for number in range(3):
            server.ask(f"/page/same-{number}")
        ends = b"same-2"
        hers, his = one.until(ends), other.until(ends)
    # The one's data may begin with the news of the other's coming.
    assert hers.endswith(his[his.index(b"same-0") :])


# -- silence -------------------------------------------------------------------------------------


def test_a_comment_says_nothing_and_comes_only_where_nothing_else_does(own: Own) -> None:
    """[24, 25] A stream in use needs none, so none comes."""
    server = own(HEARTBEAT_INTERVAL=2)
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        for number in range(20):
            server.ask(f"/page/busy-{number}")
            viewer.next("update")
        assert viewer.parser.comments == 0
        viewer.until_comments(2)


# -- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_header", [True, False])
def test_from_each_id_it_goes_on_with_the_very_bytes(
    server: StreamingServer, by_header: bool
) -> None:
    """[26, 29, 44] No gap and no duplicate, from wherever a viewer was cut off."""
    with server.wire() as line, server.wire() as other:
        data = line.until(b"event: snapshot")
        other.until(b"event: snapshot")
        other.close()
        for number in range(5):
            server.ask(f"/page/run-{by_header}-{number}")
            data += line.until(f"run-{by_header}-{number}".encode())
        events = data.split(b"\n\n")[1:-1]
        assert all(b"event: update" in one for one in events[1:])
        for number, event in enumerate(events[:-1]):
            id = event.partition(b"\n")[0].removeprefix(b"id: ").decode()
            query = "" if by_header else f"?last_event_id={quote(id, safe='')}"
            headers = {"Last_Event_ID": id} if by_header else {}
            with server.wire(f"/monitor/stream{query}", **headers) as back:
                again = back.until(events[-1])
            assert b"\nevent: snapshot\n" not in again
            rest = b"\n\n".join(events[number + 1 :])
            assert rest in again
            assert again.count(b"id: ") >= len(events) - number - 1


GARBAGE = (
    *("nonsense", "0-0.0", "-", "a-b.c", "x" * 500, "1", "null", "-1", "0", "%00", "%0A", "%0D%0A"),
    *(
        "e-1.2.w",
        "e-99999999999999999999.1.w",
        "%C3%A9-1.1.1",
        "e--1.-1.1",
        "%F0%9F%98%80",
        "..%2F",
    ),
    *("%D9%A1-%D9%A1.%D9%A1.%D9%A1", "' OR 1=1", "{}", "[1]", "1e9-1e9.1e9.1"),
)


@pytest.mark.parametrize("id", GARBAGE)
def test_an_id_of_no_use_begins_anew(server: StreamingServer, id: str) -> None:
    """[27, 28, 29] Unknown, of another epoch, or no id at all: by header and by query."""
    path = f"/monitor/stream?last_event_id={id.replace(' ', '%20')}"
    with server.wire(path) as by_query, server.wire(Last_Event_ID=id) as by_header:
        for line in (by_query, by_header):
            assert line.status == 200
            begin = line.until(b"\nevent: ")
            assert begin.count(b"\nevent: ") == begin.count(b"\nevent: snapshot\n") == 1


def test_another_epoch_begins_anew(own: Own) -> None:
    """[27] The server was started again: what it counted before is gone, and views must go."""
    server = own()
    with Viewer(server, **ADMIN) as viewer:
        last = viewer.next("snapshot")
        server.stop(signal.SIGKILL)
    server.start()
    with Viewer(server, Last_Event_ID=last.id or "", **ADMIN) as viewer:
        assert viewer.next().event == "snapshot"
        assert (viewer.events[0].id or "").partition("-")[0] != (last.id or "").partition("-")[0]


def test_the_header_of_a_browser_outdoes_the_query_of_the_first_call(
    server: StreamingServer,
) -> None:
    """[29] EventSource calls the same URL again, with its old query and a newer header."""
    with Viewer(server, **ADMIN) as viewer:
        old = viewer.next("snapshot").id or ""
        server.ask("/page/between-1")
        while "between-1" not in str(viewer.events[-1].data):
            viewer.next("update")
        new = viewer.events[-1].id or ""
        server.ask("/page/between-2")
        while "between-2" not in str(viewer.events[-1].data):
            viewer.next("update")
    path = f"/monitor/stream?last_event_id={quote(old)}"
    with Viewer(server, path, Last_Event_ID=new, **ADMIN) as viewer:
        event = viewer.next("update")
        assert "between-2" in str(event.data)
        assert "between-1" not in str(event.data.get("activities"))


# -- refusals and ends ---------------------------------------------------------------------------


def test_a_refusal_is_403_and_no_stream(server: StreamingServer) -> None:
    """[30] EventSource then ends for good; 204 and 401 are never used."""
    with Wire((server.address, server.port)) as line:
        assert line.status == 403
        assert not line.headers["content-type"].startswith("text/event-stream")


def test_without_a_gate_there_is_nothing(own: Own) -> None:
    """[31]."""
    with own(has_gate=False).wire() as line:
        assert line.status == 404
        assert not line.headers["content-type"].startswith("text/event-stream")


def test_at_the_cap_it_is_503_with_a_time_to_come_again(own: Own) -> None:
    """[32] And a place that becomes free is taken."""
    server = own(MAX_VIEWERS=1)
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        with server.wire() as line:
            assert line.status == 503
            assert int(line.headers["retry-after"]) > 0
            assert not line.headers["content-type"].startswith("text/event-stream")
    wait_until(lambda: server.viewers == 0, "the place is free")
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")


@pytest.mark.parametrize("kind", ["plain", "gzip"])
def test_a_server_that_stops_says_goodbye_and_ends_the_body(own: Own, kind: str) -> None:
    """[23, 34] The last event with a new time to wait, the last chunk, the end."""
    server = own()
    coding = {"Accept_Encoding": "gzip"} if kind == "gzip" else {}
    with server.wire(**coding) as line, server.wire(version="1.0", **coding) as bare:
        unpacked = zlib.decompressobj(31) if coding else None

        def plain(data: bytes) -> bytes:
            return unpacked.decompress(data) if unpacked else data

        read = b""
        while b"event: snapshot" not in read:
            read += plain(line.next())
        bare.next()
        os.kill(server.workers()[0], signal.SIGTERM)
        last = b""
        while data := line.next():
            last = plain(data) or last
        assert line.is_at_end()
        first, second = last.split(b"\n\n")[-3:-1]
        assert first.startswith(b"retry: ")
        bye = json.loads(second.partition(b"\ndata: ")[2])
        assert bye["reason"] == "restart"
        assert int(first.removeprefix(b"retry: ")) == bye["retry_ms"]
        everything = b""
        while data := bare.next():
            everything += data
        assert bool(coding) != (b"\nevent: bye\n" in everything)


def test_who_comes_while_the_worker_goes_is_told_to_come_again(own: Own) -> None:
    """[34] Not by a 503, for that would end an EventSource; nor is the connection kept."""
    server = own()
    connection = server.connect()
    connection.request("GET", "/page/kept", headers={"User-Agent": "tests"})
    connection.getresponse().read()
    with Viewer(server, **ADMIN) as viewer:
        viewer.next("snapshot")
        os.kill(server.workers()[0], signal.SIGTERM)
        viewer.next("bye")
        connection.request("GET", "/monitor/stream", headers={"X-Role": "admin"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Connection") == "close"
        parser = Parser()
        events = parser.feed(answer.read())
    assert [(one.event, one.data["reason"]) for one in events] == [("bye", "restart")]
    assert parser.retry_ms == events[0].data["retry_ms"]
    connection.close()


@pytest.mark.parametrize(
    "options", [[], ["--compressed"], ["--http1.0"], ["--http1.0", "--compressed"]]
)
def test_curl_is_content_with_the_end(own: Own, options: list[str]) -> None:
    """[4, 34] It exits with 0: the body was whole, and its coding right."""
    program = shutil.which("curl") or missing("no curl; Debian's comes by `apt-get install curl`")
    server = own()
    command = [program, "--silent", "--show-error", "--no-buffer", *options]
    command += ["--header", "X-Role: admin", f"{server.url}/monitor/stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            assert first.startswith(b"retry: ")
            wait_until(lambda: server.viewers == 1, "curl watches")
            os.kill(server.workers()[0], signal.SIGTERM)
            rest = process.stdout.read()
            said = process.stderr.read()
            assert (process.wait(20), said) == (0, b"")
        finally:
            process.kill()
    events, _ = read_by_both(first + rest, 4096)
    assert [events[0].event, events[-1].event] == ["snapshot", "bye"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_holds_no_place(server: StreamingServer, version: str) -> None:
    """[35] The head as for GET, and nothing after it."""
    with server.wire(method="HEAD", version=version) as line:
        assert line.status == 200
        assert line.headers["content-type"] == "text/event-stream"
        assert line.headers["cache-control"] == "no-store, no-transform"
        assert server.viewers == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(server: StreamingServer, method: str) -> None:
    """[36]."""
    status, body = server.ask("/monitor/stream", method, **ADMIN)
    assert (status, b"data: " in body) == (405, False)


def test_options_tells_nothing(server: StreamingServer) -> None:
    """[36] To nobody of what is streamed; to a stranger nothing at all."""
    status, body = server.ask("/monitor/stream", "OPTIONS", **ADMIN)
    assert (status, b"data: " in body) == (405, False)
    assert server.ask("/monitor/stream", "OPTIONS")[0] == 403


# -- coding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("accept", ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.2", "*"])
def test_packed_each_event_is_whole_as_soon_as_its_bytes_came(
    server: StreamingServer, accept: str, version: str
) -> None:
    """[4, 15] One deflate block after the other, each flushed."""
    unpacked, parser, forgiving = zlib.decompressobj(31), Parser(), EventStream()
    with server.wire(version=version, Accept_Encoding=accept) as line:
        assert line.headers["content-encoding"] == "gzip"
        names: list[str] = []
        while names.count("update") < 3 or parser.comments < 1:
            plain = unpacked.decompress(line.next())
            events = parser.feed(plain)
            assert [json.loads(one.data) for one in forgiving.feed(plain)] == [
                one.data for one in events
            ]
            names += [event.event for event in events]
            if line.is_chunked:
                assert parser.is_between_events
            if "snapshot" in names and names.count("update") < 3:
                server.ask("/page/packed")
        assert names[0] == "snapshot"


def test_a_cache_would_know_that_the_coding_depends_on_who_asks(server: StreamingServer) -> None:
    """[4] Nobody may store a stream, so nothing needs to vary; it must not be wrong either."""
    with server.wire(Accept_Encoding="gzip") as line:
        assert "no-store" in line.headers["cache-control"]


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "br", "deflate", "*;q=0"])
def test_who_does_not_ask_for_gzip_gets_none(server: StreamingServer, accept: str) -> None:
    """[4]."""
    with server.wire(Accept_Encoding=accept) as line:
        assert "content-encoding" not in line.headers
        assert b"event: snapshot" in line.until(b"event: snapshot")


def test_packed_a_stream_is_resumed_as_well(server: StreamingServer) -> None:
    """[26] A new connection is a new gzip body."""
    with Viewer(server, **ADMIN) as viewer:
        id = viewer.next("snapshot").id or ""
        server.ask("/page/packed-later")
        while "packed-later" not in str(viewer.events[-1].data):
            viewer.next("update")
    unpacked, parser = zlib.decompressobj(31), Parser()
    with server.wire(Accept_Encoding="gzip", Last_Event_ID=id) as line:
        found: list[Event] = []
        while "packed-later" not in str(found):
            found += parser.feed(unpacked.decompress(line.next()))
    assert {one.event for one in found} == {"update"}


# -- size ----------------------------------------------------------------------------------------

MOST_UPDATE_BYTES = 65_536


@pytest.mark.parametrize("length", [20, 250])
def test_however_much_changes_no_update_is_large(own: Own, length: int) -> None:
    """[42] All lists change in one tick; from each part of it a viewer can go on."""
    server = own()
    parser = Parser()
    with server.wire() as line:
        data = line.until(b"\nevent: snapshot\n")
        server.ask(f"/burst/100/{length}", "POST")
        data += line.until(b"/page/99-")
        data += line.until(sse.HEARTBEAT)  # all of it has come
        server.ask("/page/after-it")
        data += line.until(b"after-it")
        first, *updates = parser.feed(data)
        with Viewer(server, **ADMIN) as other:
            later = other.next("snapshot")
        while updates[-1].id != later.id:
            updates += parser.feed(line.next())
    held: Any = first.data
    for update in updates:
        assert update.event == "update"
        held = merged(held, update.data)
    assert comparable(held) == comparable(later.data)
    events = [one + b"\n\n" for one in data.split(b"\n\n")[:-1] if one.startswith(b"id: ")]
    assert len(events) > 3
    assert max(map(len, events[1:])) <= MOST_UPDATE_BYTES
    assert sum(map(len, events[1:])) > MOST_UPDATE_BYTES
    for number in (0, 1, len(events) // 2):
        id = events[number].partition(b"\n")[0].removeprefix(b"id: ").decode()
        with server.wire(Last_Event_ID=id) as back:
            assert b"".join(events[number + 1 :]) in back.until(events[-1])


def test_one_who_reads_slowly_loses_steps_and_never_the_end(own: Own) -> None:
    """[43, 20] What was skipped is made good by one snapshot; order and the end state hold."""
    server = own()
    with server.wire(keeps=4096) as slow, Viewer(server, **ADMIN) as other:
        other.next("snapshot")
        skipped, number = 0, 0
        while not skipped:  # and no longer: who reads nothing for 15 s is given up
            number += 1
            server.ask("/burst/100/250", "POST")
            server.ask(f"/page/slow-{number}")
            while f"slow-{number}" not in str(other.events[-1].data):
                other.next()
            skipped = int(server.json("stats", **ADMIN)["dropped"]["events"])
        parser, held = Parser(), None
        read = 0
        while f"slow-{number}" not in str(held and held["activities"]):
            for event in parser.feed(slow.next()):
                read += 1
                held = event.data if event.event == "snapshot" else merged(held or {}, event.data)
        with Viewer(server, **ADMIN) as third:
            later = third.next("snapshot")
            while parser._place is not None and f"{parser._place[2]}" not in str(later.id):
                for event in parser.feed(slow.next()):
                    assert held is not None
                    is_whole = event.event == "snapshot"
                    held = event.data if is_whole else merged(held, event.data)
            assert held is not None
            assert comparable(held) == comparable(later.data)


def test_a_snapshot_that_nothing_new_comes_with_has_an_id_of_its_own(own: Own) -> None:
    """[20] The one that comes now and then; the strict parser holds ids to grow."""
    server = own(RESYNC_INTERVAL=1)
    with Viewer(server, **ADMIN) as viewer:
        ids = [viewer.next("snapshot").id]
        server.ask("/page/once")
        ids += [viewer.next("update").id, viewer.next("snapshot").id]
        server.ask("/page/twice")
        ids += [viewer.next("update").id]
    assert len(set(ids)) == 4
    # From the last update before the snapshot there is nothing to make good.
    with Viewer(server, Last_Event_ID=ids[1] or "", **ADMIN) as viewer:
        assert viewer.next().event == "update"
