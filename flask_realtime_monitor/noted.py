"""Sessions as notes of other workers change them.

The keys of a visitor's sessions tell which sign-out was the last before them. What this worker
recorded until it heard of one has the keys of before, and would be another session than what the
others record: so it gets the keys of after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from . import rows
from .clock import Clock
from .config import Settings
from .pauses import parted
from .records import FeedItem, Rare
from .sessions import ALL, Sessions, with_key
from .visitors import Visitors

#: Pairs of keys: what was one is the other now.
Moves = list[tuple[int, int]]


class NotedSessions(Sessions):
    """Sessions of a worker that hears of other workers' sign-outs."""

    def __init__(self, settings: Settings, visitors: Visitors) -> None:
        super().__init__(settings, visitors)
        #: What the others must be told.
        self.moved: Moves = []

    def sign_out_elsewhere(self, note: Mapping[str, Any], clock: Clock) -> Moves:
        """End what another worker saw sign out, but for a user who was seen since.

        Returns:
            Of what goes on, the keys it had and those it has now.
        """
        visitor, generation = int(note["visitor"]), int(note["at_ms"])
        user_id = None if note.get("user") is None else str(note["user"])
        keys = [int(key) for key in note["keys"]]
        at_ms, now_ms = clock.ms_of(generation, note.get("store_at_ms")), clock.now_ms()
        # Where an earlier sign-out was not heard of there, or here, these are others.
        own = self.key(visitor, user_id, None), self.anonymous_key(visitor)
        known, ends = list(dict.fromkeys((*keys, *own))), []
        for key in known:
            row = self.rows.get(key)
            # A guest's requests of since then, until this was heard, began no session of their own,
            # but where the last had timed out.
            last_ms_of = rows.begun_ms_of if key in (keys[-1], own[-1]) else rows.last_ms_of
            if row is not None and last_ms_of(parted(row, self.pauses.get(key, ()))[-1]) <= at_ms:
                ends.append(key)
        for key in ends:
            self._end_among(ends, key, now_ms)
        for key in keys:
            if key not in self.rows:  # nor were there, maybe: others saw it
                self._note_end(key, at_ms, is_told=True)
        self.begin_generation(generation, visitor, self.first_key(visitor, user_id))
        self._touch_visitor(visitor)  # what others told before this was heard is joined by it
        moved = []
        for key in known:
            row = self.rows.get(key)
            if row is not None:
                to = self.next_key(visitor, user_id if rows.head_of(row).user else None)
                if to not in self.rows:
                    self._move(key, row, to, now_ms)
                    moved.append((key, to))
        self.moved += moved
        return moved

    def learn(self, generations: Iterable[tuple[int, int]], clock: Clock) -> Moves:
        """Take over (first key, generation) of sign-outs of which no note was heard.

        Returns:
            As ``sign_out_elsewhere``.
        """
        moved: Moves = []
        for first, generation in sorted(generations, key=itemgetter(1)):
            # By its first key one is found who had not signed out before, and all of a visitor.
            own = first, self.anonymous_key(first), *self.users_of(first)
            for key in dict.fromkeys(own if self.rows else ()):
                if self.generation.get(first, 0) >= generation or key not in self.rows:
                    continue
                head = rows.head_of(self.rows[key])
                person = self.people.user(head.user - 1) if head.user else None
                user_id = None if person is None else person[0]
                if self.first_key(head.visitor, user_id) == first:
                    keys = key, self.anonymous_key(head.visitor)
                    note = {"visitor": head.visitor, "user": user_id, "at_ms": generation}
                    moved += self.sign_out_elsewhere({**note, "keys": keys}, clock)
            self.begin_generation(generation, first)
        return moved

    def _move(self, key: int, row: bytes, to: int, now_ms: int) -> None:
        """Give a session another key."""
        head = rows.head_of(row)
        wheel = self._due_users if head.user else self._due_guests
        wheel.add(to, -(-(rows.last_ms_of(row) + self._timeout_ms) // 1000))
        if head.user:
            self.people.hold(head.user - 1, to)
            self.of_visitor[head.visitor] = with_key(self.of_visitor.get(head.visitor), to)
        pauses = self.pauses.get(key, ())
        self._remove(key, row, now_ms)
        self.pauses.put(to, pauses)
        self._ended.pop(to, None)
        if self.buckets:
            self.buckets[to & 0xFF].append(to)
        self.put(to, None, row)
        if self.dirty is not None:
            self.dirty[to] = ALL

    def end_whole(
        self, visitor: int, keys: Sequence[int], generation: int, at_ms: int, first: int
    ) -> None:
        """End one session in all its parts, whether this worker has rows of them or not.

        Args:
            keys: the session's own, then its guest part's.
            generation: that of the visitor's sessions from now on; 0 where the visitor has others,
                which go on. This one may then have been seen again since, and goes on as well.
            first: the first key of whose session it is.
        """
        # Who ended it may not have known of a guest part; a note that is told again ends no other.
        if self.generation.get(visitor, 0) < generation:
            keys = list(dict.fromkeys((*keys, self.anonymous_key(visitor))))
        ends = [
            key
            for key in keys
            if generation or (row := self.rows.get(key)) is None or rows.last_ms_of(row) <= at_ms
        ]
        for key in keys:
            if key in self.rows and key not in ends:
                self._tell_whole(key)
        parts = [(key, self.rows[key]) for key in ends if key in self.rows]
        if parts:
            self.tell("ended", *parts[0], parts[1] if len(parts) > 1 else None)
        for key, row in parts:
            self._remove(key, row, at_ms)
        for key in ends:
            self._note_end(key, at_ms, is_told=True)
        if generation:
            self.begin_generation(generation, visitor, first)
            self._touch_visitor(visitor)

    def _tell_whole(self, key: int) -> None:
        """Tell all of a session that goes on: whoever ended it has let go of the row."""
        self.moved.append((key, key))  # its lines may be known
        self.pauses.put(key, self.pauses.get(key, ()))
        if self.dirty is not None:
            self.dirty[key] = ALL


def rename(
    moves: Moves,
    feed: deque[FeedItem],
    rare_of: Sequence[dict[tuple[int, int], Rare]],
    rare_order: deque[tuple[int, int]],
    fresh_rare: list[tuple[int, int]] | None,
) -> None:
    """Give what a tracker knows of sessions their new keys; the rows have them already."""
    renamed: dict[tuple[int, int], tuple[int, int]] = {}
    for key, to in moves:
        for at, item in enumerate(feed):
            if item.key == key:
                feed[at] = item._replace(key=to)
        table = rare_of[key & 0xFF]
        for old in [pair for pair in table if pair[0] == key]:
            new = to, old[1]
            table[new] = table.pop(old)
            renamed[old] = new
    if not renamed:
        return

    def name_of(pair: tuple[int, int]) -> tuple[int, int]:
        while pair in renamed:
            pair = renamed[pair]
        return pair

    in_order = [name_of(pair) for pair in rare_order]
    rare_order.clear()
    rare_order.extend(in_order)
    if fresh_rare is not None:  # the others know them by the old names
        fresh_rare[:] = dict.fromkeys(map(name_of, [*fresh_rare, *renamed]))


def erase(
    user_id: str,
    gone: Collection[int],
    keys: Collection[int],
    feed: deque[FeedItem],
    rare_of: Sequence[dict[tuple[int, int], Rare]],
) -> None:
    """Drop what a tracker knows of a user beside the rows, which are gone already.

    Args:
        keys: of sessions whose lines go as well, whether there were rows of them or not.
    """
    kept = [
        item
        for item in feed
        if not (item.record.is_of(user_id) or item.key in gone or item.key in keys)
    ]
    feed.clear()
    feed.extend(kept)
    for table in rare_of:
        for rare in [pair for pair in table if pair[0] in gone]:
            del table[rare]
