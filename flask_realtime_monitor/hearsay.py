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

    def take(self, note: Json, replicas: Collection[Replica]) -> list[int]:
        """Take a note; return the keys of the sessions that went."""
        self._heard.append(note)
        return _ended([note], replicas, is_by_visitor=False)  # the next reading does it all

    def recall(self, notes: Iterable[Json]) -> None:
        """Do at the next reading what notes say that were heard before, or are kept.

        Somebody has gone: what it wrote last it may have written before it heard of them.
        """
        self._heard += notes

    def take_again(self, replicas: Collection[Replica]) -> tuple[list[int], bool]:
        """Return the keys of the sessions that went, and whether somebody was erased."""
        heard = [*self._before, *self._heard]
        self._before, self._heard = self._heard, []
        gone = _ended(heard, replicas)
        erasures = [note for note in heard if note.get("kind") == "forget"]
        for note in erasures:
            at_ms, keys = float(note.get("at_ms", inf)), {*map(int, note.get("keys", ()))}
            for replica in replicas:
                replica.forget(str(note.get("user")), at_ms, keys=keys)
        return gone, bool(erasures)


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
            gone += replica.end_before(keys, int(note.get("at_ms", 0)))
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
