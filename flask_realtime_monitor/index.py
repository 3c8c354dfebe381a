"""The index a reader keeps: which sessions and users there are, and which are one.

Built on the first read, brought up to date by what has changed, and dropped when nobody reads.
Every source's row of a session is a part of it; the parts are put together here, from the rows
alone, so that the order in which they came makes no difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from . import rows
from .departures import Departures
from .interner import Interner
from .recency import Recency
from .rows import ACT, HEAD, HEAD_SIZE, OTHER_KIND
from .source import Source
from .wheel import Wheel

T = TypeVar("T")

MAX_ENDPOINTS = 0xFFFF
_SLICE = 500


_unpack = HEAD.unpack_from
_unpack_act = ACT.unpack_from

#: All parts of one session (but for its guest part): visitor, user id, when first and last seen
#: (ms since the epoch), endpoint. A plain tuple, which the garbage collector need not look into.
Merged = tuple[int, str | None, int, int, int]


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
        self._tables: list[tuple[Source, Mapping[int, bytes], int]] = []
        self._endpoint_of: dict[tuple[str, int], int] = {}
        self._busy: Collection[int] = ()

    def load(self, busy: Collection[int]) -> None:
        """Build the index from all rows; ``busy`` as in ``catch_up``."""
        before: list[int | str] = [*self.sessions.values, *self.users.values]
        self._clear()
        self._busy = busy
        self._offsets = self._seen_offsets()
        self._tables = [(source, source.rows, source.offset_ms) for source in self._sources]
        now_ms = self._now_ms()
        if not self.is_loaded:
            self.departures.begin(now_ms)
        self.sessions.settle(now_ms)
        self.users.settle(now_ms)
        missed: list[int] = []
        for source, table, offset_ms in self._tables:
            missed += self._gather(source, table, offset_ms)
        missed += self._take_out(missed, now_ms)
        self._show_gathered()
        for _ in range(2):  # some are kept, maybe, by the other part of their session
            for key in missed:
                self.look_at(key, now_ms)
        self.departures.compare(before, now_ms, self.sessions.values, self.users.values)
        self.is_loaded = True

    def _gather(self, source: Source, table: Mapping[int, bytes], offset_ms: int) -> list[int]:
        """Put one source's rows to what is known of their sessions; return what went meanwhile.

        As ``_merge`` for each, but written out: with many sessions this is what a first read waits
        for.
        """
        merged, worker_id = self._merged, source.worker_id
        endpoint_of: dict[int, int] = {}
        people: dict[int, str] = {}
        gone: list[int] = []
        for key, row in chain.from_iterable(_slices(table.items())):
            (visitor, first_ms, last, _, _, user, _, _, ip_size) = _unpack(row)
            first_ms += offset_ms
            last_ms = first_ms + last
            user_id = None
            if user:
                user_id = people.get(user)
                if user_id is None:
                    person = source.user(user - 1)
                    if person is None:
                        gone.append(key)
                        continue
                    user_id = people[user] = person[0]
            known = merged.get(key)
            if known is not None:
                user_id = known[1] or user_id
                first_ms = min(first_ms, known[2])
                if last_ms <= known[3]:
                    merged[key] = (visitor, user_id, first_ms, known[3], known[4])
                    continue
            start = HEAD_SIZE + ip_size
            route = -1
            if len(row) > start:
                _, route, _, code, _ = _unpack_act(row, start)
                if code & OTHER_KIND:
                    route = -1
            if route < 0:
                route = rows.last_request(row)
            endpoint = endpoint_of.get(route, -1)
            if endpoint < 0:
                endpoint = endpoint_of[route] = self._endpoint(worker_id, source, route)
            merged[key] = (visitor, user_id, first_ms, last_ms, endpoint)
        return gone

    def _take_out(self, gone: Iterable[int], now_ms: int) -> list[int]:
        """Take out of what was gathered what is gone, and return whose time is over."""
        merged, busy, timed_out_ms = self._merged, self._busy, now_ms - self._timeout_ms
        for key in gone:
            merged.pop(key, None)
        missed = [
            key
            for key, (visitor, _, _, last_ms, _) in merged.items()
            if last_ms <= timed_out_ms and visitor not in busy
        ]
        for key in missed:
            del merged[key]
        return missed

    def _show_gathered(self) -> None:
        """Show all that was gathered."""
        merged, of_visitor, of_user = self._merged, self._of_visitor, self._of_user
        shown: dict[int, int] = {}
        newest: dict[str, int] = {}
        due: dict[int, list[int]] = {}
        users = 0
        after_ms = self._timeout_ms + 1000
        for part in _slices(merged.items()):
            for key, (visitor, user_id, _, last_ms, endpoint) in part:
                due_s = (last_ms + after_ms) // 1000
                if due_s in due:
                    due[due_s].append(key)
                else:
                    due[due_s] = [key]
                value = shown[key] = last_ms << 16 | endpoint
                if user_id is None:
                    continue
                users += 1
                of_visitor[visitor] = (*of_visitor.get(visitor, ()), key)
                if user_id in of_user:
                    of_user[user_id] += (key,)
                    newest[user_id] = max(newest[user_id], value)
                else:
                    of_user[user_id] = (key,)
                    newest[user_id] = value
        for due_s, keys in due.items():
            self._due.add_all(keys, due_s)
        self.anonymous = len(shown) - users
        self.sessions.fill(shown)
        time.sleep(0)
        self.users.fill(newest)
        time.sleep(0)
        for visitor, found in chain.from_iterable(_slices(of_visitor.items())):
            if self._anonymous_key(visitor) in merged:
                self._arrange(visitor, found)
        self.departures.undo_ends(merged)

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
        for number, key in enumerate(changed):
            if number % _SLICE == _SLICE - 1:
                time.sleep(0)
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
        # By far the most are nobody's, or the one session of a user without a guest part.
        self.joined.pop(key, None)
        if before is not None and user_id is not None and self._of_user.get(user_id) == (key,):
            self.sessions.put(key, last_ms, endpoint)
            self.users.put(user_id, last_ms, endpoint)
        else:
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
        last_ms = first_ms = -1
        visitor, user_id = 0, None
        newest, newest_source = b"", None
        for source, table, offset_ms in self._tables:
            row = table.get(key)
            if row is None:
                continue
            (visitor, base_ms, last, _, _, user, _, _, _) = _unpack(row)
            base_ms += offset_ms
            if base_ms + last > last_ms:
                last_ms = base_ms + last
                newest, newest_source = row, source
            if first_ms < 0 or base_ms < first_ms:
                first_ms = base_ms
            if user and user_id is None:
                person = source.user(user - 1)
                if person is None:
                    return None  # the row went while we looked
                user_id = person[0]
        if newest_source is None:
            return None
        timed_out_ms = now_ms - self._timeout_ms
        if (
            last_ms <= timed_out_ms
            and visitor not in self._busy
            and self._last_of_other_part(visitor, user_id, first_ms, last_ms) <= timed_out_ms
        ):
            return None
        route, worker_id = rows.last_request(newest), newest_source.worker_id
        endpoint = self._endpoint_of.get((worker_id, route), -1)
        if endpoint < 0:
            endpoint = self._endpoint(worker_id, newest_source, route)
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

    def _endpoint(self, worker_id: str, source: Source, route: int) -> int:
        """Return, and remember, the number in this index of the endpoint of a source's route."""
        number = self.endpoints.number(source.route(route)[0])
        self._endpoint_of[worker_id, route] = number
        return number

    def _seen_offsets(self) -> list[tuple[str, int]]:
        return [(source.worker_id, source.offset_ms) for source in self._sources]


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    """Return what there is now in parts; between two of them it is somebody else's turn."""
    found = list(items)
    for begin in range(0, len(found), _SLICE):
        yield found[begin : begin + _SLICE]
        time.sleep(0)
