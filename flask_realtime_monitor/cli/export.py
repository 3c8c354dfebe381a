"""Lists for other programs: a line of JSON each, or CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

import click

from .console import csv_cell, say_json

Json = dict[str, Any]

_WHO = ("user.id", "user.name")
_LATENCY = ("latency_ms.p50", "latency_ms.p95", "latency_ms.p99")
#: What can be exported; the columns of each are the keys of the JSON, nested ones by their way.
COLUMNS: dict[str, tuple[str, ...]] = {
    "activities": (
        *("id", "at", "kind", "session", *_WHO, "method", "endpoint", "path", "title", "status"),
        *("duration_ms", "error", "name", "data"),
    ),
    "sessions": (
        *("id", *_WHO, "ip", "agent.browser", "agent.os", "agent.device", "agent.is_bot"),
        *("first_seen_at", "last_seen_at", "is_active", "requests", "errors", "endpoint", "path"),
        *("title", "worker", "host"),
    ),
    "users": (
        *("id", "name", "sessions", "requests", "errors", "first_seen_at", "last_seen_at"),
        *("is_active", "endpoint", "path"),
    ),
    "endpoints": (
        *("endpoint", "requests", "errors", "active_users", "active_sessions", *_LATENCY),
    ),
    "in-flight": (
        *("id", "session", *_WHO, "method", "endpoint", "path", "started_at", "age_s", "worker"),
        "host",
    ),
    "workers": (
        *("id", "host", "pid", "started_at", "last_report_at", "is_reporting", "sessions"),
        *("viewers", "rss_bytes", "record_us.p50", "record_us.p99", "lock_wait_us.p50"),
        *("lock_wait_us.p99", "dropped", "errors"),
    ),
}


def write_lines(items: Sequence[Json]) -> None:
    """Print a line of JSON for each item."""
    for item in items:
        say_json(item)


def write_csv(kind: str, items: Sequence[Json]) -> None:
    """Print a header, and a row for each item."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.replace(".", "_") for column in COLUMNS[kind]])
    for item in items:
        rows.writerow([csv_cell(_found(item, column)) for column in COLUMNS[kind]])
    click.echo(text.getvalue(), nl=False)


def _found(item: Json, column: str) -> Any:
    value: Any = item
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
