"""The dashboard page."""

from __future__ import annotations

from flask import Response, g, request

from ..cards import CARDS, Reader
from ..state import current_state
from . import ending
from .answers import url_of
from .assets import asset_url
from .html import html_answer, template

_ROLE_WORDS = {
    "view": "Names are masked for you",
    "act": "You may end sessions",
}


def page() -> Response:
    """The dashboard, with the first numbers in its HTML."""
    state, live = current_state()
    role = g.realtime_monitor_role
    picture = live.picture_for(role)
    viewer = live.viewer()
    live.viewer_opened("page", viewer, role)
    home_url = url_of("page")
    html = template("page.html").render(
        app_name=state.app.name,
        cards=CARDS,
        own_cards=state.hooks.cards.sights(Reader(picture)),
        data={card.stem: card.data(picture) for card in CARDS},
        asset=asset_url,
        home_url=home_url,
        app_url=request.script_root + "/",
        role=role,
        role_words=_ROLE_WORDS.get(role, ""),
        me="" if viewer is None else picture.shown_id(viewer.id),
        active_window_s=state.settings.active_window,
        session_timeout_s=state.settings.session_timeout,
        api_url=home_url + "api/v1",
        stream_url=url_of("stream"),
        heartbeat_interval=state.settings.heartbeat_interval,
        token=ending.token(),
    )
    # Who may act has a token in the page. A secret beside text that strangers choose is not to be
    # compressed: the length would tell who listens on the line what they have in common.
    return html_answer(html, may_pack=role != "act")


def home() -> Response:
    """The prefix without its slash: the page is one step further."""
    return Response("", 308, {"Location": url_of("page")})
