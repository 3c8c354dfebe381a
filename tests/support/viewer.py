"""A viewer of the stream over a real connection."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from time import monotonic
from types import TracebackType
from typing import Protocol

from .sse import Event, Parser
from .waiting import DEADLINE_S


class Server(Protocol):
    """What a stream can be opened at: an app's server, or a proxy before it."""

    def open(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[HTTPResponse, HTTPConnection]:
        """Make one request and leave its answer unread."""


class Viewer:
    """Opens the stream of a server and reads its events."""

    def __init__(self, server: Server, path: str = "/monitor/stream", **headers: str):
        self.answer, self._connection = server.open(path, **headers)
        self._unpack: Callable[[bytes], bytes] = bytes
        if self.answer.getheader("Content-Encoding") == "gzip":
            self._unpack = zlib.decompressobj(31).decompress
        self.parser = Parser()
        self.events: list[Event] = []
        self._unread: list[Event] = []
        self.is_over = False

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        """The port of this end of the connection."""
        sock = self._connection.sock or self.answer.fp.raw._sock  # type: ignore[union-attr]
        port: int = sock.getsockname()[1]
        return port

    @property
    def connection(self) -> HTTPConnection:
        return self._connection

    def close(self) -> None:
        """Leave."""
        self.answer.close()
        self._connection.close()

    def next(self, name: str | None = None, deadline_s: float = DEADLINE_S) -> Event:
        """Return the next event (of this name)."""
        ends = monotonic() + deadline_s
        while True:
            while self._unread:
                event = self._unread.pop(0)
                self.events.append(event)
                if name is None or event.event == name:
                    return event
            self._read(ends, f"an event {name or ''}")

    def until_comments(self, number: int) -> None:
        """Read until this many comments have come."""
        ends = monotonic() + DEADLINE_S
        while self.parser.comments < number:
            self._read(ends, f"{number} comments")

    def rest(self) -> list[Event]:
        """Read to the end; return what came."""
        ends = monotonic() + DEADLINE_S
        while not self.is_over:
            self._read(ends, "the end")
        found, self._unread = self._unread, []
        self.events += found
        return found

    def drain(self) -> bytes:
        """Throw away what has come already; return it."""
        sock = self._connection.sock or self.answer.fp.raw._sock  # type: ignore[union-attr]
        sock.settimeout(0.2)
        found = b""
        try:
            while data := sock.recv(65536):
                found += data
        except TimeoutError:
            return found
        return found

    def _read(self, ends: float, what: str) -> None:
        if monotonic() > ends:
            raise AssertionError(f"no {what} in time; so far {[e.event for e in self.events]}")
        if self.is_over:
            raise AssertionError(f"the stream ended before {what}")
        sock = self._connection.sock
        if sock is not None:
            sock.settimeout(max(0.1, ends - monotonic()))
        try:
            data = self.answer.read1(65536)
        except TimeoutError as error:
            raise AssertionError(f"no {what} in time") from error
        if data:
            self._unread += self.parser.feed(self._unpack(data))
        else:
            self.is_over = True
