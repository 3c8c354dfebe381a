"""The sessions of one worker: a packed row each, in the order of their last request.

Not locked by itself: the tracker's lock stands around every call that changes something. A row
is replaced, never changed, so reading one needs no lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from . import rows
from .config import Settings
from .interner import Interner
from .people import People
from .records import Notice, Record
from .rows import HEAD
from .visitors import Visitors

MAX_AGENTS = 16_384
_MAX_ENDED = 1_000
_MAX_SIGNED_OUT = 10_000
_ROW_OVERHEAD = 33 + 48 + 52 + 85  # bytes object, key, dict slot, list node (measured)


class Found:
    """A session's key and row; the row is None where the session has not begun."""

    __slots__ = ("key", "row", "table")

    def __init__(self, key: int, table: OrderedDict[int, bytes], row: bytes | None) -> None:
        self.key = key
        self.table = table
        self.row = row


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
        # Each in the order of its last request, so the longest idle is always first.
        self._anonymous: OrderedDict[int, bytes] = OrderedDict()
        self._signed: OrderedDict[int, bytes] = OrderedDict()
        # Idle longer than the time-out, kept by a request in flight or by the row they are
        # joined with.
        self._held: dict[int, bytes] = {}
        self._of_visitor: dict[int, int | tuple[int, ...]] = {}  # keys of its users' rows
        self._generation: OrderedDict[int, int] = OrderedDict()  # sign-outs of a visitor
        self._ended: OrderedDict[int, int] = OrderedDict()
        self.people = People(visitors.person)
        self.agents: Interner[str] = Interner(MAX_AGENTS, "")
        self.row_bytes = 0
        self.dropped = 0
        #: Which sessions a reader must look at again; None while nobody reads.
        self.changed: dict[int, None] | None = None
        #: What signals will tell; None while nobody listens.
        self.notices: list[Notice] | None = None

    def __len__(self) -> int:
        """How many rows there are; guest and user of one session are two."""
        return len(self._anonymous) + len(self._signed) + len(self._held)

    # -- finding -----------------------------------------------------------------------------

    def find(self, visitor: int, user_id: str | None, name: str | None) -> Found:
        """Return a visitor's session as this user (or as nobody)."""
        generation = self._generation.get(visitor, 0) if self._generation else 0
        if user_id is None:
            table, key = self._anonymous, visitor
            if generation:
                key = self._visitors.session_key(visitor, None, generation)
        else:
            table = self._signed
            key = self._key_of_user(visitor, user_id, name, generation)
        row = table.get(key)
        if row is None and self._held and key in self._held:
            row = table[key] = self._held.pop(key)
        return Found(key, table, row)

    def _key_of_user(self, visitor: int, user_id: str, name: str | None, generation: int) -> int:
        number = self.people.find(user_id)
        if number is not None:
            if name is not None:
                self.people.rename(number, name)
            for key in self.users_of(visitor):
                row = self._signed.get(key) or self._held.get(key)
                if row is not None and HEAD.unpack_from(row)[5] == number + 1:
                    return key
        return self._visitors.session_key(visitor, user_id, generation)

    def latest_of(self, user_id: str | None) -> Found | None:
        """Return the session of a user that was seen last."""
        number = None if user_id is None else self.people.find(user_id)
        if number is None:
            return None
        for key in reversed(self._signed):
            row = self._signed[key]
            if HEAD.unpack_from(row)[5] == number + 1:
                return Found(key, self._signed, row)
        return None

    def row(self, key: int) -> bytes | None:
        """Return a row as it is now."""
        return self._anonymous.get(key) or self._signed.get(key) or self._held.get(key)

    def keys(self) -> list[int]:
        """Return the keys of all rows, guests first, each kind longest idle first."""
        return [*self._held, *self._anonymous, *self._signed]

    def ended_ms(self, key: int) -> int | None:
        """Return when a session ended, while that is remembered."""
        return self._ended.get(key)

    def knows_visitor(self, visitor: int) -> bool:
        """Tell whether a visitor has a row."""
        return (
            visitor in self._anonymous or visitor in self._of_visitor or visitor in self._generation
        )

    def size_bytes(self) -> int:
        """Return what the rows and their tables hold."""
        return (
            self.row_bytes
            + 120 * (len(self.agents) + len(self._of_visitor))
            + 250 * len(self.people)
        )

    # -- growing -----------------------------------------------------------------------------

    def begin(self, key: int, record: Record, now_ms: int) -> bytes:
        """Return the row of a new session, with nothing counted yet."""
        if len(self) >= self._most:
            self._evict(now_ms)
        user = 0
        if record.user_id is not None:
            number = self.people.number(record.user_id, record.user_name)
            self.people.hold(number)
            user = number + 1
            self._of_visitor[record.visitor] = _with(self._of_visitor.get(record.visitor), key)
            self._touch_visitor(record.visitor)
        self._ended.pop(key, None)
        ip = rows.pack_ip(record.ip)
        agent = self.agents.number(record.agent)
        return HEAD.pack(record.visitor, now_ms, 0, 0, 0, user, 0, agent, len(ip)) + ip

    def put(self, found: Found, row: bytes, is_request: bool) -> None:
        """Replace a session's row; a request moves it to the newest end."""
        key, before = found.key, found.row
        found.table[key] = row
        if is_request:
            found.table.move_to_end(key)
        size = _ROW_OVERHEAD if before is None else -len(before)
        self.row_bytes += len(row) + size
        if self.changed is not None:
            self.changed[key] = None

    # -- joining guest and user --------------------------------------------------------------

    def users_of(self, visitor: int) -> tuple[int, ...]:
        """Return the keys of the rows in which a visitor is a user."""
        found = self._of_visitor.get(visitor)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def anonymous_key(self, visitor: int) -> int:
        """Return the key of a visitor's present anonymous row, whether there is one or not."""
        generation = self._generation.get(visitor, 0)
        return self._visitors.session_key(visitor, None, generation)

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
            guest, user = self.row(other), row
        else:
            if key != self.anonymous_key(head[0]):
                return None
            other = users[0]
            guest, user = row, self.row(other)
        if guest is None or user is None:
            return None
        if rows.last_ms_of(guest) < HEAD.unpack_from(user)[1] - self._active_ms:
            return None
        return (other, guest) if head[5] else (other, user)

    def _touch_visitor(self, visitor: int) -> None:
        """A user came or went: the guest's row, and another user's, may show differently now."""
        if self.changed is not None:
            self.changed[self.anonymous_key(visitor)] = None
            for key in self.users_of(visitor):
                self.changed[key] = None

    # -- ends --------------------------------------------------------------------------------

    def expire(self, now_ms: int, busy: Collection[int], most: int) -> bool:
        """End what has timed out, at most ``most`` rows; tell whether more is due."""
        left = self._expire_table(self._anonymous, now_ms, busy, most)
        left = self._expire_table(self._signed, now_ms, busy, left)
        for key, row in list(self._held.items()) if left else ():
            if key in self._held and not self._is_kept(key, row, now_ms, busy):
                self._end(key, row, now_ms)
        return left <= 0

    def _expire_table(
        self, table: OrderedDict[int, bytes], now_ms: int, busy: Collection[int], left: int
    ) -> int:
        while table and left > 0:
            key = next(iter(table))
            row = table[key]
            if now_ms - rows.last_ms_of(row) < self._timeout_ms:
                break
            left -= 1
            if self._is_kept(key, row, now_ms, busy):
                self._held[key] = table.pop(key)
            else:
                self._end(key, row, now_ms)
        return left

    def _is_kept(self, key: int, row: bytes, now_ms: int, busy: Collection[int]) -> bool:
        if HEAD.unpack_from(row)[0] in busy:
            return True
        joined = self.partner(key, row)
        return joined is not None and now_ms - rows.last_ms_of(joined[1]) < self._timeout_ms

    def sign_out(self, record: Record, now_ms: int) -> None:
        """End the session of who signed out; the visitor's next request begins a new one."""
        visitor = record.visitor
        if not visitor:
            return
        found = self.find(visitor, record.user_id, record.user_name)
        if found.row is not None:
            self._end(found.key, found.row, now_ms)
        generation = self._generation.pop(visitor, 0) + 1
        self._generation[visitor] = generation
        if len(self._generation) > _MAX_SIGNED_OUT:
            self._generation.popitem(last=False)

    def forget(self, user_id: str, now_ms: int) -> set[int]:
        """Erase a user's sessions, with their guest part; return the keys."""
        gone: set[int] = set()
        number = self.people.find(user_id)
        if number is None:
            return gone
        for key, row in [*self._signed.items(), *self._held.items()]:
            if HEAD.unpack_from(row)[5] == number + 1:
                joined = self.partner(key, row)
                for one in ((key, row), joined):
                    if one is not None:
                        gone.add(one[0])
                        self._remove(*one, now_ms)
        for key in gone:
            self._ended.pop(key, None)
        return gone

    def _end(self, key: int, row: bytes, now_ms: int) -> None:
        """End a session: this row and the one joined with it."""
        joined = self.partner(key, row)
        if joined is not None and not HEAD.unpack_from(row)[5]:
            (key, row), joined = joined, (key, row)
        self.tell("ended", key, row, joined)
        self._remove(key, row, now_ms)
        if joined is not None:
            self._remove(*joined, now_ms)

    def _remove(self, key: int, row: bytes, now_ms: int) -> None:
        self._anonymous.pop(key, None)
        self._signed.pop(key, None)
        self._held.pop(key, None)
        self.row_bytes -= len(row) + _ROW_OVERHEAD
        head = rows.head_of(row)
        if head.user:
            self.people.release(head.user - 1)
            left = tuple(k for k in self.users_of(head.visitor) if k != key)
            if left:
                self._of_visitor[head.visitor] = left if len(left) > 1 else left[0]
            else:
                self._of_visitor.pop(head.visitor, None)
            self._touch_visitor(head.visitor)
        self._ended[key] = now_ms
        self._ended.move_to_end(key)
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)
        if self.changed is not None:
            self.changed[key] = None

    def tell(self, what: str, key: int, row: bytes, joined: tuple[int, bytes] | None) -> None:
        """Note what a signal will tell of a session."""
        if self.notices is None:
            return
        number = HEAD.unpack_from(row)[5]
        person = self.people.user(number - 1) if number else None
        guest = None if joined is None else joined[1]
        self.notices.append(Notice(what, key, row, None, guest, person))

    def _evict(self, now_ms: int) -> None:
        """Make room: the longest-idle guest goes, a user only when there is no guest."""
        for table in (self._anonymous, self._signed, self._held):
            if table:
                key = next(iter(table))
                row = table[key]
                self.tell("ended", key, row, None)
                self._remove(key, row, now_ms)
                self.dropped += 1
                return


def _with(keys: int | tuple[int, ...] | None, key: int) -> int | tuple[int, ...]:
    if keys is None or keys == key:
        return key
    return (*keys, key) if isinstance(keys, tuple) else (keys, key)
