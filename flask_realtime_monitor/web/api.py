"""The JSON API and the metrics: the picture as it is, nothing computed here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flask import Response, request

from .. import metrics as prometheus
from ..cards import CardFailed, Reader
from ..state import current_state
from .answers import error, json_answer

_DEFAULT_LIMIT = 100
_MOST = 1000
_LONGEST_Q = 200
_WHOLE = re.compile(r"-?[0-9]+")
_DIGITS = 9


def stats() -> Response:
    """``stats`` of the contract."""
    return json_answer(current_state().live.picture.stats())


def users() -> Response:
    """Users with a session."""
    return _list(current_state().live.picture.users)


def sessions() -> Response:
    """Sessions not yet ended."""
    return _list(current_state().live.picture.sessions)


def session(session_id: str) -> Response:
    """One session with its newest activities."""
    picture = current_state().live.picture
    found = picture.session(session_id)
    if found is not None:
        return json_answer(found)
    ended_at = picture.ended_at(session_id)
    if ended_at is not None:
        return json_answer({"error": "this session has ended", "ended_at": ended_at}, 404)
    return error(404, "no such session")


def activities() -> Response:
    """The feed."""
    return _list(current_state().live.picture.activities)


def endpoints() -> Response:
    """Endpoints by traffic."""
    return _list(current_state().live.picture.endpoints)


def in_flight() -> Response:
    """Requests that have not ended."""
    return _list(current_state().live.picture.in_flight)


def workers() -> Response:
    """The workers of this picture."""
    return _list(current_state().live.picture.workers)


def health() -> Response:
    """Whether the monitor itself is well."""
    return json_answer(current_state().live.picture.health())


def card(stem: str) -> Response:
    """What the data function of one of the app's own cards gives."""
    state, live = current_state()
    cards = state.hooks.cards
    if stem not in cards:
        return error(404, "no such card")
    try:
        return json_answer(cards.data(stem, Reader(live.picture)))
    except CardFailed:
        return error(500, "this card failed; the app's log says why")


def metrics() -> Response:
    """Prometheus text."""
    text = prometheus.render(current_state().live.picture)
    return Response(text, content_type=prometheus.CONTENT_TYPE)


def _list(read: Callable[..., dict[str, Any]]) -> Response:
    text = request.args.get("limit", str(_DEFAULT_LIMIT))
    if not _WHOLE.fullmatch(text):
        return error(400, f"limit is a whole number from 1 to {_MOST}")
    limit = int(text[:_DIGITS])  # more digits are more than the most, or less than the least
    q = request.args.get("q", "").strip()[:_LONGEST_Q]
    return json_answer(read(limit=max(1, min(limit, _MOST)), q=q))
