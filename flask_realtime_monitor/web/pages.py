"""The dashboard page and its files."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from flask import Response, g, request, url_for
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateSyntaxError

from .. import wording
from ..cards import CARDS, Reader
from ..state import current_state
from . import ending
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
        own_cards=state.hooks.cards.sights(Reader(live.picture)),
        styles=_styles(),
        data={card.stem: card.data(live.picture) for card in CARDS},
        asset=_asset_url,
        home_url=home_url,
        app_url=request.script_root + "/",
        role=g.realtime_monitor_role,
        role_words=_ROLE_WORDS.get(g.realtime_monitor_role, ""),
        me="" if viewer is None else viewer.id,
        active_window_s=state.settings.active_window,
        session_timeout_s=state.settings.session_timeout,
        api_url=home_url + "api/v1",
        stream_url=url_for("realtime_monitor.stream"),
        heartbeat_interval=state.settings.heartbeat_interval,
        token=ending.token(),
    )
    set_headers(Content_Security_Policy=CONTENT_SECURITY_POLICY)
    return Response(html, mimetype="text/html")


@cache
def _template() -> Template:
    return _environment().get_template("realtime_monitor/page.html")


def compiled(text: str) -> Template:
    """Return the template of a card of the app's own.

    Raises:
        ValueError: it is none; the text says why, and in which line.
    """
    try:
        return _environment().from_string(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from error


@cache
def _environment() -> Environment:
    """Return what makes the page, and the cards on it.

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
    return ours


def home() -> Response:
    """The prefix without its slash: the page is one step further."""
    return Response("", 308, {"Location": url_for("realtime_monitor.page")})


def asset(version: str, name: str) -> Response:
    """One of the page's own files; its URL changes with the content of any."""
    file = _all_files().get(name)
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
        answer.data = _packed(file)
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


def _all_files() -> dict[str, bytes]:
    """Return our files, and those of the cards that the app at hand has added."""
    return files() | current_state().state.hooks.cards.files


def _styles() -> list[str]:
    """Return the styles of cards that have any, the app's own last."""
    return [name for name in _all_files() if name.startswith("cards/") and name.endswith(".css")]


@cache
def _packed(file: bytes) -> bytes:
    return gzip.compress(file, mtime=0)


def content_hash() -> str:
    """Return one hash of all files, so that modules may import each other by relative URL."""
    return _hash_of(tuple(_all_files().items()))


@cache
def _hash_of(all_files: tuple[tuple[str, bytes], ...]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name, content in all_files:
        found.update(name.encode() + b"\0" + content + b"\0")
    return found.hexdigest()


def _asset_url(name: str) -> str:
    return url_for("realtime_monitor.asset", version=content_hash(), name=name)
