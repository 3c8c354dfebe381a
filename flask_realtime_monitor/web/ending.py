"""Ending a session: the one request of ours that does something."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from flask import Response, g, request

from ..errors import MonitorError
from ..models import User
from ..state import Live, State, current_state
from .answers import error, json_answer, nothing
from .api import no_session
from .forgery import TOKEN_HEADER, is_from_here

Json = dict[str, Any]


def is_open() -> bool:
    """Tell whether who is asking may end sessions: by the role, and because the app can do it."""
    return (
        g.realtime_monitor_role == "act" and current_state().state.hooks.on_end_session is not None
    )


def token() -> str | None:
    """Return what the page sends back as proof that it is ours; None where there is no use."""
    if not is_open():
        return None
    live = current_state().live
    try:
        return live.tokens.make(_id(live.viewer()))
    except MonitorError:
        return None  # the page is as good without the button


def end_session(session_id: str) -> Response:
    """Let the app's own hook sign the person out, then end the session in every worker."""
    if not is_open():
        return nothing()
    state, live = current_state()
    viewer = live.viewer()
    refusal = _refusal(live, viewer)
    if refusal is not None:
        return refusal
    found = live.picture.session(session_id)
    if found is None:
        return no_session(session_id)
    mine = object()
    if live.being_ended.setdefault(found["id"], mine) is not mine:
        return error(409, "this session is being ended already")
    try:
        kind = _sign_out(state, found)
    finally:
        del live.being_ended[found["id"]]
    if kind is not None:
        return error(
            500, f"on_end_session raised {kind}: the session goes on; the app's log says why"
        )
    return json_answer({"ended_at": live.end_session(found, viewer)})


def _refusal(live: Live, viewer: User | None) -> Response | None:
    """Refuse what another site's page may have sent in the viewer's name."""
    if not is_from_here():
        return error(403, "only the dashboard itself may ask for this")
    try:
        if live.tokens.fits(request.headers.get(TOKEN_HEADER, ""), _id(viewer)):
            return None
    except MonitorError:
        return error(503, "the store does not answer; try again")
    return error(403, "the page is too old, or was opened by somebody else; load it again")


def _sign_out(state: State, session: Json) -> str | None:
    """Run the app's hook; return what kind of exception it raised, None where all is well."""
    hook = state.hooks.on_end_session
    try:
        if hook is not None:
            hook(deepcopy(session))  # the picture's own stays as it is, whatever is done to this
    except Exception as error_of_the_app:
        kind = type(error_of_the_app).__name__
        state.logger.exception("on_end_session raised %s: session %s goes on", kind, session["id"])
        return kind
    return None


def _id(viewer: User | None) -> str | None:
    return None if viewer is None else viewer.id
