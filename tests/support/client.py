"""Requests to a server of the tests, whatever it is."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from .waiting import DEADLINE_S


class Client:
    """Asks the server at ``address`` and ``port``."""

    address: str
    port: int

    def connect(self) -> HTTPConnection:
        """Return a connection that is not open yet."""
        return HTTPConnection(self.address, self.port, timeout=DEADLINE_S)

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Make one request, headers named with underscores; return status and body."""
        answer, connection = self.open(path, method, body, **headers)
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def open(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[HTTPResponse, HTTPConnection]:
        """Make one request and leave its answer unread."""
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"User-Agent": "tests", **named})
        return connection.getresponse(), connection

    def json(self, path: str, **headers: str) -> Any:
        """Return what an API route answers."""
        return json.loads(self.ask(f"/monitor/api/v1/{path}", **headers)[1])
