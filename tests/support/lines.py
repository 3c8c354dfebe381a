"""Kept connections, each to one worker: so a test can say who answers."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

from .gunicorn_server import GunicornServer
from .waiting import DEADLINE_S, wait_until

ADMIN = {"X-Admin": "yes"}


class Line:
    """A connection that stays with the worker that took it."""

    def __init__(self, server: GunicornServer) -> None:
        self._connection = HTTPConnection(server.address, server.port, timeout=DEADLINE_S)
        self._cookie = ""
        self.pid = int(self.get("/pid", agent="who-answers"))

    def get(self, path: str, agent: str = "tests", **headers: str) -> str:
        """Make one request, with the cookies that were set before; return the body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._cookie:
            named["Cookie"] = self._cookie
        self._connection.request("GET", path, headers={"User-Agent": agent, **named})
        answer = self._connection.getresponse()
        body = answer.read().decode()
        cookie = answer.getheader("Set-Cookie")
        if cookie is not None:
            self._cookie = cookie.partition(";")[0]
        return body

    def share_cookie(self, other: Line) -> None:
        """Be the same browser as another line."""
        self._cookie = other._cookie

    def api(self, path: str) -> Any:
        """Return what an API route answers."""
        self._connection.request(
            "GET", f"/monitor/api/v1/{path}", headers={"User-Agent": "admin", **ADMIN}
        )
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def line_to_each(server: GunicornServer) -> list[Line]:
    """Return a line to each worker, by pid."""
    lines: dict[int, Line] = {}

    def has_all() -> bool:
        line = Line(server)
        if line.pid in lines:
            line.close()
        else:
            lines[line.pid] = line
        pids = server.workers()
        return len(pids) == server.worker_count and set(lines) >= set(pids)

    wait_until(has_all, f"a line to each of {server.workers()}")
    return [lines[pid] for pid in sorted(lines)]
