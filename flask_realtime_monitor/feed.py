"""Another worker's newest activities; each is made whole when somebody reads it.

A feed takes in thousands where a reader looks at a hundred. So what an activity's numbers mean is
looked up when it comes, since it may change, and all else only when it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, overload

from . import rows
from .listing import pairs
from .records import FeedItem, Rare, Record
from .traffic import UNMATCHED

_SLICE = 2_000  # rows, between two turns of others

#: When (by the rows' clock), session key, ordinal, visitor, user (id, name), route (endpoint,
#: rule), path, what few activities have, code, duration as packed.
Line = tuple[
    int,
    int,
    int,
    int,
    tuple[str, str | None] | None,
    tuple[str, str | None],
    str | None,
    Rare | None,
    int,
    float,
]
#: An activity that came whole: when, session key if any, ordinal, record.
Whole = tuple[int, int | None, int, Record]

_new = tuple.__new__  # a named tuple's class called with its fields would cost twice as much
_LINE = 10  # fields; items, and what came whole, have fewer
_NOTHING = (None, None, None, None)
_NOBODY = (None, None)
_METHODS = tuple(rows.method_name(number << 10) for number in range(16))
_at_ms = itemgetter(0)


class Feed(Sequence[FeedItem]):
    """Lines in the order of time, oldest first; the newest ``size`` of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        #: Each a line, or the item that was made of it.
        self._entries: deque[Line | Whole | FeedItem] = deque(maxlen=size)
        self._number = 0  # the last line's; those before it count down, but for gaps among items

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> FeedItem: ...
    @overload
    def __getitem__(self, at: slice) -> list[FeedItem]: ...
    def __getitem__(self, at: int | slice) -> FeedItem | list[FeedItem]:
        """Return one item, or some."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        entry = self._entries[at]
        if type(entry) is tuple:
            behind = -at - 1 if at < 0 else len(self._entries) - at - 1
            entry = self._entries[at] = _item(self._number - behind, entry)
        return entry  # type: ignore[return-value]  # no line any more

    def __reversed__(self) -> Iterator[FeedItem]:
        """Yield the newest first."""
        return map(self.__getitem__, range(len(self) - 1, -1, -1))

    @property
    def oldest_ms(self) -> int:
        """When the oldest was, by the rows' clock; there is one."""
        return time_of(self._entries[0])

    def told(self) -> set[tuple[int | None, int]]:
        """Return (session key, ordinal) of all."""
        return {_name(entry) for entry in self._entries}

    def add(self, lines: list[Any]) -> None:
        """Put lines, each a Line or a Whole, into their places; it sorts the list."""
        if not lines:
            return
        lines.sort(key=_at_ms)
        entries = self._entries
        if entries and lines[0][0] < time_of(entries[-1]):
            # Written again, after the store had lost it: what is older must not push out newer.
            known = [whole(one) if isinstance(one, FeedItem) else one for one in entries]
            lines = sorted([*known, *lines], key=_at_ms)
            entries.clear()
        self._number += len(lines)
        entries.extend(lines)

    def add_untold(self, lines: list[Any]) -> None:
        """Put those of some lines into their places that are not there, each once."""
        told = self.told()
        self.add([*{line[1:3]: line for line in lines if line[1:3] not in told}.values()])

    def rename(self, key: int, to: int, after: int) -> None:
        """Give a session's lines, behind an ordinal, another key.

        Of those that are there by that key already, from a later snapshot, there is one afterwards.
        """
        if key == to:
            return
        moving = [at for at, one in enumerate(self._entries) if one[1] == key and one[2] > after]
        there = {one[2] for one in self._entries if one[1] == to} if moving else ()
        if any(self._entries[at][2] in there for at in moving):
            self.keep(
                lambda item: item.key != key or item.ordinal <= after or item.ordinal not in there
            )
            self.rename(key, to, after)
            return
        for at in moving:
            entry = self._entries[at]
            if isinstance(entry, FeedItem):
                self._entries[at] = entry._replace(key=to)
            else:
                self._entries[at] = (entry[0], to, *entry[2:])

    def begin_anew(self, is_known_later: bool) -> None:
        """Drop what is told again.

        Args:
            is_known_later: what came whole is from after that: from here on it may not be told.
        """
        kept = [one for one in self._entries if is_known_later and _is_whole(one)]
        self._entries.clear()
        self._entries.extend(kept)

    def keep(self, is_kept: Callable[[FeedItem], bool]) -> None:
        """Drop what is not to be kept; the others are as they were."""
        kept = [item for item in self if is_kept(item)]
        self._entries.clear()
        self._entries.extend(kept)


def newest_rows(table: dict[int, bytes], least_ms: int, most: int) -> list[int]:
    """Return the keys of the rows that were seen last, the newest at the end.

    Args:
        least_ms: and not before this, by the rows' clock.
    """
    newest: list[tuple[int, int]] = []
    latest_first = reversed(table), reversed(table.values())
    for keys, some in pairs(*latest_first, _SLICE):
        newest += rows.seen_since(least_ms, keys, some)
        if len(newest) > 2 * most:
            newest = sorted(newest)[-most:]
            least_ms = newest[0][0]
    return [key for _, key in sorted(newest)[-most:]]


def newest_entries(feed: Sequence[FeedItem], most: int) -> list[Line | FeedItem]:
    """Return a feed's newest entries, newest first: items, or lines that nobody has made whole."""
    if not isinstance(feed, Feed):
        return list(islice(reversed(feed), most))  # one call: it may grow meanwhile
    kept = enumerate(islice(reversed(feed._entries), most), 1)
    return [one if len(one) == _LINE else feed[-number] for number, one in kept]


def whole(item: FeedItem) -> Whole:
    """Return an item as a line."""
    return item.record.at_ms, item.key, item.ordinal, item.record


def loose_line(plain: list[Any]) -> Whole:
    """Return a line from what a frame tells of it; no row does."""
    key, ordinal, *fields = plain
    record = Record._make([*fields[:5], b"", "", *fields[5:]])
    return whole(FeedItem(0, key, ordinal, record))


def _is_whole(entry: Any) -> bool:
    return type(entry) is tuple and len(entry) != _LINE


def _name(entry: Any) -> tuple[int | None, int]:
    return entry[1], entry[2]  # of a line and of an item


def time_of(entry: Any) -> int:
    """Return when an entry was, by the rows' clock."""
    at_ms: int = entry.record.at_ms if isinstance(entry, FeedItem) else entry[0]
    return at_ms


def _item(number: int, line: Any) -> FeedItem:
    """Make a line whole."""
    if len(line) == 4:
        _, key, ordinal, record = line
        return _new(FeedItem, (number, key, ordinal, record))
    at_ms, key, ordinal, visitor, whose, (endpoint, rule), path, rare, code, duration = line
    user_id, user_name = whose or _NOBODY
    kind: str = "request"
    placed: str | None = endpoint
    if code & rows.OTHER_KIND:
        kind = "custom" if rare is None else rare.kind
        placed = endpoint if endpoint != UNMATCHED else None
    title, error, name, data = _NOTHING if rare is None else rare[1:]
    method, status = _METHODS[code >> 10 & 0xF], code & rows.STATUS or None
    duration_ms = duration if duration >= 0 else rows.unpacked_ms(duration)
    record = _new(
        Record,
        (kind, at_ms, visitor, user_id, user_name, b"", "", method, placed, rule, path,
         title, status, duration_ms, error, name, data),
    )  # fmt: skip
    return _new(FeedItem, (number, key, ordinal, record))
