"""What notes to all workers mean for what a reader knows of the others' sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Any

from . import rows
from .replica import Replica

Json = dict[str, Any]


class Hearsay:
    """Does what notes say, and once more after the next two readings.

    A note may be heard before the frames are read that were written before it. Workers that live
    tell by themselves what has ended since; the rows of one that is gone would stay. One reading
    may have begun before the note was heard.
    """

    def __init__(self) -> None:
        self._heard: list[Json] = []
        self._before: list[Json] = []  # what had been heard at the last reading
        self._recalled: list[tuple[list[Json], list[Replica]]] = []

    def take(self, note: Json, replicas: Collection[Replica]) -> list[int]:
        """Take a note; return the keys of the sessions that went."""
        self._heard.append(note)
        return _ended([note], replicas, is_by_visitor=False)  # the next reading does it all

    def recall(self, notes: Iterable[Json], gone: Iterable[Replica]) -> None:
        """Do with this reading what notes say that were heard before, or are kept.

        Args:
            gone: who has just gone: what these wrote last may be from before they heard of them.
        """
        self._recalled.append((list(notes), list(gone)))

    def take_again(self, replicas: Collection[Replica]) -> tuple[list[int], bool]:
        """Return the keys of the sessions that went, and whether somebody was erased."""
        due = [([*self._before, *self._heard], replicas), *self._recalled]
        self._before, self._heard, self._recalled = self._heard, [], []
        gone = [key for notes, some in due for key in _ended(notes, some)]
        are_erased = [_erase(notes, some) for notes, some in due]
        return gone, any(are_erased)


def _erase(notes: Sequence[Json], replicas: Collection[Replica]) -> bool:
    """Erase whom notes name; tell whether there was anything of theirs."""
    is_erased = False
    for note in [one for one in notes if one.get("kind") == "forget"]:
        at_ms, keys = float(note.get("at_ms", inf)), {*map(int, note.get("keys", ()))}
        for replica in replicas:
            lines = len(replica.feed)
            found = replica.forget(str(note.get("user")), at_ms, keys=keys)
            is_erased |= bool(found) or len(replica.feed) != lines
    return is_erased


def _ended(
    notes: Sequence[Json], replicas: Collection[Replica], is_by_visitor: bool = True
) -> list[int]:
    """End what notes say; return the keys of the sessions that went.

    Args:
        is_by_visitor: whether the gone are looked through for keys that no note names.
    """
    ends = [note for note in notes if note.get("kind") in ("out", "end")]
    visitors = {int(note.get("visitor", 0)) for note in ends if note["kind"] == "out"}
    gone: list[int] = []
    for replica in replicas if ends else ():
        kept = _by_visitor(replica, visitors) if is_by_visitor and replica.is_gone else {}
        for note in ends:
            keys = [int(key) for key in note.get("keys", ())]
            if note["kind"] == "out":
                of_visitor = kept.get(int(note.get("visitor", 0)), ())
                keys += [key for key, whose in of_visitor if whose in (None, note.get("user"))]
            at_ms = int(note.get("at_ms", 0))
            gone += replica.end_before(keys, at_ms, note.get("store_at_ms"))
    return gone


def _by_visitor(
    replica: Replica, visitors: Collection[int]
) -> dict[int, list[tuple[int, str | None]]]:
    """Return the keys of some visitors' sessions, and whose they are.

    Who is gone may not have heard of an earlier sign-out: its keys are others than a note's.
    """
    found: dict[int, list[tuple[int, str | None]]] = {}
    buckets = {visitor & 0xFF for visitor in visitors}  # a visitor's sessions are all in one
    for key in [one for one in list(replica.rows) if one & 0xFF in buckets]:
        row = replica.rows.get(key)
        if row is not None and rows.visitor_of(row) in visitors:
            head = rows.head_of(row)
            whose = replica.user_id(head.user - 1) if head.user else None
            found.setdefault(head.visitor, []).append((key, whose))
    return found
