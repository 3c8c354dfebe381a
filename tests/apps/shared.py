"""An app whose visitors sign in and out, to be served by several workers."""

from __future__ import annotations

import multiprocessing
import os
from threading import Event

from flask import Flask, request
from flask_login import LoginManager, UserMixin, login_user, logout_user

from flask_realtime_monitor import RealtimeMonitor


class Person(UserMixin):  # type: ignore[misc]
    """Somebody whose name is also the id."""

    def __init__(self, name: str) -> None:
        self.id = name


def create_app(store: str = "auto") -> tuple[Flask, RealtimeMonitor]:
    """Return the app and its monitor; ``X-Admin: yes`` opens the gate.

    ``APP_NAME`` tells one from others that run at the same time.
    """
    app = Flask(os.environ.get("APP_NAME", "shared"))
    app.secret_key = "of the tests"
    app.config["REALTIME_MONITOR_STORE"] = store
    for name, value in os.environ.items():
        if name.startswith("REALTIME_MONITOR_"):
            app.config[name] = float(value)
    monitor = RealtimeMonitor(app, authorize=lambda: request.headers.get("X-Admin") == "yes")
    manager = LoginManager(app)
    manager.user_loader(Person)

    @manager.request_loader
    def by_header(asked: object) -> Person | None:
        name = request.headers.get("X-User")
        return Person(name) if name else None

    @app.before_request
    def know() -> None:
        if "X-User" in request.headers:
            manager._load_user()

    @app.get("/")
    def home() -> str:
        return "home"

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.get("/page/<name>")
    def page(name: str) -> str:
        return name

    @app.get("/in/<name>")
    def sign_in(name: str) -> str:
        login_user(Person(name))
        return "in"

    @app.get("/out")
    def sign_out() -> str:
        logout_user()
        return "out"

    @app.get("/forget")
    def forget() -> str:
        monitor.forget(request.args["name"])
        return "forgotten"

    @app.get("/slow")
    def slow() -> str:
        Event().wait(1.5)
        return "slow"

    @app.get("/until-there-is/<path:file>")
    def until_there_is(file: str) -> str:
        while not os.path.exists(f"/{file}"):
            Event().wait(0.05)
        return "there"

    @app.get("/fork")
    def fork() -> str:
        """Leave a child behind that does something else, as ``multiprocessing`` does."""
        child = multiprocessing.get_context("fork").Process(target=Event().wait, args=(120,))
        child.start()
        return str(child.pid)

    @app.get("/fail")
    def fail() -> str:
        raise ValueError("on purpose")

    return app, monitor


def served() -> Flask:
    """Return the app as a server loads it; ``STORE`` names its store."""
    return create_app(os.environ.get("STORE", "auto"))[0]
