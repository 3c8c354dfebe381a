"""The packed form of a session: one immutable ``bytes``, replaced whole by each activity.

Layout, little endian::

    head   visitor u64, base i64 (ms), last u32 (ms after base), requests u32, errors u32,
           user u32 (number + 1, 0 = none), ordinal u32 (activities so far), agent u16, len(ip) u8
    ip     0, 4, 6 or 16 bytes: none, IPv4, IPv6 /48, IPv6
    then, newest first, 12 bytes an activity:
           at u32 (ms after base), route u16, path u16, code u16, duration f16 (ms; negative: s)

``code``: status in bits 0-9 (0 = none), method in bits 10-13, bit 14 = has an entry in the side
table, bit 15 = not a request. A reader of a row needs no lock: nobody ever changes it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from .clock import grain_ms

HEAD = struct.Struct("<QqIIIIIHB")
ACT = struct.Struct("<IHHHe")
_HALF = struct.Struct("<e")
#: Unpacks of a row's head when it began and, after that, was last seen.
unpack_times = struct.Struct("<8xqI").unpack_from
#: Unpacks of a row's head when it began, the ordinal, and how long the ip is.
unpack_place = struct.Struct("<8xq16xI2xB").unpack_from
#: Unpacks of an activity in a row all but the duration.
unpack_where = struct.Struct("<IHHH").unpack_from
#: What an index asks of a row: visitor, base, last, user, route of the last request, and a code
#: that means nothing.
Brief = tuple[int, int, int, int, int, int]
_code = itemgetter(5)
#: By the size of the ip: the same of a row with an activity, and that one's route and code.
_unpack_brief = {
    size: struct.Struct(f"<QqI8xI7x{size}x4xH2xH").unpack_from for size in (0, 4, 6, 16)
}
#: By the size of the ip: unpacks of a row when it began, whose it is, the ordinal, and all of its
#: newest activity: visitor, base, user, ordinal, offset, route, path, code, duration.
unpack_alone = {
    size: struct.Struct(f"<Qq12xII3x{size}xIHHHe").unpack_from for size in (0, 4, 6, 16)
}
HEAD_SIZE = HEAD.size
ACT_SIZE = ACT.size
#: The byte of a row that says how long the ip is.
IP_SIZE_AT = HEAD_SIZE - 1

MAX_OFFSET = 0xFFFF_FFFF
MAX_COUNT = 0xFFFF_FFFF
NO_DURATION = float("nan")
LARGEST_MS = 65_504.0  # the largest half float
NO_PATH = 0xFFFF  # the path is the route itself
STATUS = 0x03FF
FAILED = range(500, 600)  # the statuses that are errors
RARE = 0x4000
OTHER_KIND = 0x8000

METHODS = (None, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
#: A method's place in an activity's code; made-up methods share one.
METHOD_CODES = {name: number << 10 for number, name in enumerate(METHODS)}
OTHER_CODE = 15 << 10


_new = tuple.__new__  # a named tuple's class called with its fields would cost twice as much


class Head(NamedTuple):
    """The fixed part of a row, unpacked."""

    visitor: int
    base_ms: int
    last: int
    requests: int
    errors: int
    user: int
    ordinal: int
    agent: int
    ip_size: int

    @property
    def last_ms(self) -> int:
        """When the session made its last request, in the clock's milliseconds."""
        return self.base_ms + self.last


class Act(NamedTuple):
    """One activity of a row, unpacked; ``ordinal`` counts the session's activities from 1."""

    at_ms: int
    route: int
    path: int
    code: int
    duration_ms: float | None
    ordinal: int


def check(row: bytes) -> None:
    """Tell a row from other bytes.

    Raises:
        ValueError: it is none.
    """
    acts_size = len(row) - HEAD_SIZE - (row[HEAD_SIZE - 1] if len(row) >= HEAD_SIZE else 0)
    if len(row) < HEAD_SIZE or acts_size < 0 or acts_size % ACT_SIZE:
        raise ValueError(f"{len(row)} bytes are no row")


def check_all(found: Iterable[bytes]) -> None:
    """Tell rows from other bytes; as ``check`` for each.

    Raises:
        ValueError: one of them is none.
    """
    least, ip_at, act_size = HEAD_SIZE, HEAD_SIZE - 1, ACT_SIZE
    for row in found:
        size = len(row) - least
        if size < 0 or (size := size - row[ip_at]) < 0 or size % act_size:
            check(row)


def head_of(row: bytes) -> Head:
    """Unpack a row's head."""
    return _new(Head, HEAD.unpack_from(row))


def brief_of(row: bytes) -> Brief:
    """Return what an index asks of a row."""
    head = head_of(row)
    return head.visitor, head.base_ms, head.last, head.user, last_request(row), 0


def briefs_of(rows: Sequence[bytes]) -> list[Brief]:
    """Return what an index asks of some rows; as ``brief_of`` for each."""
    unpack_of, ip_at = _unpack_brief, HEAD_SIZE - 1
    try:
        found = [unpack_of[row[ip_at]](row) for row in rows]
    except (KeyError, struct.error):  # an address of a size of its own, or no activity
        return [brief_of(row) for row in rows]
    if max(map(_code, found), default=0) >= OTHER_KIND:
        return [
            brief_of(row) if brief[5] >= OTHER_KIND else brief
            for row, brief in zip(rows, found, strict=True)
        ]
    return found


