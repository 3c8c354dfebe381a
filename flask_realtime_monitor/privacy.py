"""What may be kept of a request: masking, redaction, cutting. No Flask, no state but caches."""

from __future__ import annotations

import fnmatch
import glob
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

MAX_TEXT = 256
MAX_NAME = 128
MAX_DATA_KEYS = 16
UNPRINTABLE = "<unprintable>"
_DEEPEST = 4
_PLAIN = (str, int, float, bool, type(None))

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_WITH_PORT = re.compile(r"\[(?P<ipv6>[^]]+)\](:[0-9]+)?|(?P<ipv4>[0-9.]+):[0-9]+")
#: One variable part of a rule, whose name is its group. As Werkzeug reads it: a converter's
#: arguments may hold anything, so that only a bracket before the colon ends them.
_VARIABLE = re.compile(r"<(?:[a-zA-Z_][a-zA-Z0-9_]*(?:\(.*?\))?:)?([a-zA-Z_][a-zA-Z0-9_]*)>")
_SLASHES = re.compile("//+")


def clean(value: Any, most: int = MAX_TEXT) -> str:
    """Return a value as text that JSON can carry, cut with an ellipsis at ``most`` characters.

    A lone surrogate becomes one U+FFFD. An object whose ``str()`` fails becomes ``<unprintable>``.
    """
    text = value if type(value) is str else _text_of(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def kept_id(value: Any) -> str:
    """Return a user's id as it is kept, at most 128 characters; of a kept id, the id itself.

    A longer one ends in a hash of the whole, so that two with the same beginning stay two people.
    Whoever records an id, or is given one to compare, asks here.
    """
    text = value if type(value) is str else _text_of(value)
    if len(text) > MAX_NAME:
        whole = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        text = f"{text[: MAX_NAME - 1 - len(whole)]}…{whole}"
    return clean(text)


def _text_of(value: Any) -> str:
    try:
        text = str(value)
        return text if type(text) is str else str.__str__(text)
    except Exception:  # a foreign object's __str__ may raise anything at all
        return UNPRINTABLE


def from_wire(text: str) -> str:
    """Return a WSGI text (bytes decoded as latin-1, PEP 3333) as the UTF-8 it was."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def pack_ip(address: str) -> bytes:
    """Return an address as 4 or 16 bytes, none where it is none (a Unix socket, a forged header).

    A zone is cut off, and so is the port that some proxies append. An IPv4 address mapped into
    IPv6 is IPv4.
    """
    if ":" in address and (ported := _WITH_PORT.fullmatch(address)):
        address = ported["ipv6"] or ported["ipv4"]
    try:
        if ":" not in address:
            return socket.inet_pton(socket.AF_INET, address)
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return b""
    return packed[12:] if packed.startswith(_MAPPED) else packed


def masked(packed: bytes, mode: str) -> bytes:
    """Return a packed address as ``mode`` lets it be kept: "full", "masked" or "off".

    Masked, IPv4 is its /24 in 4 bytes and IPv6 its /48 in 6.
    """
    if mode == "full" or not packed:
        return packed
    if mode == "off":
        return b""
    return packed[:3] + b"\0" if len(packed) == 4 else packed[:6]


def visitor_part(packed: bytes, address: str) -> bytes:
    """Return what of an address tells visitors apart: IPv4 whole, IPv6 its /64, else the text."""
    if not packed:
        return address[:MAX_TEXT].encode("utf-8", "surrogatepass")
    return packed if len(packed) == 4 else packed[:8]


class Names:
    """Case-insensitive shell patterns of names, such as ``*token*``, with a bounded cache."""

    def __init__(self, patterns: Iterable[str]) -> None:
        joined = "|".join(fnmatch.translate(pattern.lower()) for pattern in patterns)
        self._match = re.compile(joined).match if joined else None
        self._cache: dict[str, bool] = {}

    def __contains__(self, name: str) -> bool:
        known = self._cache.get(name)
        if known is None:
            if len(self._cache) >= 4096:
                self._cache.clear()
            known = self._cache[name] = bool(self._match and self._match(name.lower()))
        return known


class _Near(NamedTuple):
    """What paths with a secret look like, and what is shown for them."""

    shown: str
    pattern: re.Pattern[str]


class Redactor:
    """Turns what a request brought into what may be kept of it."""

    def __init__(self, redact: Iterable[str], query_string: Iterable[str]) -> None:
        self._secret = Names(redact)
        self._kept_query = frozenset(query_string)
        self._secret_arguments: dict[str, bool] = {}
        self._near: list[_Near] = []
        self._has_learnt = False

    def path(self, path: str, rule: str | None, arguments: Mapping[str, Any] | None) -> str:
        """Return the path to keep; a view argument with a secret's name shows as ``<name>``."""
        if rule is None:
            if self._near:
                # As Werkzeug reads it, which answers with the way to where it meant.
                merged = _SLASHES.sub("/", path).rstrip("/")
                for near in self._near:
                    if near.pattern.match(merged):
                        return clean(near.shown)
        elif self.hides_in(rule):
            # The app may have taken arguments away (url_value_preprocessor), and shows none then.
            known = arguments or {}
            path = _VARIABLE.sub(lambda found: self._value(found[1], known), rule)
        return clean(path)

    def learn(self, rules: Callable[[], Iterable[str]]) -> None:
        """Take note, once, of the rules with a secret.

        Where Flask answers by itself (a slash that is missing, a method that is not allowed, an
        end that is misspelt) no rule is known, and the path may hold the secret all the same.
        """
        if self._has_learnt:
            return
        whole, beginnings = [], []
        for rule in filter(self.hides_in, rules()):
            whole.append(_Near(_by_name(rule.rstrip("/")), _like(rule.rstrip("/"))))
            secrets = (one.end() for one in _VARIABLE.finditer(rule) if one[1] in self._secret)
            beginning = rule[: next(secrets)]
            beginnings.append(_Near(_by_name(beginning) + "/…", _like(beginning)))
        self._near = whole + beginnings
        self._has_learnt = True

    def query(self, query_string: str) -> str:
        """Return "?..." of the allowed parameters, "" when there are none."""
        if not self._kept_query or not query_string:
            return ""
        pairs = parse_qsl(from_wire(query_string), keep_blank_values=True, max_num_fields=None)
        kept = [
            f"{quote(name)}={quote(clean(value, 64), safe='')}"
            for name, value in pairs[:100]
            if name in self._kept_query
        ]
        return clean("?" + "&".join(kept)) if kept else ""

    def data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return custom data of an activity as at most 16 plain, short, redacted values."""
        kept: dict[str, Any] = {}
        for key in list(data)[:MAX_DATA_KEYS]:
            name, value = clean(key, 64), data[key]
            if name in self._secret:
                kept[name] = f"<{name}>"
            elif value is None or type(value) in (bool, int):
                kept[name] = value if abs(value or 0) < 2**53 else clean(value)
            elif type(value) is float and abs(value) < 1e308:
                kept[name] = value
            else:
                kept[name] = self._text(value)
        return kept

    def _text(self, value: Any) -> str:
        try:
            return clean(self._without_secrets(value, _DEEPEST))
        except Exception:  # a foreign mapping may raise anything at all
            return UNPRINTABLE

    def _without_secrets(self, value: Any, depth: int) -> Any:
        """Return what is in a value's place: in a form or a list, no value of a secret's name."""
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return value if type(value) in _PLAIN else clean(value)
        if not depth:
            return "…"
        if not isinstance(value, Mapping):
            return [self._without_secrets(one, depth - 1) for one in islice(value, MAX_DATA_KEYS)]
        kept = {}
        for key in islice(value, MAX_DATA_KEYS):
            name = clean(key, 64)
            is_secret = name in self._secret
            kept[name] = f"<{name}>" if is_secret else self._without_secrets(value[key], depth - 1)
        return kept

    def hides_in(self, rule: str) -> bool:
        """Tell whether a rule has a view argument with a secret's name."""
        known = self._secret_arguments.get(rule)
        if known is None:
            known = any(name in self._secret for name in _VARIABLE.findall(rule))
            if len(self._secret_arguments) < 4096:
                self._secret_arguments[rule] = known
        return known

    def _value(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name in self._secret:
            return f"<{name}>"
        return clean(arguments.get(name, f"<{name}>"))


def _by_name(rule: str) -> str:
    """Return a rule with ``<name>`` for each of its variable parts."""
    return _VARIABLE.sub(r"<\1>", rule)


def _like(rule: str) -> re.Pattern[str]:
    """Return what matches every path like a rule's, in any case.

    Made by fnmatch, whose expressions never go back far: strangers choose what is matched.
    """
    texts = (glob.escape(text) for text in _VARIABLE.split(rule)[::2])
    return re.compile(fnmatch.translate("?*".join(texts)), re.IGNORECASE)


class Exclusion:
    """Decides what is not recorded: patterns of endpoints, paths (``/...``) or agents.

    Args:
        prefix: of our own pages. What fits no route there is none of the app's pages either.
    """

    def __init__(self, patterns: Iterable[str], prefix: str) -> None:
        items = tuple(patterns)
        paths = [fnmatch.translate(item) for item in items if item.startswith("/")]
        self._path = re.compile("|".join(paths)).match if paths else None
        self._names = Names(item for item in items if not item.startswith("/"))
        self._below = prefix + "/"

    def hides_name(self, name: str) -> bool:
        """Tell whether an endpoint or an agent is to be left out."""
        return name in self._names

    def hides_path(self, path: str, rule: str | None) -> bool:
        """Tell whether a path is to be left out, which fits a rule or, where it is None, none."""
        if rule is None and f"/{path.lstrip('/')}/".startswith(self._below):
            return True
        return bool(self._path and self._path(path))
