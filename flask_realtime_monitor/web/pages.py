"""The dashboard page and its files."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from flask import Response, g, request, url_for
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from .. import wording
from ..cards import CARDS
from ..state import current_state
from .answers import error, set_headers

STATIC = Path(__file__).parent.parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

_ROLE_WORDS = {
    "view": "Names are masked for you",
    "act": "You may end sessions",
}

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types realtime-monitor",
    )
)


def page() -> Response:
    """The dashboard, with the first numbers in its HTML."""
    state, live = current_state()
    viewer = live.viewer()
    live.viewer_opened("page", viewer, g.realtime_monitor_role)
    home_url = url_for("realtime_monitor.page")
    html = _template().render(
        app_name=state.app.name,
        cards=CARDS,
        data={card.stem: card.data(live.picture) for card in CARDS},
        asset=_asset_url,
        home_url=home_url,
        role=g.realtime_monitor_role,
        role_words=_ROLE_WORDS.get(g.realtime_monitor_role, ""),
        me="" if viewer is None else viewer.id,
        active_window_s=state.settings.active_window,
        session_timeout_s=state.settings.session_timeout,
        api_url=home_url + "api/v1",
        stream_url=url_for("realtime_monitor.stream"),
        heartbeat_interval=state.settings.heartbeat_interval,
    )
    set_headers(Content_Security_Policy=CONTENT_SECURITY_POLICY)
    answer = Response(html, mimetype="text/html")
    # Who may act has a token in the page. A secret beside text that strangers choose is not to be
    # compressed: the length would tell who listens on the line what they have in common.
    if g.realtime_monitor_role != "act":
        answer.vary.add("Accept-Encoding")
        if request.accept_encodings["gzip"]:
            answer.data = gzip.compress(html.encode(), mtime=0)
            answer.content_encoding = "gzip"
    return answer


@cache
def _template() -> Template:
    """Return the page's template.

    Jinja, but not the app's: its context processors may ask a database on every page.
    """
    ours = Environment(
        loader=PackageLoader("flask_realtime_monitor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ours.filters.update(
        age=wording.age,
        clock_time=wording.clock_time,
        datum=wording.datum,
        device=wording.device,
        milliseconds=wording.milliseconds,
        number=wording.number,
        visible=wording.visible,
    )
    ours.globals["person"] = wording.person
    return ours.get_template("realtime_monitor/page.html")


def home() -> Response:
    """The prefix without its slash: the page is one step further."""
    return Response("", 308, {"Location": url_for("realtime_monitor.page")})


def asset(version: str, name: str) -> Response:
    """One of the page's own files; its URL changes with the content of any."""
    file = files().get(name)
    if file is None or version != content_hash():
        return error(404, "there is nothing here")
    # A worker's policy is that of its own script, not of the page.
    set_headers(
        Cache_Control="private, max-age=31536000, immutable",
        Content_Security_Policy=CONTENT_SECURITY_POLICY,
    )
    kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    answer = Response(file, content_type=kind or "application/octet-stream")
    answer.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        answer.data = _packed(name)
        answer.content_encoding = "gzip"
        version += "-gzip"
    answer.set_etag(version)
    answer.make_conditional(request)
    return answer


@cache
def files() -> dict[str, bytes]:
    """Return every file of the page by its name; read once, so no path is ever followed."""
    return {
        path.relative_to(STATIC).as_posix(): path.read_bytes()
        for path in sorted(STATIC.rglob("*"))
        if path.is_file()
    }


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(files()[name], mtime=0)


@cache
def content_hash() -> str:
    """Return one hash of all files, so that modules may import each other by relative URL."""
    found = hashlib.blake2b(digest_size=8)
    for name, content in files().items():
        found.update(name.encode() + b"\0" + content + b"\0")
    return found.hexdigest()


def _asset_url(name: str) -> str:
    return url_for("realtime_monitor.asset", version=content_hash(), name=name)
