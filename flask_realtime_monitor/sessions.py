"""The sessions of one worker: a packed row each, and who is due to end.

Not locked by itself: the tracker's lock stands around every call that changes something. A row
is replaced, never changed, so reading one needs no lock.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from . import rows
from .config import Settings
from .interner import Interner
from .pauses import PauseTable, parted
from .people import People
from .records import Notice, Record
from .rows import HEAD
from .visitors import Visitors
from .wheel import Wheel

MAX_AGENTS = 16_384
_MAX_ENDED = 1_000
_MAX_SIGNED_OUT = 20_000  # a guest's and a user's key each
ROW_OVERHEAD = 33 + 48 + 52 + 8  # bytes object, key, dict slot, wheel (measured)
#: So many untold activities that it is the whole row.
ALL = rows.MAX_COUNT
_LOOK_AGAIN_S = 30
#: Ordinals begin below it, so that a session that lasts has as many more before they do not fit.
_MOST_SEEN = rows.MAX_COUNT // 2


class Sessions:
    """Finds, begins, joins and ends sessions.

    Args:
        settings: bounds and times.
        visitors: makes the keys of sessions.
    """

    def __init__(self, settings: Settings, visitors: Visitors) -> None:
        self._visitors = visitors
        self._most = settings.max_sessions
        self._timeout_ms = int(settings.session_timeout * 1000)
        self._active_ms = int(settings.active_window * 1000)
        self.rows: dict[int, bytes] = {}
        self.pauses = PauseTable(self._timeout_ms)
        self._due_guests = Wheel()
        self._due_users = Wheel()
        self.of_visitor: dict[int, int | tuple[int, ...]] = {}  # keys of its users' rows
        #: The last sign-outs: of a visitor's anyone, and of each user, by first key.
        self.generation: OrderedDict[int, int] = OrderedDict()
        #: When the last sessions ended, and whether all workers are told of that moment.
        self._ended: OrderedDict[int, tuple[int, bool]] = OrderedDict()
        self.people = People(visitors.person)
        self.agents: Interner[str] = Interner(MAX_AGENTS, "")
        self.row_bytes = 0
        self.dropped = 0
        #: Which sessions a reader must look at again; None while nobody reads.
        self.changed: dict[int, None] | None = None
        #: Which sessions other workers must hear of, and how many of each one's newest activities
        #: they do not know; None while there are no others.
        self.dirty: dict[int, int] | None = None
        #: Keys by their low eight bits, while there are others; those of ended sessions may stay.
        self.buckets: list[array[int]] = []
        #: Until then a session ends when its time here is over; else other workers may know better.
        self.alone_until_ms = float("inf")
        self._overdue: dict[int, set[int]] = {}  # found due while others may know better
        #: What signals will tell; None while nobody listens.
        self.notices: list[Notice] | None = None

    def __len__(self) -> int:
        """How many rows there are; guest and user of one session are two."""
        return len(self.rows)

    # -- finding -----------------------------------------------------------------------------

    def key(self, visitor: int, user_id: str | None, name: str | None) -> int:
        """Return the key of a visitor's session as this user (or as nobody), begun or not."""
        if user_id is None:
            return self.anonymous_key(visitor)
        number = self.people.find(user_id)
        if number is not None:
            if name is not None:
                self.people.rename(number, name)
            of_user, of_visitor = self.people.keys_of(number), self.users_of(visitor)
            for key in of_user if len(of_user) < len(of_visitor) else of_visitor:
                head = HEAD.unpack_from(self.rows[key])
                if head[5] == number + 1 and head[0] == visitor:
                    return key
        return self.next_key(visitor, user_id)

    def next_key(self, visitor: int, user_id: str | None) -> int:
        """Return the key that a visitor's session as this user has if it begins now."""
        if user_id is None:
            return self.anonymous_key(visitor)
        first = self.first_key(visitor, user_id)
        generation = self.generation.get(first) if self.generation else None
        return self._visitors.session_key(visitor, user_id, generation) if generation else first

    def first_key(self, visitor: int, user_id: str | None) -> int:
        """Return the key that a visitor's session as this user has before the first sign-out."""
        return self._visitors.session_key(visitor, user_id, 0)

    def latest_of(self, user_id: str | None) -> int | None:
        """Return the session of a user that was seen last."""
        number = None if user_id is None else self.people.find(user_id)
        if number is None:
            return None
        found = [(rows.last_ms_of(self.rows[key]), key) for key in self.people.keys_of(number)]
        return max(found)[1] if found else None

    def ended(self, key: int) -> tuple[int, bool] | None:
        """Return when a session ended, while that is remembered, and if all were told of it.

        Of one that has timed out a worker knows by itself what it saw last.
        """
        return self._ended.get(key)

    def knows_visitor(self, visitor: int) -> bool:
        """Tell whether a visitor has a row."""
        return visitor in self.rows or visitor in self.of_visitor or visitor in self.generation

    def size_bytes(self) -> int:
        """Return what the rows and their tables hold."""
        return (
            self.row_bytes
            + 120 * (len(self.agents) + len(self.of_visitor))
            + 250 * len(self.people)
        )

    # -- growing -----------------------------------------------------------------------------

    def begin(self, key: int, record: Record, now_ms: int, seen: int) -> bytes:
        """Return the row of a new session, with nothing counted yet.

        Its activities are numbered from ``seen`` on, how many this worker has seen before: so a
        key that comes again never gives an activity the id of an older one.
        """
        if len(self.rows) >= self._most:
            self._evict(now_ms)
        user = 0
        due_s = -(-(now_ms + self._timeout_ms) // 1000)
        if record.user_id is not None:
            number = self.people.number(record.user_id, record.user_name)
            self.people.hold(number, key)
            user = number + 1
            self.of_visitor[record.visitor] = with_key(self.of_visitor.get(record.visitor), key)
            self._touch_visitor(record.visitor)
            self._due_users.add(key, due_s)
        else:
            self._due_guests.add(key, due_s)
        self._ended.pop(key, None)
        if self.buckets:
            self.buckets[key & 0xFF].append(key)
        agent, ip = self.agents.number(record.agent), record.ip
        ordinal = seen % _MOST_SEEN
        return HEAD.pack(record.visitor, now_ms, 0, 0, 0, user, ordinal, agent, len(ip)) + ip

    def put(self, key: int, before: bytes | None, row: bytes) -> None:
        """Replace a session's row."""
        self.rows[key] = row
        self.row_bytes += len(row) + (ROW_OVERHEAD if before is None else -len(before))
        if self.changed is not None:
            self.changed[key] = None
        if self.dirty is not None:
            self.dirty[key] = self.dirty.get(key, 0) + 1

    def fitted(self, key: int, row: bytes, at_ms: int, took_ms: int = 0) -> rows.Fitted:
        """As ``rows.fitted``; where a session's base moves the others must be told all of it."""
        found = rows.fitted(rows.begun_by(row, at_ms - took_ms), at_ms)
        if self.dirty is not None and found[1] != rows.begun_ms_of(row):
            self.dirty[key] = ALL
            self.pauses.put(key, self.pauses.get(key, ()))
        return found

    # -- joining guest and user --------------------------------------------------------------

    def users_of(self, visitor: int) -> tuple[int, ...]:
        """Return the keys of the rows in which a visitor is a user."""
        found = self.of_visitor.get(visitor)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def anonymous_key(self, visitor: int) -> int:
        """Return the key of a visitor's present anonymous row, whether there is one or not."""
        generation = self.generation.get(visitor) if self.generation else None
        return self._visitors.session_key(visitor, None, generation) if generation else visitor

    def partner(self, key: int, row: bytes) -> tuple[int, bytes] | None:
        """Return the row that is one session with this one, if there is one.

        Guest and user are one where the visitor has exactly one user, and the guest was active
        within the active window before the user's row began, or since.
        """
        head = HEAD.unpack_from(row)
        users = self.users_of(head[0])
        if len(users) != 1:
            return None
        guest: bytes | None
        user: bytes | None
        if head[5]:
            if users[0] != key:
                return None
            other = self.anonymous_key(head[0])
            guest, user = self.rows.get(other), row
        else:
            if key != self.anonymous_key(head[0]):
                return None
            other = users[0]
            guest, user = row, self.rows.get(other)
        if guest is None or user is None:
            return None
        if rows.last_ms_of(guest) < HEAD.unpack_from(user)[1] - self._active_ms:
            return None
        return (other, guest) if head[5] else (other, user)

    def guest_parted_by(self, row: bytes) -> tuple[int, int] | None:
        """Return the guest (key, ms) whom this row, a second user's, parts from the first.

        The time is when the guest was seen last, or the first user, whichever is longer ago.
        """
        head = rows.head_of(row)
        users, guest = self.users_of(head.visitor), self.anonymous_key(head.visitor)
        if not head.user or len(users) != 2:
            return None
        found = [self.rows.get(one) for one in (users[0], guest)]
        seen = [rows.last_ms_of(one) for one in found if one is not None]
        return (guest, min(seen)) if len(seen) == 2 else None

    def _touch_visitor(self, visitor: int) -> None:
        """A user came or went: the guest's row, and another user's, may show differently now."""
        if self.changed is not None and len(self.users_of(visitor)) <= 2:  # else none is joined
            self.changed[self.anonymous_key(visitor)] = None
            for key in self.users_of(visitor):
                self.changed[key] = None

    # -- ends --------------------------------------------------------------------------------

    def expire(self, now_ms: int, busy: Collection[int], most: int) -> bool:
        """End what has timed out, looking at ``most`` rows; tell whether more is due."""
        for wheel in (self._due_guests, self._due_users):
            for key in wheel.due(now_ms // 1000):
                row = self.rows.get(key)
                if row is not None:
                    due_s = self._due_s(key, row, now_ms, busy)
                    if due_s is not None:
                        wheel.add(key, due_s)
                    elif now_ms < self.alone_until_ms:
                        self._end(key, row, now_ms, self.partner(key, row))
                    else:
                        self._overdue.setdefault(key & 0xFF, set()).add(key)
                        wheel.add(key, now_ms // 1000 + _LOOK_AGAIN_S)
                most -= 1
                if most <= 0:
                    return True
        return False

    def _due_s(self, key: int, row: bytes, now_ms: int, busy: Collection[int]) -> int | None:
        """Return the second in which a row must be looked at again, None if it is to end now."""
        last_ms = rows.last_ms_of(row)
        if last_ms + self._timeout_ms <= now_ms:
            joined = self.partner(key, row)
            if joined is not None:
                last_ms = max(last_ms, rows.last_ms_of(joined[1]))
        due_ms = last_ms + self._timeout_ms
        if due_ms > now_ms:
            return max(-(-due_ms // 1000), now_ms // 1000 + 1)
        if HEAD.unpack_from(row)[0] in busy:
            return now_ms // 1000 + 1
        return None

    def timed_out(self, bucket: int, before_ms: int) -> set[int]:
        """Return a bucket's sessions, of those found due, of which no part was seen since."""
        found = set()
        for key in self._overdue.pop(bucket, ()):
            row = self.rows.get(key)
            if row is not None and rows.last_ms_of(row) <= before_ms:
                joined = self.partner(key, row)
                if joined is None or rows.last_ms_of(joined[1]) <= before_ms:
                    found.add(key)
        return found

    def end(self, keys: Iterable[int], now_ms: int) -> None:
        """End some sessions, each with what was joined with it before the first has ended."""
        found = [(key, self.rows[key]) for key in keys if key in self.rows]
        for key, row, joined in [(*one, self.partner(*one)) for one in found]:
            if key in self.rows:
                self._end(key, row, now_ms, joined)

    def sign_out(self, record: Record, now_ms: int, generation: int) -> tuple[int, ...]:
        """End the session of who signed out, and the visitor's anonymous one, here as elsewhere.

        The visitor's next request begins a new one.

        Args:
            generation: tells the sessions after this sign-out from those before; it grows.

        Returns:
            the keys of what has ended, whether this worker had rows of them or not.
        """
        visitor = record.visitor
        if not visitor:
            return ()
        ended = (
            self.key(visitor, record.user_id, record.user_name),
            self.anonymous_key(visitor),
        )
        for key in ended:
            self._end_among(ended, key, now_ms)
            self._note_end(key, now_ms, is_told=True)
        self.begin_generation(generation, visitor, self.first_key(visitor, record.user_id))
        return ended

    def begin_generation(self, generation: int, *first_keys: int) -> None:
        """Tell a visitor's sessions as somebody, and as nobody, from those of before.

        Of several sign-outs the latest counts, in whatever order they are heard of.
        """
        for key in dict.fromkeys(first_keys):
            self.generation[key] = max(generation, self.generation.pop(key, 0))
        while len(self.generation) > _MAX_SIGNED_OUT:
            self.generation.popitem(last=False)

    def forget(self, user_id: str, keys: Collection[int], now_ms: int) -> set[int]:
        """Erase a user's sessions, with their guest part, and guests of some keys; return which.

        Args:
            keys: the user's sessions, with their guest parts, as far as all workers' rows tell.
        """
        guests = [key for key in keys if (row := self.rows.get(key)) and not rows.head_of(row).user]
        gone, number = set(guests), self.people.find(user_id)
        for key in guests:
            self._remove(key, self.rows[key], now_ms)
        for key in () if number is None else self.people.keys_of(number):
            row = self.rows[key]
            # Of a session that is named so is its guest part: a guest that seems to be that here
            # may have another user elsewhere, and then is a session of its own.
            for one in ((key, row), None if key in keys else self.partner(key, row)):
                if one is not None:
                    gone.add(one[0])
                    self._remove(*one, now_ms)
        for key in gone:
            self._ended.pop(key, None)
        return gone

    def _end_among(self, keys: Sequence[int], key: int, now_ms: int) -> None:
        """End one of several sessions that end together.

        Once the first has ended, the visitor may have one user left, who is then joined with the
        guest: that one goes on.
        """
        row = self.rows.get(key)
        if row is not None:
            joined = self.partner(key, row)
            self._end(key, row, now_ms, joined if joined and joined[0] in keys else None)

    def _end(self, key: int, row: bytes, now_ms: int, joined: tuple[int, bytes] | None) -> None:
        """End a session: this row and the one joined with it."""
        if joined is not None and not HEAD.unpack_from(row)[5]:
            (key, row), joined = joined, (key, row)
        self.tell("ended", key, row, joined)
        self._remove(key, row, now_ms)
        if joined is not None:
            self._remove(*joined, now_ms)

    def _remove(self, key: int, row: bytes, now_ms: int) -> None:
        del self.rows[key]
        self.pauses.pop(key, None)
        self.row_bytes -= len(row) + ROW_OVERHEAD
        head = rows.head_of(row)
        if head.user:
            self.people.release(head.user - 1, key)
            left = tuple(k for k in self.users_of(head.visitor) if k != key)
            if left:
                self.of_visitor[head.visitor] = left if len(left) > 1 else left[0]
            else:
                self.of_visitor.pop(head.visitor, None)
            self._touch_visitor(head.visitor)
        self._note_end(key, min(now_ms, head.last_ms + self._timeout_ms))

    def _note_end(self, key: int, at_ms: int, is_told: bool = False) -> None:
        self._ended[key] = at_ms, is_told
        self._ended.move_to_end(key)
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        if self.changed is not None:
            self.changed[key] = None
        if self.dirty is not None:
            self.dirty[key] = ALL

    def tell(self, what: str, key: int, row: bytes, joined: tuple[int, bytes] | None) -> None:
        """Note what a signal will tell of a session."""
        if self.notices is None:
            return
        number = HEAD.unpack_from(row)[5]
        person = self.people.user(number - 1) if number else None
        row = parted(row, self.pauses.get(key, ()))[-1]
        guest = None if joined is None else parted(joined[1], self.pauses.get(joined[0], ()))[-1]
        self.notices.append(Notice(what, key, row, None, guest, person))

    def _evict(self, now_ms: int) -> None:
        """Make room: the longest-idle guest goes, a user only when there is no guest.

        A guest who is one session with a user goes with that user. Where so many of these came
        first that none else was found, nobody goes for now, and two go next time.
        """
        for _ in range(2):
            key = self._due_guests.take_first(self._waits)
            if key is None and not self._due_guests:
                key = self._due_users.take_first(self._waits)
            if key is None:
                return
            row = self.rows[key]
            self._end(key, row, now_ms, self.partner(key, row))
            self.dropped += 1
            if len(self.rows) < self._most:
                return

    def _waits(self, key: int) -> tuple[int, Wheel] | None:
        """Return the second in which a session is due, and among whom it waits for it."""
        row = self.rows.get(key)
        if row is None:
            return None
        last_ms, joined = rows.last_ms_of(row), self.partner(key, row)
        if joined is not None:
            last_ms = max(last_ms, rows.last_ms_of(joined[1]))
        is_users = joined is not None or HEAD.unpack_from(row)[5]
        wheel = self._due_users if is_users else self._due_guests
        return -(-(last_ms + self._timeout_ms) // 1000), wheel


def with_key(keys: int | tuple[int, ...] | None, key: int) -> int | tuple[int, ...]:
    """Return the keys of a visitor's users with one more; a single one stays a number."""
    if keys is None or keys == key:
        return key
    return (*keys, key) if isinstance(keys, tuple) else (keys, key)
