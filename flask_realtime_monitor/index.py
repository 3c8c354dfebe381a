"""The index a reader keeps: which sessions and users there are, and which are one.

Built on the first read, brought up to date by what has changed, and dropped when nobody reads.
Every source's row of a session is a part of it; the parts are put together here, from the rows
alone, so that the order in which they came makes no difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain

from .departures import Departures
from .gathering import Gathering, Merged, Table
from .interner import Interner
from .listing import TURN_S, slices
from .recency import Recency
from .rows import brief_of
from .source import Source
from .wheel import Wheel

MAX_ENDPOINTS = 0xFFFF


class Index:
    """Sessions as they are shown: guest and user of one session are one entry, the user's.

    Args:
        sources: whose rows are indexed; may grow and shrink between calls.
        anonymous_key: returns the key of a visitor's present anonymous session.
        now_ms: the present moment in ms since the epoch.
        active_ms: how long after its last request a session is active.
        timeout_ms: how long after its last request a session ends.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        anonymous_key: Callable[[int], int],
        now_ms: Callable[[], int],
        active_ms: int,
        timeout_ms: int,
    ) -> None:
        self._sources = sources
        self._anonymous_key = anonymous_key
        self._now_ms = now_ms
        self._active_ms = active_ms
        self._timeout_ms = timeout_ms
        self.endpoints: Interner[str] = Interner(MAX_ENDPOINTS, "(other)")
        self.departures = Departures()
        #: When a guest part was last shown by itself again.
        self.parted_ms = 0
        self.is_loaded = False
        self._clear()

    def _clear(self) -> None:
        self.sessions: Recency[int] = Recency(self._active_ms)
        self.users: Recency[str] = Recency(self._active_ms)
        self.anonymous = 0
        self.joined: dict[int, int] = {}  # a user's session -> its guest part
        self._merged: dict[int, Merged] = {}
        self._of_visitor: dict[int, tuple[int, ...]] = {}  # keys of the visitor's users
        self._of_user: dict[str, tuple[int, ...]] = {}
        self._due = Wheel()
        self._offsets: list[tuple[str, int]] = []
        self._tables: list[Table] = []
        self._busy: Collection[int] = ()

    def load(self, busy: Collection[int]) -> None:
        """Build the index from all rows; ``busy`` as in ``catch_up``."""
        before: list[int | str] = [*self.sessions.values, *self.users.values]
        self._clear()
        self._busy = busy
        self._offsets = self._seen_offsets()
        self._tables = [Table(one, one.rows, one.offset_ms, {}) for one in self._sources]
        now_ms = self._now_ms()
        if not self.is_loaded:
            self.departures.begin(now_ms)
        self.sessions.settle(now_ms)
        self.users.settle(now_ms)
        gathering = Gathering(self.endpoints, self._timeout_ms)
        gathering.gather(self._tables, busy, now_ms)
        self._show_all(gathering)
        for _ in range(2):  # some are kept, maybe, by the other part of their session
            for key in gathering.missed:
                self.look_at(key, now_ms)
        self.departures.compare(before, now_ms, self.sessions.values, self.users.values)
        self.is_loaded = True

    def _show_all(self, gathering: Gathering) -> None:
        """Show all that was gathered."""
        self._merged, self.anonymous = gathering.merged, gathering.anonymous
        self._of_visitor, self._of_user = gathering.of_visitor, gathering.of_user
        for due_s, keys in gathering.due.items():
            self._due.add_all(keys, due_s)
        self.sessions.fill(gathering.sessions)
        time.sleep(TURN_S)
        self.users.fill(gathering.users)
        time.sleep(TURN_S)
        for visitor, found in chain.from_iterable(slices(self._of_visitor.items())):
            if self._anonymous_key(visitor) in self._merged:
                self._arrange(visitor, found)
        self.departures.undo_ends(self._merged)

    def unload(self) -> None:
        """Drop the index."""
        self._clear()
        self.is_loaded = False

    def catch_up(self, changed: Collection[int], busy: Collection[int]) -> bool:
        """Take in what has changed, and what time has ended; tell whether there was anything.

        Args:
            changed: keys of sessions to look at again.
            busy: visitors with a request in flight; their sessions do not end.
        """
        has_moved = bool(changed)
        if self._offsets != self._seen_offsets():
            self.load(busy)  # a clock was set, or a worker came: begin anew
            has_moved = True
        now_ms = self._now_ms()
        self._busy = busy
        others = self._look_shortly(changed, now_ms)
        for key in chain.from_iterable(slices(others)):
            self.look_at(key, now_ms)
        for key in self._due.due(now_ms // 1000):
            if key in self._merged:
                self.look_at(key, now_ms)
                has_moved = True
                still = self._merged.get(key)
                if still is not None:
                    due_s = (still[3] + self._timeout_ms) // 1000 + 1
                    self._due.add(key, max(due_s, now_ms // 1000 + 1))
        has_moved |= self.sessions.settle(now_ms)
        has_moved |= self.users.settle(now_ms)
        return has_moved

    # -- asking --------------------------------------------------------------------------------

    def keys_of(self, user_id: str) -> tuple[int, ...]:
        """Return the sessions of a user."""
        return self._of_user.get(user_id, ())

    def user_of(self, key: int) -> str | None:
        """Return the id of the user whose session this is."""
        merged = self._merged.get(key)
        return None if merged is None else merged[1]

    def shown(self, key: int) -> int:
        """Return the key a session is shown under: a guest part's is that of its user."""
        merged = self._merged.get(key)
        if merged is not None and merged[1] is None:
            for user_key in self._of_visitor.get(merged[0], ()):
                if self.joined.get(user_key) == key:
                    return user_key
        return key

    def session_of_visitor(self, visitor: int) -> int | None:
        """Return the session a visitor's request in flight belongs to, as far as one can know."""
        users = self._of_visitor.get(visitor, ())
        if len(users) > 1:
            return None
        key = users[0] if users else self._anonymous_key(visitor)
        return key if key in self.sessions else None

    # -- keeping -------------------------------------------------------------------------------

    def _look_shortly(self, changed: Iterable[int], now_ms: int) -> list[int]:
        """Look at those that were only seen again; return the others, which ``look_at`` is for.

        By far the most were nobody's, or the one session of a user without a guest part, and are.
        """
        known, of_visitor, of_user = self._merged, self._of_visitor, self._of_user
        shown, joined, others = self.sessions.values, self.joined, []
        sessions: dict[int, int] = {}
        users: dict[str, int] = {}
        for key in chain.from_iterable(slices(changed)):
            before, merged = known.get(key), self._merge(key, now_ms)
            if before is not None and merged is not None and key in shown and key not in joined:
                visitor, user_id, _, last_ms, endpoint = merged
                if user_id is None:
                    is_alone = visitor not in of_visitor
                else:
                    is_alone = (
                        of_user.get(user_id) == of_visitor.get(visitor) == (key,)
                        and self._anonymous_key(visitor) not in known
                    )
                if is_alone and before[0] == visitor and before[1] == user_id:
                    known[key] = merged
                    sessions[key] = value = last_ms << 16 | endpoint
                    if user_id is not None:
                        users[user_id] = value
                    continue
            others.append(key)
        self.sessions.put_all(sessions)
        self.users.put_all(users)
        return others

    def look_at(self, key: int, now_ms: int) -> None:
        """Bring one session up to date: new, changed, joined, parted or gone."""
        before = self._merged.get(key)
        merged = self._merge(key, now_ms)
        if merged is None:
            if before is None:
                return
            self._end(key, before, now_ms)
            visitor = before[0]
        else:
            self._merged[key] = merged
            visitor, user_id, _, last_ms, endpoint = merged
            if before is None:
                self._due.add(key, (last_ms + self._timeout_ms) // 1000 + 1)
                self.departures.undo_ends((key,))
                if user_id is not None:
                    self._of_visitor[visitor] = (*self._of_visitor.get(visitor, ()), key)
        users = self._of_visitor.get(visitor)
        if merged is None or (
            users is not None and (users != (key,) or self._anonymous_key(visitor) in self._merged)
        ):
            self._arrange(visitor, users or ())
            return
        self.joined.pop(key, None)
        self._show(key, user_id, last_ms, endpoint)

    def _end(self, key: int, merged: Merged, now_ms: int) -> None:
        visitor, user_id, _, last_ms, _ = merged
        del self._merged[key]
        if user_id is not None:
            left = tuple(one for one in self._of_visitor[visitor] if one != key)
            if left:
                self._of_visitor[visitor] = left
            else:
                del self._of_visitor[visitor]
        if key in self.sessions:
            self.departures.end(key, min(now_ms, last_ms + self._timeout_ms))
        self._hide(key, user_id)

    def _merge(self, key: int, now_ms: int) -> Merged | None:
        """Put the parts of a session together; None where there are none or it has ended."""
        last_ms = first_ms = endpoint = -1
        visitor, user_id = 0, None
        for source, table, offset_ms, endpoint_of in self._tables:
            row = table.get(key)
            if row is None:
                continue
            visitor, base_ms, last, user, route = brief_of(row)
            base_ms += offset_ms
            if base_ms + last > last_ms:
                last_ms = base_ms + last
                endpoint = endpoint_of.get(route, -1)
                if endpoint < 0:
                    endpoint = endpoint_of[route] = self.endpoints.number(source.route(route)[0])
            if first_ms < 0 or base_ms < first_ms:
                first_ms = base_ms
            if user and user_id is None:
                person = source.user(user - 1)
                if person is None:
                    return None  # the row went while we looked
                user_id = person[0]
        if endpoint < 0:
            return None
        timed_out_ms = now_ms - self._timeout_ms
        if (
            last_ms <= timed_out_ms
            and visitor not in self._busy
            and self._last_of_other_part(visitor, user_id, first_ms, last_ms) <= timed_out_ms
        ):
            return None
        return visitor, user_id, first_ms, last_ms, endpoint

    def _last_of_other_part(
        self, visitor: int, user_id: str | None, first_ms: int, last_ms: int
    ) -> int:
        """Return when the guest or user that is one session with this was last seen, else 0."""
        users = self._of_visitor.get(visitor, ())
        if user_id is not None:
            guest = self._merged.get(self._anonymous_key(visitor)) if len(users) <= 1 else None
            if guest is None:
                return 0
            return guest[3] if guest[3] >= first_ms - self._active_ms else 0
        if len(users) != 1:
            return 0
        user = self._merged[users[0]]
        return user[3] if last_ms >= user[2] - self._active_ms else 0

    def _arrange(self, visitor: int, users: tuple[int, ...]) -> None:
        """Show the sessions of a visitor who is, or was, a user.

        Guest and user are one where the visitor has exactly one user, and the guest was active
        within the active window before the user's session began, or since.
        """
        merged = self._merged
        guest_key = self._anonymous_key(visitor)
        guest = merged.get(guest_key)
        for key in users:
            _, user_id, first_ms, last_ms, endpoint = merged[key]
            self.joined.pop(key, None)
            is_alone = len(users) == 1
            if guest and is_alone and guest[3] >= first_ms - self._active_ms:
                self.joined[key] = guest_key
                if guest[3] > last_ms:
                    last_ms, endpoint = guest[3:]
                guest = None
                self._hide(guest_key, None)
            self._show(key, user_id, last_ms, endpoint)
        if guest is not None:
            if guest_key not in self.sessions:
                self.parted_ms = self._now_ms()
            self._show(guest_key, None, *guest[3:])

    def _show(self, key: int, user_id: str | None, last_ms: int, endpoint: int) -> None:
        if user_id is None:
            self.anonymous += key not in self.sessions
            self.sessions.put(key, last_ms, endpoint)
            return
        self.sessions.put(key, last_ms, endpoint)
        keys = self._of_user.get(user_id)
        if keys is None:
            self._of_user[user_id] = (key,)
        elif key not in keys:
            self._of_user[user_id] = (*keys, key)
        self._see_user(user_id)

    def _hide(self, key: int, user_id: str | None) -> None:
        if key not in self.sessions:
            return
        self.sessions.drop(key)
        self.joined.pop(key, None)
        now_ms = self._now_ms()
        self.departures.note(key, now_ms)
        if user_id is None:
            self.anonymous -= 1
            return
        keys = tuple(one for one in self._of_user[user_id] if one != key)
        if keys:
            self._of_user[user_id] = keys
            self._see_user(user_id)
        else:
            del self._of_user[user_id]
            self.users.drop(user_id)
            self.departures.note(user_id, now_ms)

    def _see_user(self, user_id: str) -> None:
        values = self.sessions.values
        newest = max(values[key] for key in self._of_user[user_id])
        self.users.put(user_id, newest >> 16, newest & 0xFFFF)

    def _seen_offsets(self) -> list[tuple[str, int]]:
        return [(source.worker_id, source.offset_ms) for source in self._sources]
