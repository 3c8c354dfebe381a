"""What may be kept of a request: masking, redaction, cutting. No Flask, no state but caches."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

MAX_TEXT = 256
MAX_NAME = 128
MAX_DATA_KEYS = 16
UNPRINTABLE = "<unprintable>"

_CONVERTER = re.compile(r"<(?:[^:<>]*:)?([^<>]+)>")


def clean(value: Any, most: int = MAX_TEXT) -> str:
    """Return a value as text that JSON can carry, cut with an ellipsis at ``most`` characters.

    A lone surrogate becomes U+FFFD. An object whose ``str()`` fails becomes ``<unprintable>``.
    """
    if type(value) is not str:
        try:
            value = str(value)
            value = value if type(value) is str else str.__str__(value)
        except Exception:  # a foreign object's __str__ may raise anything at all
            return UNPRINTABLE
    if len(value) > most:
        value = value[: most - 1] + "…"
    if not value.isascii():
        value = value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return str(value)


def from_wire(text: str) -> str:
    """Return a WSGI text (bytes decoded as latin-1, PEP 3333) as the UTF-8 it was."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def mask_ip(address: str, mode: str) -> str | None:
    """Return an address as ``mode`` allows: "full", "masked" (/24 or /48) or "off" (None).

    What is no address (a Unix socket, a forged header) is never shown: None.
    """
    if mode == "off":
        return None
    try:
        ip = _parse_ip(address)
    except ValueError:
        return None
    if mode == "full":
        return str(ip)
    bits = 24 if ip.version == 4 else 48
    shift = ip.max_prefixlen - bits
    return str(type(ip)((int(ip) >> shift) << shift))


def visitor_address(address: str) -> str:
    """Return the part of an address that tells visitors apart: IPv4 whole, IPv6 its /64."""
    try:
        ip = _parse_ip(address)
    except ValueError:
        return address[:MAX_TEXT]
    return str(ip) if ip.version == 4 else f"{int(ip) >> 64:x}::"


def _parse_ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


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


class Redactor:
    """Turns what a request brought into what may be kept of it."""

    def __init__(self, redact: Iterable[str], query_string: Iterable[str]) -> None:
        self._secret = Names(redact)
        self._kept_query = frozenset(query_string)
        self._secret_arguments: dict[str, bool] = {}

    def path(self, path: str, rule: str | None, arguments: Mapping[str, Any] | None) -> str:
        """Return the path to keep; a view argument with a secret's name shows as ``<name>``."""
        if arguments and rule is not None and self._hides_in(rule):
            path = _CONVERTER.sub(lambda found: self._value(found[1], arguments), rule)
        return clean(path)

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
                kept[name] = clean(value)
        return kept

    def _hides_in(self, rule: str) -> bool:
        known = self._secret_arguments.get(rule)
        if known is None:
            known = any(name in self._secret for name in _CONVERTER.findall(rule))
            if len(self._secret_arguments) < 4096:
                self._secret_arguments[rule] = known
        return known

    def _value(self, name: str, arguments: Mapping[str, Any]) -> str:
        if name in self._secret:
            return f"<{name}>"
        return clean(arguments.get(name, f"<{name}>"))


class Exclusion:
    """Decides what is not recorded: patterns of endpoints, paths (``/...``) or agents."""

    def __init__(self, patterns: Iterable[str]) -> None:
        items = tuple(patterns)
        paths = [fnmatch.translate(item) for item in items if item.startswith("/")]
        self._path = re.compile("|".join(paths)).match if paths else None
        self._names = Names(item for item in items if not item.startswith("/"))

    def hides(self, endpoint: str | None, path: str, agent: str) -> bool:
        """Tell whether a request is to be left out."""
        if endpoint is not None and endpoint in self._names:
            return True
        if agent and agent in self._names:
            return True
        return bool(self._path and self._path(path))
