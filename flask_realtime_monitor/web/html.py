"""How our pages are made, and under which policy they run."""

from __future__ import annotations

import gzip
from functools import cache

from flask import Response, request
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateSyntaxError

from .. import wording
from .answers import set_headers

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


def html_answer(html: str, *, may_pack: bool = True) -> Response:
    """Return a page of ours, with the policy that all of them have.

    Args:
        may_pack: whether it holds no secret, and may be compressed.
    """
    # What frame-ancestors says, for browsers and scanners that know the older header alone.
    set_headers(Content_Security_Policy=CONTENT_SECURITY_POLICY, X_Frame_Options="DENY")
    answer = Response(html, mimetype="text/html")
    if may_pack:
        answer.vary.add("Accept-Encoding")
        if request.accept_encodings["gzip"]:
            answer.data = gzip.compress(html.encode(), compresslevel=6, mtime=0)
            answer.content_encoding = "gzip"
    return answer


@cache
def template(name: str) -> Template:
    """Return the template of a page of ours."""
    return _environment().get_template(f"realtime_monitor/{name}")


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
    """Return what makes our pages, and the cards on them.

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
