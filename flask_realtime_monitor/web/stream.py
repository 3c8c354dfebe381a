"""The event stream: a viewer's request becomes a viewer of the broadcaster."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from io import BytesIO
from random import randint
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.wsgi import ClosingIterator

from .. import sse, worker
from ..access import WALL
from ..broadcaster import Broadcaster
from ..models import User
from ..packet import CHUNKED, GZIP, Packet
from ..state import ENTRY_KEY, Live, current_state
from ..viewers import DetachedViewer, HeldViewer, Pass, Viewer
from . import connection
from .answers import error, set_headers
from .connection import Way

_RETRY_AFTER_S = (3, 8)
_ROLE_KEY = "flask_realtime_monitor.role"
#: What differs from one request of a browser to the next, and says nothing about who makes it.
_PASSING = frozenset({ENTRY_KEY, "REMOTE_PORT", "HTTP_LAST_EVENT_ID", "RAW_URI"})


def stream() -> Response:
    """Server-Sent Events until either side ends them."""
    state, live = current_state()
    set_headers(Cache_Control="no-store, no-transform", X_Accel_Buffering="no")
    if request.method == "HEAD":
        return _events(())
    worker.meet_server(sys._getframe())
    role = g.realtime_monitor_role
    user = None if role == WALL else live.viewer()
    last_event_id = request.headers.get("Last-Event-ID") or request.args.get("last_event_id", "")
    # Who comes back after such an answer says so: EventSource by the id, our page by the reason.
    is_first = not last_event_id and request.args.get("after") != "limit"
    whole = partial(_whole, live, role, user, is_first)
    way = connection.way(request.environ)
    if way is Way.BOUNDED:
        return _events((whole(),))
    carrier = connection.servers_answer(sys._getframe())
    if way is Way.DETACHED and carrier is None:
        way = Way.HELD
    viewer = _viewer(state.app, live, role, user, way)
    if not live.broadcaster.admit(viewer, g.realtime_monitor_since_s):
        if live.broadcaster.is_ending:
            # Any status but 200 would end an EventSource for good, and another worker takes over.
            return _events((live.broadcaster.farewell(),))
        after_s = str(randint(*_RETRY_AFTER_S))
        return error(503, "all places for viewers are taken; try again", {"Retry-After": after_s})
    body = _Body(live.broadcaster, viewer, last_event_id, request.environ, carrier, whole)
    return _streamed(body)


def _whole(live: Live, role: str, user: User | None, is_first: bool) -> bytes:
    """Return the one answer that there is in place of a stream."""
    if is_first:
        live.viewer_opened("stream", user, role)
    return live.broadcaster.once(role)


def _events(body: Iterable[bytes]) -> Response:
    return Response(body, content_type=sse.CONTENT_TYPE)


def _streamed(body: _Body) -> Response:
    """Return an answer that gets its body when the app's own hooks have seen it.

    One that reads the body of every answer, for its length or an ETag, would come to no end, and
    have us write to a connection that has seen no status yet.
    """
    answer = _events(())
    answer.automatically_set_content_length = False
    # The generator's own end is not enough: a body that is never begun runs no finally.
    answer.call_on_close(body.close)

    def put_in(environ: dict[str, Any]) -> Iterable[bytes]:
        del answer.get_app_iter  # nothing of a viewer's is to wait for the garbage collector
        if answer.status_code != HTTPStatus.OK:
            return answer.get_app_iter(environ)
        set_headers(Content_Length=None, Content_Encoding="gzip" if body.is_packed else None)
        return ClosingIterator(body, answer.close)

    # Of the object, since an app with a class of its own for answers makes this one of these.
    answer.get_app_iter = put_in  # type: ignore[method-assign]
    return answer


def _viewer(app: Flask, live: Live, role: str, user: User | None, way: Way) -> Viewer:
    gate = _Gate(app)
    credential = live.broadcaster.credentials.shared(gate.key(request.environ, role), gate)
    pass_ = Pass(role, user, credential)
    form = GZIP if request.accept_encodings["gzip"] else 0
    if way is Way.DETACHED:
        return DetachedViewer(pass_, form | connection.form(request.environ))
    return HeldViewer(pass_, form)


class _Body:
    """What the server iterates; however it ends, the viewer is let go.

    Args:
        carrier: gunicorn's own answer to the request, None on other servers.
        whole: returns what there is instead, where it cannot be a stream.
    """

    def __init__(
        self,
        broadcaster: Broadcaster,
        viewer: Viewer,
        last_event_id: str,
        environ: dict[str, Any],
        carrier: Any,
        whole: Callable[[], bytes],
    ) -> None:
        self._broadcaster = broadcaster
        self._viewer = viewer
        self._last_event_id = last_event_id
        self._environ = environ
        self._carrier = carrier
        self._whole = whole
        self._is_ours = False

    @property
    def is_packed(self) -> bool:
        """Whether it is gzip."""
        return bool(self._viewer.form & GZIP)

    def __iter__(self) -> Iterator[bytes]:
        viewer = self._viewer
        # The first piece brings the headers with it; only then is the connection free.
        yield viewer.opening(self._broadcaster.opening())
        if not connection.is_under_way(self._carrier, viewer.form):
            self._broadcaster.leave(viewer)
            yield Packet(self._whole(), is_last=True).form(viewer.form & ~CHUNKED)
        elif isinstance(viewer, DetachedViewer):
            viewer.fd = connection.detach(self._environ)
            self._broadcaster.join(viewer, self._last_event_id)
            self._is_ours = True
        elif isinstance(viewer, HeldViewer):
            connection.bound(self._environ)
            self._broadcaster.join(viewer, self._last_event_id)
            yield from viewer.frames()

    def close(self) -> None:
        """The server is done with the connection."""
        if not self._is_ours:
            self._broadcaster.leave(self._viewer)


class _Gate:
    """Asks the gate again, in a request rebuilt from the viewer's own headers."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def key(self, environ: dict[str, Any], role: str) -> bytes:
        """Return what a request shows to the gate, and the role it got for that, packed.

        Kept for as long as the stream.
        """
        shown = {
            name: value
            for name, value in environ.items()
            if isinstance(value, str | int | bool) and name not in _PASSING
        }
        shown[_ROLE_KEY] = role
        return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()

    def __call__(self, key: bytes) -> str | None:
        """Run the app's own before_request hooks and the gate; return why the stream is to end.

        With another role it has to come back: what it was shown so far is not what it may see.
        """
        environ: dict[str, Any] = json.loads(key)
        role = environ.pop(_ROLE_KEY)
        # The server's own belong to the connection; the app's hooks may look for a body and a
        # form, and Flask's log handler for a place to write to.
        environ.pop("CONTENT_LENGTH", None)
        environ["wsgi.input"] = BytesIO()
        environ["wsgi.errors"] = sys.stderr
        with self._app.request_context(environ):
            if self._app.preprocess_request() is not None:
                return "unauthorized"
            return None if g.realtime_monitor_role == role else "renew"
