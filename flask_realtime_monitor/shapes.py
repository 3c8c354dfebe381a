"""The items of docs/json.md, made from rows and feed items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import Any, NamedTuple

from . import agents, rows
from .feed import Line, newest_entries, time_of
from .pauses import parted
from .peers import Counts, There
from .records import FeedItem, Rare
from .rows import Act, Head
from .sights import Sight
from .source import Person, Source
from .traffic import UNMATCHED

Json = dict[str, Any]

_rank = itemgetter(0, 1, 2, 3)
_new = tuple.__new__  # a named tuple's class called with its fields would cost twice as much
_unpack = rows.HEAD.unpack_from


class Part(NamedTuple):
    """What one worker knows of a session, or of its guest part."""

    source: Source
    key: int
    row: bytes
    head: Head

    @property
    def first_ms(self) -> int:
        """When it began, in ms since the epoch."""
        return self.source.offset_ms + self.head.base_ms

    @property
    def last_ms(self) -> int:
        """When it was last seen, in ms since the epoch."""
        return self.source.offset_ms + self.head.last_ms


def parts_of(sources: Iterable[Source], key: int, guest_key: int | None) -> list[Part]:
    """Return what every worker knows of a session, and of its guest part if it has one."""
    keys = (key,) if guest_key is None else (key, guest_key)
    found = [
        _new(Part, (source, one, row, _new(Head, _unpack(row))))
        for source in sources
        for one in keys
        if (row := source.rows.get(one)) is not None
    ]
    for source in sources:
        if source.pauses:
            return [one for part in found for one in _parted(part)]
    return found


def _parted(part: Part) -> list[Part]:
    """Return a part as several, each of a session of its own unless something bridges them."""
    pauses = part.source.pauses.get(part.key)
    if not pauses:
        return [part]
    return [Part(*part[:2], row, rows.head_of(row)) for row in parted(part.row, pauses)]


def whose(parts: Sequence[Part]) -> Person | None:
    """Return whose session it is; of several names the one that was seen last."""
    if len(parts) == 1:  # by far the most
        number = parts[0].head.user
        return parts[0].source.user(number - 1) if number else None
    named: tuple[tuple[int, str], Person] | None = None
    for part in parts:
        person = part.source.user(part.head.user - 1) if part.head.user else None
        if person is not None:
            rank = part.last_ms if person[1] is not None else -1, part.source.worker_id
            if named is None or rank > named[0]:
                named = rank, person
    return None if named is None else named[1]


def session(
    key: int, parts: Sequence[Part], person: Person | None, is_active: bool, sight: Sight
) -> Json:
    """Return a session put together from its parts, of which there is at least one."""
    newest = parts[0]
    if len(parts) > 1:  # in the same moment a user comes before the guest, for every reader
        newest = max(parts, key=lambda one: (one.last_ms, one.key == key, one.source.worker_id))
    source, own_key, row, head = newest
    _, base_ms, last, requests, errors, _, _, agent, ip_size = head
    offset_ms = source.offset_ms
    first_ms = base_ms + offset_ms
    endpoint, path, rule, code, ordinal = last_place(source, row, head)
    rare = source.rare(own_key, ordinal) if code & rows.RARE else None
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
        "path": sight.path(path, rule),
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


def user_of_row(part: Part, is_active: bool, sight: Sight) -> Json | None:
    """Return the user of a session of whom there is nothing else; None for nobody's."""
    source, _, row, head = part
    _, base_ms, last, requests, errors, number, _, _, _ = head
    person = sight.person(source.user(number - 1) if number else None)
    if person is None:
        return None
    endpoint, path, rule, _, _ = last_place(source, row, head)
    first_ms = base_ms + source.offset_ms
    return {
        "id": person[0],
        "name": person[1],
        "sessions": 1,
        "requests": requests,
        "errors": errors,
        "first_seen_at": first_ms / 1000,
        "last_seen_at": (first_ms + last) / 1000,
        "is_active": is_active,
        "endpoint": endpoint,
        "path": sight.path(path, rule),
    }


def history(parts: Iterable[Part], sight: Sight) -> list[Json]:
    """Return the activities of a session, newest first."""
    # Those of one moment in an order that is the same for all who read.
    found = [
        (
            -part.source.offset_ms - act.at_ms,
            part.source.worker_id,
            -act.ordinal,
            part.key,
            part,
            act,
        )
        for part in parts
        for act in rows.acts_of(part.row, part.head)
    ]
    found.sort(key=_rank)
    return [_act(part, act, sight) for *_, part, act in found]


def _act(part: Part, act: Act, sight: Sight) -> Json:
    source, key, number = part.source, part.key, part.head.user
    whose = source.user(number - 1) if number else None
    route = source.route(act.route)
    path = None if act.path == rows.NO_PATH else source.path(act.path, act.at_ms)
    rare, duration = _rare(source, key, act), rows.packed_ms(act.duration_ms)
    told = act.at_ms, key, act.ordinal, part.head.visitor, whose, route, path or route[1], rare
    return _line(source, (*told, act.code, duration), sight)


