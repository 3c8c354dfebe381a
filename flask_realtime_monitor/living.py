"""Who lives on at other workers: sessions that have timed out here, visitors as a day begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from . import rows
from .frames import Frame, FrameError, decode, parts_of
from .listing import Turns
from .pauses import all_parted
from .stores import TAIL, Load


def visitors_in(load: Load) -> set[int]:
    """Return all visitors of whom there are rows; in turns with others' work."""
    found: set[int] = set()
    turns = Turns()
    blobs = [part for _, bucket, blob in load.snapshots for part in _frames(bucket, blob)]
    for blob in (*blobs, *(entry.data for entry in load.entries)):
        with suppress(FrameError, ValueError):  # the readers count what makes no sense
            some = decode(blob).rows.values()
            rows.check_all(some)
            found.update(map(rows.visitor_of, some))
        turns()
    return found


def _frames(bucket: int, blob: bytes) -> Iterable[bytes]:
    return parts_of(blob) if bucket == TAIL else (blob,)


class LivingElsewhere:
    """What other workers know of the sessions of one bucket, in which all of a visitor's lie.

    Args:
        timeout_ms: how long after its last request a session ends.
        active_ms: how long before a user's session its guest part may have been seen last.
        busy: visitors with a request in flight there.
    """

    def __init__(self, timeout_ms: int, active_ms: int, busy: Collection[int]) -> None:
        self._timeout_ms = timeout_ms
        self._active_ms = active_ms
        self._busy = busy
        self._begun_ms: dict[int, int] = {}
        #: By key: (last, begun) of what had timed out; something may bridge the pause since.
        self._before: dict[int, list[tuple[int, int]]] = {}
        #: By visitor: the key, whether it is a user's, when it was seen last.
        self._parts: dict[int, list[tuple[int, bool, int]]] = {}

    def add(self, frame: Frame, offset_ms: int) -> None:
        """Take in a worker's snapshot of the bucket.

        Args:
            offset_ms: what is added to its times, where it does not say.

        Raises:
            LookupError, TypeError, ValueError: it makes no sense.
        """
        offset_ms = int(frame.head.get("o", offset_ms))
        # Alive when it was written: what came since is in the next one.
        since_ms = int(frame.head["at"]) + offset_ms - self._timeout_ms
        rows.check_all(frame.rows.values())
        for key, row in all_parted(frame.rows, frame.head.get("pauses", ())):
            head = rows.head_of(row)
            last_ms, begun_ms = head.last_ms + offset_ms, head.base_ms + offset_ms
            if last_ms > since_ms:
                self._begun_ms.setdefault(key, begun_ms)
                self.note_begun(key, begun_ms)
                self._parts.setdefault(head.visitor, []).append((key, head.user > 0, last_ms))
            else:
                self._before.setdefault(key, []).append((last_ms, begun_ms))

    def note_begun(self, key: int, begun_ms: int) -> None:
        """Note when a session began, if it lives on there (ms since the epoch)."""
        if key in self._begun_ms:
            self._begun_ms[key] = min(begun_ms, self._begun_ms[key])

    def begun_ms(self, key: int) -> int | None:
        """Return when a session that lives on there began, None where it does not."""
        begun_ms = self._begun_ms.get(key)
        if begun_ms is not None:
            for last_ms, before_ms in sorted(self._before.get(key, ()), reverse=True):
                if last_ms <= rows.timed_out_ms(begun_ms, self._timeout_ms):
                    break
                begun_ms = min(begun_ms, before_ms)
        return begun_ms

    def has(self, key: int, row: bytes, offset_ms: int) -> bool:
        """Tell whether a session of this worker's, or what is joined with it, lives on there."""
        head = rows.head_of(row)
        return head.visitor in self._busy or self.heir_of(key, head, offset_ms) is not None

    def heir_of(self, key: int, head: rows.Head, offset_ms: int) -> int | None:
        """Return the session there that is one with a session of this worker's, None for none."""
        if key in self._begun_ms:
            return key
        begun_ms, last_ms = head.base_ms + offset_ms, head.last_ms + offset_ms
        for other, is_user, their_last_ms in self._parts.get(head.visitor, ()):
            if is_user != (head.user > 0):
                user_ms = self.begun_ms(other) if is_user else begun_ms
                guest_ms = last_ms if is_user else their_last_ms
                if user_ms is not None and guest_ms >= user_ms - self._active_ms:
                    return other
        return None
