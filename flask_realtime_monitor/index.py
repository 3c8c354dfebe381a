"""The index a reader keeps: which sessions and users there are, last seen first.

Built on the first read, brought up to date by what the tracker says has changed, and dropped when
nobody reads. Counts are kept, never scanned.
"""

from __future__ import annotations

from . import rows
from .recency import Recency
from .rows import Act
from .tracker import Tracker

NO_ENDPOINT = 0xFFFF


class Index:
    """Sessions as they are shown: guest and user of one session are one entry, the user's.

    Args:
        tracker: whose rows are indexed.
        active_ms: how long after its last request a session is active.
    """

    def __init__(self, tracker: Tracker, active_ms: int) -> None:
        self._tracker = tracker
        self._rows = tracker.sessions
        self._active_ms = active_ms
        self.is_loaded = False
        self._clear()

    def _clear(self) -> None:
        self.sessions, self.users = Recency(), Recency()
        self._of_user: dict[int, dict[int, None]] = {}  # user number -> keys
        self._user_of: dict[int, int] = {}  # key -> user number
        self.anonymous = 0

    def load(self) -> None:
        """Build the index from all rows."""
        self._clear()
        found = []
        for key in self._tracker.watch():
            row = self._rows.row(key)
            if row is not None:
                found.append((rows.last_ms_of(row), key))
        found.sort()
        for _, key in found:
            self._look_at(key)
        self.is_loaded = True

    def unload(self) -> None:
        """Drop the index; the tracker need not note changes any longer."""
        self._tracker.unwatch()
        self._clear()
        self.is_loaded = False

    def catch_up(self) -> bool:
        """Take in what has changed; tell whether somebody was forgotten."""
        changes = self._tracker.changes()
        if changes.forgotten:
            self.load()
        else:
            for key in changes.sessions:
                self._look_at(key)
        cutoff = self._cutoff_ms()
        self.sessions.settle(cutoff)
        self.users.settle(cutoff)
        return changes.forgotten

    # -- asking --------------------------------------------------------------------------------

    def keys_of(self, user: int) -> tuple[int, ...]:
        """Return the sessions of a user, by number."""
        return tuple(self._of_user.get(user, ()))

    def user_of(self, key: int) -> int | None:
        """Return the number of the user whose session this is."""
        return self._user_of.get(key)

    def shown(self, key: int) -> int:
        """Return the key a row's session is shown under."""
        row = self._rows.row(key)
        if row is None:
            return key
        joined = self._rows.partner(key, row)
        return joined[0] if joined is not None and not rows.head_of(row).user else key

    def session_of_visitor(self, visitor: int) -> int | None:
        """Return the session a visitor's request in flight belongs to, as far as one can know."""
        users = self._rows.users_of(visitor)
        if len(users) == 1:
            return users[0] if users[0] in self.sessions else None
        if users:
            return None
        key = self._rows.anonymous_key(visitor)
        return key if key in self.sessions else None

    # -- keeping -------------------------------------------------------------------------------

    def _look_at(self, key: int) -> None:
        """Bring one row's session up to date: new, changed, joined, parted or gone."""
        row = self._rows.row(key)
        if row is None:
            self._drop(key)
            return
        joined = self._rows.partner(key, row)
        head = rows.head_of(row)
        if joined is not None:
            if not head.user:
                self._drop(key)
                key, row, joined = joined[0], joined[1], (key, row)
                head = rows.head_of(row)
            else:
                self._drop(joined[0])
        last_ms, newest = head.last_ms, row
        if joined is not None and rows.last_ms_of(joined[1]) > last_ms:
            last_ms, newest = rows.last_ms_of(joined[1]), joined[1]
        cutoff_ms = self._cutoff_ms()
        is_new = key not in self.sessions
        self.sessions.put(key, last_ms, self._endpoint_of(newest), cutoff_ms)
        if not head.user:
            self.anonymous += is_new
            return
        number = head.user - 1
        self._user_of[key] = number
        self._of_user.setdefault(number, {})[key] = None
        self._see_user(number, cutoff_ms)

    def _drop(self, key: int) -> None:
        if key not in self.sessions:
            return
        self.sessions.drop(key)
        number = self._user_of.pop(key, None)
        if number is None:
            self.anonymous -= 1
            return
        keys = self._of_user[number]
        del keys[key]
        if keys:
            self._see_user(number, self._cutoff_ms())
        else:
            del self._of_user[number]
            self.users.drop(number)

    def _see_user(self, number: int, cutoff_ms: int) -> None:
        newest = max(self.sessions.value(key) or 0 for key in self._of_user[number])
        self.users.put(number, newest >> 16, newest & 0xFFFF, cutoff_ms)

    def _endpoint_of(self, row: bytes) -> int:
        """Return the number of the endpoint of a row's last request."""
        act = last_request(row)
        if act is None:
            return NO_ENDPOINT
        name = self._tracker.routes.value(act.route)[0]
        return self._tracker.traffic.names.number(name)

    def _cutoff_ms(self) -> int:
        return self._tracker.clock.now_ms() - self._active_ms


def last_request(row: bytes) -> Act | None:
    """Return the newest activity of a row that is a request."""
    for act in rows.acts_of(row, rows.head_of(row)):
        if not act.code & rows.OTHER_KIND:
            return act
    return None
