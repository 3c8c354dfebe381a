"""What this worker saw: its sessions, the feed and the counters, behind one lock.

No Flask, no gevent, no I/O; nothing under the lock can switch to another greenlet. It is taken by
``with`` on the lock itself and in no other way: an app's time-out by a signal may raise after any
call, and where a function of ours were to take the lock, or to let it go, it would stay taken.
"""

from __future__ import annotations

import secrets
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from . import rows
from .clock import Clock
from .config import Settings
from .histogram import BOUNDS, Histogram
from .interner import Interner, PathTable
from .noted import Erasure, Moves, NotedSessions, erase, rename
from .records import MAX_RARE, UNRECORDED_LOGOUT, FeedItem, Notice, Rare, Record
from .rows import ACT, ACT_SIZE, HEAD, HEAD_SIZE
from .sessions import ROW_OVERHEAD
from .traffic import UNMATCHED, Batch, Summary, Traffic
from .visitors import Visitors

MAX_PATHS = 32_768
MAX_ROUTES = 4_096

_new_item = tuple.__new__  # the class called with its fields would cost twice as much


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
        #: Held, nothing changes. Whoever takes it may hold others, as the picture's; nothing within
        #: takes one or may switch.
        self.lock = threading.Lock()
        #: How long it was waited for to record something.
        self.lock_wait_us = Histogram()
        self.visitors = visitors or Visitors(
            lambda _day: secrets.token_bytes(16),
            settings.session_timeout,
            lambda visitor: self.sessions.knows_visitor(visitor),  # noqa: PLW0108 (made below)
        )
        #: How many activities a row holds.
        self.history = settings.session_history_size
        self.sessions = NotedSessions(settings, self.visitors)
        self.routes: Interner[tuple[str, str | None]] = Interner(MAX_ROUTES, ("(other)", None))
        self._places: dict[tuple[str | None, str | None], tuple[int, int]] = {}
        self.paths = PathTable(MAX_PATHS)
        #: What few activities have, by session's low eight bits, then (session, ordinal).
        self.rare_of: list[dict[tuple[int, int], Rare]] = [{} for _ in range(256)]
        self._rare_order: deque[tuple[int, int]] = deque()
        #: Of which activities other workers have not heard; None while there are none.
        self.fresh_rare: list[tuple[int, int]] | None = None
        self.traffic = Traffic()
        self.feed: deque[FeedItem] = deque(maxlen=settings.history_size)
        self.feed_number = 0
        #: The newest line of the feed that has no session.
        self.homeless_number = 0
        self.dropped_activities = 0
        self._forgotten = False
        #: What other workers must be told by name; None while there are none.
        self.notes: list[dict[str, Any]] | None = None
        #: Who was erased since the others were last told, in order with the rows.
        self.erased: list[Erasure] = []
        self.ended_notices: list[Notice] = []
        self.left: deque[str] = deque(maxlen=1_000)  # users who signed out, not yet taken

    # -- recording ---------------------------------------------------------------------------

    def fold(self, records: Iterable[Record], *, notice: bool = False) -> list[Notice]:
        """Take in a batch of activities; return what signals will tell, what has ended first."""
        sessions = self.sessions
        began_s = time.perf_counter() if self.lock.locked() else None
        with self.lock:
            try:
                waited_s = 0.0 if began_s is None else time.perf_counter() - began_s
                self.lock_wait_us.add(waited_s * 1e6)
                sessions.notices = self.ended_notices if notice else None
                self._fold(records)
                if sessions.notices is None:
                    return []
                self.ended_notices = []
                return sessions.notices
            finally:
                sessions.notices = None
                if self.feed:  # cut short it may have gone on without having said so
                    self.feed_number = max(self.feed_number, self.feed[-1].number)

    def _fold(self, records: Iterable[Record]) -> None:  # noqa: PLR0912, PLR0915
        """Add each activity to its session, the feed and the counters.

        Every request of the app comes through this loop, so what most of them need is written
        out in it: a call costs as much as ten of these lines. An activity that fails is left out;
        the first such error is raised when the others are in.
        """
        sessions, table, people = self.sessions, self.sessions.rows, self.sessions.people
        generation, of_visitor = sessions.generation, sessions.of_visitor
        changed, dirty, pauses = sessions.changed, sessions.dirty, sessions.pauses
        paths, places = self.paths, self._places
        slot_of, is_used = paths.slots.get, paths.used
        codes, history = rows.METHOD_CODES, (self.history - 1) * ACT_SIZE
        unpack, pack, pack_act, join = HEAD.unpack_from, HEAD.pack, ACT.pack, b"".join
        feed, number, grown_bytes = self.feed, self.feed_number, 0
        failed: BaseException | None = None
        batch = Batch(0, 0.0)
        cells = batch.cells
        for record in records:
            try:
                (kind, at_ms, visitor, user_id, user_name, _, _, method, endpoint, rule, path,
                 title, status, duration_ms, error, _, _) = record  # fmt: skip
                number += 1
                if kind != "request":
                    if kind == UNRECORDED_LOGOUT:
                        number -= 1
                        self._sign_out(record)
                        continue
                    key, ordinal = self._add_event(record)
                    if key is None:
                        self.homeless_number = number
                else:
                    # -- the session, begun if there is none
                    if user_id is None and visitor not in generation:
                        key = visitor
                    else:
                        key = sessions.key(visitor, user_id, user_name)
                    before = row = table.get(key)
                    took_ms = duration_ms or 0.0
                    if row is None:
                        row = sessions.begin(key, record, at_ms - int(took_ms), number - 1)
                    (_, base, last, requests, errors, user, ordinal, agent, ip_size) = unpack(row)
                    offset = at_ms - base
                    if not took_ms - 1 < offset <= rows.MAX_OFFSET:
                        row, base, last, offset = sessions.fitted(key, row, at_ms, int(took_ms))
                    ordinal += 1
                    if offset - last > pauses.timeout_ms or key in pauses:
                        pauses.note(key, row, at_ms - int(took_ms), self.clock.offset_ms)
                    if offset > last:  # noqa: PLR1730 (max() is a call)
                        last = offset
                    code = codes.get(method, rows.OTHER_CODE)
                    is_error = error is not None
                    if status is not None:
                        code |= status & rows.STATUS
                        is_error = is_error or status in rows.FAILED
                    # -- one more activity in front
                    if title is not None or error is not None:
                        code |= rows.RARE
                        self._keep_rare(key, ordinal, record)
                    if path == rule or path is None:
                        slot = rows.NO_PATH
                    else:
                        slot = slot_of(path, -1)
                        if slot < 0:
                            slot = paths.take(path, base + offset)
                        else:
                            is_used[slot] = 1
                    place = places.get((endpoint, rule))
                    if place is None:
                        place = self._place(endpoint, rule)
                    packed_ms = duration_ms if duration_ms is not None else rows.NO_DURATION
                    if packed_ms > rows.LARGEST_MS:
                        packed_ms = rows.packed_ms(packed_ms)
                    start = HEAD_SIZE + ip_size
                    grown = join(
                        (
                            pack(visitor, base, last, requests + 1, errors + is_error, user,
                                 ordinal, agent, ip_size),
                            row[HEAD_SIZE:start],
                            pack_act(offset, place[0], slot, code, packed_ms),
                            row[start : start + history],
                        )
                    )  # fmt: skip
                    table[key] = grown
                    grown_bytes += len(grown) + (ROW_OVERHEAD if before is None else -len(before))
                    if changed is not None:
                        changed[key] = None
                    if dirty is not None:
                        dirty[key] = dirty.get(key, 0) + 1
                    if before is None and sessions.partner(key, grown) is None:
                        sessions.tell("started", key, grown, None)
                    # -- the counters
                    if batch.second != at_ms // 1000:
                        over, batch = batch, Batch(at_ms // 1000, self.clock.wall_at(at_ms))
                        cells = batch.cells
                        self.traffic.add(over)
                    if is_error:
                        batch.fail(place[1])
                    cell = place[1] << 8 | bisect_left(BOUNDS, duration_ms or 0.0)
                    cells[cell] = cells.get(cell, 0) + 1
                    if user:
                        batch.users.add(people.hash(user - 1))
                    if (user and before is not None) or visitor not in of_visitor:
                        batch.sessions.add(key)
                    else:
                        batch.sessions.add(self._counted_key(key, grown, batch))
                item = _new_item(FeedItem, (number, key, ordinal, record))
                feed.append(item)
                if sessions.notices is not None:
                    sessions.notices.append(Notice("activity", key, None, item))
                if kind == "logout":
                    self._sign_out(record)
            except BaseException as failure:  # of ours, or a time-out of the app's
                failed = failed or failure
                self.dropped_activities += 1
        self.feed_number = number
        sessions.row_bytes += grown_bytes
        self.traffic.add(batch)
        if failed is not None:
            raise failed

    def _place(self, endpoint: str | None, rule: str | None) -> tuple[int, int]:
        """Return, and remember, the numbers of a route and of its endpoint."""
        name = endpoint or UNMATCHED
        place = self.routes.number((name, rule)), self.traffic.names.number(name)
        if len(self._places) < MAX_ROUTES:
            self._places[endpoint, rule] = place
        return place

    def exclude(self, n: int = 1) -> None:
        """Count requests that are not recorded."""
        with self.lock:
            self.traffic.excluded += n

    def _add_event(self, record: Record) -> tuple[int | None, int]:
        """Add what is no request to its session; it begins none and keeps none alive."""
        sessions = self.sessions
        if record.visitor:
            found = sessions.key(record.visitor, record.user_id, record.user_name)
        else:
            latest = sessions.latest_of(record.user_id)
            if latest is None:
                return None, 0
            found = latest
        row = sessions.rows.get(found)
        if row is None:
            return None, 0
        if not 0 <= record.at_ms - rows.head_of(row).base_ms <= rows.MAX_OFFSET:
            row, *_ = sessions.fitted(found, row, record.at_ms)
        head = rows.head_of(row)
        offset = max(0, record.at_ms - head.base_ms)
        ordinal = head.ordinal + 1
        code = (record.status or 0) & rows.STATUS | rows.RARE | rows.OTHER_KIND
        code |= rows.METHOD_CODES.get(record.method, rows.OTHER_CODE)
        self._keep_rare(found, ordinal, record)
        slot = rows.NO_PATH
        if record.path is not None and record.path != record.rule:
            slot = self.paths.slot(record.path, head.base_ms + offset)
        route, _ = self._place(record.endpoint, record.rule)
        start = HEAD_SIZE + head.ip_size
        act = ACT.pack(offset, route, slot, code, rows.packed_ms(record.duration_ms))
        grown = b"".join(
            (
                HEAD.pack(*head._replace(ordinal=ordinal)),
                row[HEAD_SIZE:start],
                act,
                row[start : start + (self.history - 1) * ACT_SIZE],
            )
        )
        sessions.put(found, sessions.rows.get(found), grown)
        return found, ordinal

    def _keep_rare(self, key: int, ordinal: int, record: Record) -> None:
        self.rare_of[key & 0xFF][key, ordinal] = Rare(
            record.kind, record.title, record.error, record.name, record.data
        )
        self._rare_order.append((key, ordinal))
        if self.fresh_rare is not None:
            self.fresh_rare.append((key, ordinal))
        while len(self._rare_order) > MAX_RARE:
            oldest = self._rare_order.popleft()
            if self.rare_of[oldest[0] & 0xFF].pop(oldest, None) is not None:
                self.dropped_activities += 1

    def _counted_key(self, key: int, row: bytes, batch: Batch) -> int:
        """The key a session is counted by in its minute: the user's, also for the guest part."""
        joined = self.sessions.partner(key, row)
        if joined is None:
            guest = self.sessions.guest_parted_by(row)
            if guest is not None and self.clock.wall_at(guest[1]) >= int(batch.at) // 60 * 60:
                batch.sessions.add(guest[0])
            return key
        if not HEAD.unpack_from(row)[5]:
            return joined[0]
        batch.take_back(joined[0])
        return key

    # -- ends --------------------------------------------------------------------------------

    def expire(self, busy: Collection[int] = (), most: int = 500) -> tuple[list[Notice], bool]:
        """End what has timed out, at most ``most`` rows; tell whether more is due.

        Args:
            busy: visitors with a request in flight; their sessions do not end.
            most: how many rows at once.
        """
        sessions = self.sessions
        with self.lock:
            try:
                notices, self.ended_notices = self.ended_notices, []
                sessions.notices = notices
                now_ms = self.clock.now_ms()
                self.traffic.expire(now_ms)
                return notices, sessions.expire(now_ms, busy, most)
            finally:
                sessions.notices = None

    def forget(self, user_id: str, keys: Collection[int] = ()) -> int:
        """Erase a user: sessions (and guests of these keys), feed, side table; return how many."""
        self._tell_to_forget(user_id, keys)
        return len(self._forget(user_id, keys))

    def _tell_to_forget(self, user_id: str, keys: Iterable[int]) -> None:
        if self.notes is not None:
            at_ms = self.clock.now_ms() + self.clock.offset_ms
            note = {"kind": "forget", "user": user_id, "keys": [*keys], "at_ms": at_ms}
            self.put_back_notes([note])

    def _forget(self, user_id: str, keys: Collection[int]) -> set[int]:
        with self.lock:
            gone = self.sessions.forget(user_id, keys, self.clock.now_ms())
            erase(user_id, gone, keys, self.feed, self.rare_of)
            self._forgotten = True
            if self.notes is not None:
                self.erased.append((user_id, gone.union(keys)))
        if not gone.issubset(keys):  # who told it could not know of all; with these it ends
            self._tell_to_forget(user_id, gone.union(keys))
        return gone

    def _sign_out(self, record: Record) -> None:
        at_ms = record.at_ms + self.clock.offset_ms
        keys = self.sessions.sign_out(record, record.at_ms, at_ms)
        self.left += () if record.user_id is None else (record.user_id,)
        if keys and self.notes is not None:
            first = self.sessions.first_key(record.visitor, record.user_id)
            note = {"kind": "out", "visitor": record.visitor, "user": record.user_id}
            told = {"at_ms": at_ms, "store_at_ms": self.clock.store_at_ms(record.at_ms)}
            self.notes.append({**note, "first": first, "keys": keys, **told})

    def take_note(self, note: Mapping[str, Any]) -> None:
        """Do what another worker's note says."""
        with self.lock:
            if note["kind"] == "out":
                self._rename(self.sessions.sign_out_elsewhere(note, self.clock))
        if note["kind"] == "forget":
            self._forget(str(note["user"]), {int(key) for key in note.get("keys", ())})

    def learn_sign_outs(self, generations: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take over (first key, generation) of sign-outs; return which were news."""
        with self.lock:
            known = self.sessions.generation
            news = [(first, at_ms) for first, at_ms in generations if known.get(first, 0) < at_ms]
            if news:
                self._rename(self.sessions.learn(news, self.clock))
                self._forgotten = True  # what is joined may be others
            return news

    def _rename(self, moved: Moves) -> None:
        rename(moved, self.feed, self.rare_of, self._rare_order, self.fresh_rare)

    def take_notes(self) -> list[dict[str, Any]]:
        """Take what other workers must be told by name: sign-outs and erasures."""
        with self.lock:
            notes, self.notes = self.notes or [], []
        return notes

    def put_back_notes(self, notes: list[dict[str, Any]]) -> None:
        """They could not be told: they are to be taken again."""
        with self.lock:
            self.notes = notes + (self.notes or [])

    def timed_out(self, bucket: int, before_ms: int) -> set[int]:
        """Return a bucket's sessions that were not seen since ``before_ms``."""
        with self.lock:
            return self.sessions.timed_out(bucket, before_ms)

    def end(self, keys: Iterable[int]) -> None:
        """End some sessions; signals tell of it when next something is folded."""
        with self.lock:
            ended: list[Notice] = []
            self.sessions.notices = ended
            self.sessions.end(keys, self.clock.now_ms())
            self.sessions.notices = None
            self.ended_notices += ended

    # -- reading -----------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to note which sessions change."""
        with self.lock:
            self.sessions.changed = {}
            self._forgotten = False

    def unwatch(self) -> None:
        """Stop noting changes."""
        self.sessions.changed = None

    def changes(self) -> Change:
        """Return what has changed since the last call, and begin anew."""
        if not self.sessions.changed and not self._forgotten:
            return Change({}, False)
        with self.lock:
            changes = Change(self.sessions.changed or {}, self._forgotten)
            self.sessions.changed = {}
            self._forgotten = False
            return changes

    def summary(self) -> Summary:
        """Return this worker's counters."""
        with self.lock:
            return self.traffic.summary(self.clock.now_ms())

    @property
    def rare_count(self) -> int:
        """How many activities have details in the side table."""
        return len(self._rare_order)

    def rare(self, key: int, ordinal: int) -> Rare | None:
        """Return what the side table still has of an activity."""
        return self.rare_of[key & 0xFF].get((key, ordinal))
