"""Servers that carry a stream in another way than gunicorn's gevent worker, or not at all."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor.capacity import derived_limit
from flask_realtime_monitor.web import connection
from flask_realtime_monitor.web.connection import Way

from .support.client import Client
from .support.served import Served
from .support.sse import Event
from .support.streaming import ADMIN, StreamingServer
from .support.valkey import missing
from .support.viewer import Viewer
from .support.waiting import DEADLINE_S, wait_until


class TlsServer(StreamingServer):
    """gunicorn that speaks TLS itself, with few connections to give."""

    def __init__(self, certificate: Path, key: Path, **settings: Any) -> None:
        self._context = ssl.create_default_context(cafile=str(certificate))
        files = ("--certfile", str(certificate), "--keyfile", str(key))
        super().__init__(*files, "--worker-connections", "6", **settings)

    def connect(self) -> HTTPConnection:
        return HTTPSConnection(self.address, self.port, timeout=DEADLINE_S, context=self._context)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of this machine's own, and its key."""
    program = shutil.which("openssl") or missing("no openssl to make a certificate with")
    assert program is not None
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    whose = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *whose]
    subprocess.run(
        [program, *kind, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> Iterator[TlsServer]:
    made = TlsServer(*certificate)
    yield made
    made.close()


def places(server: Client) -> dict[str, Any]:
    """Return what the worker says of its limit of viewers."""
    limits: list[dict[str, Any]] = server.json("health", **ADMIN)["limits"]
    return next(one for one in limits if one["name"] == "viewers")


@pytest.mark.server
def test_with_tls_in_the_worker_streams_are_held(tls: TlsServer) -> None:
    """The worker's own socket encrypts, so it cannot be taken; half its connections may watch."""
    assert places(tls) == {"name": "viewers", "used": 0, "limit": 3}
    watching = [Viewer(tls, **ADMIN) for _ in range(3)]
    try:
        for viewer in watching:
            viewer.next("snapshot")
        assert places(tls) == {"name": "viewers", "used": 3, "limit": 3}
        refused = Viewer(tls, **ADMIN)
        assert refused.answer.status == 503
        refused.close()
        tls.ask("/page/by-tls")
        for viewer in watching:
            while "by-tls" not in str(viewer.events[-1].data):
                viewer.next("update")
            viewer.until_comments(1)
        watching.pop().close()
        wait_until(lambda: tls.viewers == 2, "who has left is gone")
    finally:
        for viewer in watching:
            viewer.close()
    assert "no stream here" not in tls.log()


@pytest.mark.server
@pytest.mark.parametrize("has_tls", [True, False], ids=["tls", "plain"])
def test_the_doctor_minds_the_connections_where_streams_are_held(
    has_tls: bool, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = {"MAX_VIEWERS": 6, "STORE": f"sqlite:///{tmp_path}/monitor.sqlite"}
    tmp_path.chmod(0o700)
    if has_tls:
        server: StreamingServer = TlsServer(*certificate, **settings)
    else:
        server = StreamingServer("--worker-connections", "6", **settings)
    command = (sys.executable, "-m", "flask", "--app", "tests.apps.streaming:app", "monitor")

    def told() -> str:
        found = subprocess.run(
            [*command, "doctor"], env=server._environ, capture_output=True, text=True, check=False
        ).stdout
        return found if " viewers " in found else ""

    try:
        server.ask("/page/x")
        found = wait_until(told, "the worker has reported")
    finally:
        server.close()
    fault = r"fault +viewers .*a worker's 6 connections"
    assert re.search(fault if has_tls else r"ok +viewers ", found), found


@pytest.mark.server
def test_with_tls_a_worker_that_stops_says_goodbye(tls: TlsServer) -> None:
    with Viewer(tls, **ADMIN) as viewer:
        last = viewer.next("snapshot")
        assert tls.process is not None
        tls.process.terminate()
        assert [one.event for one in viewer.rest()][-1:] == ["bye"]
        assert viewer.events[-1].data["reason"] == "restart"
        assert last.id


PLAIN = ("--config", "python:tests.support.plain_config")


def sync() -> StreamingServer:
    return StreamingServer(*PLAIN, worker="sync")


def gthread() -> StreamingServer:
    return StreamingServer(*PLAIN, "--threads", "4", worker="gthread")


def waitress() -> Served:
    command = (sys.executable, "-m", "waitress", "--listen=127.0.0.1:{port}")
    return Served(*command, "tests.apps.streaming:app")


def named_waitress() -> Served:
    command = (sys.executable, "-m", "waitress", "--listen=127.0.0.1:{port}", "--ident=shop")
    return Served(*command, "tests.apps.streaming:app")


def pool() -> Served:
    """As hypercorn and the bridges to ASGI do it."""
    return Served(sys.executable, "-m", "tests.apps.pooled", "{port}")


def unpatched() -> Served:
    return Served(sys.executable, "-m", "tests.apps.greenlets", "{port}", "no")


REASONS: dict[Callable[[], Any], str] = {
    sync: "this server answers one request at a time",
    gthread: "each stream would take one of the gthread worker's few threads",
    waitress: "each stream would take one of waitress's few threads",
    named_waitress: "each stream would take one of waitress's few threads",
    unpatched: "gevent has not patched this process (monkey.patch_all)",
    pool: "each stream would take one of this server's few threads",
}


@pytest.mark.server
@pytest.mark.parametrize("start", REASONS, ids=lambda start: start.__name__)
def test_where_a_stream_would_block_the_app_there_is_one_answer(
    start: Callable[[], Any],
) -> None:
    """A whole snapshot, a goodbye that says when to come again, and the end."""
    server = start()
    try:
        unread = [Viewer(server, **ADMIN) for _ in range(6)]  # more than there are threads
        assert server.ask("/page/meanwhile") == (200, b"meanwhile")
        for viewer in unread:
            assert viewer.answer.status == 200
            assert is_bounded(viewer.rest())
            assert (viewer.parser.retry_ms or 0) >= 1000
            viewer.close()
        with Viewer(server, Accept_Encoding="gzip", **ADMIN) as viewer:
            assert viewer.answer.getheader("Content-Encoding") is None
            assert is_bounded(viewer.rest())
        shown = server.json("activities", **ADMIN)["items"]
        assert [one["path"] for one in shown] == ["/page/meanwhile"]
        assert server.log().count("no stream here") == 1
        assert REASONS[start] in server.log()
    finally:
        server.close()


def is_bounded(events: list[Event]) -> bool:
    """Tell whether it is a snapshot and a goodbye, for there is no place for a stream."""
    names = [one.event for one in events]
    return names == ["snapshot", "bye"] and events[1].data["reason"] == "limit"


@pytest.mark.server
def test_flasks_own_server_holds_streams() -> None:
    """It has a thread for each connection."""
    command = (sys.executable, "-m", "flask", "--app", "tests.apps.streaming:app", "run")
    server = Served(*command, "--port", "{port}")
    try:
        assert places(server)["limit"] == 100
        watch_a_while(server)
        assert "no stream here" not in server.log()
    finally:
        server.close()


@pytest.mark.server
def test_gevents_own_server_holds_streams() -> None:
    """It has a greenlet for each connection, though it says that it has no threads."""
    server = Served(sys.executable, "-m", "tests.apps.greenlets", "{port}", "yes")
    try:
        watch_a_while(server)
        assert places(server)["limit"] == 100
    finally:
        server.close()


def watch_a_while(server: Client) -> None:
    with Viewer(server, **ADMIN) as one, Viewer(server, **ADMIN) as other:
        for viewer in (one, other):
            viewer.next("snapshot")
        server.ask("/page/by-threads")
        for viewer in (one, other):
            while "by-threads" not in str(viewer.events[-1].data):
                viewer.next("update")
        one.until_comments(1)
        last = one.events[-1].id or ""
    wait_until(lambda: server.ask("/state")[1] == b'{"viewers":0}\n', "both are gone")
    server.ask("/page/while-away")
    with Viewer(server, Last_Event_ID=last, **ADMIN) as back:
        while "while-away" not in str(back.events[-1:]):
            assert back.next().event == "update"


# -- what is taken for what ----------------------------------------------------------------------


def environ(sock: object = None, **more: Any) -> dict[str, Any]:
    """Return what a server with threads says of a request."""
    given = {} if sock is None else {"gunicorn.socket": sock}
    return {"wsgi.multithread": True, "SERVER_PROTOCOL": "HTTP/1.1", **given, **more}


class OtherSocket:
    """What another release, or another server's class of the same name, may be."""

    _sock = None

    def detach(self) -> int:
        raise AssertionError("taken from where it was not to be")


def pretending(name: str, module: str, **more: Any) -> object:
    return type(name, (), {"__module__": module, **more})()


def test_the_kernel_bounds_a_connection_that_the_server_keeps() -> None:
    ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with ours, theirs:
        theirs.connect(ours.getsockname())
        connection.bound({})  # a server that shows none
        connection.bound({"gunicorn.socket": theirs})
        options = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert theirs.getsockopt(*options) == 15_000
        assert theirs.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 131_072


@pytest.mark.parametrize(
    "sock",
    [
        None,
        object(),
        OtherSocket(),
        pretending("SSLSocket", "gevent._ssl3", detach=lambda _: 0, _sock=None),
        pretending("SSLSocket", "gevent.ssl", detach=lambda _: 0, _sock=None),
        pretending("socket", "gevent._socket3", _sock=None),
        pretending("socket", "gevent._socket3", detach=lambda _: 0),
        pretending("socket", "gevent._socket4", detach=lambda _: 0, _sock=None),
        pretending("socket", "socket", detach=lambda _: 0, _sock=None),
    ],
    ids=lambda sock: f"{type(sock).__module__}.{type(sock).__name__}",
)
def test_a_socket_that_is_not_known_is_not_taken(sock: object) -> None:
    assert connection.way(environ(sock)) is Way.HELD


def test_the_one_that_is_known_is_taken_over_plain_http_1_alone() -> None:
    known = pretending("socket", "gevent._socket3", detach=lambda _: 0, _sock=None)
    assert connection.way(environ(known)) is Way.DETACHED
    assert connection.way(environ(known, SERVER_PROTOCOL="HTTP/1.0")) is Way.DETACHED
    assert connection.way(environ(known, SERVER_PROTOCOL="HTTP/2")) is Way.HELD
    assert connection.way(environ(known, SERVER_PROTOCOL="")) is Way.HELD


@pytest.mark.parametrize(("threads", "most"), [(b"2", 1), (b"40", 10), (b"?", 100), (None, 100)])
def test_streams_take_a_quarter_of_uwsgis_threads(
    threads: bytes | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {} if threads is None else {"threads": threads}
    monkeypatch.setitem(sys.modules, "uwsgi", pretending("module", "builtins", opt=options))
    assert derived_limit(is_detached=False) == most


def test_mod_wsgi_gets_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_told", set())
    assert connection.way(environ(**{"mod_wsgi.version": (5, 0, 2)})) is Way.BOUNDED


def test_gunicorns_own_http_2_gets_no_stream(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"gunicorn.http2.send_trailers": print}
    monkeypatch.setattr(connection, "_told", set())
    for _ in range(3):
        assert connection.way(environ(object(), **told)) is Way.BOUNDED
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "HTTP/2" in caplog.text
