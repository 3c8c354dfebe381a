"""The read model: the one place where numbers are defined, so that every output agrees.

Counts are kept, never scanned; a list is a walk from the newest end of an index. The index, and
what is known of other workers, lives only while somebody reads: it is built on the first read and
dropped a minute after the last.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial, wraps
from typing import Any, TypeVar

from . import endings, numbers, reasons, resumption, rows, shapes
from .config import Settings
from .endings import Ending
from .filters import Filter
from .index import Index
from .listing import active, rendered
from .peers import Changes, Peers, There, busy_since
from .records import FeedItem, Notice
from .rendering import Common, Renderer
from .resumption import StreamPlace
from .selection import Selection
from .shapes import Part
from .sights import REVEALED, Masked
from .source import OwnSource, Source
from .surroundings import Surroundings
from .tracker import Change, Tracker
from .traffic import Summary

_IDLE_AFTER_S = 60.0
_MOST_OF_USER = 100

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])


def _reading(call: F) -> F:
    """Make a call a reading one: everything this process has seen before it is in the picture."""

    @wraps(call)
    def read(picture: Picture, *args: Any, **kwargs: Any) -> Any:
        picture._around.fold()
        picture._around.tell()
        with picture._lock:  # itself, as the tracker's
            try:
                picture._read()
            except BaseException:  # a time-out of the app's: what has changed is not told again
                picture._index.unload()
                picture._peers.rest()
                raise
            return call(picture, *args, **kwargs)

    return read  # type: ignore[return-value]  # the same parameters


class Picture:
    """Answers every question about who is using the app and what they do.

    All methods may be called from any thread or greenlet; one at a time gets in.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: Tracker,
        worker_id: str,
        host: str,
        surroundings: Surroundings,
        peers: Callable[[], Peers] | None = None,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._clock = tracker.clock
        self._around = surroundings
        alone = Peers()
        self._find_peers = peers or (lambda: alone)
        self._own = OwnSource(tracker, worker_id, host)
        self._began_at = self._clock.now_at()
        self._lock = threading.Lock()
        self._common = Common()
        self._sources: list[Source] = [self._own]
        self._timeout_ms = int(settings.session_timeout * 1000)
        self._index = Index(
            self._sources,
            tracker.sessions.anonymous_key,
            tracker.sessions.generation,
            self._now_ms,
            int(settings.active_window * 1000),
            self._timeout_ms,
        )
        self._counted = numbers.Counted()
        render = partial(Renderer, self._sources, self._index, self._find_peers, settings)
        self._render = render(REVEALED)
        #: The snapshot's lists, for as long as nothing has changed; nobody changes them.
        self._firsts: dict[tuple[str, int], list[Json]] = {}
        self._stamp: tuple[Any, ...] = ()
        self._begun = 0
        #: What the last reading depended on, and the numbers made since.
        self._mark: tuple[Any, ...] = ()
        self._known_stats: tuple[Any, Json] = None, {}
        self._in_flight: list[There] = []
        self._busy: dict[int, int] = {}  # session key -> requests in flight
        self._idle_busy: list[int] = []  # the sessions that these alone keep active
        #: The same as the role "view" is shown it: what is kept of it in common is one.
        self.masked = copy(self)
        self.masked._render = render(Masked(tracker.visitors.masked))
        self._common.renders = (self._render, self.masked._render)

    @property
    def epoch(self) -> str:
        """The id of the picture: it changes when the picture begins anew."""
        return self._around.epoch()

    @property
    def cursor(self) -> int:
        """How far the picture has been read."""
        return self._around.cursor()

    @property
    def _peers(self) -> Peers:
        """The other workers; a process that comes to serve requests itself may part from them."""
        return self._find_peers()

    @property
    def since_at(self) -> float:
        """When this picture began, in seconds since the epoch."""
        since_at = self._peers.since_at()
        return self._began_at if since_at is None else since_at

    def shown_id(self, user_id: str) -> str:
        """Return what a user's id is shown as."""
        return self._render.sight.user_id(user_id)

    # -- the calls -----------------------------------------------------------------------------

    @_reading
    def stats(self) -> Json:
        """Return the numbers of the whole app (docs/json.md, "Stats")."""
        return numbers.unshared(self._stats())

    @_reading
    def users(self, limit: int = 100, q: str = "", only: Filter | None = None) -> Json:
        """Return signed-in users with a session, last seen first."""
        if q or only:
            ids = self._select(q, only).users()
            return self._found(self._users(ids, limit), len(ids))
        return self._page(self._user_items, limit, len(self._index.users), "")

    @_reading
    def active_users(self, limit: int = 100) -> list[Json]:
        """Return the users who are active, last seen first."""
        return active(self._user_items, limit, len(self._index.users))

    @_reading
    def sessions(self, limit: int = 100, q: str = "", only: Filter | None = None) -> Json:
        """Return the sessions not yet ended, last seen first."""
        if q or only:
            keys = self._select(q, only).sessions()
            return self._found(rendered(keys, self._render.session, limit), len(keys))
        return self._page(self._session_items, limit, len(self._index.sessions), "")

    @_reading
    def active_sessions(self, limit: int = 100) -> list[Json]:
        """Return the sessions that are active, last seen first."""
        return active(self._session_items, limit, len(self._index.sessions))

    @_reading
    def activities(self, limit: int = 100, q: str = "", only: Filter | None = None) -> Json:
        """Return the feed, newest first."""
        most = self._settings.history_size
        if q or only:
            found = self._select(q, only).activities(most)
            return self._found(iter(found[:limit]), len(found))
        total = sum(len(source.feed) for source in self._sources)
        return self._found(iter(self._render.feed(limit)), min(total, most))

    @_reading
    def endpoints(self, limit: int = 100, q: str = "") -> Json:
        """Return the endpoints, most requests first, then by name."""
        items = [{**one, "latency_ms": {**one["latency_ms"]}} for one in self._endpoint_items()]
        return self._page(lambda most: iter(items[:most]), limit, len(items), q)

    @_reading
    def in_flight(self, limit: int = 100, q: str = "") -> Json:
        """Return the requests that have not ended, oldest first."""
        items = self._in_flight_items(0)
        return self._page(lambda most: iter(items[:most]), limit, len(items), q)

    @_reading
    def workers(self, limit: int = 100, q: str = "") -> Json:
        """Return the workers of this picture, oldest first."""
        items = self._worker_items()
        return self._page(lambda most: iter(items[:most]), limit, len(items), q)

    def health(self) -> Json:
        """Return whether the monitor itself is well."""
        with self._lock:
            self._peers.look()
        return self._around.health()

    @_reading
    def session(self, session_id: str) -> Json | None:
        """Return one session with its newest activities and why it is shown; None for none."""
        key = self._key(session_id)
        found = None if key is None else self._render.session(key)
        if key is None or found is None:
            return None
        parts = self._render.parts(key)
        is_joined, is_busy = key in self._index.joined, key in self._busy
        why = reasons.why(parts, self._around.identified_by, is_joined, is_busy, self._settings)
        return {**found, "activities": self._history([key]), "why": why}

    @_reading
    def user(self, user_id: str) -> Json | None:
        """Return a user with their sessions, last seen first, and the newest of what they did."""
        found = self._render.user_id_of(user_id)
        if found is None or (user := self._render.user(found)) is None:
            return None
        keys = self._index.sessions.ordered(self._index.keys_of(found))
        sessions = list(rendered(keys, self._render.session, _MOST_OF_USER))
        newest = self._index.sessions.newest_of(keys, self._settings.session_history_size)
        return {"user": user, "sessions": sessions, "activities": self._history(newest)}

    @_reading
    def keys_of(self, user_id: str) -> set[int]:
        """Return the keys of all that a user's sessions are made of, their guest parts too."""
        return self._index.parts_of(user_id)

    @_reading
    def ending(self, session_id: str) -> Ending | None:
        """Return all that ends together with a session, None when there is none."""
        key = self._key(session_id)
        parts = [] if key is None else self._render.parts(key)
        if key is None or not parts:
            return None
        return endings.of(key, parts, self._index, self._tracker.sessions.anonymous_key)

    @_reading
    def ended_at(self, session_id: str) -> float | None:
        """Return when a session ended, while that is remembered."""
        key, timeout_ms = shapes.key_of(session_id), self._timeout_ms
        if key is None:
            return None
        ended_ms = endings.ended_ms(key, self._tracker, self._sources, self._index, timeout_ms)
        return None if ended_ms is None else ended_ms / 1000

    @_reading
    def snapshot(self, limit: int = 100) -> Json:
        """Return what a stream begins with: every list's first items."""
        return {
            "as_of": self._clock.now_at(),
            "stats": self._stats(),
            "sessions": self._first("sessions", limit, self._render.first_sessions),
            "users": self._first("users", limit, self._render.first_users),
            "activities": self._first("activities", limit, self._render.feed),
            "endpoints": self._endpoint_items()[:limit],
            "in_flight": self._in_flight_items(1000)[:limit],
            "workers": self._worker_items()[:limit],
        }

    def resumed(self, place: StreamPlace, base: Json, base_cursor: int) -> Json | None:
        """Return the update from another worker's place to a snapshot, see ``resumption``."""
        with self._lock:
            active_s, sight = self._settings.active_window, self._render.sight
            return resumption.update(
                place, base, base_cursor, self._index, self._peers, active_s, sight
            )

    def describe(self, notice: Notice) -> Json:
        """Return a session that a signal tells of; it may have ended."""
        key, is_active = notice.key or 0, notice.what == "started"
        given = [row for row in (notice.row, notice.guest) if row is not None]
        parts = [Part(self._own, key, row, rows.head_of(row)) for row in given]
        return shapes.session(key, parts, notice.person, is_active, self._render.sight)

    def describe_activity(self, item: FeedItem) -> Json:
        """Return an activity as JSON, for signals."""
        return shapes.activity(self._own, item, self._render.sight)

    def rest(self) -> None:
        """Drop the index when nobody has read for a minute."""
        idle_s = self._clock.monotonic() - self._common.read_at_s
        if self._index.is_loaded and idle_s > _IDLE_AFTER_S:
            with self._lock:
                self._tracker.unwatch()
                self._index.unload()
                self._peers.rest()
                self._sources[1:] = []
                for one in (self, self.masked):
                    one._forget_cached()

    def _read(self) -> None:
        """Take in what there is; by far the most who ask find nothing new."""
        self._common.read_at_s = self._clock.monotonic()
        if not self._index.is_loaded:
            self._tracker.watch()
        peers = self._peers
        theirs, own = peers.read(), self._tracker.changes()
        has_news = own.sessions or own.forgotten or any(theirs)
        if has_news or self._mark != self._marks(peers):
            self._catch_up(own, theirs)
            self._mark = self._marks(peers)

    def _catch_up(self, own: Change, theirs: Changes) -> None:
        """Bring everything up to date with what this worker and the others have told."""
        common = self._common
        self._sources[1:] = self._peers.sources
        offset_ms, me = self._clock.offset_ms, self._own
        flying = [(one, one.started_ms + offset_ms) for one in self._around.in_flight()]
        self._in_flight = [There(*one, me.worker_id, me.host) for one in flying]
        self._in_flight += self._peers.in_flight()
        busy = busy_since(self._in_flight)
        if own.forgotten or theirs.is_new_picture or not self._index.is_loaded:
            common.begun += 1
            self._index.load(busy)
        changed = {**dict.fromkeys(theirs.keys), **own.sessions}
        common.moved += self._index.catch_up(changed, busy, theirs.seen)
        disturbed, self._index.disturbed = self._index.disturbed, set()
        common.touch({*changed, *disturbed}, theirs.seen)
        if self._begun != common.begun:
            self._begun = common.begun
            self._forget_cached()
        keys = [self._index.session_of_visitor(one.request.visitor) for one in self._in_flight]
        self._busy = Counter(key for key in keys if key is not None)
        self._idle_busy = [key for key in self._busy if not self._index.sessions.is_active(key)]
        self._render.begin(self._busy)
        stamp = (common.moved, self._around.cursor(), self._tracker.feed_number, self._busy)
        if stamp != self._stamp:
            self._stamp = stamp
            self._firsts = {}

    def _marks(self, peers: Peers) -> tuple[Any, ...]:
        """Return what differs whenever a reading may find something that no row tells."""
        now_ms, common, own = self._now_ms(), self._common, self._tracker
        ended_ms = rows.timed_out_ms(now_ms, self._timeout_ms)
        return (
            *(common.moved, common.begun, self._index.is_loaded),
            *(peers, peers.looks, self._around.cursor(), own.feed_number),
            *(self._clock.offset_ms, now_ms // 1000, ended_ms, self._index.sessions.cut_at(now_ms)),
            *(own.traffic.moves, own.traffic.excluded, tuple(self._around.in_flight())),
        )

    def _forget_cached(self) -> None:
        self._render.forget()
        self._firsts = {}

    def _now_ms(self) -> int:
        return self._clock.now_ms() + self._clock.offset_ms

    # -- items ---------------------------------------------------------------------------------

    def _key(self, session_id: str) -> int | None:
        """Return the key under which a session is listed, None for one that is not."""
        key = shapes.key_of(session_id)
        shown = None if key is None else self._index.shown(key)
        return shown if shown is not None and shown in self._index.sessions else None

    def _history(self, keys: Iterable[int]) -> list[Json]:
        """Return the newest activities of some sessions, newest first."""
        parts = [part for key in keys for part in self._render.parts(key)]
        return self._render.history(parts)[: self._settings.session_history_size]

    def _session_items(self, most: int) -> Iterator[Json]:
        """Yield sessions, last seen first, then by id; at least ``most`` if there are so many."""
        return rendered(self._index.sessions.newest(most), self._render.session, most)

    def _user_items(self, most: int) -> Iterator[Json]:
        """Yield users likewise."""
        return self._users(self._index.users.newest(most), most)

    def _users(self, ids: list[str], most: int) -> Iterator[Json]:
        """Yield the first of some users, last seen first, then by the id that is shown."""
        return rendered(self._render.ordered(ids), self._render.user, most)

    def _first(self, name: str, limit: int, items: Callable[[int], list[Json]]) -> list[Json]:
        """Return a list of the snapshot; the same as last time if nothing has changed."""
        found = self._firsts.get((name, limit))
        if found is None:
            found = self._firsts[name, limit] = items(limit)
        return found

    def _select(self, q: str, only: Filter | None) -> Selection:
        return Selection(only, q, self._sources, self._index, self._render)

    def _found(self, items: Iterator[Json], total: int) -> Json:
        return {"items": list(items), "total": total, "as_of": self._clock.now_at()}

    def _summaries(self) -> list[Summary]:
        return [self._own.summary(), *self._peers.summaries()]

    def _endpoint_items(self) -> list[Json]:
        moved = self._common.begun, self._common.moved
        return self._counted.endpoints(self._summaries(), self._index, moved, self._idle_busy)

    def _worker_items(self) -> list[Json]:
        """Return all workers; a shell that only reads is none."""
        own = [self._around.worker()] if self._around.is_worker() else []
        items = [*own, *self._peers.workers()]
        return sorted(items, key=lambda one: (one.get("started_at", 0), one["id"]))

    def _in_flight_items(self, older_than_ms: int) -> list[Json]:
        now_ms, found = self._now_ms(), []
        old = [one for one in self._in_flight if now_ms - one.started_ms >= older_than_ms]
        for there in sorted(old, key=lambda one: (one.started_ms, one.request.id)):
            key = self._index.session_of_visitor(there.request.visitor)
            person = None if key is None else shapes.whose(self._render.parts(key))
            found.append(shapes.in_flight(there, key, person, now_ms, self._render.sight))
        return found

    def _stats(self) -> Json:
        around, peers, now_at = self._around, self._peers, self._clock.now_at()
        own = [around.worker()] if around.is_worker() else []
        host = self._own.host if own else None
        mark = self._mark, [(one.get("viewers"), one.get("dropped")) for one in own]
        if mark != self._known_stats[0]:
            stats = {
                "since_at": self.since_at,
                **numbers.people(self._index, self._idle_busy),
                **self._counted.traffic(self._summaries(), now_at),
                "in_flight": len(around.in_flight()) + peers.in_flight_count(),
                **numbers.monitor([*own, *peers.workers()], own, peers.dropped()),
            }
            self._known_stats = mark, stats
        return {
            "as_of": now_at,
            **self._known_stats[1],
            "coverage": numbers.coverage(peers.coverage(), host, around.is_whole()),
        }

    def _page(self, items: Callable[[int], Iterator[Json]], limit: int, total: int, q: str) -> Json:
        if q:
            found = [one for one in items(max(total, 1)) if shapes.matching(one, q.casefold())]
            return {"items": found[:limit], "total": len(found), "as_of": self._clock.now_at()}
        return {"items": list(items(limit)), "total": total, "as_of": self._clock.now_at()}
