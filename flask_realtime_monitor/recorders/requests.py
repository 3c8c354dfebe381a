"""Records every request once and exactly, and knows those in flight.

A WSGI wrapper stamps the start and the end; ``request_finished`` and teardown look at the request
from inside. A body that is whole in memory ends its request when the app returns it; a streamed
one at its exhaustion, its close() or when it is dropped, whichever is first.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import flask
from flask import Flask, Response
from werkzeug.wsgi import ClosingIterator

from ..identity import Person
from ..ingest import Guard, Ingest, Raw
from ..records import InFlight
from ..traffic import UNMATCHED

_MISSING = object()
_SAMPLE = 15  # one request in 16 is measured
_MOST_EVENTS = 100


class Entry:
    """One request from its first moment in our wrapper to its last byte."""

    __slots__ = (
        "cost_ns",
        "environ",
        "error",
        "events",
        "is_streamed",
        "request",
        "respond",
        "shown",
        "signed_in",
        "signed_out",
        "started_s",
        "status",
        "title",
        "user",
    )

    def __init__(self, environ: dict[str, Any], respond: Callable[..., Any], now_s: float) -> None:
        self.environ = environ
        self.respond = respond
        self.started_s = now_s
        self.request: Any = None  # the real request object, once Flask has finished with it
        self.user: Person | None = None
        self.signed_in: Person | None = None
        self.signed_out: Person | None = None
        self.title: Any = None
        self.error: str | None = None
        self.status: str | None = None  # the line that was really sent
        self.is_streamed = True
        self.events: list[tuple[Any, Any, Any]] | None = None  # name, user, data
        self.shown: InFlight | None = None
        self.cost_ns = 0

    def start_response(self, status: str, *args: Any, **kwargs: Any) -> Any:
        """Note the status that is really sent, and pass it on."""
        self.status = status
        return self.respond(status, *args, **kwargs)

    def fail(self, error: BaseException) -> None:
        """Note the first exception of the request."""
        if self.error is None:
            self.error = type(error).__name__


class RequestRecorder:
    """Follows the requests of one app in one process.

    The WSGI wrapper calls ``begin``, then the app, then ``answered`` or ``crashed``; Flask's
    signals call ``look`` and ``look_at_teardown``. None of them raises.

    Args:
        app: the Flask app, for its view functions.
        key: where a request's entry lies in its environ.
        ingest: where activities go.
        guard: keeps our own faults from the app.
        identify: returns who makes the request at hand.
        spent: called with the microseconds that recording cost a request, for one in 16.
        worker_id: the prefix of the ids of requests in flight.
    """

    def __init__(
        self,
        app: Flask,
        key: str,
        ingest: Ingest,
        guard: Guard,
        identify: Callable[[], Person | None],
        spent: Callable[[float], None],
        worker_id: str,
    ) -> None:
        self._app = app
        self._key = key
        self._ingest = ingest
        self._guard = guard
        self._identify = identify
        self._spent = spent
        self._worker_id = worker_id
        self._skipped: dict[str, bool] = {}
        self._numbers = count(1)
        self._turn = 0
        self._open: dict[Entry, None] = {}
        self.look = guard.wrap(self._look)
        self.look_at_teardown = guard.wrap(self._look_at_teardown)
        self.end = guard.wrap(self._end)

    # -- the WSGI side -----------------------------------------------------------------------

    def begin(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Entry:
        """Note a request that begins."""
        entry = environ[self._key] = Entry(environ, start_response, time.monotonic())
        self._open[entry] = None
        self._turn = turn = self._turn + 1 & _SAMPLE
        if not turn:
            entry.cost_ns = 1  # this one is measured
        return entry

    def crashed(self, entry: Entry, error: BaseException) -> None:
        """The app raised through the WSGI call."""
        entry.fail(error)
        self.end(entry)

    def answered(self, entry: Entry, body: Iterable[bytes]) -> Iterable[bytes]:
        """The app returned; return the body to send, followed where it is not whole yet."""
        if not entry.is_streamed or isinstance(body, list | tuple):
            self.end(entry)
            return body
        if entry.request is None:
            # A middleware answered and Flask saw nothing: this is no request of the app.
            self._open.pop(entry, None)
            return body
        wrapper = entry.environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            self._follow_file(entry, body)
            return body
        return _Body(body, entry, self.end)

    def _follow_file(self, entry: Entry, body: Any) -> None:
        """Follow a file without hiding it from the server, which may send it by sendfile."""
        close = getattr(body, "close", None)
        end = self.end

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                end(entry)

        body.close = closed
        weakref.finalize(body, end, entry).atexit = False

    def _end(self, entry: Entry) -> None:
        """A request is over; whoever says so first is heard, the others are not."""
        if self._open.pop(entry, _MISSING) is None:
            self._record(entry)

    # -- the Flask side: receivers, called inside the request ----------------------------------

    def _look(self, response: Response) -> None:
        """``request_finished``: the answer is made and the session saved."""
        request = flask.request._get_current_object()  # type: ignore[attr-defined]
        entry = request.environ.get(self._key)
        if entry is None:
            return
        if entry.cost_ns:
            began_ns = time.thread_time_ns()
            self._see(entry, request, _is_streamed(response))
            entry.cost_ns += time.thread_time_ns() - began_ns
        else:
            self._see(entry, request, _is_streamed(response))

    def _look_at_teardown(self) -> None:
        """Teardown: only of use where ``request_finished`` did not come."""
        request = flask.request._get_current_object()  # type: ignore[attr-defined]
        entry = request.environ.get(self._key)
        if entry is not None and entry.request is None:
            self._see(entry, request, True)

    def _see(self, entry: Entry, request: Any, is_streamed: bool) -> None:
        entry.request = request
        entry.is_streamed = is_streamed
        entry.user = self._identify()

    def current(self) -> Entry | None:
        """Return the entry of the request at hand, None outside a request that we follow."""
        if not flask.has_request_context():
            return None
        entry = flask.request.environ.get(self._key)
        return entry if isinstance(entry, Entry) else None

    # -- activities ----------------------------------------------------------------------------

    def _record(self, entry: Entry) -> None:
        began_ns = time.thread_time_ns() if entry.cost_ns else 0
        now_s = time.monotonic()
        request = entry.request
        if request is None and entry.error is None:
            return
        environ = entry.environ
        rule = None if request is None else request.url_rule
        endpoint = None
        if rule is not None:
            endpoint = rule.endpoint
            skipped = self._skipped.get(endpoint)
            if skipped is None:
                skipped = self._skipped[endpoint] = self._is_exempt(endpoint)
            if skipped:
                self._ingest.put_excluded()
                return
        status = entry.status
        user = entry.user
        if user is None and entry.signed_out is not None:
            user = entry.signed_out
        self._ingest.put(
            Raw(
                "request",
                now_s,
                environ.get("REMOTE_ADDR") or "",
                environ.get("HTTP_USER_AGENT", ""),
                user,
                environ.get("REQUEST_METHOD"),
                environ.get("PATH_INFO", ""),
                environ.get("QUERY_STRING", ""),
                endpoint,
                None if rule is None else rule.rule,
                None if rule is None else request.view_args,
                entry.title,
                None if status is None else int(status[:3]),
                now_s - entry.started_s,
                entry.error,
            )
        )
        for name, whose, data in entry.events or ():
            self._put_event("custom", entry, whose or user, name, data)
        if entry.signed_in is not None:
            self._put_event("login", entry, user or entry.signed_in)
        if entry.signed_out is not None:
            self._put_event("logout", entry, entry.signed_out)
        if began_ns:
            self._spent((entry.cost_ns + time.thread_time_ns() - began_ns) / 1000)

    def track(self, entry: Entry, name: Any, user: Person | None, data: dict[str, Any]) -> None:
        """Record a custom activity of the request at hand, at its end, when its user is known.

        What a streamed body tracks while it is sent is recorded at once.
        """
        if entry not in self._open or entry.request is not None:
            self._put_event("custom", entry, user or entry.user, name, data)
        elif entry.events is None:
            entry.events = [(name, user, data)]
        elif len(entry.events) < _MOST_EVENTS:
            entry.events.append((name, user, data))
        else:
            self._ingest.dropped += 1

    def _put_event(
        self,
        kind: str,
        entry: Entry,
        user: Person | None,
        name: Any = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Hand in what is no request, made by a request."""
        environ = entry.environ
        request = entry.request
        rule = None if request is None else request.url_rule
        if rule is not None and self._is_exempt(rule.endpoint):
            return
        self._ingest.put(
            Raw(
                kind,
                time.monotonic(),
                environ.get("REMOTE_ADDR") or "",
                environ.get("HTTP_USER_AGENT", ""),
                user,
                environ.get("REQUEST_METHOD"),
                environ.get("PATH_INFO", ""),
                environ.get("QUERY_STRING", ""),
                None if rule is None else rule.endpoint,
                None if rule is None else rule.rule,
                None if rule is None else request.view_args,
                name=name,
                data=data,
            )
        )

    def _is_exempt(self, endpoint: str) -> bool:
        view = self._app.view_functions.get(endpoint)
        return bool(getattr(view, "_realtime_monitor_exempt", False))

    # -- in flight -----------------------------------------------------------------------------

    def in_flight(self) -> list[InFlight]:
        """Return the requests that have not ended, those aside that are not recorded."""
        found = []
        for entry in list(self._open):
            shown = entry.shown or self._shown(entry)
            if shown.is_recorded:
                found.append(shown)
        return found

    def _shown(self, entry: Entry) -> InFlight:
        environ = entry.environ
        request = entry.request or environ.get("werkzeug.request")
        rule = None if request is None else request.url_rule
        endpoint = None if rule is None else rule.endpoint
        agent = environ.get("HTTP_USER_AGENT", "")
        path = environ.get("PATH_INFO", "")
        is_recorded = not (
            (endpoint is not None and self._is_exempt(endpoint))
            or self._ingest.hides(endpoint, path, agent)
        )
        shown = InFlight(
            id=f"{self._worker_id}-f{next(self._numbers)}",
            visitor=self._ingest.visitor(environ.get("REMOTE_ADDR") or "", agent),
            method=environ.get("REQUEST_METHOD"),
            endpoint=endpoint or UNMATCHED,
            path=self._ingest.path_of(
                path, None if rule is None else rule.rule, request and request.view_args
            ),
            started_ms=int(entry.started_s * 1000),
            is_recorded=is_recorded,
        )
        if request is not None:
            entry.shown = shown  # routed: it stays as it is now
        return shown


def _is_streamed(response: Response) -> bool:
    """Tell whether the body is made while it is sent.

    An HTTPException (every 404, say) has its whole body in memory, yet Flask turns it into a
    response by calling it as a WSGI app, so that Werkzeug holds it for a stream.
    """
    if not response.is_streamed:
        return False
    is_forced = isinstance(response.response, ClosingIterator)
    return not (is_forced and response.status_code >= 300 and "Content-Length" in response.headers)


class _Body:
    """A streamed body that tells when it is over; it costs nothing per chunk."""

    __slots__ = ("__weakref__", "_end", "_entry", "_inner")

    def __init__(self, inner: Iterable[bytes], entry: Entry, end: Callable[[Entry], None]) -> None:
        self._inner = inner
        self._entry = entry
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except GeneratorExit:
            raise
        except BaseException as error:
            self._entry.fail(error)
            self._end(self._entry)
            raise
        self._end(self._entry)

    def close(self) -> None:
        """Close the app's body, then end the request."""
        try:
            close = getattr(self._inner, "close", None)
            if close is not None:
                close()
        finally:
            self._end(self._entry)

    def __del__(self) -> None:
        self._end(self._entry)
