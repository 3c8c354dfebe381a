"""Tells a request that our own page made from one that another site forged.

A browser says where a request comes from (``Sec-Fetch-Site``; older ones ``Origin``), which no page
can make up, and only our page has the viewer's token. A form can send neither header nor token of
ours, whatever its content type.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, request

TOKEN_HEADER = "X-Monitor-Token"


def is_from_here() -> bool:
    """Tell whether the browser says that a page of this very origin makes the request at hand."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    # The scheme is left out: behind a proxy the app may not know its own.
    try:
        origin = urlsplit(request.headers.get("Origin", "")).netloc
    except ValueError:
        return False
    host: str = request.environ.get("HTTP_HOST", "")
    return bool(origin) and origin.casefold() == host.casefold()


def exempt(app: Flask, blueprint: str) -> None:
    """Tell Flask-WTF's CSRFProtect, where the app has it, that we look after ourselves.

    Its token is the app's, and our page has its own. The rest of the app is protected as before.
    Called with each request of ours, too, since CSRFProtect may be set up after us.
    """
    csrf = app.extensions.get("csrf")
    if csrf is None:
        return
    try:
        from flask_wtf import CSRFProtect
    except ImportError:
        return
    if isinstance(csrf, CSRFProtect):
        csrf.exempt(app.blueprints[blueprint])
