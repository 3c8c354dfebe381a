"""The wall: a page for a screen that many see, at an address that opens it and nothing else.

It knows no viewer: no cookie, header or parameter makes it show more than totals.
"""

from __future__ import annotations

from flask import Response, g

from ..access import WALL
from ..state import current_state
from ..totals import Totals
from . import stream
from .answers import nothing, url_of
from .assets import asset as any_asset
from .assets import content_hash
from .html import html_answer, template

#: What the page needs of the dashboard's files.
FILES = frozenset(
    {
        *("early.js", "wall.css", "wall.js", "icon.svg"),
        *("chart.js", "connection.js", "dom.js", "format.js", "model.js", "sse.js"),
    }
)


def page(token: str) -> Response:
    """The totals, big."""
    if g.realtime_monitor_role != WALL:
        return nothing()
    state, live = current_state()
    live.viewer_opened("page", None, WALL)

    def asset_url(name: str) -> str:
        version = content_hash()
        return url_of("wall_asset", token=token, version=version, name=name)

    html = template("wall.html").render(
        app_name=state.app.name,
        asset=asset_url,
        stream_url=url_of("wall_stream", token=token),
        heartbeat_interval=state.settings.heartbeat_interval,
        stats=Totals(live.picture).snapshot()["stats"],
    )
    return html_answer(html)


def events(token: str) -> Response:
    """The totals as Server-Sent Events."""
    return stream.stream() if g.realtime_monitor_role == WALL else nothing()


def asset(token: str, version: str, name: str) -> Response:
    """One of the page's own files."""
    is_open = g.realtime_monitor_role == WALL and name in FILES
    return any_asset(version, name) if is_open else nothing()
