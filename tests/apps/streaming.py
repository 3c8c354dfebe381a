"""An app to stream from: the environment sets the monitor, a visitor says by headers who it is.

Texts come %-encoded, so that a name may hold what a header may not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Event
from typing import Any
from urllib.parse import unquote

from flask import Flask, redirect, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from flask_realtime_monitor import RealtimeMonitor, User

app = Flask("streaming")
app.config.update(
    REALTIME_MONITOR_UPDATE_INTERVAL=0.2,
    REALTIME_MONITOR_HEARTBEAT_INTERVAL=1,
    REALTIME_MONITOR_STREAM_MAX_AGE=0,
    REALTIME_MONITOR_RESYNC_INTERVAL=0,
    REALTIME_MONITOR_REAUTHORIZE_INTERVAL=1,
)
app.config.from_prefixed_env("TESTS")
monitor = RealtimeMonitor(app)
doors = {"open": True, "signed_in": True, "names": False}

# One proxy in front, as behind nginx; without it the headers are not there.
app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
    app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1
)

if app.config.get("HAS_GATE", True):

    @monitor.authorize
    def may_watch() -> bool | str:
        role = request.headers.get("X-Role") or request.cookies.get("role")
        if role == "view":
            return "reveal" if doors["names"] else "view"
        return doors["open"] and role == "admin"


def text(header: str) -> str:
    return unquote(request.headers.get(header, ""), errors="surrogatepass")


@monitor.identify
def who() -> User | None:
    name = text("X-User")
    return User(name, text("X-Name") or None) if name else None


@app.before_request
def send_to_sign_in() -> Response | None:
    is_guarded = request.path.startswith("/monitor/")
    return None if doors["signed_in"] or not is_guarded else redirect("/sign-in")


@app.get("/")
@app.get("/page/<path:name>")
def page(name: str = "") -> str:
    title = text("X-Title")
    if title:
        monitor.annotate(title)
    return name


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/slow/<name>")
def slow(name: str) -> Response:
    """Say something at once, and the rest when nobody waits any more."""

    def pieces() -> Iterator[str]:
        yield name
        Event().wait(60)
        yield "at last"

    return app.response_class(pieces())


@app.get("/sign-in")
def sign_in() -> str:
    return "<form></form>"


@app.post("/burst/<int:count>/<int:size>")
@monitor.exempt
def burst(count: int, size: int) -> str:
    """Have many visitors do something at once: 100 sessions, and as many activities."""
    client = app.test_client()
    for number in range(count):
        agent = f"visitor {number % 100}"
        long = f"/page/{number}-" + "\N{GRINNING FACE}" * size
        client.get(long, headers={"User-Agent": agent, "X-User": f"user-{number % 100}"})
    return "done"


@app.post("/doors/<name>/<state>")
@monitor.exempt
def door(name: str, state: str) -> str:
    doors[name] = state == "open"
    return state


@app.get("/state")
@monitor.exempt
def state() -> dict[str, Any]:
    return {"viewers": monitor.get_stats()["viewers"]}


@app.get("/test-page")
@monitor.exempt
def test_page() -> str:
    """A page of this origin from which a browser may open a stream."""
    return "<!doctype html><title>test</title>"
