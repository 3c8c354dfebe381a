"""What a client does with snapshot and updates, written from docs/json.md alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Json = dict[str, Any]
KEYS = {
    "users": "id",
    "sessions": "id",
    "endpoints": "endpoint",
    "in_flight": "id",
    "workers": "id",
}
#: Moved by the clock alone: not held to be equal.
CLOCKED = {
    "as_of",
    "age_s",
    "oldest_report_s",
    "last_report_at",
    "rss_bytes",
    "record_us",
    "lock_wait_us",
    "requests_per_s",
    "errors_per_s",
    "latency_ms",
    "role",
}


def merged(before: Json, update: Json) -> Json:
    """Return a snapshot with an update merged over it; the lists become dicts by key."""
    held = deepcopy(before)
    for name, key in KEYS.items():
        items = held[name]
        if isinstance(items, list):
            items = held[name] = {item[key]: item for item in items}
        for gone in update.get("removed", {}).get(name, ()):
            items.pop(gone, None)  # going on at another worker tells of all that may be there
        for item in update.get(name, ()):
            items.setdefault(item[key], {}).update(item)
    known = {item["id"] for item in held["activities"]}
    fresh = [item for item in update.get("activities", ()) if item["id"] not in known]
    for item in fresh:
        held["activities"].insert(0, item)
    if fresh:
        held["activities"].sort(key=lambda item: -item["at"])
    del held["activities"][100:]
    for name, value in update.get("stats", {}).items():
        if name == "history":
            minutes = {minute["at"]: minute for minute in [*held["stats"]["history"], *value]}
            held["stats"]["history"] = [minutes[at] for at in sorted(minutes)][-60:]
        else:
            held["stats"][name] = value
    return held


def comparable(snapshot: Json) -> Json:
    """Return a snapshot without what only the clock moves, its lists as dicts by key."""
    whole = merged(snapshot, {})
    # Minutes in which nothing happened come with the clock.
    whole["stats"]["history"] = [
        minute for minute in whole["stats"]["history"] if minute["requests"]
    ]
    return _without(whole)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(one) for name, one in value.items() if name not in CLOCKED}
    if isinstance(value, list):
        return [_without(one) for one in value]
    return value
