"""The read model: the one place where numbers are defined, so that every output agrees.

Counts are kept, never scanned; a list is a walk from the newest end of an index. The index lives
only while somebody reads: it is built on the first read and dropped a minute after the last.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from . import shapes
from .config import Settings
from .histogram import percentiles
from .index import Index
from .recency import Recency
from .records import FeedItem, InFlight, Notice
from .shapes import Shapes
from .tracker import Tracker

_IDLE_AFTER_S = 60.0
_SLACK_MS = 2_000  # how far the order of arrival may differ from the order of time
_SLICE = 500
_MOST_CACHED = 2_000

Json = dict[str, Any]


class Surroundings(NamedTuple):
    """What the picture cannot know by itself, handed in as callables."""

    in_flight: Callable[[], list[InFlight]]
    viewers: Callable[[], int]
    worker: Callable[[], Json]
    health: Callable[[], Json]
    events_dropped: Callable[[], int]
    is_whole: Callable[[], bool]
    fold: Callable[[], None]


class Picture:
    """Answers every question about who is using the app and what they do.

    All methods may be called from any thread or greenlet; one at a time gets in.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: Tracker,
        epoch: str,
        worker_id: str,
        host: str,
        surroundings: Surroundings,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._clock = tracker.clock
        self._around = surroundings
        self._shapes = Shapes(tracker, worker_id, host)
        self.epoch = epoch
        self.since_at = self._clock.now_at()
        self._lock = threading.Lock()
        self._read_at_s = 0.0
        self._index = Index(tracker, int(settings.active_window * 1000))
        self._session_cache: dict[int, tuple[bytes, bytes | None, bool, str | None, Json]] = {}
        self._endpoint_cache: dict[int, Json] = {}
        self._feed_cache: OrderedDict[int, Json] = OrderedDict()
        self._busy: dict[int, int] = {}  # session key -> requests in flight

    # -- the calls -----------------------------------------------------------------------------

    def stats(self) -> Json:
        """Return the numbers of the whole app (``stats`` in the contract)."""
        with self._reading():
            return self._stats()

    def users(self, limit: int = 100, q: str = "") -> Json:
        """Return signed-in users with a session, last seen first."""
        with self._reading():
            return self._page(self._user_items(q), limit, len(self._index.users), q)

    def active_users(self, limit: int = 100) -> list[Json]:
        """Return the users who are active, last seen first."""
        with self._reading():
            return _cut((one for one in self._user_items("") if one["is_active"]), limit)

    def sessions(self, limit: int = 100, q: str = "") -> Json:
        """Return the sessions not yet ended, last seen first."""
        with self._reading():
            return self._page(self._session_items(q), limit, len(self._index.sessions), q)

    def active_sessions(self, limit: int = 100) -> list[Json]:
        """Return the sessions that are active, last seen first."""
        with self._reading():
            return _cut((one for one in self._session_items("") if one["is_active"]), limit)

    def activities(self, limit: int = 100, q: str = "") -> Json:
        """Return the feed, newest first."""
        with self._reading():
            feed = list(self._tracker.feed)
            items = (self._feed_json(item) for item in reversed(feed))
            return self._page(_matching(items, q), limit, len(feed), q)

    def endpoints(self, limit: int = 100, q: str = "") -> Json:
        """Return the endpoints, most requests first, then by name."""
        with self._reading():
            items = self._endpoint_items()
            return self._page(_matching(iter(items), q), limit, len(items), q)

    def in_flight(self, limit: int = 100, q: str = "") -> Json:
        """Return the requests that have not ended, oldest first."""
        with self._reading():
            items = self._in_flight_items(0)
            return self._page(_matching(iter(items), q), limit, len(items), q)

    def workers(self, limit: int = 100, q: str = "") -> Json:
        """Return the workers of this picture."""
        with self._reading():
            items = [self._around.worker()]
            return self._page(_matching(iter(items), q), limit, len(items), q)

    def health(self) -> Json:
        """Return whether the monitor itself is well."""
        return self._around.health()

    def session(self, session_id: str) -> Json | None:
        """Return one session with its newest activities, None when there is none."""
        with self._reading():
            key = shapes.key_of(session_id)
            if key is None:
                return None
            key = self._index.shown(key)
            row = self._tracker.sessions.row(key)
            found = self._session_json(key) if key in self._index.sessions else None
            if found is None or row is None:
                return None
            guest = self._tracker.sessions.partner(key, row)
            acts = self._shapes.history(key, row, guest)[: self._settings.session_history_size]
            return {**found, "activities": acts}

    def ended_at(self, session_id: str) -> float | None:
        """Return when a session ended, while that is remembered."""
        key = shapes.key_of(session_id)
        ended_ms = None if key is None else self._tracker.sessions.ended_ms(key)
        return None if ended_ms is None else self._clock.wall_at(ended_ms)

    def snapshot(self, limit: int = 100) -> Json:
        """Return what a stream begins with: every list's first items."""
        with self._reading():
            return {
                "as_of": self._clock.now_at(),
                "stats": self._stats(),
                "users": _cut(self._user_items(""), limit),
                "sessions": _cut(self._session_items(""), limit),
                "activities": [
                    self._feed_json(item)
                    for item in islice(reversed(list(self._tracker.feed)), limit)
                ],
                "endpoints": self._endpoint_items()[:limit],
                "in_flight": self._in_flight_items(1000)[:limit],
                "workers": [self._around.worker()],
            }

    @property
    def cursor(self) -> int:
        """How many activities this picture has seen."""
        return self._tracker.feed_number

    def describe(self, notice: Notice) -> Json:
        """Return a session that a signal tells of; it may have ended."""
        key, row = notice.key or 0, notice.row or b""
        return self._shapes.session(key, row, notice.guest, notice.person, False)

    def describe_activity(self, item: FeedItem) -> Json:
        """Return an activity as JSON, for signals."""
        return self._shapes.activity(item)

    def rest(self) -> None:
        """Drop the index when nobody has read for a minute."""
        if self._index.is_loaded and self._clock.monotonic() - self._read_at_s > _IDLE_AFTER_S:
            with self._lock:
                self._index.unload()
                self._forget_cached()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One read: everything this process has seen before it is in the picture."""
        self._around.fold()
        with self._lock:
            self._read_at_s = self._clock.monotonic()
            if not self._index.is_loaded:
                self._index.load()
            if self._index.catch_up():
                self._forget_cached()
            self._busy = {}
            for one in self._around.in_flight():
                key = self._index.session_of_visitor(one.visitor)
                if key is not None:
                    self._busy[key] = self._busy.get(key, 0) + 1
            yield

    def _forget_cached(self) -> None:
        self._session_cache = {}
        self._endpoint_cache = {}
        self._feed_cache = OrderedDict()

    # -- items ---------------------------------------------------------------------------------

    def _session_items(self, q: str) -> Iterator[Json]:
        return self._ordered(self._index.sessions, self._session_json, "id", q)

    def _user_items(self, q: str) -> Iterator[Json]:
        return self._ordered(self._index.users, self._user_json, "id", q)

    def _ordered(
        self, recency: Recency, render: Callable[[int], Json | None], by: str, q: str
    ) -> Iterator[Json]:
        """Yield items last seen first, then by id, sorting only as far as is asked for."""
        waiting: list[tuple[float, str, Json]] = []

        def order(one: tuple[float, str, Json]) -> tuple[float, str]:
            return (-one[0], one[1])

        needle = q.casefold()
        frontier: float | None = None
        for number, (key, last_ms) in enumerate(recency.newest()):
            if number % _SLICE == _SLICE - 1:
                time.sleep(0)
            item = render(key)
            if item is None or (needle and not shapes.matching(item, needle)):
                continue
            if frontier is not None and last_ms < frontier - _SLACK_MS:
                waiting.sort(key=order)
                for one in waiting:
                    yield one[2]
                waiting = []
                frontier = last_ms
            elif frontier is None:
                frontier = last_ms
            waiting.append((item["last_seen_at"], item[by], item))
        waiting.sort(key=order)
        for one in waiting:
            yield one[2]

    def _session_json(self, key: int) -> Json | None:
        sessions = self._tracker.sessions
        row = sessions.row(key)
        if row is None:
            return None
        joined = sessions.partner(key, row)
        guest = None if joined is None else joined[1]
        is_active = key in self._index.sessions.active or key in self._busy
        number = self._index.user_of(key)
        person = None if number is None else sessions.people.user(number)
        name = None if person is None else person[1]
        cached = self._session_cache.get(key)
        if cached and cached[0] is row and cached[1:4] == (guest, is_active, name):
            return cached[4]
        item = self._shapes.session(key, row, guest, person, is_active)
        if len(self._session_cache) > _MOST_CACHED:
            self._session_cache.clear()
        self._session_cache[key] = (row, guest, is_active, name, item)
        return item

    def _user_json(self, number: int) -> Json | None:
        person = self._tracker.sessions.people.user(number)
        found = [self._session_json(key) for key in self._index.keys_of(number)]
        sessions = [one for one in found if one is not None]
        return self._shapes.user(person, sessions) if person and sessions else None

    def _feed_json(self, item: FeedItem) -> Json:
        cached = self._feed_cache.get(item.number)
        if cached is None:
            cached = self._feed_cache[item.number] = self._shapes.activity(item)
            if len(self._feed_cache) > self._settings.history_size:
                self._feed_cache.popitem(last=False)
        return cached

    def _endpoint_items(self) -> list[Json]:
        traffic = self._tracker.traffic
        for number in list(traffic.changed_endpoints):
            self._endpoint_cache.pop(number, None)
        traffic.changed_endpoints.clear()
        found = []
        for number, one in list(traffic.endpoints.items()):
            users = self._index.users.active_at.get(number, 0)
            sessions = self._index.sessions.active_at.get(number, 0)
            item = self._endpoint_cache.get(number)
            if item is None or item["active_users"] != users or item["active_sessions"] != sessions:
                item = self._endpoint_cache[number] = {
                    "endpoint": traffic.names.value(number),
                    "requests": one.requests,
                    "errors": one.errors,
                    "active_users": users,
                    "active_sessions": sessions,
                    "latency_ms": _latency(one.latency, one.timed),
                }
            found.append(item)
        found.sort(key=lambda item: (-item["requests"], item["endpoint"]))
        return found

    def _in_flight_items(self, older_than_ms: int) -> list[Json]:
        now_ms = self._clock.now_ms()
        found = []
        for one in sorted(self._around.in_flight(), key=lambda one: (one.started_ms, one.id)):
            age_ms = now_ms - one.started_ms
            if age_ms < older_than_ms:
                continue
            key = self._index.session_of_visitor(one.visitor)
            number = None if key is None else self._index.user_of(key)
            person = None if number is None else self._tracker.sessions.people.user(number)
            found.append(self._shapes.in_flight(one, key, person, age_ms))
        return found

    def _stats(self) -> Json:
        traffic = self._tracker.traffic
        now_ms, now_at = self._clock.now_ms(), self._clock.now_at()
        requests, errors = traffic.rates(now_ms)
        idle_busy = [key for key in self._busy if key not in self._index.sessions.active]
        busy_users = {self._index.user_of(key) for key in idle_busy} - {None}
        minutes = [
            {
                "at": minute.at,
                "requests": minute.requests,
                "errors": minute.errors,
                "active_users": minute.users.count(),
                "active_sessions": minute.sessions.count(),
            }
            for minute in traffic.history(now_at)
        ]
        return {
            "as_of": now_at,
            "since_at": self.since_at,
            "excluded": traffic.excluded,
            "active_users": len(self._index.users.active)
            + sum(1 for number in busy_users if number not in self._index.users.active),
            "active_sessions": len(self._index.sessions.active) + len(idle_busy),
            "anonymous_sessions": self._index.anonymous,
            "total_sessions": len(self._index.sessions),
            "requests_total": traffic.requests,
            "errors_total": traffic.errors,
            "requests_per_s": round(requests / 60, 3),
            "errors_per_s": round(errors / 60, 3),
            "latency_ms": _latency(traffic.latency, traffic.timed),
            "in_flight": len(self._around.in_flight()),
            "viewers": self._around.viewers(),
            "dropped": {
                "sessions": self._tracker.sessions.dropped,
                "activities": self._tracker.dropped_activities,
                "events": self._around.events_dropped(),
            },
            "history": _filled(minutes, now_at),
            "coverage": {
                "workers": 1,
                "workers_reporting": 1,
                "hosts": 1,
                "oldest_report_s": 0.0,
                "complete": self._around.is_whole(),
            },
        }

    def _page(self, items: Iterator[Json], limit: int, total: int, q: str) -> Json:
        if q:
            found = list(items)
            return {"items": found[:limit], "total": len(found), "as_of": self._clock.now_at()}
        return {"items": _cut(items, limit), "total": total, "as_of": self._clock.now_at()}


def _cut(items: Iterator[Json], limit: int) -> list[Json]:
    return list(islice(items, limit))


def _filled(minutes: list[Json], now_at: float) -> list[Json]:
    """Return the 60 minutes up to now, those without anything as zeros."""
    by_start = {minute["at"]: minute for minute in minutes}
    newest = int(now_at) // 60 * 60
    return [
        by_start.get(at)
        or {"at": at, "requests": 0, "errors": 0, "active_users": 0, "active_sessions": 0}
        for at in range(newest - 59 * 60, newest + 1, 60)
    ]


def _latency(counts: dict[int, int], total: int) -> Json:
    p50, p95, p99 = percentiles(counts, total, (0.5, 0.95, 0.99))
    return {"p50": p50, "p95": p95, "p99": p99}


def _matching(items: Iterator[Json], q: str) -> Iterator[Json]:
    needle = q.casefold()
    return (item for item in items if shapes.matching(item, needle)) if needle else items