def timed_out_ms(now_ms: int, timeout_ms: int) -> int:
    """Return when a session was last seen, at the latest, that has ended by now.

    It ends with the second, or the hundredth of a short time-out, in which it times out, so that it
    is over in the same moment for who looks at it once a second and for who has just come.
    """
    return now_ms - now_ms % grain_ms(timeout_ms) - timeout_ms - 1


def last_ms_of(row: bytes) -> int:
    """Return when a row's session made its last request."""
    base_ms, last = unpack_times(row)
    return int(base_ms + last)


def visitor_of(row: bytes) -> int:
    """Return whose row it is."""
    return int.from_bytes(row[:8], "little")


def user_of(row: bytes) -> int:
    """Return the number of the user whose row it is, -1 for nobody's."""
    return int.from_bytes(row[28:32], "little") - 1


def begun_ms_of(row: bytes) -> int:
    """Return when a row's session began."""
    return int(unpack_times(row)[0])


def last_request(row: bytes) -> int:
    """Return the route of the newest activity of a row that is a request."""
    for at in range(HEAD_SIZE + row[IP_SIZE_AT], len(row), ACT_SIZE):
        _, route, _, code = unpack_where(row, at)
        if not code & OTHER_KIND:  # by far the most
            return int(route)
    return 0


def ip_text(packed: bytes) -> str | None:
    """Return a packed address as text, None for none; 6 bytes are an IPv6 /48."""
    if not packed:
        return None
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    return socket.inet_ntop(socket.AF_INET6, packed.ljust(16, b"\0"))


def ip_of(row: bytes, size: int) -> str | None:
    """Return the address kept in a row as text."""
    return ip_text(row[HEAD_SIZE : HEAD_SIZE + size])


def acts_of(row: bytes, head: Head) -> Iterator[Act]:
    """Unpack a row's activities, newest first."""
    start = HEAD_SIZE + head.ip_size
    base_ms, ordinal = head.base_ms, head.ordinal
    for at, route, path, code, duration in ACT.iter_unpack(memoryview(row)[start:]):
        yield Act(base_ms + at, route, path, code, unpacked_ms(duration), ordinal)
        ordinal -= 1


def method_name(code: int) -> str | None:
    """Return the HTTP method in an activity's code; "OTHER" for a made-up one."""
    number = (code >> 10) & 0xF
    return METHODS[number] if number < len(METHODS) else "OTHER"


def packed_ms(milliseconds: float | None) -> float:
    """Return a duration as it is packed: NaN for none, negative seconds above 65 s."""
    if milliseconds is None:
        return NO_DURATION
    if milliseconds <= LARGEST_MS:
        return milliseconds
    return max(-milliseconds / 1000, -LARGEST_MS)


def unpacked_ms(packed: float) -> float | None:
    """Return the duration that was packed, with the 11 bits that are left of it."""
    if packed != packed:  # noqa: PLR0124 (NaN alone differs from itself)
        return None
    return packed if packed >= 0 else -packed * 1000


def rounded_ms(milliseconds: float) -> float | None:
    """Return a duration as a row gives it back, so that all outputs agree."""
    (kept,) = _HALF.unpack(_HALF.pack(packed_ms(milliseconds)))
    return unpacked_ms(kept)


#: A row, its base, its last offset and a moment's.
Fitted = tuple[bytes, int, int, int]


def begun_by(row: bytes, begun_ms: int) -> bytes:
    """Return a row that began at a moment at the latest, where its offsets still fit."""
    head = head_of(row)
    later = head.base_ms - begun_ms
    if later <= 0 or head.last + later > MAX_OFFSET:
        return row
    start = HEAD_SIZE + head.ip_size
    moved = [ACT.pack(at + later, *rest) for at, *rest in ACT.iter_unpack(row[start:])]
    return HEAD.pack(*head._replace(base_ms=begun_ms, last=head.last + later)) + b"".join(
        (row[HEAD_SIZE:start], *moved)
    )


def fitted(row: bytes, now_ms: int) -> Fitted:
    """Return a row to which a moment can be added, its base, its last offset and the moment's.

    A moment before the base counts as the base. Where an offset would no longer fit (a session of
    49 days) the base moves forward: what counts is kept, activities before it are dropped.
    """
    head = head_of(row)
    if now_ms <= head.base_ms:
        return row, head.base_ms, head.last, 0
    if now_ms - head.base_ms <= MAX_OFFSET:
        return row, head.base_ms, head.last, now_ms - head.base_ms
    base_ms = now_ms - 86_400_000
    moved = head._replace(base_ms=base_ms, last=max(0, head.last_ms - base_ms))
    kept = [
        ACT.pack(act.at_ms - base_ms, act.route, act.path, act.code, packed_ms(act.duration_ms))
        for act in acts_of(row, head)
        if act.at_ms >= base_ms
    ]
    ip = row[HEAD_SIZE : HEAD_SIZE + head.ip_size]
    return HEAD.pack(*moved) + ip + b"".join(kept), base_ms, moved.last, now_ms - base_ms


def seen_since(ms: int, keys: list[int], some: list[bytes]) -> list[tuple[int, int]]:
    """Return some rows' keys, each behind when it was seen last, that were since a moment."""
    times = map(unpack_times, some)
    return [
        (base_ms + last, key)
        for key, (base_ms, last) in zip(keys, times, strict=True)
        if base_ms + last >= ms
    ]
