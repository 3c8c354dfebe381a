"""Records every request once and exactly, and knows those in flight.

A WSGI wrapper stamps the start and the end; ``request_finished`` looks at the request from inside,
and where that signal does not come, Flask's own hook for keeping a context does. A body that is
whole in memory ends its request when the app returns it; a streamed one at its exhaustion, its
close() or when it is dropped, whichever is first.

All but the last part of this file runs on every request: it reads the real objects behind Flask's
proxies once, and hands on one tuple.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import flask
from flask import Flask, Response
from werkzeug.wsgi import ClosingIterator

from ..guard import Guard
from ..identity import Hooks, Person
from ..ingest import QUEUE_SIZE, Ingest, Raw
from ..records import UNRECORDED_LOGOUT, InFlight
from ..traffic import UNMATCHED
from .entry import Entry, Extras

_MISSING = object()
_NOTHING: dict[str, Any] = {}
_SAMPLE = 15  # one request in 16 is measured
_MOST_EVENTS = 100
#: Flask calls what it finds here with its contexts while they still stand, whatever became of
#: the request: Werkzeug's debugger and Flask's test client keep contexts alive by it.
_KEEP = "werkzeug.debug.preserve_context"

_now_s = time.monotonic
_stamp_s = time.perf_counter


class RequestRecorder:
    """Follows the requests of one app in one process.

    The WSGI wrapper calls ``begin``, then the app, then ``answered`` or ``crashed``; Flask's
    ``request_finished`` calls ``look``. The caller guards what may raise.

    Args:
        app: the Flask app, for its view functions.
        key: where a request's entry lies in its environ.
        ingest: where activities go.
        guard: keeps our own faults from the app.
        identify: returns who makes the request at hand.
        hooks: tells whether that is a hook of the app's.
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
        hooks: Hooks,
        spent: Callable[[float], None],
        worker_id: str,
    ) -> None:
        self.app = app
        self._key = key
        self._ingest = ingest
        self._queue = ingest.queue
        self._pulse = ingest.pulse
        self._guard = guard
        self._identify = identify
        self._hooks = hooks
        self._spent = spent
        self._worker_id = worker_id
        self._numbers = count(1)
        self._open: dict[Entry, None] = {}
        self.end = guard.wrap(self._end)
        self.look_late = guard.wrap(self._look_late)
        ingest.is_exempt = self._is_exempt
        ingest.rules = self._rules

    # -- the WSGI side -----------------------------------------------------------------------

    def begin(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Entry:
        """Note a request that begins."""
        entry = Entry(self, environ, start_response, _now_s())
        environ[self._key] = entry
        if _KEEP in environ:
            entry.extras.kept = environ[_KEEP]
        environ[_KEEP] = entry.keep
        if not len(self._queue) & _SAMPLE:
            entry.cost_s = _now_s() - entry.started_s
        if self._pulse.is_quiet:
            self._pulse.quicken()
        self._open[entry] = None  # last: cut short before it, nothing is left in flight
        return entry

    def crashed(self, entry: Entry, error: BaseException) -> None:
        """The app raised through the WSGI call.

        A websocket of flask-sock's ends by StopIteration, which tells gunicorn to send nothing.
        """
        try:
            if not isinstance(error, StopIteration):
                entry.fail(error)
        finally:
            self._end(entry)

    def answered(self, entry: Entry, body: Iterable[bytes]) -> Iterable[bytes]:
        """The app returned; return the body to send, followed where it is not whole yet."""
        if not entry.is_streamed or isinstance(body, list | tuple):
            if self._open.pop(entry, _MISSING) is None:
                self._record(entry)
            return body
        wrapper = entry.environ.get("wsgi.file_wrapper")
        # uWSGI's is a function, that takes note of the file and returns it.
        is_file = isinstance(body, wrapper) if isinstance(wrapper, type) else hasattr(body, "read")
        if is_file and wrapper is not None:
            with suppress(AttributeError, TypeError):  # it may not take what we hang on to it
                self._follow_file(entry, body)
                return body
        # Flask may not have seen the request yet: a middleware can be a generator itself.
        return _Body(body, entry, self.end)

    def leave_out(self, entry: Entry) -> None:
        """A request that has come to our own pages: it is counted as excluded, and forgotten."""
        if self._open.pop(entry, _MISSING) is None:
            entry.is_streamed = False  # so that nothing is put around its body
            entry.environ = _NOTHING
            self._ingest.put_excluded()

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

    # -- the Flask side: called inside the request ---------------------------------------------

    def look(self, entry: Entry, request: Any, response: Response) -> None:
        """``request_finished``: the answer is made and the session saved."""
        began_s = _stamp_s() if entry.cost_s else 0.0
        entry.request = request
        if type(response.response) is list or not _is_streamed(response):
            entry.is_streamed = False
        if self._hooks.identify is None or self._is_wanted(entry, request):
            entry.user = self._identify()
        if began_s:
            entry.cost_s += _stamp_s() - began_s

    def _look_late(self, entry: Entry) -> None:
        """The request's last moment: of use only where ``request_finished`` did not come."""
        request = flask.request._get_current_object()  # type: ignore[attr-defined]
        # Another app may have answered, called by a middleware of ours with our environ.
        if request.environ.get(self._key) is entry and flask.current_app == self.app:
            entry.request = request
            if self._hooks.identify is None or self._is_wanted(entry, request):
                entry.user = self._identify()

    def _is_wanted(self, entry: Entry, request: Any) -> bool:
        """Tell whether anything of a request will be recorded, so that its user is to be asked for.

        A hook of the app's may ask a database, which a health check or an image is not to wait for;
        nor is a sign-out to wait twice.
        """
        extras = entry._extras
        if extras is not None and (extras.is_asked or extras.events):
            return not extras.is_asked
        rule = request.url_rule
        if rule is None:
            return not self._ingest.leaves_out(entry.environ, None, None)
        return not self._ingest.leaves_out(entry.environ, rule.endpoint, rule.rule)

    def current(self) -> Entry | None:
        """Return the entry of the request at hand, None outside a request that we follow."""
        if not flask.has_request_context():
            return None
        entry = flask.request.environ.get(self._key)
        # Another app's, if it has called this one as a middleware of its own.
        return entry if isinstance(entry, Entry) and entry.recorder is self else None

    # -- activities ----------------------------------------------------------------------------

    def _record(self, entry: Entry) -> None:
        now_s = _now_s()
        request = entry.request
        environ = entry.environ
        if request is None:
            if entry.extras.error is None:
                return
            rule = endpoint = arguments = None
        else:
            arguments = request.view_args
            rule = request.url_rule
            if rule is None:
                endpoint = None
            else:
                endpoint = rule.endpoint
                rule = rule.rule
        user = entry.user
        extras = entry._extras or _NO_EXTRAS
        get = environ.get
        # As a plain tuple: the class would cost more than all of its fields.
        raw = (
            "request",
            now_s,
            get("REMOTE_ADDR"),
            get("HTTP_USER_AGENT", ""),
            user or extras.signed_out,
            get("REQUEST_METHOD"),
            get("PATH_INFO", ""),
            get("QUERY_STRING", ""),
            endpoint,
            rule,
            arguments,
            extras.title,
            entry.status,
            now_s - entry.started_s,
            extras.error,
            None,
            None,
            True,
        )
        queue = self._queue
        queue.append(raw)  # type: ignore[arg-type]  # a Raw in all but its class
        if len(queue) >= QUEUE_SIZE:
            self._ingest.full()
        if extras is not _NO_EXTRAS:
            for name, whose, data in extras.events:
                self._put_event("custom", environ, request, whose or user, name, data)
            if extras.signed_in is not None:
                self._put_event("login", environ, request, user or extras.signed_in)
            if extras.signed_out is not None:
                self._put_event("logout", environ, request, extras.signed_out)
        # No ring of references is left for the garbage collector to find.
        entry.environ, entry.request = _NOTHING, None
        if entry.cost_s:
            self._spent((entry.cost_s + _now_s() - now_s) * 1e6)

    def track(self, entry: Entry, name: Any, user: Person | None, data: dict[str, Any]) -> None:
        """Record a custom activity of the request at hand, at its end, when its user is known.

        What is tracked while a streamed body is sent, or after the end, is recorded at once.
        """
        if entry not in self._open or (entry.request is not None and entry.is_streamed):
            request = flask.request._get_current_object()  # type: ignore[attr-defined]
            self._put_event("custom", request.environ, request, user or entry.user, name, data)
        elif len(entry.extras.events) < _MOST_EVENTS:
            entry.extras.events.append((name, user, data))
        else:
            self._ingest.dropped += 1

    def _put_event(
        self,
        kind: str,
        environ: dict[str, Any],
        request: Any,
        user: Person | None,
        name: Any = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Hand in what is no request, made by a request."""
        rule = None if request is None else request.url_rule
        if rule is not None and self._is_exempt(rule.endpoint):
            if kind != "logout":
                return
            kind = UNRECORDED_LOGOUT
        self._ingest.put(
            Raw(
                kind,
                _now_s(),
                environ.get("REMOTE_ADDR"),
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
        view = self.app.view_functions.get(endpoint)
        return any(
            getattr(one, "_realtime_monitor_exempt", False)
            for one in (view, getattr(view, "view_class", None))
        )

    def _rules(self) -> list[str]:
        return [rule.rule for rule in self.app.url_map.iter_rules()]

    # -- in flight -----------------------------------------------------------------------------

    def in_flight(self) -> list[InFlight]:
        """Return the requests that have not ended, those aside that are not recorded."""
        found = []
        for entry in list(self._open):
            shown = entry.extras.shown or self._shown(entry)
            if shown is not None and shown.is_recorded:
                found.append(shown)
        return found

    def _shown(self, entry: Entry) -> InFlight | None:
        environ = entry.environ
        if not environ:
            return None  # it has ended while we looked
        request: Any = entry.request or environ.get("werkzeug.request", _MISSING)
        if request is None:  # an app has done with it (Flask leaves that), and it was not ours
            return None
        if not hasattr(request, "url_rule"):
            request = None  # a middleware's, which knows nothing of Flask's routes
        elif getattr(request, "json_module", None) is not self.app.json:
            return None  # another app's, called by a middleware with our environ
        route = None if request is None else request.url_rule
        endpoint, rule = (None, None) if route is None else (route.endpoint, route.rule)
        agent = environ.get("HTTP_USER_AGENT", "")
        path = environ.get("PATH_INFO", "")
        extras = entry.extras
        if extras.id is None:
            extras.id = f"{self._worker_id}-f{next(self._numbers)}"
        shown = InFlight(
            id=extras.id,
            visitor=self._ingest.visitor(environ.get("REMOTE_ADDR") or "", agent),
            method=environ.get("REQUEST_METHOD"),
            endpoint=endpoint or UNMATCHED,
            path=self._ingest.path_of(path, rule, request and request.view_args),
            started_ms=int(entry.started_s * 1000),
            is_recorded=not self._ingest.leaves_out(environ, endpoint, rule),
            rule=rule,
        )
        if request is not None:
            extras.shown = shown  # routed: it stays as it is now
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


_NO_EXTRAS = Extras()


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
