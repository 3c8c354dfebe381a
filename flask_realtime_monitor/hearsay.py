"""What notes to all workers mean for what a reader knows of the others' sessions."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import Any

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
        return _ended(note, replicas)

    def take_again(self, replicas: Collection[Replica]) -> tuple[list[int], bool]:
        """Return the keys of the sessions that went, and whether somebody was erased."""
        heard = [*self._before, *self._heard]
        self._before, self._heard = self._heard, []
        gone: list[int] = []
        erasures = [note for note in heard if note.get("kind") == "forget"]
        for note in heard:
            gone += _ended(note, replicas)
        for note in erasures:
            at_ms, keys = float(note.get("at_ms", inf)), {*map(int, note.get("keys", ()))}
            for replica in replicas:
                replica.forget(str(note.get("user")), at_ms, keys=keys)
        return gone, bool(erasures)


def _ended(note: Json, replicas: Collection[Replica]) -> list[int]:
    gone: list[int] = []
    if note.get("kind") in ("out", "end"):
        keys, at_ms = [int(key) for key in note.get("keys", ())], int(note.get("at_ms", 0))
        for replica in replicas:
            gone += replica.end_before(keys, at_ms)
    return gone
