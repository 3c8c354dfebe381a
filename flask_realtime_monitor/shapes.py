"""The contract's JSON shapes, made from rows and feed items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from . import agents, rows
from .peers import Counts, There
from .records import FeedItem, Rare
from .rows import Act, Head
from .sights import Sight
from .source import Person, Source
from .traffic import UNMATCHED

Json = dict[str, Any]

_new = tuple.__new__  # a named tuple's class called with its fields would cost twice as much


class Part(NamedTuple):
    """What one worker knows of a session, or of its guest part."""

    source: Source
    key: int
    row: bytes
    head: Head

    @classmethod
    def of(cls, found: tuple[Source, int, bytes]) -> Part:
        """Return what a row tells."""
        return _new(cls, (*found, rows.head_of(found[2])))

    @property
    def first_ms(self) -> int:
        """When it began, in ms since the epoch."""
        return self.source.offset_ms + self.head.base_ms

    @property
    def last_ms(self) -> int:
        """When it was last seen, in ms since the epoch."""
        return self.source.offset_ms + self.head.last_ms


def rows_of(
    sources: Iterable[Source], key: int, guest_key: int | None
) -> list[tuple[Source, int, bytes]]:
    """Return every worker's rows of a session, and of its guest part if it has one."""
    keys = (key,) if guest_key is None else (key, guest_key)
    return [
        (source, one, row)
        for source in sources
        for one in keys
        if (row := source.rows.get(one)) is not None
    ]


def whose(parts: Sequence[Part]) -> Person | None:
    """Return whose session it is; of several names the one that was seen last."""
    if len(parts) == 1:  # by far the most
        number = parts[0].head.user
        return parts[0].source.user(number - 1) if number else None
    named: tuple[int, Person] | None = None
    for part in parts:
        person = part.source.user(part.head.user - 1) if part.head.user else None
        if person is not None:
            rank = part.last_ms if person[1] is not None else -1
            if named is None or rank > named[0]:
                named = rank, person
    return None if named is None else named[1]


def session(
    key: int, parts: Sequence[Part], person: Person | None, is_active: bool, sight: Sight
) -> Json:
    """Return a session put together from its parts, of which there is at least one."""
    newest = parts[0] if len(parts) == 1 else max(parts, key=_last_seen)
    source, own_key, row, head = newest
    _, base_ms, last, requests, errors, _, _, agent, ip_size = head
    offset_ms = source.offset_ms
    first_ms = base_ms + offset_ms
    act = rows.last_request_of(row, head)
    endpoint, path = (None, None) if act is None else _place(source, act, sight)
    rare = None if act is None else _rare(source, own_key, act)
    if len(parts) > 1:
        first_ms = min(part.first_ms for part in parts)
        requests = sum(part.head.requests for part in parts)
        errors = sum(part.head.errors for part in parts)
    return {
        "id": session_id(key),
        "user": user(person, sight),
        "ip": sight.text(rows.ip_of(row, ip_size)),
        "agent": agents.describe(source.agent(agent)),
        "first_seen_at": first_ms / 1000,
        "last_seen_at": (base_ms + last + offset_ms) / 1000,
        "is_active": is_active,
        "requests": requests,
        "errors": errors,
        "endpoint": endpoint,
        "path": path,
        "title": None if rare is None else sight.text(rare.title),
        "worker": source.worker_id,
        "host": source.host,
    }


def inherit(item: Json, had: Counts | None) -> None:
    """Put to a session what it had at workers that are gone for long."""
    if had is not None:
        item["requests"] += had.requests
        item["errors"] += had.errors
        item["first_seen_at"] = min(item["first_seen_at"], had.begun_ms / 1000)


def _last_seen(part: Part) -> tuple[int, str]:
    return part.last_ms, part.source.worker_id


def user_of(whole: Person, sessions: Sequence[Json]) -> Json:
    """Return a user with the numbers of their sessions, of which there is at least one."""
    newest = sessions[0]
    requests, errors, is_active = newest["requests"], newest["errors"], newest["is_active"]
    first_at = newest["first_seen_at"]
    if len(sessions) > 1:
        newest = max(sessions, key=lambda one: (one["last_seen_at"], one["id"]))
        requests = sum(one["requests"] for one in sessions)
        errors = sum(one["errors"] for one in sessions)
        is_active = any(one["is_active"] for one in sessions)
        first_at = min(one["first_seen_at"] for one in sessions)
    return {
        "id": whole[0],
        "name": whole[1],
        "sessions": len(sessions),
        "requests": requests,
        "errors": errors,
        "first_seen_at": first_at,
        "last_seen_at": newest["last_seen_at"],
        "is_active": is_active,
        "endpoint": newest["endpoint"],
        "path": newest["path"],
    }


def history(parts: Iterable[Part], sight: Sight) -> list[Json]:
    """Return the activities of a session, newest first."""
    found = [
        (part.source.offset_ms + act.at_ms, act.ordinal, part, act)
        for part in parts
        for act in rows.acts_of(part.row, part.head)
    ]
    found.sort(key=lambda one: (-one[0], -one[1]))
    return [_act(part, act, sight) for _, _, part, act in found]


