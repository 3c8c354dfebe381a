"""What this worker saw: its sessions, the feed and the counters, behind one lock.

No Flask, no gevent, no I/O; nothing under the lock can switch to another greenlet.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

from . import rows
from .clock import Clock
from .config import Settings
from .histogram import Histogram
from .interner import Interner, PathTable
from .records import FeedItem, Notice, Rare, Record
from .rows import ACT, ACT_SIZE, HEAD, HEAD_SIZE
from .sessions import Sessions
from .traffic import UNMATCHED, Traffic
from .visitors import Visitors

MAX_PATHS = 32_768
MAX_ROUTES = 4_096
MAX_RARE = 20_000


class Change(NamedTuple):
    """What a reader must look at again."""

    sessions: dict[int, None]
    forgotten: bool


class Tracker:
    """The state of one worker.

    Args:
        settings: bounds and times.
        clock: the worker's clock.
        visitors: makes the keys of visitors and sessions; by default with a salt of its own.
    """

    def __init__(self, settings: Settings, clock: Clock, visitors: Visitors | None = None) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self.lock_wait_us = Histogram()
        self.visitors = visitors or Visitors(
            lambda _day: secrets.token_bytes(16),
            settings.session_timeout,
            lambda visitor: self.sessions.knows_visitor(visitor),  # noqa: PLW0108 (made below)
        )
        self._history = settings.session_history_size * ACT_SIZE
        self.sessions = Sessions(settings, self.visitors)
        self.routes: Interner[tuple[str, str | None]] = Interner(MAX_ROUTES, ("(other)", None))
        self.paths = PathTable(MAX_PATHS)
        self._rare: OrderedDict[tuple[int, int], Rare] = OrderedDict()
        self.traffic = Traffic()
        self.feed: deque[FeedItem] = deque(maxlen=settings.history_size)
        self.feed_number = 0
        self.dropped_activities = 0
        self._forgotten = False

    # -- recording ---------------------------------------------------------------------------

    def fold(self, records: Iterable[Record], *, notice: bool = False) -> list[Notice]:
        """Take in a batch of activities; return what signals will tell, if ``notice``."""
        sessions = self.sessions
        self._acquire()
        try:
            sessions.notices = [] if notice else None
            for record in records:
                self._record(record)
            return sessions.notices or []
        finally:
            sessions.notices = None
            self._lock.release()

    def exclude(self, n: int = 1) -> None:
        """Count requests that are not recorded."""
        self._acquire()
        self.traffic.excluded += n
        self._lock.release()

    def _record(self, record: Record) -> None:
        now_ms = record.at_ms
        key: int | None
        if record.kind == "request":
            is_error = record.error is not None or (record.status or 0) >= 500
            key, ordinal = self._add(record, now_ms, is_error)
            people = self.sessions.people
            user = None if record.user_id is None else people.find(record.user_id)
            self.traffic.add(
                now_ms,
                self.clock.wall_at(now_ms),
                self.traffic.names.number(record.endpoint or UNMATCHED),
                record.duration_ms or 0.0,
                is_error,
                self._counted_key(key, record),
                None if user is None else people.hash(user),
            )
        else:
            key, ordinal = self._add_event(record, now_ms)
        self.feed_number += 1
        item = FeedItem(self.feed_number, key, ordinal, record)
        self.feed.append(item)
        if self.sessions.notices is not None:
            self.sessions.notices.append(Notice("activity", key, None, item))
        if record.kind == "logout":
            self.sessions.sign_out(record, now_ms)

    def _add(self, record: Record, now_ms: int, is_error: bool) -> tuple[int, int]:
        """Add a request to its session, beginning one if there is none."""
        sessions = self.sessions
        found = sessions.find(record.visitor, record.user_id, record.user_name)
        key, row = found.key, found.row
        if row is None:
            row = sessions.begin(key, record, now_ms - int(record.duration_ms or 0))
        row, ordinal = self._grown(key, row, record, now_ms, is_error, True)
        sessions.put(found, row, True)
        if found.row is None and sessions.partner(key, row) is None:
            sessions.tell("started", key, row, None)
        return key, ordinal

    def _add_event(self, record: Record, now_ms: int) -> tuple[int | None, int]:
        """Add what is no request to its session; it begins none and keeps none alive."""
        if record.visitor:
            found = self.sessions.find(record.visitor, record.user_id, record.user_name)
        else:
            latest = self.sessions.latest_of(record.user_id)
            if latest is None:
                return None, 0
            found = latest
        if found.row is None:
            return None, 0
        row, ordinal = self._grown(found.key, found.row, record, now_ms, False, False)
        self.sessions.put(found, row, False)
        return found.key, ordinal

    def _grown(
        self, key: int, row: bytes, record: Record, now_ms: int, is_error: bool, is_request: bool
    ) -> tuple[bytes, int]:
        """Return a row with one more activity in front, and that activity's ordinal."""
        visitor, base, last, requests, errors, user, ordinal, agent, ip_size = HEAD.unpack_from(row)
        offset = now_ms - base
        if offset > rows.MAX_OFFSET:
            row, head = rows.rebased(row, rows.head_of(row), now_ms)
            base, last = head.base_ms, head.last
            offset = now_ms - base
        elif offset < 0:
            offset = 0
        ordinal += 1
        if is_request:
            last = offset if offset > last else last
            requests += requests < rows.MAX_COUNT
            errors += is_error
        code = (record.status or 0) & rows.STATUS | rows.method_number(record.method) << 10
        if not is_request or record.title is not None or record.error is not None:
            code |= rows.RARE
            self._keep_rare(key, ordinal, record)
        if not is_request:
            code |= rows.OTHER_KIND
        route = self.routes.number((record.endpoint or UNMATCHED, record.rule))
        path = record.path
        slot = rows.NO_PATH
        if path is not None and path != record.rule:
            slot = self.paths.slot(path, base + offset)
        start = HEAD_SIZE + ip_size
        grown = b"".join(
            (
                HEAD.pack(visitor, base, last, requests, errors, user, ordinal, agent, ip_size),
                row[HEAD_SIZE:start],
                ACT.pack(offset, route, slot, code, rows.packed_ms(record.duration_ms)),
                row[start : start + self._history - ACT_SIZE],
            )
        )
        return grown, ordinal

    def _keep_rare(self, key: int, ordinal: int, record: Record) -> None:
        rare = self._rare
        rare[key, ordinal] = Rare(record.kind, record.title, record.error, record.name, record.data)
        if len(rare) > MAX_RARE:
            rare.popitem(last=False)
            self.dropped_activities += 1

    def _counted_key(self, key: int, record: Record) -> int:
        """The key a session is counted by in its minute: the user's, also for the guest part."""
        sessions = self.sessions
        if not sessions.users_of(record.visitor):
            return key
        row = sessions.row(key)
        if row is None:
            return key
        if record.user_id is None:
            joined = sessions.partner(key, row)
            return key if joined is None else joined[0]
        if HEAD.unpack_from(row)[3] == 1:
            joined = sessions.partner(key, row)
            if joined is not None and self.traffic.minutes:
                self.traffic.minutes[-1].sessions.hashes.discard(joined[0])
        return key

    # -- ends --------------------------------------------------------------------------------

    def expire(self, busy: Collection[int] = (), most: int = 500) -> tuple[list[Notice], bool]:
        """End what has timed out, at most ``most`` rows; tell whether more is due.

        Args:
            busy: visitors with a request in flight; their sessions do not end.
            most: how many rows at once.
        """
        sessions = self.sessions
        self._acquire()
        try:
            notices: list[Notice] = []
            sessions.notices = notices
            now_ms = self.clock.now_ms()
            self.traffic.expire(now_ms)
            return notices, sessions.expire(now_ms, busy, most)
        finally:
            sessions.notices = None
            self._lock.release()

    def forget(self, user_id: str) -> int:
        """Erase a user: sessions (with the guest part), feed and side table; return how many."""
        self._acquire()
        try:
            gone = self.sessions.forget(user_id, self.clock.now_ms())
            kept = [
                item
                for item in self.feed
                if item.record.user_id != user_id and item.key not in gone
            ]
            self.feed.clear()
            self.feed.extend(kept)
            for rare in [pair for pair in self._rare if pair[0] in gone]:
                del self._rare[rare]
            self._forgotten = True
            return len(gone)
        finally:
            self._lock.release()

    # -- reading -----------------------------------------------------------------------------

    def watch(self) -> list[int]:
        """Begin to note which sessions change; return the keys of those there are."""
        self._acquire()
        self.sessions.changed = {}
        self._forgotten = False
        found = self.sessions.keys()
        self._lock.release()
        return found

    def unwatch(self) -> None:
        """Stop noting changes."""
        self.sessions.changed = None

    def changes(self) -> Change:
        """Return what has changed since the last call, and begin anew."""
        self._acquire()
        changes = Change(self.sessions.changed or {}, self._forgotten)
        self.sessions.changed = {}
        self._forgotten = False
        self._lock.release()
        return changes

    @property
    def rare_count(self) -> int:
        """How many activities have details in the side table."""
        return len(self._rare)

    def rare(self, key: int, ordinal: int) -> Rare | None:
        """Return what the side table still has of an activity."""
        return self._rare.get((key, ordinal))

    def size_bytes(self) -> int:
        """Return what the tracker holds, by its own count (rows, tables, feed)."""
        return (
            self.sessions.size_bytes()
            + 120 * len(self.paths)
            + 250 * len(self._rare)
            + 600 * len(self.feed)
        )

    def _acquire(self) -> None:
        if not self._lock.acquire(blocking=False):
            began = time.perf_counter()
            self._lock.acquire()
            self.lock_wait_us.add((time.perf_counter() - began) * 1e6)
        else:
            self.lock_wait_us.add(0.0)
