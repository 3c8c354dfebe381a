"""How a viewer goes on at another worker than the one it came from.

An event's id says where its worker was: the picture's epoch, the log's cursor, the moment, the
worker. From the log any worker can tell which sessions have changed since; the lists' order and
what has left them it knows from its own index. The answer is one ``update``: what may have changed
whole, and ``removed`` for whatever the viewer may have that is no longer shown. Where that cannot
be told for certain, there is none, and the viewer gets a snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from .delta import LISTS
from .index import Index
from .peers import Peers
from .shapes import session_id
from .sights import Sight

Json = dict[str, Any]

_MARGIN_MS = 3_000  # between two workers' looks at the same moment, and between their clocks
_MOST_BEYOND = 400  # a viewer's session has sunk by no more places than sessions have changed
_ID = re.compile(r"([0-9a-zA-Z]{1,24})-(\d{1,18})\.(\d{1,15})\.([0-9a-f]{1,16})(\.[mw])?(\.f)?")


class StreamPlace(NamedTuple):
    """Where a viewer is, as its last event's id tells.

    ``tick`` is the moment of its last frame, in ms since the epoch; ``has_in_flight`` whether it
    saw requests in flight, whose end no log tells. ``sight`` is what its events show: "" for all,
    "m" for masked, "w" for the wall; with events of another it cannot go on.
    """

    epoch: str
    cursor: int
    tick: int
    worker: str
    has_in_flight: bool
    sight: str = ""

    def __str__(self) -> str:
        sight = f".{self.sight}" if self.sight else ""
        flag = ".f" if self.has_in_flight else ""
        return f"{self.epoch}-{self.cursor}.{self.tick}.{self.worker}{sight}{flag}"


def parse(last_event_id: str) -> StreamPlace | None:
    """Return the place in an event's id, None where it is none of ours."""
    found = _ID.fullmatch(last_event_id) if last_event_id.isascii() else None
    if found is None:
        return None
    epoch, cursor, tick, worker, sight, flag = found.groups()
    return StreamPlace(epoch, int(cursor), int(tick), worker, flag is not None, (sight or "")[1:])


def update(
    place: StreamPlace,
    base: Json,
    base_cursor: int,
    index: Index,
    peers: Peers,
    active_s: float,
    sight: Sight,
) -> Json | None:
    """Return the update from another worker's place to a snapshot of this one's.

    Args:
        base: the snapshot; ``base_cursor`` is how far the log was read for it.
        active_s: the active window.
        sight: how much the snapshot shows.
    """
    since_ms = place.tick - _MARGIN_MS
    if (
        place.has_in_flight
        or place.cursor > base_cursor
        or since_ms < index.departures.complete_since_ms
    ):
        return None
    since = peers.changed_since(place.cursor)
    if since is None or since.cursor < base_cursor:
        return None
    changed = {session_id(index.shown(key)) for key in since.keys}
    if len(changed) > _MOST_BEYOND:
        return None  # what it has may be further down by now than is looked for below
    changed |= set(map(session_id, since.keys))  # what a guest did is told by the guest's own id
    hidden = index.departures.since(since_ms)
    has_moved = bool(hidden) or index.parted_ms >= since_ms
    since_s = since_ms / 1000

    def may_differ(session: Json) -> bool:
        flips_s = session["last_seen_at"] + active_s
        return has_moved or session["id"] in changed or flips_s >= since_s

    return {
        "as_of": base["as_of"],
        "stats": base["stats"],
        "users": base["users"],
        "sessions": [one for one in base["sessions"] if may_differ(one)],
        "endpoints": base["endpoints"],
        "in_flight": base["in_flight"],
        "workers": base["workers"],
        "activities": [
            one
            for one in reversed(base["activities"])
            if one["at"] >= since_s or one["session"] in changed
        ],
        "removed": _removed(base, index, hidden, since.gone_workers, sight),
    }


def _removed(
    base: Json,
    index: Index,
    hidden: list[int | str],
    gone_workers: Iterable[str],
    sight: Sight,
) -> dict[str, list[str]]:
    """Return what a viewer may have that is not in the snapshot."""
    most = len(base["sessions"]) + _MOST_BEYOND
    users = [key for key in hidden if isinstance(key, str)] + index.users.newest(most)
    candidates: dict[str, list[str]] = {
        "sessions": [session_id(key) for key in hidden if isinstance(key, int)]
        + [session_id(key) for key in index.sessions.newest(most)],
        # Of who came and went between two looks the last activity alone tells who it was.
        "users": [sight.user_id(key) for key in users]
        + [one["user"]["id"] for one in base["activities"] if one["user"]],
        "endpoints": [name for _, name in index.endpoints.since(0)],
        "workers": list(gone_workers),
    }
    removed = {}
    for name, keys in candidates.items():
        shown = {item[LISTS[name]] for item in base[name]}
        found = [key for key in dict.fromkeys(keys) if key not in shown]
        if found:
            removed[name] = found
    return removed