def _act(part: Part, act: Act, sight: Sight) -> Json:
    source, head = part.source, part.head
    endpoint, path = _place(source, act, sight)
    rare = _rare(source, part.key, act)
    is_request = not act.code & rows.OTHER_KIND
    placed = endpoint if is_request or endpoint != UNMATCHED else None
    return {
        "id": _activity_id(source, part.key, act.ordinal),
        "at": (source.offset_ms + act.at_ms) / 1000,
        "kind": "request" if is_request else ("custom" if rare is None else rare.kind),
        "session": session_id(part.key),
        "user": user(source.user(head.user - 1) if head.user else None, sight),
        "method": rows.method_name(act.code),
        "endpoint": placed,
        "path": path,
        "title": None if rare is None else sight.text(rare.title),
        "status": act.code & rows.STATUS or None,
        "duration_ms": _duration(act.duration_ms),
        "error": None if rare is None else rare.error,
        "name": None if rare is None else rare.name,
        "data": {} if rare is None else sight.data(rare.data),
    }


def activity(source: Source, item: FeedItem, sight: Sight) -> Json:
    """Return one line of the feed."""
    record = item.record
    person = None if record.user_id is None else (record.user_id, record.user_name)
    is_placed = record.kind == "request" or record.endpoint is not None
    return {
        "id": _activity_id(source, item.key, item.ordinal or item.number),
        "at": (source.offset_ms + record.at_ms) / 1000,
        "kind": record.kind,
        "session": None if item.key is None else session_id(item.key),
        "user": user(person, sight),
        "method": rows.method_name(rows.METHOD_CODES.get(record.method, rows.OTHER_CODE)),
        "endpoint": (record.endpoint or UNMATCHED) if is_placed else None,
        "path": sight.path(record.path, record.rule),
        "title": sight.text(record.title),
        "status": record.status,
        "duration_ms": _duration(record.duration_ms),
        "error": record.error,
        "name": record.name,
        "data": sight.data(record.data),
    }


def in_flight(
    there: There, session: int | None, person: Person | None, now_ms: int, sight: Sight
) -> Json:
    """Return a request that has not ended; ``now_ms`` since the epoch."""
    request = there.request
    return {
        "id": request.id,
        "session": None if session is None else session_id(session),
        "user": user(person, sight),
        "method": request.method,
        "endpoint": request.endpoint,
        "path": sight.path(request.path, request.rule),
        "started_at": there.started_ms / 1000,
        "age_s": max(0, now_ms - there.started_ms) / 1000,
        "worker": there.worker_id,
        "host": there.host,
    }


def _place(source: Source, act: Act, sight: Sight) -> tuple[str, str | None]:
    """Return endpoint and path; the path's rule where the path itself is no longer known."""
    endpoint, rule = source.route(act.route)
    path = rule if act.path == rows.NO_PATH else source.path(act.path, act.at_ms) or rule
    return endpoint, sight.path(path, rule)


def _rare(source: Source, key: int, act: Act) -> Rare | None:
    return source.rare(key, act.ordinal) if act.code & rows.RARE else None


def _activity_id(source: Source, key: int | None, ordinal: int) -> str:
    where = "0" if key is None else f"{key:x}"
    return f"{source.worker_id}-{where}-{ordinal}"


def user(person: Person | None, sight: Sight) -> Json | None:
    """Return who it is, None for nobody."""
    shown = sight.person(person)
    return None if shown is None else {"id": shown[0], "name": shown[1]}


def newest_first(sources: Sequence[Source], most: int) -> list[tuple[Source, FeedItem]]:
    """Return the newest lines of all feeds, newest first."""
    feeds = [(source, list(islice(reversed(source.feed), most))) for source in sources]
    found = [(source, item) for source, feed in feeds for item in feed]
    if len(sources) > 1:
        found.sort(key=_newest_first)
        del found[most:]
    return found


def _newest_first(line: tuple[Source, FeedItem]) -> tuple[Any, ...]:
    source, item = line
    return -source.offset_ms - item.record.at_ms, source.worker_id, *_order(item)


def _order(item: FeedItem) -> tuple[int, int]:
    """Place a line among those of its worker and millisecond, for every reader the same."""
    return item.key or 0, -(item.ordinal or item.number)


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
    """Tell whether any text in an item, or name in its data, holds the needle, casefolded."""
    if isinstance(item, str):
        return needle in item.casefold()
    if isinstance(item, dict):
        return any(
            matching(one, needle)
            or (name == "data" and isinstance(one, dict) and matching(list(one), needle))
            for name, one in item.items()
        )
    if isinstance(item, list):
        return any(matching(one, needle) for one in item)
    return False


def copied(value: Any) -> Any:
    """Return JSON data of which nothing is shared: items are kept, and shown to many."""
    if isinstance(value, dict):
        return {name: copied(one) for name, one in value.items()}
    if isinstance(value, list):
        return [copied(one) for one in value]
    return value


def _duration(milliseconds: float | None) -> float | None:
    """Return a duration with as many digits as a packed row keeps, so that all outputs agree."""
    kept = None if milliseconds is None else rows.rounded_ms(milliseconds)
    return None if kept is None else float(f"{kept:.4g}")
