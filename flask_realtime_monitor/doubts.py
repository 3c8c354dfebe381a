"""Whose the lines of a log are, where users' numbers are known from later than it tells.

A number goes to somebody else once nobody needs it. Who begins to read knows it from a snapshot,
and then reads what was before that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from . import rows
from .feed import Line, Whole
from .source import Person


class Doubts:
    """Lines of one worker that wait until it is known whose they are."""

    def __init__(self) -> None:
        #: Whose numbers were at this moment of the log.
        self._earlier: dict[int, Person | None] = {}
        #: Lines by number; theirs who have it, if nobody turns out to have had it in between.
        self._aside: dict[int, list[Line | Whole]] = {}

    def __bool__(self) -> bool:
        return bool(self._aside)

    def name(self, users: Iterable[Sequence[Any]], newer: Collection[int]) -> None:
        """Note whose some numbers were, of those that are known from later.

        Args:
            users: number, id and name of each, as in the head of a frame.
            newer: the buckets that are.
        """
        for number, user_id, name in users:
            self._aside.pop(number, None)  # of somebody before, who is not known
            if number & 0xFF in newer:
                self._earlier[number] = None if user_id is None else (str(user_id), name)
            else:
                self._earlier.pop(number, None)

    def has_named(self, number: int) -> bool:
        """Tell whether the log has told whose a number was."""
        return number in self._earlier

    def told(self, number: int, lines: list[Line | Whole]) -> list[Line | Whole]:
        """Return the lines of a number's owner that are to be shown; the others wait."""
        if number in self._earlier:
            whose = self._earlier[number]
            return [(*line[:4], whose, *line[5:]) for line in lines]
        self._aside.setdefault(number, []).extend(lines)
        return []

    def rename(self, key: int, to: int, after: int) -> None:
        """Give a session's lines, behind an ordinal, another key."""
        for number, lines in self._aside.items():
            moving = (
                (line[0], to, *line[2:]) if line[1] == key and line[2] > after else line
                for line in lines
            )
            self._aside[number] = list(moving)

    def settled(self) -> list[Line | Whole]:
        """Return what has turned out to be of those who have the numbers, and begin anew."""
        lines = [line for some in self._aside.values() for line in some]
        self._earlier, self._aside = {}, {}
        return lines


def by_doubt(
    taken: dict[int, bytes], newer: Collection[int]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Return rows that are not known from later, apart those whose user's number is.

    Args:
        newer: buckets, of sessions and of users' numbers, that are known from later.
    """
    known: dict[int, bytes] = {}
    doubtful: dict[int, bytes] = {}
    for key, row in taken.items():
        if key & 0xFF not in newer:
            number = rows.user_of(row)
            (doubtful if number >= 0 and number & 0xFF in newer else known)[key] = row
    return known, doubtful
