"""The JSON API and the metrics: the picture as it is, nothing computed here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Response, g, request

from .. import filters
from .. import metrics as prometheus
from ..cards import CardFailed, Reader
from ..picture import Picture
from ..state import current_state
from .answers import error, json_answer
from .assets import content_hash

_DEFAULT_LIMIT = 100
_MOST = 1000
_LONGEST_Q = 4000  # longer than any text shown, which folding may make three times as long
_WHOLE = re.compile(r"(-?)0*([0-9]+)")
_DIGITS = 9


def stats() -> Response:
    """The numbers of the whole app."""
    return json_answer(_picture().stats())


def users() -> Response:
    """Users with a session."""
    return _filtered(_picture().users)


def user() -> Response:
    """One user with sessions and newest activities; an id may hold anything, a slash too."""
    found = _picture().user(request.args.get("id", ""))
    return error(404, "no such user") if found is None else json_answer(found)


def sessions() -> Response:
    """Sessions not yet ended."""
    return _filtered(_picture().sessions)


def session(session_id: str) -> Response:
    """One session with its newest activities."""
    found = _picture().session(session_id)
    return no_session(session_id) if found is None else json_answer(found)


def no_session(session_id: str) -> Response:
    """Answer for a session that is not there any more, or never was."""
    ended_at = _picture().ended_at(session_id)
    if ended_at is not None:
        return json_answer({"error": "this session has ended", "ended_at": ended_at}, 404)
    return error(404, "no such session")


def activities() -> Response:
    """The feed."""
    return _filtered(_picture().activities, is_feed=True)


def endpoints() -> Response:
    """Endpoints by traffic."""
    return _list(_picture().endpoints)


def in_flight() -> Response:
    """Requests that have not ended."""
    return _list(_picture().in_flight)


def workers() -> Response:
    """The workers of this picture."""
    return _list(_picture().workers)


def health() -> Response:
    """Whether the monitor itself is well, and which version of the page there is now."""
    return json_answer({**_picture().health(), "page": content_hash()})


def card(stem: str) -> Response:
    """What the data function of one of the app's own cards gives."""
    cards = current_state().state.hooks.cards
    if stem not in cards:
        return error(404, "no such card")
    try:
        return json_answer(cards.data(stem, Reader(_picture())))
    except CardFailed:
        return error(500, "this card failed; the app's log says why")


def metrics() -> Response:
    """Prometheus text."""
    text = prometheus.render(current_state().live.picture)
    return Response(text, content_type=prometheus.CONTENT_TYPE)


def _picture() -> Picture:
    """Return the picture as it is shown to whoever asks."""
    return current_state().live.picture_for(g.realtime_monitor_role)


def _filtered(read: Callable[..., dict[str, Any]], is_feed: bool = False) -> Response:
    """Answer a list that may be asked for by its values."""
    try:
        only = filters.read(request.args, is_feed)
    except ValueError as wrong:
        return error(400, str(wrong))
    return _list(partial(read, only=only))


def _list(read: Callable[..., dict[str, Any]]) -> Response:
    text = request.args.get("limit", str(_DEFAULT_LIMIT))
    found = _WHOLE.fullmatch(text)
    if found is None:
        return error(400, f"limit is a whole number from 1 to {_MOST}")
    sign, digits = found.groups()
    limit = int(sign + digits[:_DIGITS])  # more are beyond the most, or the least
    q = request.args.get("q", "").strip()[:_LONGEST_Q]
    return json_answer(read(limit=max(1, min(limit, _MOST)), q=q))
