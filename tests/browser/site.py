"""The app behind the browser tests: who asks and who may watch is said by cookies."""

from __future__ import annotations

import os
from threading import Event
from typing import Any

from flask import Flask, abort, redirect, request
from werkzeug.wrappers import Response

from flask_realtime_monitor import RealtimeMonitor, User

app = Flask("site")
app.name = os.environ.get("SITE_NAME", "site")
app.config.update(
    REALTIME_MONITOR_STORE=os.environ.get("STORE", "auto"),
    REALTIME_MONITOR_UPDATE_INTERVAL=0.2,
    REALTIME_MONITOR_HEARTBEAT_INTERVAL=1,
    REALTIME_MONITOR_REAUTHORIZE_INTERVAL=1,
    REALTIME_MONITOR_MAX_VIEWERS=int(os.environ.get("MAX_VIEWERS", "0")),
    REALTIME_MONITOR_WALL_TOKEN=os.environ.get("WALL_TOKEN", "a-wall-for-the-browser-tests"),
)
monitor = RealtimeMonitor(app)
doors = {"are": "open"}
ROLES = {"admin": True, "view": "view", "act": "act"}
gate = Event()


@monitor.authorize
def may_watch() -> bool | str:
    role = request.cookies.get("role")
    return doors["are"] == "open" and ROLES.get(role or "", False)


@monitor.on_end_session
def end(session: dict[str, Any]) -> None:
    if session["user"] and session["user"]["id"].startswith("u-stays"):
        raise LookupError("no such sign-in")


@app.before_request
def sign_in() -> Response | None:
    is_sent_away = doors["are"] == "login" and request.path.startswith("/monitor/")
    return redirect("/page/login") if is_sent_away else None


@monitor.identify
def who() -> User | None:
    name = request.headers.get("X-User")
    shown = request.headers.get("X-Name", "").encode("latin-1").decode(errors="replace")
    return User(name, shown or None) if name else None


@app.get("/")
@app.get("/page/<path:name>")
def page(name: str = "") -> str:
    title = request.headers.get("X-Title")
    if title:
        monitor.annotate(title)
    return name


@app.get("/fail")
def fail() -> str:
    abort(500)


@app.get("/burst")
def burst() -> str:
    raise type("Very" + "Long" * 20 + "Error", (ValueError,), {})


@app.get("/slow")
def slow() -> str:
    Event().wait(5)
    return "at last"


for number in range(10):
    app.add_url_rule(f"/room/{number}", f"room{number}", str)


@app.get("/held")
def held() -> str:
    gate.wait(60)
    return "let go"


@app.post("/release")
@monitor.exempt
def release() -> str:
    gate.set()
    gate.clear()
    return "released"


@app.post("/told/<name>")
def told(name: str) -> str:
    monitor.track(name, **request.args.to_dict())
    return name


@app.post("/forget/<user>")
@monitor.exempt
def forget(user: str) -> str:
    monitor.forget(user)
    return user


@app.post("/doors/<state>")
@monitor.exempt
def door(state: str) -> str:
    doors["are"] = state
    return state


@app.get("/viewers")
@monitor.exempt
def viewers() -> str:
    return str(monitor.get_stats()["viewers"])
