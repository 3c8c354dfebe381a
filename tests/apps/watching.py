"""An app whose gate and people change while somebody watches."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Any

from flask import Flask, request
from flask_login import LoginManager, UserMixin, login_user, logout_user

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.gates import login_attribute

app = Flask("watching")
app.secret_key = "of the tests"
app.config.update(
    REALTIME_MONITOR_UPDATE_INTERVAL=float(os.environ.get("UPDATE_INTERVAL", "0.2")),
    REALTIME_MONITOR_HEARTBEAT_INTERVAL=1,
    REALTIME_MONITOR_REAUTHORIZE_INTERVAL=float(os.environ.get("REAUTHORIZE_INTERVAL", "0.5")),
    REALTIME_MONITOR_STREAM_MAX_AGE=float(os.environ.get("STREAM_MAX_AGE", "0")),
    REALTIME_MONITOR_RESYNC_INTERVAL=float(os.environ.get("RESYNC_INTERVAL", "0")),
    REALTIME_MONITOR_MAX_VIEWERS=int(os.environ.get("MAX_VIEWERS", "0")),
)
monitor = RealtimeMonitor(app, authorize=login_attribute("is_admin"))
admins = {"ann", "bob", "ann" * 60}  # the last one's id is kept shorter
asked: list[str] = []
mood = {"gate": ""}


class Person(UserMixin):
    """Somebody who may or may not watch."""

    def __init__(self, name: str) -> None:
        self.id = name

    @property
    def is_admin(self) -> bool:
        if mood["gate"] == "hangs":
            time.sleep(3600)
        if mood["gate"] == "raises":
            raise RuntimeError("the gate is broken")
        return self.id in admins


def hand_on(number: int, frame: FrameType | None) -> None:
    """An app's own handler that calls the server's afterwards."""
    if callable(servers):
        servers(number, frame)


def ignore(number: int, frame: FrameType | None) -> None:
    """An app's own handler that forgets to."""


servers = signal.getsignal(signal.SIGTERM)
if own := os.environ.get("OWN_SIGTERM"):
    signal.signal(signal.SIGTERM, getattr(sys.modules[__name__], own))


manager = LoginManager(app)


@manager.user_loader
def load(name: str) -> Person:
    return Person(name)


@app.before_request
def look() -> None:
    """Reads what an app may read of any request, and logs by Flask's own handler."""
    asked.append(request.path)
    request.get_data()
    request.form.get("nothing")
    app.logger.warning("asked")


@app.get("/in/<name>")
def sign_in(name: str) -> str:
    login_user(Person(name))
    return name


@app.get("/out")
def sign_out() -> str:
    logout_user()
    return "out"


@app.get("/out/unrecorded")
@monitor.exempt
def leave() -> str:
    logout_user()
    return "out"


@app.post("/demote/<name>")
def demote(name: str) -> str:
    admins.discard(name)
    return name


@app.post("/gate/<what>")
def change_gate(what: str) -> str:
    mood["gate"] = what
    return what


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/slow/<float:seconds>")
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slow"


@app.get("/spin/<float:seconds>")
def spin(seconds: float) -> str:
    """Let no other greenlet do anything."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass
    return "spun"


@app.get("/asked")
def told() -> dict[str, Any]:
    return {"stream": asked.count("/monitor/stream")}
