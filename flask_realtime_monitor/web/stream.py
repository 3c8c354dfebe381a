"""The event stream: a viewer's request becomes a viewer of the broadcaster."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from flask import Flask, Response, g, request

from .. import sse
from ..broadcaster import Broadcaster, Viewer
from ..state import ENTRY_KEY, current_state
from .answers import error, set_headers

_RETRY_AFTER_S = 5


def stream() -> Response:
    """Server-Sent Events until either side ends them."""
    state, live = current_state()
    role = g.realtime_monitor_role
    set_headers(Cache_Control="no-store, no-transform", X_Accel_Buffering="no")
    if request.method == "HEAD":
        return _events(())
    if _would_block(request.environ):
        return _events((live.broadcaster.once(role),))
    last_event_id = request.headers.get("Last-Event-ID") or request.args.get("last_event_id", "")
    viewer = Viewer(role, live.viewer(), _Recheck(state.app, request.environ))
    if not live.broadcaster.connect(viewer, last_event_id):
        return error(
            503, "all places for viewers are taken; try again", {"Retry-After": str(_RETRY_AFTER_S)}
        )
    body = _Body(live.broadcaster, viewer)
    answer = _events(body)
    # The generator's own end is not enough: a body that is never begun runs no finally.
    answer.call_on_close(body.close)
    return answer


def _events(body: Iterable[bytes]) -> Response:
    return Response(body, content_type=sse.CONTENT_TYPE)


def _would_block(environ: dict[str, Any]) -> bool:
    """Tell whether the server has no other thread or greenlet for the app's own requests."""
    return not environ.get("wsgi.multithread") or "gunicorn.http2.send_trailers" in environ


class _Body:
    """What the server iterates; however it ends, the viewer is let go."""

    def __init__(self, broadcaster: Broadcaster, viewer: Viewer) -> None:
        self._broadcaster = broadcaster
        self._viewer = viewer

    def __iter__(self) -> Iterator[bytes]:
        return self._viewer.frames()

    def close(self) -> None:
        """The connection is closed."""
        self._broadcaster.leave(self._viewer)


class _Recheck:
    """Asks the gate again, in a request rebuilt from the viewer's own headers."""

    def __init__(self, app: Flask, environ: dict[str, Any]) -> None:
        self._app = app
        self._environ = {
            name: value
            for name, value in environ.items()
            if isinstance(value, str | int | bool) and name != ENTRY_KEY
        }

    def __call__(self) -> bool:
        """Run the app's own before_request hooks and the gate; True where nobody objects."""
        environ: dict[str, Any] = dict(self._environ)
        # The server's own belong to the connection; the app's hooks may look for a body and a
        # form, and Flask's log handler for a place to write to.
        environ.pop("CONTENT_LENGTH", None)
        environ["wsgi.input"] = BytesIO()
        environ["wsgi.errors"] = sys.stderr
        with self._app.request_context(environ):
            return self._app.preprocess_request() is None
