"""The blueprint: every route behind the one gate.

Rules take every method and a catch-all stands last, so that the gate is asked before Flask can
answer 405, 404 or a slash redirect by itself: a stranger learns nothing from the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState

from ..access import WALL, Verdict
from ..recorders import Entry
from ..state import ENTRY_KEY, Live, current_state
from . import answers, api, assets, ending, pages, rules, stream, wall
from .forgery import exempt

NAME = "realtime_monitor"
_View = Callable[..., Response]

#: Under the prefix; the first that fits wins, and the last fits all.
ROUTES: tuple[tuple[str, str, _View], ...] = (
    ("/", "page", pages.page),
    ("/stream", "stream", stream.stream),
    ("/metrics", "metrics", api.metrics),
    ("/assets/<version>/<path:name>", "asset", assets.asset),
    ("/wall/<token>", "wall", wall.page),
    ("/wall/<token>/stream", "wall_stream", wall.events),
    ("/wall/<token>/assets/<version>/<path:name>", "wall_asset", wall.asset),
    ("/api/v1/stats", "stats", api.stats),
    ("/api/v1/users", "users", api.users),
    ("/api/v1/user", "user", api.user),
    ("/api/v1/sessions", "sessions", api.sessions),
    ("/api/v1/sessions/<session_id>", "session", api.session),
    ("/api/v1/sessions/<session_id>/end", "end_session", ending.end_session),
    ("/api/v1/activities", "activities", api.activities),
    ("/api/v1/endpoints", "endpoints", api.endpoints),
    ("/api/v1/in-flight", "in_flight", api.in_flight),
    ("/api/v1/workers", "workers", api.workers),
    ("/api/v1/health", "health", api.health),
    ("/api/v1/cards/<stem>", "card", api.card),
    ("/<path:_>", "nothing", answers.nothing),
)
_NOTHING = f"{NAME}.nothing"
_READING = ("GET", "HEAD")
_WALL = frozenset(f"{NAME}.{name}" for path, name, _ in ROUTES if path.startswith("/wall/"))


def blueprint(url_prefix: str) -> Blueprint:
    """Return the blueprint, to be registered on one app."""
    made = Blueprint(NAME, __package__)
    made.url_value_preprocessor(_recognise)
    made.before_request(_gate)
    made.url_defaults(_this_host)

    def add_rules(setup: BlueprintSetupState) -> None:
        app = cast(Flask, setup.app)  # an App of Flask's is a Flask, typed more loosely

        def add(path: str, endpoint: str, view: _View, **options: Any) -> None:
            methods = ("POST",) if view is ending.end_session else _READING
            rules.add(app, url_prefix + path, endpoint, _answering(view), methods, **options)

        for path, name, view in ROUTES:
            add(path, f"{NAME}.{name}", view)
        add("", f"{NAME}.home", pages.home)
        # A websocket's handshake fits no other rule; that it fails would tell that we are here.
        for path in ("", "/", "/<path:_>"):
            add(path, _NOTHING, answers.nothing, websocket=True)

    made.record_once(add_rules)
    return made


def _this_host(_: str, values: dict[str, Any]) -> None:
    """Where the app's rules are told apart by host, let our URLs be those of the host at hand."""
    if current_app.url_map.host_matching and request:
        values.setdefault("_host", request.host.lower())


def _recognise(_: str | None, __: dict[str, Any] | None) -> None:
    """Make a request of ours one that is not recorded, with headers that are ours.

    Flask calls this before the app's own ``before_request`` hooks, one of which may answer. That it
    is ours can be seen here alone: a path may be another within the app's middlewares, and the app
    may have routes of its own under our prefix.
    """
    environ, state = request.environ, current_state().state
    entry = environ.get(ENTRY_KEY)
    g.realtime_monitor_since_s = time.monotonic()
    if entry is not None and entry.recorder is state.live.requests:
        g.realtime_monitor_since_s = entry.started_s
        del environ[ENTRY_KEY]
        state.guard.wrap(_leave_out)(state.live, entry)
        entry.respond = answers.with_own_headers(environ, entry.respond)
    answers.claim(environ)
    state.guard.wrap(exempt)(state.app, NAME)


def _leave_out(live: Live, entry: Entry) -> None:
    live.requests.leave_out(entry)
    live.sharing.begin()  # a worker that only shows the picture is one of it, too


def _gate() -> Response | None:
    """Refuse whoever may not watch."""
    state, _ = current_state()
    if request.environ.get("wsgi.multiprocess"):
        state.is_one_of_many = True
    if request.endpoint == f"{NAME}.metrics" and state.access.opens_metrics(
        request.headers.get("Authorization")
    ):
        g.realtime_monitor_role = None
        return None
    if request.endpoint in _WALL and state.access.opens_wall((request.view_args or {})["token"]):
        # Whoever the cookies say it is: the address decides, and the gate is not asked.
        verdict = Verdict(WALL)
    else:
        verdict = state.access.ask()
    if verdict.role is None:
        return answers.refusal(verdict.status, verdict.reason if state.app.debug else "")
    if _is_from_elsewhere():
        return answers.refusal(
            403,
            "another site's page asked for this (Sec-Fetch-Site)" if state.app.debug else "",
        )
    g.realtime_monitor_role = verdict.role
    return None


def _is_from_elsewhere() -> bool:
    """Tell whether another site's page is reading here, with its visitor's cookies.

    A link from elsewhere that opens the dashboard is a navigation, and harmless.
    """
    headers = request.headers
    is_navigation = headers.get("Sec-Fetch-Mode") == "navigate"
    return headers.get("Sec-Fetch-Site") == "cross-site" and not is_navigation


def _answering(view: _View) -> _View:
    """Let a view answer GET and HEAD alone, and turn its faults into a plain 500.

    One view does something: it answers POST, where there is anything it may do.
    """

    def answer(_host: str | None = None, **arguments: Any) -> Response:
        methods: tuple[str, ...] = _READING
        if view is ending.end_session:
            if ending.is_open():
                methods = ("POST",)
            elif request.method == "POST":
                return answers.nothing()
        if request.method not in methods:
            allowed = {"Allow": ", ".join(methods)}
            return answers.error(405, f"only {' and '.join(methods)}", allowed)
        try:
            return view(**arguments)
        except Exception as error:  # a fault of ours shows no stack to anybody
            current_state().state.guard.failed(f"view {request.endpoint}", error)
            return answers.error(500, "the monitor failed here; the app's log says why")

    answer._realtime_monitor_exempt = True  # type: ignore[attr-defined]
    return answer
