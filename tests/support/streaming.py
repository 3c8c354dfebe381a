"""The app of apps/streaming.py behind a real gunicorn."""

from __future__ import annotations

import json

from .gunicorn_server import GunicornServer
from .wire import Wire

#: The headers of somebody who may watch.
ADMIN = {"X_Role": "admin"}


class StreamingServer(GunicornServer):
    """Serves it, with options of gunicorn's.

    Args:
        has_gate: whether anybody may watch at all.
        settings: of the monitor, without their prefix.
    """

    def __init__(
        self, *options: str, worker: str = "gevent", has_gate: bool = True, **settings: object
    ) -> None:
        named = {f"TESTS_REALTIME_MONITOR_{key}": json.dumps(one) for key, one in settings.items()}
        named["TESTS_HAS_GATE"] = json.dumps(has_gate)
        super().__init__("tests.apps.streaming:app", *options, worker=worker, **named)

    @property
    def viewers(self) -> int:
        """How many watch."""
        return int(json.loads(self.ask("/state")[1])["viewers"])

    def wire(
        self,
        path: str = "/monitor/stream",
        method: str = "GET",
        version: str = "1.1",
        keeps: int = 0,
        **headers: str,
    ) -> Wire:
        """Open the stream, or another path, as somebody who may watch."""
        where = self.address, self.port
        return Wire(where, path, method, version, keeps, **ADMIN, **headers)
