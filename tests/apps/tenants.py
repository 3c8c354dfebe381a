"""Two apps of one factory, side by side in every worker; the environment gives their prefixes."""

from __future__ import annotations

import os

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flask_realtime_monitor import RealtimeMonitor

monitor = RealtimeMonitor(authorize=lambda: True)


def create_app(prefix: str | None) -> Flask:
    made = Flask(__name__)
    made.config["REALTIME_MONITOR_STORE_PREFIX"] = prefix
    made.config["REALTIME_MONITOR_FLUSH_INTERVAL"] = 0.1
    monitor.init_app(made)
    made.add_url_rule("/<name>", "page", lambda name: name)
    return made


prefixes = os.environ.get("PREFIXES", ",").split(",")
one, two = (create_app(prefix or None) for prefix in prefixes)
app = DispatcherMiddleware(one, {"/two": two})
