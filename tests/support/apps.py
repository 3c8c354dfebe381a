"""Small apps to try the monitor on."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, abort, request
from flask.testing import FlaskClient

from flask_realtime_monitor import RealtimeMonitor, User
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.testing import strict


class House:
    """An app with a few pages whose visitors say by a header who they are.

    Args:
        is_open: whether the gate lets everybody watch; None sets no gate.
        settings: without their prefix.
    """

    def __init__(self, is_open: bool | None = True, **settings: Any) -> None:
        self.app = app = Flask("house")
        app.secret_key = "of the tests"
        app.config.update({f"REALTIME_MONITOR_{name}": one for name, one in settings.items()})
        self.monitor = monitor = RealtimeMonitor(app)
        strict(app)
        if is_open is not None:
            monitor.authorize(lambda: is_open)

        @monitor.identify
        def who() -> User | None:
            name = request.headers.get("X-User")
            return User(name, request.headers.get("X-Name") or None) if name else None

        @app.get("/")
        def home() -> str:
            return "home"

        @app.get("/item/<name>")
        def item(name: str) -> str:
            return name

        @app.get("/reset/<token>")
        def reset(token: str) -> str:
            return "reset"

        @app.get("/fail")
        def fail() -> Response:
            abort(500)

    @property
    def picture(self) -> Picture:
        """The picture of this process."""
        picture: Picture = self.app.extensions["realtime_monitor"].live.picture
        return picture

    @property
    def client(self) -> FlaskClient:
        """A client without cookies."""
        return self.app.test_client()

    def visit(
        self, path: str = "/", user: str = "", name: str = "", agent: str = "tests", **more: Any
    ) -> int:
        """Make one request; return its status."""
        headers = {"User-Agent": agent, **({"X-User": user, "X-Name": name} if user else {})}
        return self.client.get(path, headers=headers, **more).status_code

    def get(self, path: str, **options: Any) -> Any:
        """Return what an API route answers."""
        return self.client.get(f"/monitor/api/v1/{path}", **options)
