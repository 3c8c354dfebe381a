"""What workers write for each other: a head in JSON, then packed rows.

::

    frame  "RM" | version u8 | size of the head u32 | head | rows
    row    key u64 | size u16 | the first bytes of a packed session (``rows.py``)

A row in a frame of the log has only the activities that are new; one in a snapshot has all. The
head has numbers' meanings (``strings``), what few activities have (``rare``), counters, and the
sessions that are gone. A reader takes of a head what it knows, so that the releases before and
after can read it; what does not parse is refused whole.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from .listing import Turns

VERSION = 1
_MAGIC = b"RM"
_START = struct.Struct("<2sBI")
_ROW = struct.Struct("<QH")
_NONE: Mapping[int, bytes] = MappingProxyType({})
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

Head = dict[str, Any]
_Pack = Callable[[int, int, bytes], bytes]


class FrameError(ValueError):
    """Bytes that are no frame of ours, or of a release that is not read any more."""


@contextmanager
def refusing() -> Iterator[None]:
    """Make whatever is raised, over what somebody else has written, an error of the frame.

    Raises:
        FrameError: it makes no sense.
    """
    try:
        yield
    except FrameError:
        raise
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise FrameError(f"it makes no sense: {error}") from None


class Frame(NamedTuple):
    """A frame, taken apart; ``rows`` are session keys, each with its row or the newest part."""

    head: Head
    rows: dict[int, bytes]


def encode(head: Head, rows: Mapping[int, bytes] = _NONE) -> bytes:
    """Return a head, and whole rows by session key, as one frame."""
    places = map(_ROW.pack, rows, map(len, rows.values()))
    return join(head, chain.from_iterable(zip(places, rows.values(), strict=True)))


def join(head: Head, packed: Iterable[bytes]) -> bytes:
    """Return a head, and rows that are packed already, as one frame."""
    text = _to_json(head).encode("ascii")
    return b"".join((_START.pack(_MAGIC, VERSION, len(text)), text, *packed))


class _Packers(dict[int, _Pack]):
    def __missing__(self, size: int) -> _Pack:
        pack = self[size] = struct.Struct(f"{_ROW.format}{size}s").pack
        return pack


#: By a size: packs (session key, that size, row), of the row its first bytes.
PACKERS: Mapping[int, _Pack] = _Packers()


def decode(data: bytes) -> Frame:
    """Take a frame apart.

    Raises:
        FrameError: it is none.
    """
    try:
        magic, version, size = _START.unpack_from(data)
        if magic != _MAGIC or version != VERSION:
            raise FrameError(f"not a frame of version {VERSION}")
        start = _START.size + size
        head = json.loads(data[_START.size : start])
        if not isinstance(head, dict):
            raise FrameError("the head of a frame is no object")
        return Frame(head, _rows(data, start))
    except (struct.error, ValueError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from None


def count_rows(data: bytes) -> int:
    """Return how many rows a frame has; 0 for what is none."""
    try:
        return len(decode(data).rows)
    except FrameError:
        return 0


def newest(told: Sequence[tuple[str, bytes]], most_rows: int) -> list[bool]:
    """Tell of frames (worker, data), oldest first, which have the newest rows of each worker."""
    later: Counter[str] = Counter()
    found, turns = [], Turns()
    for worker, data in reversed(told):
        found.append(later[worker] < most_rows)
        if found[-1]:
            later[worker] += count_rows(data)
            turns()
    return found[::-1]


def parts_of(tail: bytes) -> Iterator[bytes]:
    """Yield the frames that a store has put together when their worker was gone."""
    at = 0
    while at + 4 <= len(tail):
        size = int.from_bytes(tail[at : at + 4], "little")
        yield tail[at + 4 : at + 4 + size]
        at += 4 + size


def _rows(data: bytes, at: int) -> dict[int, bytes]:
    begin, end, unpack, size_of = at, len(data), _ROW.unpack_from, _ROW.size
    found: dict[int, bytes] = {}
    if end - at >= size_of:
        # One activity each, of addresses of one kind: what most frames of the log hold.
        _, size = unpack(data, at)
        each = struct.Struct(f"{_ROW.format}{size}s")
        if not (end - at) % each.size:
            alike = each.iter_unpack(memoryview(data)[at:])
            found = {key: row for key, its_size, row in alike if its_size == size}
            if len(found) * each.size == end - at:
                return found
            found = {}
    while at < end:
        key, size = unpack(data, at)
        start = at + size_of
        at = start + size
        found[key] = data[start:at]
    if at > end:
        raise FrameError("a row is cut off")
    if len(found) * size_of + sum(map(len, found.values())) != end - begin:
        raise FrameError("a session comes twice")
    return found
