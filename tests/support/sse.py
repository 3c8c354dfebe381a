"""A strict reader of Server-Sent Events: it raises where a browser would quietly go on."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_ID = re.compile(rb"[\x21-\x7e]{1,64}")
_FIELDS = (b"id", b"event", b"data", b"retry")


class Event(NamedTuple):
    """One event with its payload."""

    event: str
    data: dict[str, Any]
    id: str | None


class StreamError(AssertionError):
    """The stream is not as the protocol and our contract want it."""


class Parser:
    """Takes bytes in pieces of any size; gives whole events.

    Beyond WHATWG's rules: no CR, no BOM, no unknown field, each event one line of JSON without
    NaN, an id of 1 to 64 printable ASCII bytes.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[bytes, bytes] = {}
        self.comments = 0
        self.retry_ms: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take in bytes; return the events that are whole now."""
        if b"\r" in data or b"\xef\xbb\xbf" in data:
            raise StreamError(f"a CR or BOM in {data[:80]!r}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for event in map(self._line, lines) if event is not None]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._end()
        if line.startswith(b":"):
            self.comments += 1
            return None
        name, colon, value = line.partition(b": ")
        if not colon or name not in _FIELDS or name in self._fields:
            raise StreamError(f"no field of an event, or one twice: {line[:80]!r}")
        self._fields[name] = value
        return None

    def _end(self) -> Event | None:
        fields, self._fields = self._fields, {}
        if b"retry" in fields:
            self.retry_ms = int(fields.pop(b"retry"))
        if not fields:
            return None
        if not {b"event", b"data"} <= fields.keys():
            raise StreamError(f"an event without name or data: {fields!r}")
        id = fields.get(b"id")
        if id is not None and not _ID.fullmatch(id):
            raise StreamError(f"no fit id: {id!r}")
        data = json.loads(fields[b"data"].decode("ascii"), parse_constant=_refuse)
        if not isinstance(data, dict) or "as_of" not in data:
            raise StreamError(f"no object with as_of: {data!r}")
        return Event(fields[b"event"].decode("ascii"), data, None if id is None else id.decode())


def _refuse(name: str) -> None:
    raise StreamError(f"{name} is no JSON")
