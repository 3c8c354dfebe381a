"""Sessions as notes of other workers change them.

The keys of a visitor's sessions tell which sign-out was the last before them. What this worker
recorded until it heard of one has the keys of before, and would be another session than what the
others record: so it gets the keys of after. A row that has both is cut in two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from . import rows
from .clock import Clock
from .config import Settings
from .pauses import Pause, parted
from .records import FeedItem, Rare
from .rows import HEAD_SIZE
from .sessions import ALL, Sessions, with_key
from .visitors import Visitors

#: Two keys, and an ordinal: what was the first's, and came after that, is the second's now.
Moves = list[tuple[int, int, int]]
#: A user, and the keys of all that went with them.
Erasure = tuple[str, Collection[int]]
Person = tuple[str, str | None]


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
        later = {key: cut for key in known if (cut := self._cut(key, at_ms)) is not None}
        for key in known:
            row = self.rows.get(key)
            # What a guest's row holds no more of since then goes with it, for want of its number,
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
        moved: Moves = []
        for key in known:
            row, after, person = later.get(key) or (self.rows.get(key), 0, None)
            if row is not None:
                to = self.next_key(visitor, user_id if rows.head_of(row).user else None)
                if to not in self.rows:
                    if key in later:
                        self._place(to, row, person)
                    else:
                        self._move(key, row, to, now_ms)
                    moved.append((key, to, after))
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

    def _cut(self, key: int, at_ms: int) -> tuple[bytes, int, Person | None] | None:
        """Take what came after a moment out of a session that began before.

        Returns:
            the row of what came after, the last ordinal of before, and whose the session is; None
            where nothing came after.
        """
        row = self.rows.get(key)
        if row is None or not rows.begun_ms_of(row) <= at_ms < rows.last_ms_of(row):
            return None
        head = rows.head_of(row)
        acts = list(rows.acts_of(row, head))
        since = [act for act in acts if act.at_ms > at_ms and not act.code & rows.OTHER_KIND]
        if not since:  # there were so many others since that the row does not hold them any more
            return None
        errors = sum(act.code & rows.STATUS in rows.FAILED for act in since)
        begun_ms = min(act.at_ms - int(act.duration_ms or 0) for act in since)
        cut = Pause(
            max(0, head.requests - len(since)),
            max(0, head.errors - errors),
            max((act.at_ms for act in acts if act.at_ms <= at_ms), default=head.base_ms),
            max(at_ms + 1, begun_ms),
        )
        *before, later = parted(row, (*self.pauses.get(key, ()), cut))
        self.put(key, row, before[-1])
        self.pauses.pop(key, None)
        person = self.people.user(head.user - 1) if head.user else None
        return later, rows.head_of(before[-1]).ordinal, person

    def _place(self, key: int, row: bytes, person: Person | None) -> None:
        """Begin a session with a row that there is of it."""
        if person is not None:  # whose number may be another, since the last session ended
            number = self.people.number(*person)
            row = rows.HEAD.pack(*rows.head_of(row)._replace(user=number + 1)) + row[HEAD_SIZE:]
        self._take_in(key, row)

    def _move(self, key: int, row: bytes, to: int, now_ms: int) -> None:
        """Give a session another key."""
        pauses = self.pauses.get(key, ())
        self._take_in(to, row)  # before the user's number may be given back
        self._remove(key, row, now_ms)
        self.pauses.put(to, pauses)

    def _take_in(self, to: int, row: bytes) -> None:
        """List a session whose row there is already."""
        head = rows.head_of(row)
        wheel = self._due_users if head.user else self._due_guests
        wheel.add(to, -(-(rows.last_ms_of(row) + self._timeout_ms) // 1000))
        if head.user:
            self.people.hold(head.user - 1, to)
            self.of_visitor[head.visitor] = with_key(self.of_visitor.get(head.visitor), to)
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
        self.moved.append((key, key, 0))  # its lines may be known
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
    for key, to, after in moves:
        for at, item in enumerate(feed):
            if item.key == key and item.ordinal > after:
                feed[at] = item._replace(key=to)
        table = rare_of[key & 0xFF]
        for old in [pair for pair in table if pair[0] == key and pair[1] > after]:
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
