"""Pauses in which a session may have ended, though its row goes on.

A worker keeps the row of a session that has timed out for a while: only the other workers' rows,
and requests in flight, tell whether the session lives on there. Whoever comes back meanwhile goes
on in the same row. So that who reads can part what was before from what came since, where nothing
bridges the pause, the worker notes what the row had when it came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import rows
from .rows import ACT_SIZE, HEAD, HEAD_SIZE, Head

#: So many of a row are remembered: who comes back just after each end has more, and nobody else.
MOST = 8


class Pause(NamedTuple):
    """What a row had before a pause; times are of the row's clock, in ms."""

    requests: int
    errors: int
    last_ms: int  # when it was seen last before
    begun_ms: int  # when the request began with which it went on

    def is_bridged(self, begun_ms: int, timed_out_ms: int) -> bool:
        """Tell whether a request that began then, and has ended since, leaves no pause.

        Args:
            timed_out_ms: when what had ended by then was last seen, at the latest.
        """
        return begun_ms < self.begun_ms and self.last_ms > timed_out_ms

    def until(self, begun_ms: int) -> Pause:
        """Return it as it is when a request that leaves it had begun then, and ended since."""
        return self if begun_ms >= self.begun_ms else self._replace(begun_ms=begun_ms)


Pauses = tuple[Pause, ...]


class PauseTable(dict[int, Pauses]):
    """The pauses of some rows, by session key.

    Args:
        timeout_ms: how long after its last request a session ends; not for who notes none.
    """

    def __init__(self, timeout_ms: int = 0) -> None:
        super().__init__()
        self.timeout_ms = timeout_ms  # no shorter pause is one
        #: Keys of those that are new since somebody last took note; None: nobody does.
        self.fresh: set[int] | None = None

    def note(self, key: int, row: bytes, begun_ms: int, offset_ms: int) -> None:
        """Note what a request that began then, and has ended, makes of a row's pauses.

        Args:
            offset_ms: what is added to the row's times to get ms since the epoch. Readers go by
                these: a second of theirs begins at another moment than one of the row's clock.
        """
        before = self.get(key, ())
        ended_ms = rows.timed_out_ms(begun_ms + offset_ms, self.timeout_ms) - offset_ms
        # It was in flight meanwhile, which kept the session: no pause any more.
        found = [one.until(begun_ms) for one in before if not one.is_bridged(begun_ms, ended_ms)]
        head = rows.head_of(row)
        if head.last_ms <= ended_ms:
            found.append(Pause(head.requests, head.errors, head.last_ms, begun_ms))
        if found != [*before]:
            self.put(key, tuple(found[-MOST:]))

    def put(self, key: int, pauses: Pauses) -> None:
        """Replace the pauses of a row."""
        if pauses:
            self[key] = pauses
        else:
            self.pop(key, None)
        if self.fresh is not None:
            self.fresh.add(key)

    def told(self, keys: Iterable[int]) -> list[Any]:
        """Return the pauses of some rows as plain lists."""
        return [[key, self.get(key, ())] for key in keys]

    def take(self, told: Iterable[Any], but: Collection[int]) -> None:
        """Take in what was told, but for some buckets.

        Raises:
            TypeError, ValueError: it makes no sense.
        """
        for key, pauses in told:
            if key & 0xFF not in but:
                self.put(int(key), tuple(Pause(*map(int, one)) for one in pauses))


def parted(row: bytes, pauses: Pauses) -> list[bytes]:
    """Return a row as it were if each pause had ended it, oldest first.

    A pause that the row does not know of, being an older one, parts nothing.
    """
    found: list[bytes] = []
    for pause in pauses:
        head = rows.head_of(row)
        if not head.base_ms <= pause.last_ms < pause.begun_ms <= head.last_ms:
            continue
        before, row = _cut(row, head, pause, found)
        found.append(before)
    return [*found, row]


def all_parted(table: Mapping[int, bytes], told: Iterable[Any]) -> list[tuple[int, bytes]]:
    """Return (key, row) of some rows, parted by what was told of their pauses.

    Raises:
        TypeError, ValueError: that makes no sense.
    """
    pauses = PauseTable()
    pauses.take(told, ())
    if not pauses:  # by far the most
        return list(table.items())
    return [(key, one) for key, row in table.items() for one in parted(row, pauses.get(key, ()))]


def _cut(row: bytes, head: Head, pause: Pause, before: Sequence[bytes]) -> tuple[bytes, bytes]:
    start = HEAD_SIZE + head.ip_size
    ip, acts = row[HEAD_SIZE:start], row[start:]
    requests = max(0, pause.requests - sum(rows.head_of(one).requests for one in before))
    errors = max(0, pause.errors - sum(rows.head_of(one).errors for one in before))
    since = pause.begun_ms - head.base_ms
    each = [acts[at : at + ACT_SIZE] for at in range(0, len(acts), ACT_SIZE)]
    later = [act for act in each if _offset(act) >= since]
    earlier = [act for act in each if _offset(act) < since]
    old = head._replace(
        last=pause.last_ms - head.base_ms,
        requests=min(requests, head.requests),
        errors=min(errors, head.errors),
        ordinal=max(0, head.ordinal - len(later)),
    )
    new = head._replace(
        base_ms=pause.begun_ms,
        last=head.last - since,
        requests=max(0, head.requests - requests),
        errors=max(0, head.errors - errors),
    )
    moved = [(_offset(act) - since).to_bytes(4, "little") + act[4:] for act in later]
    return b"".join((HEAD.pack(*old), ip, *earlier)), b"".join((HEAD.pack(*new), ip, *moved))


def _offset(act: bytes) -> int:
    return int.from_bytes(act[:4], "little")
