"""What changed between two snapshots: the stream's ``update`` (docs/json.md).

Snapshots are compared as they are shown, so an update can never disagree with the snapshot it
leads to. What only the clock moves causes no update; it rides along now and then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]

#: The keyed lists, and the key of each.
LISTS = {
    "users": "id",
    "sessions": "id",
    "endpoints": "endpoint",
    "in_flight": "id",
    "workers": "id",
}
#: Moved by the clock alone.
CLOCKED = frozenset(
    {
        "as_of",
        "age_s",
        "oldest_report_s",
        "last_report_at",
        "rss_bytes",
        "record_us",
        "lock_wait_us",
    }
)
#: Moved by requests, and by the clock as these grow old: real only where requests came.
RATES = frozenset({"requests_per_s", "errors_per_s", "latency_ms"})
_FRAME_BYTES = 256  # what the names of all lists and their brackets take together


def update(before: Json, after: Json, rode: Sequence[Json] = ()) -> Json | None:
    """Return what leads from one snapshot to a later one, None where nothing has changed.

    Args:
        rode: the snapshot from which viewers last got the values that only the clock moves, and
            those shown since; given, these values ride along.
    """
    changed: Json = {}
    removed: dict[str, list[str]] = {}
    for name, key in _lists(after):
        items, gone = _items(before[name], after[name], key)
        if items:
            changed[name] = items
        if gone:
            removed[name] = gone
    if removed:
        changed["removed"] = removed
    if before.get("activities") is not after.get("activities"):
        known = {item["id"] for item in _others(before["activities"], after["activities"])}
        others = reversed(_others(after["activities"], before["activities"]))
        activities = [item for item in others if item["id"] not in known]
        if activities:
            changed["activities"] = activities
    stats = _stats(before["stats"], after["stats"])
    if stats:
        changed["stats"] = stats
    if not changed:
        return None
    if rode:
        _ride(changed, rode, after)
    return {"as_of": after["as_of"], **changed}


def has_lost(before: Json, after: Json, most: int) -> bool:
    """Tell whether activities are no longer shown that newer ones have not pushed out.

    Somebody was erased, or what a session is was heard late. No update takes an activity back.

    Args:
        most: how many are shown.
    """
    shown, left = before.get("activities"), after.get("activities")
    if shown is None or left is None or shown is left:
        return False
    known = {item["id"] for item in _others(left, shown)}
    least_at = left[-1]["at"] if len(left) >= most else 0.0
    return any(item["id"] not in known and item["at"] > least_at for item in _others(shown, left))


def parts(update: Json, most_bytes: int) -> list[Json]:
    """Return an update as several, in whose order they merge to the same.

    As JSON none is larger than ``most_bytes``, unless a single item is. What shows first comes
    first: numbers, what has gone, the feed (oldest first, since each is put in front), then each
    list from its newest on.
    """
    head = {"as_of": update["as_of"]}
    made = [{**head, **({"stats": update["stats"]} if "stats" in update else {})}]
    room = most_bytes - _size(made[0]) - _FRAME_BYTES
    for name, item, is_removed in _entries(update):
        size = _size(item) + 1
        if size > room and len(made[-1]) > 1:
            made.append({**head})
            room = most_bytes - _size(head) - _FRAME_BYTES
        into = made[-1].setdefault("removed", {}) if is_removed else made[-1]
        into.setdefault(name, []).append(item)
        room -= size
    return made


def _entries(update: Json) -> Iterator[tuple[str, Any, bool]]:
    """Yield (list's name, item or key, whether it was removed)."""
    for name, keys in update.get("removed", {}).items():
        for key in keys:
            yield name, key, True
    for name in ("activities", *LISTS):
        for item in update.get(name, ()):
            yield name, item, False


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def _stats(before: Json, after: Json) -> Json:
    changed = _fields(before, after, before["requests_total"] != after["requests_total"])
    if "coverage" in changed and not _fields(before["coverage"], after["coverage"], False):
        del changed["coverage"]
    if "history" in changed:
        minutes = _history(before["history"], after["history"])
        known = {minute["at"] for minute in before["history"]}
        if any(m["at"] in known or m["requests"] or m["active_sessions"] for m in minutes):
            changed["history"] = minutes
        elif len(changed) > 1:
            changed["history"] = minutes  # a new minute without anybody comes along with others
        else:
            del changed["history"]
    return changed


def _history(before: list[Json], after: list[Json]) -> list[Json]:
    known = {minute["at"]: minute for minute in _others(before, after)}
    return [one for one in _others(after, before) if known.get(one["at"]) != one]


def _lists(snapshot: Json) -> list[tuple[str, str]]:
    """Return the names and keys of the lists in a snapshot: of totals alone there are none."""
    return [(name, key) for name, key in LISTS.items() if name in snapshot]


def _items(before: list[Json], after: list[Json], key: str) -> tuple[list[Json], list[str]]:
    """Return the changed items and the keys of those gone."""
    if before is after:
        return [], []
    known = {item[key]: item for item in _others(before, after)}
    changed = []
    for item in _others(after, before):
        old = known.pop(item[key], None)
        if old is None:
            changed.append(item)
            continue
        fields = _fields(old, item, item.get("requests") != old.get("requests"))
        if fields:
            changed.append({key: item[key], **fields})
    return changed, list(known)


def _others(items: list[Json], than: list[Json]) -> list[Json]:
    """Return those that are not, as the very same objects, among others: by far the fewest."""
    same = set(map(id, than))
    return [item for item in items if id(item) not in same]


def _fields(old: Json, new: Json, has_requests: bool) -> Json:
    """Return the fields that differ, those aside that only the clock moved."""
    return {
        name: value
        for name, value in new.items()
        if (old.get(name) != value or name not in old)
        and name not in CLOCKED
        and (has_requests or name not in RATES)
    }


def _ride(changed: Json, rode: Sequence[Json], after: Json) -> None:
    """Add the clock's values where they differ from what some viewer may have.

    Requests bring some of these values in between, and who came lately began with others: one that
    is back where it was differs all the same.
    """
    for name, key in _lists(after):
        seen: dict[str, list[Json]] = {}
        for items in {id(one[name]): one[name] for one in rode}.values():
            for item in _others(items, after[name]):
                seen.setdefault(item[key], []).append(item)
        going = {item[key]: item for item in changed.get(name, ())}
        for item in after[name]:
            olds = seen.get(item[key])
            if olds and (values := _clocked(olds, item)):
                going[item[key]] = {**going.get(item[key], {key: item[key]}), **values}
        if going:
            changed[name] = list(going.values())
    shown = [one["stats"] for one in rode]
    stats = {**_clocked(shown, after["stats"]), **changed.get("stats", {})}
    if any(one["coverage"] != after["stats"]["coverage"] for one in shown):
        stats["coverage"] = after["stats"]["coverage"]
    minutes = _history(shown[0]["history"], after["stats"]["history"])
    if minutes:
        stats["history"] = minutes
    changed["stats"] = stats


def _clocked(olds: Sequence[Json], new: Json) -> Json:
    return {
        name: value
        for name, value in new.items()
        if (name in CLOCKED or name in RATES) and any(old.get(name) != value for old in olds)
    }
