"""Asks for the dashboard as a browser would, through whatever stands in front of the app."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from string import punctuation
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ..config import Settings
from .console import Trouble

#: (mark, name, text), as the doctor tells them.
Told = tuple[str, str, str]

_FIRST_BYTE_S = 1.0
_PATIENCE_S = 5.0
#: How much later than the heartbeat is due a stream may show that it lives.
_LATE_S = 3.0
_OURS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_UNBUFFERED = (
    "a proxy collects the stream before it passes it on: switch that off for this path (nginx: "
    "proxy_buffering off; Apache: flushpackets=on; no gzip or cache of the proxy's own)"
)


class Page(NamedTuple):
    """What was answered; header names in lower case."""

    status: int
    headers: dict[str, str]

    @property
    def is_ours(self) -> bool:
        """Whether the monitor itself answered: every answer of it has these headers."""
        return all(value in self.headers.get(name, "") for name, value in _OURS.items())


class Answer:
    """An answer that is read bit by bit."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        line: socket.socket,
        answer: http.client.HTTPResponse,
    ) -> None:
        self._connection, self._line, self._answer = connection, line, answer
        named = {name.lower(): value for name, value in answer.getheaders()}
        self.page = Page(answer.status, named)

    def read(self, patience_s: float) -> bytes | None:
        """Return what comes next, empty at the end; None where nothing comes in time."""
        self._line.settimeout(patience_s)
        try:
            return self._answer.read1(65_536)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Hang up."""
        self._answer.close()
        self._connection.close()


class Front:
    """The address at which people open the dashboard.

    Args:
        url: the app's address or the dashboard's own.
        headers: of the request, such as ``Cookie: session=...``.
        has_gate: whether a gate is set, as this process sees it.

    Raises:
        Trouble: the address or a header is none.
    """

    def __init__(
        self, url: str, settings: Settings, headers: Sequence[str], has_gate: bool
    ) -> None:
        try:
            asked = urlsplit(url)
            self._port = asked.port
            (asked.hostname or "").encode("idna")
        except ValueError as error:
            raise Trouble(f"--url {url!r} is no address: {error}") from None
        if asked.scheme not in ("http", "https") or not asked.hostname:
            raise Trouble(f"--url is {url!r}; write it whole, such as https://shop.example")
        if quote(asked.path, safe=punctuation) != asked.path:
            whole = quote(asked.path, safe=punctuation)
            raise Trouble(f"--url {url!r} has a path that no request can name; write it {whole!r}")
        self._is_secure, self._host = asked.scheme == "https", asked.hostname
        prefix = quote(settings.url_prefix, safe=punctuation)
        path = asked.path.rstrip("/")
        self._path = path if path.endswith(prefix) else path + prefix
        self._heartbeat_s = settings.heartbeat_interval
        self._has_gate = has_gate
        self._headers = {"User-Agent": "flask-monitor-doctor"}
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not name.strip() or "\n" in header or "\r" in header:
                raise Trouble("--header is written 'Name: value', such as 'Cookie: session=...'")
            if not name.isascii() or not value.isprintable() or max(value, default="") > "\xff":
                raise Trouble(
                    f"--header {name.strip()!r} has a character that no header can have; write it "
                    "as the browser sends it"
                )
            self._headers[name.strip()] = value.strip()
        self._has_credentials = bool(headers)

    def examine(self) -> Iterator[Told]:
        """Yield what was found."""
        try:
            answer = self._ask("/", "text/html")
            answer.close()
            yield from self._page(answer.page)
            if answer.page.status == 200 and answer.page.is_ours:
                yield from self._stream()
        except ssl.SSLError as error:
            yield "fault", "url", f"the certificate is not trusted: {error.reason or error}"
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            yield (
                "fault",
                "url",
                f"{self._host} cannot be asked: {reason}; is the name right, does it listen?",
            )

    def _page(self, page: Page) -> Iterator[Told]:
        if page.status == 200 and page.is_ours:
            if self._has_credentials:
                yield "ok", "url", "the page is there, and the gate says yes to these headers"
            else:
                yield (
                    "warn",
                    "url",
                    "the gate says yes to somebody without any cookie: whoever reaches this "
                    "address sees who uses the app; let it look at who asks",
                )
        elif page.status == 200:
            yield (
                "fault",
                "url",
                "something else than the monitor answers, or its headers are taken off (Cache-"
                "Control: no-store among them); see whether the proxy passes this path to the "
                "app, and does not cache it",
            )
        elif page.status == 403 and page.is_ours:
            yield self._refused()
        elif page.status == 404 and page.is_ours:
            yield self._no_gate()
        else:
            yield self._not_ours(page)

    def _refused(self) -> Told:
        if self._has_credentials:
            return (
                "fault",
                "url",
                "403: the gate says no to these headers; is the cookie still valid, is its user "
                "one who may watch? With app.debug the answer says which check failed",
            )
        return (
            "warn",
            "url",
            "403: the gate refuses strangers, as it should; the stream was not tested: give "
            "--header 'Cookie: session=...' of somebody who may watch",
        )

    def _no_gate(self) -> Told:
        if self._has_gate:
            return (
                "fault",
                "url",
                "404 of the monitor: the server runs without a gate, though this process has one; "
                "restart it with the code that sets @monitor.authorize",
            )
        return "fault", "url", "404 of the monitor: no gate is set; write @monitor.authorize"

    def _not_ours(self, page: Page) -> Told:
        status = page.status
        if 300 <= status < 400:
            where = page.headers.get("location", "nowhere")[:200]
            text = f"{status}, to {where}: give that address if it is only another name of this "
            return (
                "fault",
                "url",
                text + "page; a login page in front needs --header 'Cookie: ...'",
            )
        if status == 404:
            return (
                "fault",
                "url",
                f"404, and not of the monitor: nothing is at {self._path}/; is "
                "REALTIME_MONITOR_URL_PREFIX the server's, does the proxy pass this path on "
                "(SCRIPT_NAME, location)?",
            )
        if status in (401, 403):
            return (
                "fault",
                "url",
                f"{status}, and not of the monitor: the proxy or the app refuses before the gate "
                "is asked; give what it wants with --header",
            )
        if status in (502, 503, 504):
            return "fault", "url", f"{status}: the proxy does not reach the app; does it run?"
        return "fault", "url", f"{status} is answered; see the server's log"

    def _stream(self) -> Iterator[Told]:
        began_s = time.monotonic()
        answer = self._ask("/stream", "text/event-stream")
        page = answer.page
        try:
            if page.status == 503:
                yield "warn", "stream", "503: all places for viewers are taken; see viewers"
                return
            if page.status != 200 or "text/event-stream" not in page.headers.get(
                "content-type", ""
            ):
                yield (
                    "fault",
                    "stream",
                    f"{page.status} {page.headers.get('content-type', '')}: no event stream; see "
                    "whether the proxy passes everything below the prefix to the app",
                )
                return
            if "no-transform" not in page.headers.get("cache-control", ""):
                yield (
                    "warn",
                    "stream",
                    "the header Cache-Control: no-transform is lost on the way: let the proxy "
                    "leave it, else others may compress and hold back the stream",
                )
            yield from self._events(answer, began_s)
        finally:
            answer.close()

    def _events(self, answer: Answer, began_s: float) -> Iterator[Told]:
        first = answer.read(_PATIENCE_S)
        took_s = time.monotonic() - began_s
        if first is None:
            yield "fault", "stream", f"no byte within {_PATIENCE_S:g} s: {_UNBUFFERED}"
            return
        if took_s > _FIRST_BYTE_S:
            yield "fault", "stream", f"the first byte came after {took_s:.1f} s: {_UNBUFFERED}"
            return
        yield "ok", "stream", f"the first byte came after {took_s:.2f} s"
        # A long beginning may fill a proxy's buffer where the short heartbeat would not.
        patience_s = self._heartbeat_s + _LATE_S
        ends_s = time.monotonic() + patience_s
        quiet_s = 0.0
        while (left_s := ends_s - time.monotonic()) > 0:
            asked_s = time.monotonic()
            more = answer.read(left_s)
            quiet_s = time.monotonic() - asked_s
            if more is None:
                break
            if not more and time.monotonic() - began_s < _FIRST_BYTE_S:
                yield (
                    "warn",
                    "stream",
                    "it ends at once: this server cannot hold streams, and the page asks again "
                    "and again; serve with --worker-class gevent",
                )
                return
            if not more:
                yield (
                    "fault",
                    "stream",
                    f"it was cut after {time.monotonic() - began_s:.1f} s; raise the proxy's time-"
                    "out for reading (nginx: proxy_read_timeout) above the heartbeat's "
                    f"{self._heartbeat_s:g} s",
                )
                return
            if quiet_s > 0.1:  # not the rest of what was there already
                yield "ok", "stream", f"what comes later arrives, too: after {quiet_s:.1f} s"
                return
        yield "fault", "stream", f"nothing came for {patience_s:g} s after the first: {_UNBUFFERED}"

    def _ask(self, path: str, accept: str) -> Answer:
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_PATIENCE_S)
        try:
            connection.connect()
            line = connection.sock  # an answer that ends the connection takes it away
            headers = {"Accept": accept, **self._headers}
            connection.request("GET", self._path + path, headers=headers)
            return Answer(connection, line, connection.getresponse())
        except BaseException:  # Ctrl-C included: nothing stays open, and it goes on its way
            connection.close()
            raise
