"""The index a reader keeps: which sessions and users there are, and which are one.

Built on the first read, brought up to date by what has changed, and dropped when nobody reads.
Every source's row of a session is a part of it; the parts are put together here, from the rows
alone, so that the order in which they came makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, compress, filterfalse
from operator import itemgetter

from .departures import Departures
from .gathering import Gathering, Sightings, Table
from .groups import Groups
from .interner import Interner
from .listing import pairs, slices
from .recency import Recency
from .rows import begun_ms_of
from .source import Source
from .wheel import Wheel

MAX_ENDPOINTS = 0xFFFF
_AHEAD_MS = 60_000
_NUMBERS = 10_000  # are looked through quickly


class Index:
    """Sessions as they are shown: guest and user of one session are one entry, the user's.

    It keeps numbers and texts alone, and of a session only what a row cannot tell when it is
    asked, or has gone: 100,000 of them must not be 100,000 objects to the garbage collector.

    Args:
        sources: whose rows are indexed; may grow and shrink between calls.
        anonymous_key: returns the key of a visitor's present anonymous session.
        generations: all visitors for whom that is not the visitor's own number.
        now_ms: the present moment in ms since the epoch.
        active_ms: how long after its last request a session is active.
        timeout_ms: how long after its last request a session ends.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        anonymous_key: Callable[[int], int],
        generations: Mapping[int, int],
        now_ms: Callable[[], int],
        active_ms: int,
        timeout_ms: int,
    ) -> None:
        self._sources = sources
        self._anonymous_key = anonymous_key
        self._generations = generations
        self._now_ms = now_ms
        self._active_ms = active_ms
        self._timeout_ms = timeout_ms
        self.endpoints: Interner[str] = Interner(MAX_ENDPOINTS, "(other)")
        self.departures = Departures()
        #: When a guest part was last shown by itself again.
        self.parted_ms = 0
        self.is_loaded = False
        self._looked_ms = 0
        self._clear()

    def _clear(self) -> None:
        self.sessions: Recency[int] = Recency(self._active_ms)
        self.users: Recency[str] = Recency(self._active_ms)
        self.joined: dict[int, int] = {}  # a user's session -> its guest part
        #: Sessions, and ids of users, that show otherwise though no row of theirs has changed.
        self.disturbed: set[int | str] = set()
        #: When and where both of these were last seen themselves; shown is what both were.
        self._parts: dict[int, int] = {}
        self._user_of: dict[int, str] = {}
        self._visitor_of: dict[int, int] = {}  # where the key is not the visitor's
        #: Sessions whose user or visitor has others, or had; the looks at these are long.
        self._tied: set[int] = set()
        self._of_visitor: Groups[int] = Groups(self._tied)  # keys of the visitor's users
        self._of_user: Groups[str] = Groups(self._tied)
        self._due = Wheel()  # who may end before the next look ahead
        self._foreseen_ms = 0
        self._offsets: list[tuple[str, int]] = []
        self._tables: list[Table] = []
        self._busy: Collection[int] = ()

    def load(self, busy: Collection[int]) -> None:
        """Build the index from all rows; ``busy`` as in ``catch_up``."""
        before = self.sessions.values, self.users.values
        self._clear()
        self._busy = busy
        self._offsets = self._seen_offsets()
        self._tables = [Table.of(source, self.endpoints) for source in self._sources]
        now_ms = self._now_ms()
        if not self.is_loaded:
            self.departures.begin(now_ms)
        self.sessions.settle(now_ms)
        self.users.settle(now_ms)
        found = Gathering()
        for table in self._tables:
            found.gather(table)
        found.leave_out(busy, now_ms - self._timeout_ms)
        self._show_all(found)
        left_out = self._gathered(found.missed)
        # Some are kept by the other part of their session. Of several users of a visitor it is the
        # one who was seen last: when the others ended, they were not the only one.
        newest_first = sorted(left_out.values.items(), key=itemgetter(1, 0), reverse=True)
        for key, _ in chain.from_iterable(slices(newest_first)):
            self._look_at(key, left_out, now_ms)
        for key in before[0].keys() - self.sessions.values.keys():
            self.departures.note(key, now_ms)
        for user_id in before[1].keys() - self.users.values.keys():
            self.departures.note(user_id, now_ms)
        self.is_loaded = True

    def _show_all(self, found: Gathering) -> None:
        """Show all that was gathered; nothing has been shown before."""
        values, of_visitor, of_user = found.values, self._of_visitor, self._of_user
        self._user_of, self._visitor_of = found.users, found.visitors
        for keys, ids in pairs(found.users, found.users.values()):
            of_visitor.add_all(list(map(found.visitors.get, keys, keys)), keys)
            of_user.add_all(ids, keys)
        self.sessions.fill(values)
        self.users.fill(found.newest)
        both = of_visitor.whose() & values.keys() | of_visitor.whose() & self._generations.keys()
        for visitor in chain.from_iterable(slices(both)):
            self._arrange(visitor)
        self.departures.undo_ends(values)

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
        if now_ms - self._looked_ms > self._timeout_ms:
            self.departures.doubt(now_ms)
        self._looked_ms, self._busy = now_ms, busy
        others = self._look_shortly(changed, now_ms)
        strangers = [key for key in others if not self._is_known(key)]
        found = self._gathered(others)
        for key in chain.from_iterable(slices(others)):
            self._look_at(key, found, now_ms)
        self._note_passing(strangers, found, now_ms)
        self._look_ahead(now_ms)
        due = list(filter(self._is_known, self._due.due(now_ms // 1000)))
        has_moved |= bool(due)
        found = self._gathered(due)
        for key in chain.from_iterable(slices(due)):
            self._look_at(key, found, now_ms)
            still = self._own(key)
            if still is not None:
                self._foresee(key, still, now_ms // 1000 + 1)
        has_moved |= self.sessions.settle(now_ms)
        has_moved |= self.users.settle(now_ms)
        return has_moved

    # -- asking --------------------------------------------------------------------------------

    @property
    def anonymous(self) -> int:
        """How many sessions are nobody's."""
        return len(self.sessions) - len(self._user_of)

    def keys_of(self, user_id: str) -> tuple[int, ...]:
        """Return the sessions of a user."""
        return self._of_user.of(user_id)

    def user_of(self, key: int) -> str | None:
        """Return the id of the user whose session this is."""
        return self._user_of.get(key)

    def shown(self, key: int) -> int:
        """Return the key a session is shown under: a guest part's is that of its user."""
        if key in self._parts:
            for user_key in self._of_visitor.of(self._visitor(key)):
                if self.joined.get(user_key) == key:
                    return user_key
        return key

    def session_of_visitor(self, visitor: int) -> int | None:
        """Return the session a visitor's request in flight belongs to, as far as one can know."""
        users = self._of_visitor.of(visitor)
        if len(users) > 1:
            return None
        key = users[0] if users else self._anonymous_key(visitor)
        return key if key in self.sessions else None

    def _is_known(self, key: int) -> bool:
        return key in self.sessions.values or key in self._parts

    def _own(self, key: int) -> int | None:
        """Return when and where a session was last seen itself, not its other part."""
        own = self._parts.get(key)
        return self.sessions.values.get(key) if own is None else own

    def _visitor(self, key: int) -> int:
        return self._visitor_of.get(key, key)

    # -- keeping -------------------------------------------------------------------------------

    def _gathered(self, keys: Collection[int]) -> Gathering:
        found = Gathering()
        for table in self._tables if keys else ():
            found.gather_some(table, keys)
        return found

    def _look_shortly(self, changed: Collection[int], now_ms: int) -> list[int]:
        """Look at those that were only seen again; return the others, to be looked at singly.

        By far the most were nobody's, or the one session of a user without a guest part, and are.
        """
        seen = Sightings(self._generations)
        for table in self._tables if changed else ():
            seen.gather(table, changed)
        sessions, users = seen.sessions, seen.users
        known, tied = self.sessions.values, self._tied
        ended = (now_ms - self._timeout_ms << 16) + 0xFFFF
        others = seen.others
        others.update(compress(sessions, map(ended.__ge__, sessions.values())))
        others.update(
            key for key in changed if key not in known or key not in sessions or key in tied
        )
        if others:
            for key in others:
                sessions.pop(key, None)
                users.pop(key, None)
        self.sessions.put_all(sessions)
        self.users.put_all(dict(zip(users.values(), map(sessions.__getitem__, users), strict=True)))
        return [key for key in changed if key in others] if others else []

    def _look_at(self, key: int, found: Gathering, now_ms: int) -> None:
        """Bring one session up to date: new, changed, joined, parted or gone."""
        is_known, was_part = self._is_known(key), key in self._parts
        if not self._lives(key, found, now_ms):
            if is_known:
                visitor = self._visitor(key)
                self._end(key, now_ms)
                self._arrange(visitor)
            return
        if not is_known:
            self._begin(key, found)
            self._end_outlived(key, now_ms)
        self._parts[key] = found.values[key]
        visitor, users = self._visitor(key), self._of_visitor
        guest = self._anonymous_key(visitor)
        if key != guest and key not in self._user_of:  # a guest of before a sign-out
            if was_part:
                self._arrange(visitor)
            self._show_alone(key)
        elif visitor not in users or (users.of(visitor) == (key,) and not self._is_known(guest)):
            self._show_alone(key)
        else:
            self._arrange(visitor)

    def _note_passing(self, strangers: list[int], found: Gathering, now_ms: int) -> None:
        """Note who came and went between two looks: other workers may have shown them."""
        for key in filterfalse(self.sessions.__contains__, strangers):
            self.departures.note(key, now_ms)
            user_id = found.users.get(key)
            if user_id is not None and user_id not in self._of_user:
                self.departures.note(user_id, now_ms)

    def _begin(self, key: int, found: Gathering) -> None:
        visitor, user_id = found.visitors.get(key, key), found.users.get(key)
        self._foresee(key, found.values[key])
        self.departures.undo_ends((key,))
        if visitor != key:
            self._visitor_of[key] = visitor
        if user_id is not None:
            self._user_of[key] = user_id
            self._of_visitor.add(visitor, key)
            self._of_user.add(user_id, key)

    def _end_outlived(self, key: int, now_ms: int) -> None:
        """End a visitor's users of before, whom the guest alone kept: they are not the only one."""
        visitor, timed_out_ms = self._visitor(key), now_ms - self._timeout_ms
        if key in self._user_of and visitor not in self._busy:
            for other in self._of_visitor.of(visitor):
                if other != key and (self._own(other) or 0) >> 16 <= timed_out_ms:
                    self._end(other, now_ms)

    def _end(self, key: int, now_ms: int) -> None:
        last = self.sessions.values.get(key)
        if last is not None:
            own = self._parts.get(key, last)
            self.departures.end(key, min(now_ms, (own >> 16) + self._timeout_ms))
        self._hide(key)
        self._tied.discard(key)
        self._parts.pop(key, None)
        self.joined.pop(key, None)
        visitor, user_id = self._visitor_of.pop(key, key), self._user_of.pop(key, None)
        if user_id is None:
            return
        self._of_visitor.drop(visitor, key)
        self._of_user.drop(user_id, key)
        self.disturbed.add(user_id)
        if user_id in self._of_user:
            self._see_user(user_id)
        else:
            self.users.drop(user_id)
            self.departures.note(user_id, self._now_ms())

    def _lives(self, key: int, found: Gathering, now_ms: int) -> bool:
        """Tell whether a session, of which this was found, is there and has not ended."""
        value = found.values.get(key)
        if value is None or key in found.missed:
            return False
        timed_out_ms = now_ms - self._timeout_ms
        visitor = found.visitors.get(key, key)
        return (
            value >> 16 > timed_out_ms
            or visitor in self._busy
            or self._last_of_other_part(key, visitor, key in found.users, value) > timed_out_ms
        )

    def _last_of_other_part(self, key: int, visitor: int, is_user: bool, value: int) -> int:
        """Return when the guest or user that is one session with this was last seen, else 0."""
        users = {*self._of_visitor.of(visitor), *((key,) if is_user else ())}
        if len(users) != 1:
            return 0
        (user,) = users
        guest = self._anonymous_key(visitor)
        other = self._own(guest if is_user else user)
        if other is None:
            return 0
        user_last, guest_last = (value, other) if is_user else (other, value)
        return other >> 16 if self._is_joined(user, user_last, guest, guest_last) else 0

    def _is_joined(self, user: int, user_last: int, guest: int, guest_last: int) -> bool:
        """Tell whether a visitor's only user and the guest, last seen then, are one session.

        They are where the guest was active within the active window before the user's session
        began, or since; not where the guest came only after its end, of which a row is kept for a
        while. What the user's rows do not tell any more is as it was.
        """
        begun_ms, came_ms = self._begun_ms(user), self._begun_ms(guest)
        if begun_ms is None:
            return user in self.joined
        if came_ms is not None and came_ms > (user_last >> 16) + self._timeout_ms:
            return False
        return guest_last >> 16 >= begun_ms - self._active_ms

    def _begun_ms(self, key: int) -> int | None:
        """Return when a session began by its rows, None where there are none."""
        found = [
            begun_ms_of(row) + table.offset_ms
            for table in self._tables
            if (row := table.rows.get(key)) is not None
        ]
        return min(found, default=None)

    def _arrange(self, visitor: int) -> None:
        """Show the sessions of a visitor who is, or was, a user: joined, or each by itself."""
        users, guest_key = self._of_visitor.of(visitor), self._anonymous_key(visitor)
        guest = self._own(guest_key)
        if guest is not None:
            self._tied.update(users, (guest_key,))
        if guest is not None and len(users) == 1:
            last = self._own(users[0]) or 0
            if self._is_joined(users[0], last, guest_key, guest):
                self._join(users[0], guest_key, guest)
                return
        for key in users:
            self._show_alone(key)
        if guest is not None:
            if guest_key not in self.sessions:
                self.parted_ms = self._now_ms()
            self._show_alone(guest_key)

    def _join(self, key: int, guest_key: int, guest: int) -> None:
        own = self._own(key) or 0
        if key not in self.joined:
            self.disturbed.add(key)
        self.joined[key] = guest_key
        self._parts[key], self._parts[guest_key] = own, guest
        self._hide(guest_key)
        self._show(key, max(own, guest))

    def _show_alone(self, key: int) -> None:
        if self.joined.pop(key, None) is not None:
            self.disturbed.add(key)
        value = self._own(key) or 0
        self._parts.pop(key, None)
        self._show(key, value)

    def _show(self, key: int, value: int) -> None:
        """List a session as it was last seen, and its user."""
        self.sessions.put(key, value >> 16, value & 0xFFFF)
        user_id = self._user_of.get(key)
        if user_id is not None:
            self._see_user(user_id)

    def _hide(self, key: int) -> None:
        """Take a session off the list, and note it, if it was there."""
        if key in self.sessions:
            self.sessions.drop(key)
            self.departures.note(key, self._now_ms())

    def _see_user(self, user_id: str) -> None:
        values = self.sessions.values
        shown = [values[key] for key in self._of_user.of(user_id) if key in values]
        if shown:  # else the only one is about to be
            self.users.put(user_id, max(shown) >> 16, max(shown) & 0xFFFF)

    def _look_ahead(self, now_ms: int) -> None:
        """Find out, once a minute, who may end in the next one.

        That is one look at all of them by a loop in C. To note of each when it ends, as they come,
        would be more than all else that is noted.
        """
        if now_ms < self._foreseen_ms:
            return
        self._foreseen_ms = now_ms + min(_AHEAD_MS, self._timeout_ms)
        latest = (self._foreseen_ms - self._timeout_ms << 16) + 0xFFFF
        for table in (self.sessions.values, self._parts):
            for keys, values in pairs(table, table.values(), _NUMBERS):
                for key in compress(keys, map(latest.__ge__, values)):
                    self._foresee(key, table[key])

    def _foresee(self, key: int, value: int, least_s: int = 0) -> None:
        """Note when a session that was last seen then may end, if that is before the next look."""
        end_ms = (value >> 16) + self._timeout_ms
        if end_ms <= self._foreseen_ms:
            self._due.add(key, max(end_ms // 1000 + 1, least_s))

    def _seen_offsets(self) -> list[tuple[str, int]]:
        return [(source.worker_id, source.offset_ms) for source in self._sources]
