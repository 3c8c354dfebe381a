"""The contract's JSON shapes, made from rows and feed items."""

from __future__ import annotations

from typing import Any

from . import agents, rows
from .index import last_request
from .records import FeedItem, InFlight, Rare
from .rows import Act, Head
from .tracker import Tracker

Json = dict[str, Any]
Person = tuple[str, str | None]


class Shapes:
    """Renders what one worker's tracker holds.

    Args:
        tracker: where rows, names and paths are.
        worker_id: the worker that saw it.
        host: where that worker runs.
    """

    def __init__(self, tracker: Tracker, worker_id: str, host: str) -> None:
        self._tracker = tracker
        self._clock = tracker.clock
        self._worker_id = worker_id
        self._host = host

    def session(
        self,
        key: int,
        row: bytes,
        guest: bytes | None,
        person: Person | None,
        is_active: bool,
    ) -> Json:
        """Return a session; ``guest`` is the row joined with it, from before the sign-in."""
        sessions = self._tracker.sessions
        head = rows.head_of(row)
        parts = [(key, row, head)]
        if guest is not None:
            parts.append((sessions.anonymous_key(head.visitor), guest, rows.head_of(guest)))
        newest = max(parts, key=lambda part: part[2].last_ms)
        act = last_request(newest[1])
        endpoint, path = self._place(act)
        rare = None if act is None else self._rare(newest[0], act)
        return {
            "id": session_id(key),
            "user": user(person),
            "ip": rows.ip_of(row, head.ip_size),
            "agent": agents.describe(sessions.agents.value(head.agent)),
            "first_seen_at": self._clock.wall_at(min(part[2].base_ms for part in parts)),
            "last_seen_at": self._clock.wall_at(newest[2].last_ms),
            "is_active": is_active,
            "requests": sum(part[2].requests for part in parts),
            "errors": sum(part[2].errors for part in parts),
            "endpoint": endpoint,
            "path": path,
            "title": None if rare is None else rare.title,
            "worker": self._worker_id,
            "host": self._host,
        }

    def user(self, person: Person, sessions: list[Json]) -> Json:
        """Return a user with the numbers of their sessions, of which there is at least one."""
        newest = max(sessions, key=lambda one: (one["last_seen_at"], one["id"]))
        return {
            "id": person[0],
            "name": person[1],
            "sessions": len(sessions),
            "requests": sum(one["requests"] for one in sessions),
            "errors": sum(one["errors"] for one in sessions),
            "first_seen_at": min(one["first_seen_at"] for one in sessions),
            "last_seen_at": newest["last_seen_at"],
            "is_active": any(one["is_active"] for one in sessions),
            "endpoint": newest["endpoint"],
            "path": newest["path"],
        }

    def history(self, key: int, row: bytes, guest: tuple[int, bytes] | None) -> list[Json]:
        """Return the activities of a session, newest first, its guest part's among them."""
        found = self._acts(key, row)
        if guest is not None:
            found += self._acts(*guest)
            found.sort(key=lambda pair: -pair[0])
        return [item for _, item in found]

    def _acts(self, key: int, row: bytes) -> list[tuple[int, Json]]:
        head = rows.head_of(row)
        person = self._person(head)
        return [(act.at_ms, self._act(key, act, person)) for act in rows.acts_of(row, head)]

    def _act(self, key: int, act: Act, person: Person | None) -> Json:
        endpoint, path = self._place(act)
        rare = self._rare(key, act)
        is_request = not act.code & rows.OTHER_KIND
        return {
            "id": self._activity_id(key, act.ordinal),
            "at": self._clock.wall_at(act.at_ms),
            "kind": "request" if is_request else ("custom" if rare is None else rare.kind),
            "session": session_id(key),
            "user": user(person),
            "method": rows.method_name(act.code),
            "endpoint": endpoint,
            "path": path,
            "title": None if rare is None else rare.title,
            "status": act.code & rows.STATUS or None,
            "duration_ms": _duration(act.duration_ms),
            "error": None if rare is None else rare.error,
            "name": None if rare is None else rare.name,
            "data": {} if rare is None else rare.data or {},
        }

    def activity(self, item: FeedItem) -> Json:
        """Return one line of the feed."""
        record = item.record
        person = None if record.user_id is None else (record.user_id, record.user_name)
        is_placed = record.kind == "request" or record.endpoint is not None
        return {
            "id": self._activity_id(item.key, item.ordinal or item.number),
            "at": self._clock.wall_at(record.at_ms),
            "kind": record.kind,
            "session": None if item.key is None else session_id(item.key),
            "user": user(person),
            "method": rows.method_name(rows.method_number(record.method) << 10),
            "endpoint": (record.endpoint or "(unmatched)") if is_placed else None,
            "path": record.path,
            "title": record.title,
            "status": record.status,
            "duration_ms": _duration(record.duration_ms),
            "error": record.error,
            "name": record.name,
            "data": record.data or {},
        }

    def in_flight(
        self, request: InFlight, session: int | None, person: Person | None, age_ms: int
    ) -> Json:
        """Return a request that has not ended."""
        return {
            "id": request.id,
            "session": None if session is None else session_id(session),
            "user": user(person),
            "method": request.method,
            "endpoint": request.endpoint,
            "path": request.path,
            "started_at": self._clock.wall_at(request.started_ms),
            "age_s": round(max(0, age_ms) / 1000, 3),
            "worker": self._worker_id,
            "host": self._host,
        }

    def _place(self, act: Act | None) -> tuple[str | None, str | None]:
        """Return endpoint and path; the path's rule where the path itself is no longer known."""
        if act is None:
            return None, None
        endpoint, rule = self._tracker.routes.value(act.route)
        if act.path == rows.NO_PATH:
            return endpoint, rule
        return endpoint, self._tracker.paths.path(act.path, act.at_ms) or rule

    def _rare(self, key: int, act: Act) -> Rare | None:
        return self._tracker.rare(key, act.ordinal) if act.code & rows.RARE else None

    def _person(self, head: Head) -> Person | None:
        return self._tracker.sessions.people.user(head.user - 1) if head.user else None

    def _activity_id(self, key: int | None, ordinal: int) -> str:
        where = "0" if key is None else f"{key:x}"
        return f"{self._worker_id}-{where}-{ordinal}"


def user(person: Person | None) -> Json | None:
    """Return who it is, None for nobody."""
    return None if person is None else {"id": person[0], "name": person[1]}


def session_id(key: int) -> str:
    """Return a session's id."""
    return f"{key:016x}"


def key_of(text: str) -> int | None:
    """Return the key in a session's id, None where it is none of ours."""
    if len(text) != 16 or not text.isascii():
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def matching(item: Any, needle: str) -> bool:
    """Tell whether any text in an item holds the needle, which is casefolded."""
    if isinstance(item, str):
        return needle in item.casefold()
    if isinstance(item, dict):
        return any(matching(one, needle) for one in item.values())
    if isinstance(item, list):
        return any(matching(one, needle) for one in item)
    return False


def _duration(milliseconds: float | None) -> float | None:
    """Return a duration with as many digits as a packed row keeps, so that all outputs agree."""
    kept = None if milliseconds is None else rows.rounded_ms(milliseconds)
    return None if kept is None else float(f"{kept:.4g}")
