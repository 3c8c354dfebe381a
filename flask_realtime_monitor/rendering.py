"""Items as JSON, made once for as long as they stay the same.

A tick shows the same few hundred items again and again; what it costs is to know that they have
not changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from heapq import nlargest
from operator import itemgetter
from typing import Any, TypeVar

from . import shapes
from .config import Settings
from .feed import Line, time_of
from .index import Index
from .joining import latest
from .listing import rendered
from .peers import Counts, Peers, Seen, keys_in
from .privacy import kept_id
from .recency import Recency
from .records import FeedItem
from .shapes import Part, session_id
from .sights import Sight
from .source import Source

_MOST_CACHED = 2_000
_MOST_TOUCHED = 200
_MANY = _NEWEST = 100  # sessions of one user; the newest are asked for the name

K = TypeVar("K", bound=Hashable)
Json = dict[str, Any]


class Renderer:
    """Renders sessions, users and activities of some sources.

    Args:
        sources: whose rows; may grow and shrink between readings.
        index: which sessions there are, and which are one.
        peers: returns what is known of the other workers.
        settings: how many activities are kept rendered, how long a session lasts.
        sight: how much is shown.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        index: Index,
        peers: Callable[[], Peers],
        settings: Settings,
        sight: Sight,
    ) -> None:
        self._sources = sources
        self._index = index
        self._history_size = settings.history_size
        self._timeout_ms = int(settings.session_timeout * 1000)
        self._peers = peers
        self.sight = sight
        self._offsets: list[int] = []
        self._named: list[int] = []
        self._busy: Mapping[int, int] = {}
        self.forget()

    def forget(self) -> None:
        """Render everything anew."""
        self.sight.forget()
        #: Of users with very many sessions: what each had, and which are to be counted anew.
        self._tallies: dict[str, tuple[dict[int, Counts], set[int]]] = {}
        self._activities: OrderedDict[tuple[Any, ...], Json] = OrderedDict()
        #: The feed's beginning as it was shown last: lines, and as what.
        self._first_feed: tuple[list[Line | FeedItem], list[Json]] = [], []
        self._renew()

    def _renew(self) -> None:
        #: Sessions of which no row has changed since they were shown, with their guest part then.
        self._same: dict[int, tuple[Json, int | None]] = {}
        #: Items of the last lists' beginnings, all of them active, that would be the same again.
        self._first_sessions: dict[int, Json] = {}
        self._first_users: dict[str, Json] = {}

    def begin(self, busy: Mapping[int, int]) -> None:
        """A reading begins; ``busy`` are the sessions with a request in flight."""
        offsets = [source.offset_ms for source in self._sources]
        if offsets != self._offsets:
            self._offsets = offsets
            self.forget()
        named = [source.named for source in self._sources]
        if named != self._named:
            self._named = named
            self._renew()
        self._busy = busy

    def touch(self, changed: Collection[int | str], seen: Seen) -> None:
        """Rows of these sessions, or sessions of these users, have changed; the index knows.

        Args:
            seen: what others did once more.
        """
        many = len(changed) + sum(map(len, seen.values()))
        if many > min(_MOST_TOUCHED, len(self._same)):
            self._renew()  # to look at each would take longer
        touched = {*changed, *keys_in(seen)} if self._tallies or self._same else ()
        for key in touched if self._tallies else ():
            shown = self._index.shown(key) if isinstance(key, int) else 0
            tally = self._tallies.get(self._index.user_of(shown) or "")
            if tally is not None:
                tally[1].add(shown)
        for key in touched if self._same else ():
            if isinstance(key, str):
                self._first_users.pop(key, None)
                continue
            for one in {key, self._index.shown(key)}:
                self._same.pop(one, None)
                self._first_sessions.pop(one, None)
                self._first_users.pop(self._index.user_of(one) or "", None)

    def first_sessions(self, most: int) -> list[Json]:
        """Return the sessions that were seen last, last seen first, then by id."""
        items, self._first_sessions = _first(
            self._index.sessions, list, most, self._first_sessions, self.session
        )
        return items

    def first_users(self, most: int) -> list[Json]:
        """Return the users likewise, by the id that is shown.

        Cheaper after the sessions: who has one of these is made of it.
        """
        items, self._first_users = _first(
            self._index.users, self.ordered, most, self._first_users, self.user
        )
        return items

    def ordered(self, ids: list[str]) -> list[str]:
        """Return users in order: those seen in the same moment by the id that is shown."""
        return self._index.users.ordered(ids, self.sight.user_id) if self.sight.is_masked else ids

    def parts(self, key: int) -> list[Part]:
        """Return what every worker knows of a session, its guest part's rows too."""
        return self._latest(shapes.parts_of(self._sources, key, self._index.joined.get(key)))

    def _latest(self, parts: list[Part]) -> list[Part]:
        """Return those of the present session: a gone worker's rows may be of one before."""
        if len(parts) < 2:
            return parts
        spans = [(part.last_ms, part.first_ms, number) for number, part in enumerate(parts)]
        since_ms = self._index.busy.get(parts[0].head.visitor)
        if since_ms is not None:  # a request in flight bridges a pause, as it keeps the session
            bridge = max(since_ms, *(last_ms for last_ms, _, _ in spans)), since_ms, len(parts)
            numbers = latest([*spans, bridge], self._timeout_ms)
            if len(numbers) > 1:
                return [parts[number] for number in sorted(numbers) if number < len(parts)]
        return [parts[number] for number in sorted(latest(spans, self._timeout_ms))]

    def session(self, key: int) -> Json | None:
        """Return a session, None where there is no row of it any more."""
        guest = self._index.joined.get(key)
        is_active = self.is_active(key)
        same = self._same.get(key)
        if same is not None and same[1] == guest and same[0]["is_active"] is is_active:
            return same[0]
        item = self._session(key, guest, is_active)
        if item is not None:
            if len(self._same) > _MOST_CACHED:
                self._same.clear()
            self._same[key] = item, guest
        return item

    def is_active(self, key: int) -> bool:
        """Tell whether a session was seen within the window, or has a request in flight."""
        return key in self._busy or self._index.sessions.is_active(key)

    def _session(self, key: int, guest: int | None, is_active: bool) -> Json | None:
        parts = self._latest(shapes.parts_of(self._sources, key, guest))
        if not parts:
            return None
        item = shapes.session(key, parts, shapes.whose(parts), is_active, self.sight)
        self._inherit(item, (key,) if guest is None else (key, guest))
        return item

    def _inherit(self, item: Json, keys: Sequence[int]) -> None:
        peers = self._peers()
        for key in keys:
            shapes.inherit(item, peers.legacy_of(key, int(item["first_seen_at"] * 1000)))

    def user_id_of(self, shown: str | None) -> str | None:
        """Return the id of the user who is shown under an id, None where that is nobody."""
        if shown is None:
            return None
        if not self.sight.is_masked:
            return kept_id(shown)
        ids = self._index.users.values
        return next((one for one in ids if self.sight.user_id(one) == shown), None)

    def user(self, user_id: str) -> Json | None:
        """Return a user, None where no session is left."""
        keys = self._index.keys_of(user_id)
        if len(keys) > _MANY:
            return self._user_of_many(user_id, set(keys))
        if len(keys) == 1 and keys[0] not in self._same:
            item = self._user_alone(keys[0])
            if item is not None:
                return item
        found = map(self.session, keys)
        sessions = [one for one in found if one is not None and one["user"] is not None]
        if not sessions:
            return None
        name = sessions[0]["user"]["name"]
        if len(sessions) > 1:
            newest_first = sorted(sessions, key=itemgetter("last_seen_at", "id"), reverse=True)
            names = (one["user"]["name"] for one in newest_first)
            name = next((one for one in names if one is not None), None)
        return shapes.user_of((self.sight.user_id(user_id), name), sessions)

    def _user_alone(self, key: int) -> Json | None:
        """Return the user of a session of one row, which need not be shown for that; else None."""
        parts = shapes.parts_of(self._sources, key, self._index.joined.get(key))
        if len(parts) != 1:
            return None
        item = shapes.user_of_row(parts[0], self.is_active(key), self.sight)
        if item is not None:
            self._inherit(item, (key,))
        return item

    def _user_of_many(self, user_id: str, keys: set[int]) -> Json | None:
        """Return a user with so many sessions that not all are rendered, nor counted each time."""
        counts, stale = self._tallies.setdefault(user_id, ({}, set()))
        for key in counts.keys() - keys:
            del counts[key]
        for key in keys - counts.keys() | keys & stale:
            counts[key] = self._counts(key)
        stale.clear()
        values = self._index.sessions.values
        newest_first = nlargest(_NEWEST, keys, key=lambda key: (values[key] >> 16, session_id(key)))
        newest = self.session(newest_first[0])
        if newest is None:
            return None
        items = (newest, *map(self.session, newest_first[1:]))
        names = (one["user"]["name"] for one in items if one is not None)
        name = next((one for one in names if one is not None), None)
        return {
            **shapes.user_of((self.sight.user_id(user_id), name), [newest]),
            "sessions": len(keys),
            "requests": sum(one.requests for one in counts.values()),
            "errors": sum(one.errors for one in counts.values()),
            "first_seen_at": min(one.begun_ms for one in counts.values()) / 1000,
            "is_active": self._index.users.is_active(user_id)
            or any(self._index.user_of(key) == user_id for key in self._busy),
        }

    def _counts(self, key: int) -> Counts:
        """Return what a session has had, as it is shown."""
        parts = self.parts(key)
        begun_ms = min(part.first_ms for part in parts)
        found = Counts(
            sum(part.head.requests for part in parts),
            sum(part.head.errors for part in parts),
            begun_ms,
        )
        for one in {key, self._index.joined.get(key, key)}:
            had = self._peers().legacy_of(one, begun_ms)
            if had is not None:
                found = found.plus(*had)
        return found

    def history(self, parts: Sequence[Part]) -> list[Json]:
        """Return the activities of some sessions' parts, newest first."""
        return shapes.history(parts, self.sight)

    def feed(self, most: int) -> list[Json]:
        """Return the newest activities of all workers, newest first."""
        most = min(most, self._history_size)  # no more than each worker has
        found = shapes.newest_first(self._sources, most)
        lines = [line for _, line in found]
        before, items = self._first_feed
        # By far the most were there last time, behind a few new ones.
        fresh = next((at for at, line in enumerate(lines) if before and line is before[0]), most)
        if lines[fresh:] == before[: len(lines) - fresh]:
            items = items[: len(lines) - fresh]
        else:
            fresh, items = most, []
        items = [self.activity(*one) for one in found[:fresh]] + items
        self._first_feed = lines, items
        return items

    def activity(self, source: Source, line: Line | FeedItem) -> Json:
        """Return a line of the feed."""
        name = (source.worker_id, time_of(line), line[1], line[2] or line[0])
        item = self._activities.get(name)
        if item is None:
            item = self._activities[name] = shapes.activity(source, line, self.sight)
            if len(self._activities) > self._history_size:
                self._activities.popitem(last=False)
        return item


def _first(
    recency: Recency[K],
    ordered: Callable[[list[K]], list[K]],
    most: int,
    known: dict[K, Json],
    render: Callable[[K], Json | None],
) -> tuple[list[Json], dict[K, Json]]:
    """Return the first items of some keys, last seen first, and what can be shown again of them.

    Where the last of them is active they all are, and none of those that are known and untouched
    can have changed.

    Args:
        ordered: puts those of one moment in the order in which they are shown.
    """
    first = ordered(recency.newest(most, spare=0))[:most]
    if first and recency.is_active(first[-1]):
        items: list[Any] = [known.get(key) or render(key) for key in first]
        if all(items):
            return items, dict(zip(first, items, strict=True))
    return list(rendered(ordered(recency.newest(most)), render, most)), {}


class Common:
    """What all sights of a picture have read together."""

    read_at_s = 0.0  # by the monotonic clock
    begun = 0  # grows whenever everything is to be rendered anew
    moved = 0  # grows with every reading that has found something new
    renders: tuple[Renderer, ...] = ()  # one of each sight

    def touch(self, changed: Collection[int | str], seen: Seen) -> None:
        """Some sessions, or users, may show otherwise."""
        for render in self.renders:
            render.touch(changed, seen)
