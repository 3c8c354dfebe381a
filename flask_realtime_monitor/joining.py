"""When a visitor's guest and user are one session, as all workers' rows tell.

What is decided here goes by the rows alone, so that whoever has looked all the while and whoever
comes now decide the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from .gathering import Table
from .groups import Groups
from .pauses import parted
from .rows import OTHER_KIND, acts_of, begun_ms_of, head_of, last_ms_of, timed_out_ms


def latest(spans: Sequence[tuple[int, int, int]], timeout_ms: int) -> list[int]:
    """Return the numbers of the spans (last, begun, number) that make the latest session.

    What ended before the next began is another one's.
    """
    found: list[int] = []
    begun_ms = 0
    for last_ms, span_ms, number in sorted(spans, reverse=True):
        if found and last_ms <= timed_out_ms(begun_ms, timeout_ms):
            break
        begun_ms = min(begun_ms, span_ms) if found else span_ms
        found.append(number)
    return found


class Outlived(dict[int, tuple[int, int]]):
    """By visitor, the last of the users who timed out: when seen last, and the session's key."""

    def note(self, visitor: int, rank: tuple[int, int]) -> None:
        """Note one; of several the last seen counts."""
        self[visitor] = max(rank, self.get(visitor, rank))

    def keep(self, whose: Groups[int]) -> None:
        """Keep those of visitors who have other users."""
        for visitor in [one for one in self if one not in whose]:
            del self[visitor]


class Joining:
    """Tells what has ended, and which two are one.

    Args:
        tables: whose rows are looked at.
        active_ms: how long before a user's session its guest part may have been seen last.
        timeout_ms: how long after its last request a session ends.
    """

    def __init__(self, tables: Sequence[Table], active_ms: int, timeout_ms: int) -> None:
        self._tables = tables
        self._active_ms = active_ms
        self._timeout_ms = timeout_ms

    def timed_out_ms(self, now_ms: int) -> int:
        """Return when a session was last seen, at the latest, that has ended by now."""
        return timed_out_ms(now_ms, self._timeout_ms)

    def ended(self, now_ms: int) -> int:
        """Return the same as a value of ``Recency``: whatever is larger has not ended."""
        return (self.timed_out_ms(now_ms) << 16) + 0xFFFF

    def is_one(
        self,
        user: int,
        user_last: int,
        guest: int,
        guest_last: int,
        shown: int | None,
        now_ms: int,
    ) -> bool:
        """Tell whether a visitor's only user and the guest are one session.

        They are where the guest was active within the active window before the user's session
        began, or since; and where, if one has timed out by itself, the other has kept it: so not
        where the guest came only after its end, of which a row is kept for a while. What the
        user's rows do not tell any more is as it was.

        Args:
            user_last: when and where the user was last seen (``Recency``); ``guest_last`` likewise.
            shown: the same of both together, where they are shown as one; else None.
            now_ms: the present moment in ms since the epoch.
        """
        begun_ms = self._begun_ms(user)
        if begun_ms is None:
            return shown is not None
        if guest_last >> 16 < begun_ms - self._active_ms:
            return False
        (first_ms, _), (last_ms, later) = sorted(
            ((user_last >> 16, user), (guest_last >> 16, guest))
        )
        if first_ms > self.timed_out_ms(now_ms):
            return True
        if shown is not None and last_ms - (shown >> 16) < self._timeout_ms:
            return True
        return not self.has_pause(later, first_ms)

    def has_pause(self, key: int, since_ms: int) -> bool:
        """Tell whether a session's requests, from a moment on, left a pause in which it ended.

        A request lasts from its beginning to its end. What was between the beginning of a row and
        the oldest request it still holds is not known, and counts as none.

        Args:
            since_ms: the moment, in ms since the epoch; what ended before it does not count.
        """
        spans = [
            span
            for row, offset_ms in self._rows(key)
            for span in _spans(row, offset_ms)
            if span[1] > since_ms
        ]
        for begin_ms, end_ms in sorted(spans):
            if since_ms <= self.timed_out_ms(begin_ms):
                return True
            since_ms = max(since_ms, end_ms)
        return False

    def _begun_ms(self, key: int) -> int | None:
        """Return when a session began by its rows, None where there are none."""
        found = self._rows(key)
        if len(found) > 1:
            spans = [
                (last_ms_of(row) + offset_ms, begun_ms_of(row) + offset_ms, number)
                for number, (row, offset_ms) in enumerate(found)
            ]
            found = [found[number] for number in latest(spans, self._timeout_ms)]
        return min((begun_ms_of(row) + offset_ms for row, offset_ms in found), default=None)

    def _rows(self, key: int) -> list[tuple[bytes, int]]:
        """Return all rows of a session, parted by their pauses, each with its clock's offset."""
        return [
            (one, table.offset_ms)
            for table in self._tables
            if (row := table.rows.get(key)) is not None
            for one in parted(row, table.source.pauses.get(key, ()))
        ]


def _spans(row: bytes, offset_ms: int) -> list[tuple[int, int]]:
    """Return from when to when a row's requests lasted, in ms since the epoch."""
    head = head_of(row)
    found = []
    for at_ms, _, _, code, duration_ms, _ in acts_of(row, head):
        if not code & OTHER_KIND:
            end_ms = at_ms + offset_ms
            found.append((end_ms - int(duration_ms or 0), end_ms))
    if len(found) < head.requests:
        begun_ms = head.base_ms + offset_ms
        found.append((begun_ms, found[-1][0] if found else head.last_ms + offset_ms))
    return found
