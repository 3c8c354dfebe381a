"""The index a reader keeps: which sessions and users there are, and which are one.

Built on the first read, brought up to date by what has changed, and dropped when nobody reads.
Every source's row of a session is a part of it; the parts are put together here, from the rows
alone, so that the order in which they came makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, compress, filterfalse
from math import inf

from .departures import Departures
from .foresight import Foresight
from .gathering import Gathering, Sightings, Table
from .groups import Groups
from .interner import Interner
from .joining import Joining, Outlived
from .listing import pairs, slices
from .peers import Seen, keys_in
from .recency import Recency
from .source import Source

MAX_ENDPOINTS = 0xFFFF


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
        self._has_seen_all = False  # that has changed, in a load
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
        self._foresight = Foresight(self._timeout_ms)
        self._offsets: list[tuple[str, int]] = []
        self._tables: list[Table] = []
        self._joining = Joining(self._tables, self._active_ms, self._timeout_ms)
        self.busy: Mapping[int, int] = {}  # as in ``catch_up``
        self._outlived_by = Outlived()

    def load(self, busy: Mapping[int, int]) -> None:
        """Build the index from all rows; ``busy`` as in ``catch_up``."""
        before = self.sessions.values, self.users.values
        self._clear()
        self.busy = busy
        self._offsets = self._seen_offsets()
        self._tables += Table.of(self._sources, self.endpoints)
        now_ms = self._now_ms()
        if not self.is_loaded:
            self.departures.begin(now_ms)
        self.sessions.settle(now_ms)
        self.users.settle(now_ms)
        found = Gathering()
        for table in self._tables:
            found.gather(table)
        found.leave_out(self._joining.timed_out_ms(now_ms))
        self._show_all(found)
        left_out = self._gathered(found.missed)
        # Some are kept by the other part of their session: of several users, who was seen last.
        newest_first = sorted(left_out.values, key=left_out.rank, reverse=True)
        for key in chain.from_iterable(slices(newest_first)):
            self._look_at(key, left_out, now_ms)
        for key in before[0].keys() - self.sessions.values.keys():
            self.departures.note(key, now_ms)
        for user_id in before[1].keys() - self.users.values.keys():
            self.departures.note(user_id, now_ms)
        self.is_loaded = self._has_seen_all = True
        self._looked_ms = now_ms

    def _show_all(self, found: Gathering) -> None:
        """Show all that was gathered; nothing has been shown before."""
        values, of_visitor, of_user = found.values, self._of_visitor, self._of_user
        self._user_of, self._visitor_of = found.users, found.visitors
        for keys, ids in pairs(found.users, found.users.values()):
            of_visitor.add_all(list(map(found.visitors.get, keys, keys)), keys)
            of_user.add_all(ids, keys)
        self.sessions.fill(values)
        self.users.fill(found.newest)
        for user_id in found.ties & found.newest.keys():
            self._see_user(user_id)
        both = of_visitor.whose() & values.keys() | of_visitor.whose() & self._generations.keys()
        for visitor in chain.from_iterable(slices(both)):
            self._arrange(visitor)
        self.departures.undo_ends(values)

    def unload(self) -> None:
        """Drop the index."""
        self._clear()
        self.is_loaded = False

    def catch_up(self, changed: Collection[int], busy: Mapping[int, int], seen: Seen) -> bool:
        """Take in what has changed, and what time has ended; tell whether there was anything.

        Args:
            changed: keys of sessions to look at again.
            busy: visitors with a request in flight, and since when (ms since the epoch); their
                sessions do not end.
            seen: what others did once more, by whose rows tell it.
        """
        has_moved = bool(changed) or bool(seen)
        now_ms = self._now_ms()
        is_late = now_ms - self._looked_ms > self._timeout_ms
        if self._offsets != self._seen_offsets() or is_late:
            self.load(busy)  # a clock was set, a worker came, or many came and went: begin anew
            has_moved = True
        if is_late:
            self.departures.doubt(now_ms)
        if self._has_seen_all:
            self._note_passing(keys_in(seen).union(changed), Gathering(), now_ms)
            changed, seen, self._has_seen_all = (), {}, False
        self._looked_ms, self.busy = now_ms, busy
        others = self._look_shortly(changed, seen, now_ms)
        strangers = [key for key in others if not self._is_known(key)]
        found = self._gathered(others)
        # As in a load: who may be kept by another part comes after it.
        others.sort(key=found.rank, reverse=True)
        self._outlived_by.keep(self._of_visitor)
        for key in others:  # before any is looked at with another: its newest row may have gone
            if key in found.values and found.values[key] < self._own_value(key):
                self._parts[key] = found.values[key]
        ended = self._joining.timed_out_ms(now_ms), inf
        for key in chain.from_iterable(slices(others)):
            if found.rank(key) <= ended and self._is_known(key):
                self._foresight.note_end(key, now_ms)
            else:
                self._look_at(key, found, now_ms)
        self._note_passing(strangers, found, now_ms)
        self._foresight.look_ahead(now_ms, self.sessions.values, self._parts)
        looked: set[int] = set()  # some end as the part does that has kept them
        while due := set(self._foresight.due(now_ms, self._is_known)) - looked:
            has_moved = True
            looked |= due
            found = self._gathered(due)
            # In the order in which they ended, whenever that is seen.
            for key in chain.from_iterable(slices(sorted(due, key=found.rank))):
                self._look_at(key, found, now_ms)
                if self._is_known(key):
                    self._foresight.note(key, self._shown_value(key), now_ms)
        settled = self.sessions.settle(now_ms), self.users.settle(now_ms)
        return has_moved or any(settled)

    # -- asking --------------------------------------------------------------------------------

    @property
    def anonymous(self) -> int:
        """How many sessions are nobody's."""
        return len(self.sessions) - len(self._user_of)

    def keys_of(self, user_id: str) -> tuple[int, ...]:
        """Return the sessions of a user."""
        return self._of_user.of(user_id)

    def parts_of(self, user_id: str) -> set[int]:
        """Return the sessions of a user, and their guest parts."""
        keys = self.keys_of(user_id)
        return {*keys, *(self.joined[key] for key in keys if key in self.joined)}

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
        key = users[0] if users else self._anonymous_key(visitor)
        return key if len(users) <= 1 and key in self.sessions else None

    def _is_known(self, key: int) -> bool:
        return key in self.sessions.values or key in self._parts

    def _own(self, key: int) -> int | None:
        """Return when and where a session was last seen itself, not its other part."""
        return self._parts.get(key, self.sessions.values.get(key))

    def _own_value(self, key: int) -> int:
        return self._own(key) or 0

    def _shown_value(self, key: int) -> int:
        """Return when and where the session was last seen that a known one is a part of."""
        return self.sessions.values.get(self.shown(key), 0)

    def _visitor(self, key: int) -> int:
        return self._visitor_of.get(key, key)

    # -- keeping -------------------------------------------------------------------------------

    def _gathered(self, keys: Collection[int]) -> Gathering:
        found = Gathering()
        for table in self._tables if keys else ():
            found.gather_some(table, keys)
        return found

    def _look_shortly(self, changed: Collection[int], seen: Seen, now_ms: int) -> list[int]:
        """Look at those that were only seen again; return the others, to be looked at singly.

        By far the most were nobody's, or the one session of a user without a guest part, and are.
        """
        found = Sightings(self._generations)
        found.look(self._tables, changed, seen, self.sessions.values)
        sessions, users, others = found.sessions, found.users, found.others
        ended = self._joining.ended(now_ms)
        others.update(compress(sessions, map(ended.__ge__, sessions.values())))
        others |= sessions.keys() & self._tied
        for key in others:
            sessions.pop(key, None)
            users.pop(key, None)
        self.sessions.put_all(sessions)
        self.users.put_all(dict(zip(users.values(), map(sessions.__getitem__, users), strict=True)))
        return list(others)

    def _look_at(self, key: int, found: Gathering, now_ms: int) -> None:
        """Bring one session up to date: new, changed, joined, parted or gone."""
        is_known, was_part = self._is_known(key), key in self._parts
        if not self._lives(key, found, now_ms):
            if is_known:
                visitor = self._visitor(key)
                self._end(key, now_ms)
                guest = self._anonymous_key(visitor)
                if not self._is_known(guest):  # it may be the part of who is left
                    self._look_at(guest, self._gathered((guest,)), now_ms)
                if not self._is_crowd(visitor):
                    self._arrange(visitor)
            elif key in found.users:
                self._outlived_by.note(found.visitors.get(key, key), found.rank(key))
            return
        if not is_known:
            self._begin(key, found)
        self._parts[key] = found.values[key]
        visitor, users = self._visitor(key), self._of_visitor
        guest = self._anonymous_key(visitor)
        if key != guest and key not in self._user_of:  # a guest of before a sign-out
            if was_part:
                self._arrange(visitor)
            self._show_alone(key)
        elif self._is_crowd(visitor, 1 if is_known or key == guest else 2):
            self._show_alone(key)  # as the others are, and were
        elif visitor not in users or (users.of(visitor) == (key,) and not self._is_known(guest)):
            self._show_alone(key)
        else:
            self._arrange(visitor)

    def _is_crowd(self, visitor: int, others: int = 1) -> bool:
        """Tell whether a visitor has more users than that: of several none is joined."""
        return self._of_visitor.size(visitor) > others

    def _note_passing(self, strangers: Collection[int], found: Gathering, now_ms: int) -> None:
        """Note who came and went between two looks: other workers may have shown them."""
        for key in filterfalse(self.sessions.__contains__, strangers):
            self.departures.note(key, now_ms)
            user_id = found.users.get(key)
            if user_id is not None and user_id not in self._of_user:
                self.departures.note(user_id, now_ms)

    def _begin(self, key: int, found: Gathering) -> None:
        visitor, user_id = found.visitors.get(key, key), found.users.get(key)
        self._foresight.note(key, found.values[key])
        self.departures.undo_ends((key,))
        if visitor != key:
            self._visitor_of[key] = visitor
        if user_id is not None:
            self._user_of[key] = user_id
            self._of_visitor.add(visitor, key)
            self._of_user.add(user_id, key)

    def _end(self, key: int, now_ms: int) -> None:
        last, own = self.sessions.values.get(key), self._own_value(key)
        if last is not None:
            self.departures.end(key, min(now_ms, (own >> 16) + self._timeout_ms))
        self.departures.note(key, now_ms)  # also of a part: others may have shown it alone
        self.sessions.drop(key)
        self._tied.discard(key)
        self._parts.pop(key, None)
        self.joined.pop(key, None)
        visitor, user_id = self._visitor_of.pop(key, key), self._user_of.pop(key, None)
        if user_id is None:
            return
        self._of_visitor.drop(visitor, key)
        if own <= self._joining.ended(now_ms):
            self._outlived_by.note(visitor, (own >> 16, key))
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
        timed_out_ms, last_ms = self._joining.timed_out_ms(now_ms), value >> 16
        if last_ms > timed_out_ms:
            return True
        visitor = found.visitors.get(key, key)
        last_ms = max(last_ms, self._last_of_other_part(key, visitor, key in found.users, value))
        return last_ms > timed_out_ms or self._waits(visitor, last_ms)

    def _waits(self, visitor: int, last_ms: int) -> bool:
        """Tell whether a visitor has had a request in flight since before a session timed out."""
        since_ms = self.busy.get(visitor)
        return since_ms is not None and last_ms > self._joining.timed_out_ms(since_ms)

    def _last_of_other_part(self, key: int, visitor: int, is_user: bool, value: int) -> int:
        """Return when the guest or user that is one session with this was last seen, else 0."""
        users = self._of_visitor.of(visitor)
        if self._is_crowd(visitor) or len({*users, *((key,) if is_user else ())}) != 1:
            return 0
        user = key if is_user else users[0]
        guest = self._anonymous_key(visitor)
        other = self._own(guest if is_user else user)
        if other is None:
            return 0
        if not is_user and (value >> 16, key) < self._outlived_by.get(visitor, (0, 0)):
            return 0  # there was another user as the guest timed out
        user_last, guest_last = (value, other) if is_user else (other, value)
        return other >> 16 if self._is_joined(user, user_last, guest, guest_last) else 0

    def _is_joined(self, user: int, user_last: int, guest: int, guest_last: int) -> bool:
        """Tell whether a visitor's only user and the guest, last seen then, are one session."""
        shown = self.sessions.values.get(user) if self.joined.get(user) == guest else None
        return self._joining.is_one(user, user_last, guest, guest_last, shown, self._now_ms())

    def _arrange(self, visitor: int) -> None:
        """Show the sessions of a visitor who is, or was, a user: joined, or each by itself."""
        users, guest_key = self._of_visitor.of(visitor), self._anonymous_key(visitor)
        guest = self._own(guest_key)
        if guest is not None:
            self._tied.update(users, (guest_key,))
            own = self._own_value(users[0]) if len(users) == 1 else 0
            if own and self._is_joined(users[0], own, guest_key, guest):
                self._join(users[0], guest_key, guest)
                return
        for key in users:
            self._show_alone(key)
        if guest is not None:
            if guest_key not in self.sessions:
                self.parted_ms = self._now_ms()
            self._show_alone(guest_key)

    def _join(self, key: int, guest_key: int, guest: int) -> None:
        own = self._own_value(key)
        if key not in self.joined:
            self.disturbed.add(key)
        self.joined[key] = guest_key
        self._parts[key], self._parts[guest_key] = own, guest
        if guest_key in self.sessions:
            self.sessions.drop(guest_key)
            self.departures.note(guest_key, self._now_ms())
        self._show(key, own if own >> 16 >= guest >> 16 else guest)

    def _show_alone(self, key: int) -> None:
        if self.joined.pop(key, None) is not None:
            self.disturbed.add(key)
        value = self._own_value(key)
        self._parts.pop(key, None)
        self._show(key, value)
        now_ms = self._now_ms()
        if value <= self._joining.ended(now_ms):  # the other part alone kept it
            self._foresight.note_end(key, now_ms)

    def _show(self, key: int, value: int) -> None:
        """List a session as it was last seen, and its user."""
        before = self.sessions.values.get(key)
        self.sessions.put(key, value >> 16, value & 0xFFFF)
        user_id = self._user_of.get(key)
        if user_id is None:
            return
        newest = self.users.values.get(user_id, -1)
        if value >> 16 > newest >> 16:
            self.users.put(user_id, value >> 16, value & 0xFFFF)
        elif before == newest or value >> 16 == newest >> 16:  # another may be the newest now
            self._see_user(user_id)

    def _see_user(self, user_id: str) -> None:
        values = self.sessions.values
        shown = [(values[key] >> 16, key) for key in self._of_user.of(user_id) if key in values]
        if shown:  # else the only one is about to be
            last_ms, key = max(shown)
            self.users.put(user_id, last_ms, values[key] & 0xFFFF)

    def _seen_offsets(self) -> list[tuple[str, int]]:
        return [(source.worker_id, source.offset_ms) for source in self._sources]