def activity(source: Source, entry: Line | FeedItem, sight: Sight) -> Json:
    """Return one entry of the feed."""
    if isinstance(entry, FeedItem):
        return _item(source, entry, sight)
    return _line(source, entry, sight)


def _line(source: Source, line: Line, sight: Sight) -> Json:
    at_ms, key, ordinal, _, whose, (endpoint, rule), path, rare, code, duration = line
    kind, placed = "request", True
    if code & rows.OTHER_KIND:
        kind, placed = "custom" if rare is None else rare.kind, endpoint != UNMATCHED
    return {
        "id": f"{source.worker_id}-{key:x}-{ordinal}",
        "at": (source.offset_ms + at_ms) / 1000,
        "kind": kind,
        "session": session_id(key),
        "user": None if whose is None else user(whose, sight),
        "method": rows.method_name(code),
        "endpoint": endpoint if placed else None,
        "path": sight.path(path, rule),
        "title": None if rare is None else sight.text(rare.title),
        "status": code & rows.STATUS or None,
        "duration_ms": _short(rows.unpacked_ms(duration)),
        "error": None if rare is None else rare.error,
        "name": None if rare is None else rare.name,
        "data": {} if rare is None else sight.data(rare.data),
    }


def _item(source: Source, item: FeedItem, sight: Sight) -> Json:
    record, duration_ms = item.record, item.record.duration_ms
    person = None if record.user_id is None else (record.user_id, record.user_name)
    is_placed = record.kind == "request" or record.endpoint is not None
    where = "0" if item.key is None else f"{item.key:x}"
    return {
        "id": f"{source.worker_id}-{where}-{item.ordinal or item.number}",
        "at": (source.offset_ms + record.at_ms) / 1000,
        "kind": record.kind,
        "session": None if item.key is None else session_id(item.key),
        "user": user(person, sight),
        "method": rows.method_name(rows.METHOD_CODES.get(record.method, rows.OTHER_CODE)),
        "endpoint": (record.endpoint or UNMATCHED) if is_placed else None,
        "path": sight.path(record.path, record.rule),
        "title": sight.text(record.title),
        "status": record.status,
        "duration_ms": None if duration_ms is None else _short(rows.rounded_ms(duration_ms)),
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


def last_place(
    source: Source, row: bytes, head: Sequence[int]
) -> tuple[str | None, str | None, str | None, int, int]:
    """Return endpoint, path and rule of a row's last request, with its code and ordinal.

    The path is the rule where it is no longer known itself.
    """
    ordinal = head[6]
    for at in range(rows.HEAD_SIZE + head[8], len(row), rows.ACT_SIZE):
        offset, number, slot, code = rows.unpack_where(row, at)
        if code & rows.OTHER_KIND:
            ordinal -= 1
            continue
        endpoint, rule = source.route(number)
        path = None if slot == rows.NO_PATH else source.path(slot, head[1] + offset)
        return endpoint, path or rule, rule, code, ordinal
    return None, None, None, 0, 0


def _rare(source: Source, key: int, act: Act) -> Rare | None:
    return source.rare(key, act.ordinal) if act.code & rows.RARE else None


def user(person: Person | None, sight: Sight) -> Json | None:
    """Return who it is, None for nobody."""
    shown = sight.person(person)
    return None if shown is None else {"id": shown[0], "name": shown[1]}


def newest_first(sources: Sequence[Source], most: int) -> list[tuple[Source, Line | FeedItem]]:
    """Return the newest entries of all feeds, newest first."""
    feeds = [(source, newest_entries(source.feed, most)) for source in sources]
    if len(feeds) == 1:
        return list(product(sources, feeds[0][1]))
    times = [source.offset_ms + time_of(entry) for source, entries in feeds for entry in entries]
    times.sort()
    least_ms = times[-most] if len(times) > most > 0 else 0
    found = []
    for source, entries in feeds:
        since_ms, who = least_ms - source.offset_ms, source.worker_id
        for entry in entries:
            at_ms = time_of(entry)
            if at_ms >= since_ms:
                found.append((-source.offset_ms - at_ms, who, *_order(entry), source, entry))
    found.sort(key=_rank)
    return [one[-2:] for one in found[:most]]


def _order(entry: Line | FeedItem) -> tuple[int, int]:
    """Place an entry among those of its worker and millisecond, for every reader the same."""
    return entry[1] or 0, -(entry[2] or entry[0])  # key, ordinal, or a number


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


@lru_cache(4096)
def _short(milliseconds: float | None) -> float | None:
    """Return a duration with as many digits as a packed row keeps."""
    return None if milliseconds is None else float(f"{milliseconds:.4g}")
