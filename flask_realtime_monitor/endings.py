"""Ending a session at an admin's word, in every worker.

A worker ends what it has of the session and leaves a note for the others. An end is final where
the visitor has no other session: whatever that visitor does next is a new one. Else the visitor's
other sessions keep their ids, and so does this one, should its user make another request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from . import rows, shapes
from .index import Index
from .records import FeedItem, Notice, Record
from .shapes import Part
from .source import Person, Source
from .tracker import Tracker

KIND = "end"

Json = dict[str, Any]


class Ending(NamedTuple):
    """A session that is to end: the keys of its parts, whose it is, whether it is the only one."""

    visitor: int
    keys: tuple[int, ...]
    person: Person | None
    is_only: bool


def of(
    key: int, parts: Sequence[Part], index: Index, anonymous_key: Callable[[int], int]
) -> Ending:
    """Return all that ends together with a listed session, of which there are parts."""
    visitor = parts[0].head.visitor
    guest = anonymous_key(visitor)
    return Ending(
        visitor,
        tuple(dict.fromkeys((key, *(part.key for part in parts)))),
        shapes.whose(parts),
        index.session_of_visitor(visitor) == key and (guest == key or guest not in index.sessions),
    )


def ended_ms(
    key: int, tracker: Tracker, sources: Sequence[Source], index: Index, timeout_ms: int
) -> int | None:
    """Return when a session that is not listed ended (ms since the epoch); None: nobody knows.

    Every worker says the same: the moment that all were told of, else the time-out after what
    anybody saw of it last. Rows outlive that by a while, also where nobody looked as it came.
    """
    own = tracker.sessions.ended(key)
    if own is not None and own[1]:
        return own[0] + tracker.clock.offset_ms
    known = [index.departures.ended_ms(key)]
    known += [own[0] + tracker.clock.offset_ms] if own is not None else []
    for source in sources:
        row = source.rows.get(key)
        if row is not None:
            known.append(rows.last_ms_of(row) + source.offset_ms + timeout_ms)
    found = max((one for one in known if one is not None), default=None)
    if found is None or found > tracker.clock.now_ms() + tracker.clock.offset_ms:
        return None
    index.departures.end(key, found)  # the rows go
    return found


def end(tracker: Tracker, ending: Ending, record: Record | None) -> Json:
    """End a session here, with a last line in the feed; return the note to the other workers."""
    now_ms = tracker.clock.now_ms()
    at_ms = now_ms + tracker.clock.offset_ms
    note = {
        "kind": KIND,
        "visitor": ending.visitor,
        "keys": ending.keys,
        "first": tracker.sessions.first_key(
            ending.visitor, None if ending.person is None else ending.person[0]
        ),
        "generation": at_ms if ending.is_only else 0,
        "at_ms": at_ms,
        "store_at_ms": tracker.clock.store_at_ms(now_ms),
    }
    _take(tracker, note, record)
    return note


def take(tracker: Tracker, note: Mapping[str, Any]) -> None:
    """Do what another worker's note says.

    Raises:
        KeyError, TypeError, ValueError: it makes no sense.
    """
    _take(tracker, note, None)


def _take(tracker: Tracker, note: Mapping[str, Any], record: Record | None) -> None:
    keys = [int(key) for key in note["keys"]]
    at_ms = tracker.clock.ms_of(int(note["at_ms"]), note.get("store_at_ms"))
    sessions = tracker.sessions
    with tracker.lock:
        ended: list[Notice] = []
        sessions.notices = ended
        try:
            visitor = int(note["visitor"])
            first = int(note.get("first", visitor))
            sessions.end_whole(visitor, keys, int(note["generation"]), at_ms, first)
        finally:
            sessions.notices = None
        if record is not None:
            # No row tells it: it is the session's all the same.
            number = tracker.feed_number = tracker.feed_number + 1
            item = FeedItem(number, keys[0], 0, record)
            tracker.feed.append(item)
            ended.insert(0, Notice("activity", keys[0], None, item))
        tracker.ended_notices += ended
