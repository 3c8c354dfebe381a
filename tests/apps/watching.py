"""An app whose gate and people change while somebody watches."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, request
from flask_login import LoginManager, UserMixin, login_user, logout_user

from flask_realtime_monitor import RealtimeMonitor
from flask_realtime_monitor.gates import login_attribute

app = Flask("watching")
app.secret_key = "of the tests"
app.config.update(
    REALTIME_MONITOR_UPDATE_INTERVAL=0.2,
    REALTIME_MONITOR_HEARTBEAT_INTERVAL=1,
    REALTIME_MONITOR_REAUTHORIZE_INTERVAL=float(os.environ.get("REAUTHORIZE_INTERVAL", "0.5")),
    REALTIME_MONITOR_STREAM_MAX_AGE=float(os.environ.get("STREAM_MAX_AGE", "0")),
    REALTIME_MONITOR_RESYNC_INTERVAL=float(os.environ.get("RESYNC_INTERVAL", "0")),
)
monitor = RealtimeMonitor(app, authorize=login_attribute("is_admin"))
admins = {"ann", "bob"}
asked: list[str] = []


class Person(UserMixin):
    """Somebody who may or may not watch."""

    def __init__(self, name: str) -> None:
        self.id = name

    @property
    def is_admin(self) -> bool:
        return self.id in admins


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


@app.post("/demote/<name>")
def demote(name: str) -> str:
    admins.discard(name)
    return name


@app.get("/asked")
def told() -> dict[str, Any]:
    return {"stream": asked.count("/monitor/stream")}
