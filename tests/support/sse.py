"""A strict reader of Server-Sent Events: it raises where a browser would quietly go on."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_ID = re.compile(rb"[\x21-\x7e]{1,64}")
_ORDER = (b"id", b"event", b"data", b"retry")
_NAMES = (b"snapshot", b"update", b"bye")
_RESUMABLE = (b"snapshot", b"update")


class Event(NamedTuple):
    """One event with its payload."""

    event: str
    data: dict[str, Any]
    id: str | None


class StreamError(AssertionError):
    """The stream is not as the protocol and docs/json.md want it."""


class Parser:
    """Takes bytes in pieces of any size; gives whole events.

    Beyond WHATWG's rules: no CR, no BOM, no unknown field, fields in one order, comments that say
    nothing, each event one line of ASCII JSON without NaN, an id of 1 to 64 printable ASCII bytes
    on what a viewer can go on from and on nothing else, and ids that grow.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[bytes, bytes] = {}
        self._place: tuple[str, str, int, int] | None = None
        self.comments = 0
        self.retry_ms: int | None = None

    @property
    def is_between_events(self) -> bool:
        """Tell whether everything that came is whole."""
        return not self._rest and not self._fields

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
            if line.strip(b": "):
                raise StreamError(f"a comment that says something: {line[:80]!r}")
            self.comments += 1
            return None
        name, colon, value = line.partition(b": ")
        if not colon or name not in _ORDER or name in self._fields:
            raise StreamError(f"no field of an event, or one twice: {line[:80]!r}")
        if any(_ORDER.index(one) > _ORDER.index(name) for one in self._fields):
            raise StreamError(f"{name!r} after {list(self._fields)}")
        self._fields[name] = value
        return None

    def _end(self) -> Event | None:
        fields, self._fields = self._fields, {}
        if b"retry" in fields:
            digits = fields.pop(b"retry")
            if not re.fullmatch(rb"[0-9]+", digits):
                raise StreamError(f"no fit retry: {digits!r}")
            self.retry_ms = int(digits)
        if not fields:
            return None
        if not {b"event", b"data"} <= fields.keys():
            raise StreamError(f"an event without name or data: {fields!r}")
        name, id = fields[b"event"], fields.get(b"id")
        if name not in _NAMES:
            raise StreamError(f"no event of ours: {name!r}")
        if id is not None and not _ID.fullmatch(id):
            raise StreamError(f"no fit id: {id!r}")
        if (id is not None) != (name in _RESUMABLE):
            raise StreamError(f"{name!r} with id {id!r}")
        self._grow(id)
        data = json.loads(fields[b"data"].decode("ascii"), parse_constant=_refuse)
        if not isinstance(data, dict) or "as_of" not in data:
            raise StreamError(f"no object with as_of: {data!r}")
        return Event(name.decode("ascii"), data, None if id is None else id.decode())

    def _grow(self, id: bytes | None) -> None:
        """Hold ids of one epoch and worker to grow; what they mean is nobody else's business."""
        found = re.fullmatch(r"(\w+)-(\d+)\.(\d+)(?:\.(\w+).*)?", (id or b"").decode())
        if found is None:
            return
        epoch, cursor, tick, worker = found.groups()
        before, self._place = self._place, (epoch, worker, int(tick), int(cursor))
        is_same = before is not None and before[:2] == self._place[:2]
        if before is not None and is_same and not _is_after(before, self._place):
            raise StreamError(f"{id!r} after {before}")


def _is_after(before: tuple[str, str, int, int], now: tuple[str, str, int, int]) -> bool:
    return now[2] > before[2] and now[3] >= before[3]


def _refuse(name: str) -> None:
    raise StreamError(f"{name} is no JSON")
