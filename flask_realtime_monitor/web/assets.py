"""The page's own files, and the one hash that all their URLs hold."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from functools import cache
from pathlib import Path

from flask import Response, request

from ..state import current_state
from .answers import error, set_headers, url_of
from .html import CONTENT_SECURITY_POLICY

STATIC = Path(__file__).parent.parent / "static"
#: A worker's policy is that of its own script, not of the page; a picture may be opened by itself.
_PICTURE = "default-src 'none'; frame-ancestors 'none'"
_POLICIES = {
    "worker.js": CONTENT_SECURITY_POLICY,
    **dict.fromkeys(("icon.svg", "icon-cut.svg", "icon-ended.svg"), _PICTURE),
}
#: Modules are UTF-8 by themselves, all else in the page by the page.
_TYPES = {".js": "text/javascript", ".css": "text/css"}
#: A comment behind code, with what is before it on its line: no quote that is still open.
_COMMENT = re.compile(
    r"""^((?:[^"'`/\n]|"[^"\n]*"|'[^'\n]*'|`[^`\n]*`|/(?![/*]))*\S)[ \t]+//.*$""", re.M
)
#: Signs that need no space around them; between strings alone.
_TIGHT = {
    ".js": re.compile(r" ?(=>|[!=]==|&&|\|\||\?\?|[=?:,{}();<>]) ?"),
    ".css": re.compile(r"\s*((?<=[\w-]):(?= )|[{};,>])\s*"),
}
_STRING = re.compile(r"""("[^"\n]*"|'[^'\n]*')""")


def asset(version: str, name: str) -> Response:
    """One of the page's own files; its URL changes with the content of any."""
    file = _all_files().get(name)
    if file is None or version != content_hash():
        return error(404, "there is nothing here")
    set_headers(Cache_Control="private, max-age=31536000, immutable")
    if name in _POLICIES:
        set_headers(Content_Security_Policy=_POLICIES[name])
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


def asset_url(name: str) -> str:
    """Return the URL of one of them."""
    return url_of("asset", version=content_hash(), name=name)


@cache
def files() -> dict[str, bytes]:
    """Return every file of ours by its name; read once, so no path is ever followed."""
    return {
        path.relative_to(STATIC).as_posix(): _lean(path)
        for path in sorted(STATIC.rglob("*"))
        if path.is_file()
    }


def _lean(path: Path) -> bytes:
    """Return a file without what only its readers need: comments, indents and spaces."""
    if path.suffix not in _TIGHT:
        return path.read_bytes()
    text = re.sub(r"^[ \t]*/\*.*?\*/[ \t]*\n", "", path.read_text("utf-8"), flags=re.M | re.S)
    if path.suffix == ".js":
        text = re.sub(r"^[ \t]*//.*\n", "", text, flags=re.M)
        text = _COMMENT.sub(r"\1", text)
    else:
        text = re.sub(r" /\*.*?\*/", "", text)
    text = re.sub(r"^[ \t]+|^\n", "", text, flags=re.M)
    return "".join(_tight(line, path.suffix) for line in text.splitlines(keepends=True)).encode()


def _tight(line: str, suffix: str) -> str:
    """Return a line without spaces around its signs; what stands in quotes is as it was."""
    if suffix == ".js" and ("`" in line or "/" in line):
        return line  # a template, or perhaps a regular expression
    parts = _STRING.split(line)
    parts[::2] = [_TIGHT[suffix].sub(r"\1", one) for one in parts[::2]]
    return "".join(parts)


def content_hash() -> str:
    """Return one hash of all files, so that modules may import each other by relative URL."""
    return _hash_of(tuple(_all_files().items()))


def _all_files() -> dict[str, bytes]:
    """Return our files, and those of the cards that the app at hand has added."""
    return _with_sheet(tuple(current_state().state.hooks.cards.files.items()))


@cache
def _with_sheet(own: tuple[tuple[str, bytes], ...]) -> dict[str, bytes]:
    """Return all files, and ``page.css``: the styles of the page and its cards, the app's last."""
    found = files() | dict(own)
    cards = [
        content
        for name, content in found.items()
        if name.startswith("cards/") and name.endswith(".css")
    ]
    return {**found, "page.css": b"\n".join((found["style.css"], *cards))}


@cache
def _packed(file: bytes) -> bytes:
    return gzip.compress(file, mtime=0)


@cache
def _hash_of(all_files: tuple[tuple[str, bytes], ...]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for name, content in all_files:
        found.update(name.encode() + b"\0" + content + b"\0")
    return found.hexdigest()
