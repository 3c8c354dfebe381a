"""Answers all routes have in common: JSON, errors, refusals, and the headers of our own pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, request, url_for

from ..state import current_state

HEADERS_KEY = "flask_realtime_monitor.headers"

_ALWAYS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def json_answer(payload: Any, status: int = 200) -> Response:
    """Return a payload as JSON."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return Response(text + "\n", status, mimetype="application/json")


def error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error: JSON for API routes, text elsewhere."""
    if is_api():
        answer = json_answer({"error": text}, status)
    else:
        answer = Response(text + "\n", status, mimetype="text/plain")
    answer.headers.update(headers or {})
    return answer


def refusal(status: int, reason: str) -> Response:
    """Return the one answer a stranger gets, whatever was asked for."""
    return error(status, reason or HTTPStatus(status).phrase.lower())


def nothing(**_: str) -> Response:
    """Answer for what is not there."""
    return error(404, "there is nothing here")


def is_api() -> bool:
    """Tell whether the request at hand is for an API route."""
    prefix = current_state().state.settings.url_prefix  # which may have an /api/ itself
    return "/api/" in request.path.removeprefix(prefix)


def url_of(route: str, **arguments: Any) -> str:
    """Return the way to a route of ours, without what the app adds to all of its URLs."""
    return url_for(f"realtime_monitor.{route}", **arguments).partition("?")[0]


def set_headers(**headers: str | None) -> None:
    """Set headers that stand whatever the app's own hooks do to the answer later; None is none."""
    own = request.environ.setdefault(HEADERS_KEY, {})
    own.update({name.replace("_", "-"): value for name, value in headers.items()})


def claim(environ: dict[str, Any]) -> None:
    """Note that a request is ours, which its ``start_response`` asks for."""
    environ.setdefault(HEADERS_KEY, {}).update(_ALWAYS)


def with_own_headers(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a ``start_response`` that has the last word on the headers of what is ours.

    The app's after_request hooks run after ours; an app-wide CORS header, say, would open what
    the gate guards to every site its viewer visits. Of any other answer it changes nothing.
    """
    # Made here, since a middleware may hand a copy of the environ on.
    own: dict[str, str | None] = environ.setdefault(HEADERS_KEY, {})

    def respond(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        if not own:
            return start_response(status, headers, *rest)
        ours = {name.lower() for name in own}
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() not in ours and not name.lower().startswith("access-control-")
        ]
        kept += [(name, value) for name, value in own.items() if value is not None]
        return start_response(status, kept, *rest)

    return respond
