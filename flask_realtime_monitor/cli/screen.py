"""What ``top`` draws: one screen of who is here and what happens."""

from __future__ import annotations

import shutil
from datetime import datetime
from typing import Any

from .. import wording
from ..rows import FAILED
from .console import Cell, bold, columns, is_terminal, line, number, table

Json = dict[str, Any]

_MOST_WAITING = 5
_MOST_LINES = 40  # where there is no terminal to fill


def frame(title: str, picture: Json) -> list[str]:
    """Return a screen's lines.

    Args:
        title: what is looked at.
        picture: a snapshot (docs/json.md, "The stream").
    """
    stats, now_at = picture["stats"], picture["as_of"]
    lines = [bold(line(title, time_of(now_at), *_missing(stats))), *_numbers(stats)]
    height = shutil.get_terminal_size().lines - 1 if is_terminal() else _MOST_LINES
    most = columns() if is_terminal() else None
    waiting = [in_flight_row(one) for one in picture["in_flight"][:_MOST_WAITING]]
    if waiting:
        lines += ["", *table(IN_FLIGHT, waiting, most)]
    people = [session_row(one, now_at) for one in picture["sessions"] if one["is_active"]]
    if people:
        room = max(3, (height - len(lines)) // 2 - 2)
        lines += ["", *table(SESSIONS, people[:room], most)]
    feed = [activity_row(one) for one in picture["activities"]]
    if feed:
        room = max(3, height - len(lines) - 2)
        lines += ["", *table(ACTIVITIES, feed[:room], most)]
    return lines


def _numbers(stats: Json) -> list[str]:
    return [
        line(
            f"people {wording.number(stats['active_users'])}",
            f"sessions {wording.number(stats['active_sessions'])}",
            f"requests/s {wording.number(stats['requests_per_s'])}",
            f"errors/s {wording.number(stats['errors_per_s'])}",
            f"p95 {wording.milliseconds(stats['latency_ms']['p95'])}",
            f"in flight {wording.number(stats['in_flight'])}",
        )
    ]


def _missing(stats: Json) -> list[str]:
    coverage = stats["coverage"]
    told = f"{coverage['workers_reporting']} of {coverage['workers']} workers"
    return [told] if coverage["complete"] else [told, "INCOMPLETE: the numbers are at least these"]


def time_of(at: float) -> str:
    """Return a moment as the time of day where the command runs."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")


def _place(item: Json) -> str:
    return item.get("title") or item["path"] or item["endpoint"] or ""


USERS = ("WHO", "ID", "SEEN", "SESSIONS", "REQUESTS", "ERRORS", "PAGE")
SESSIONS = ("WHO", "SEEN", "REQUESTS", "ERRORS", "PAGE", "DEVICE", "ADDRESS")
ACTIVITIES = ("AT", "WHO", "WHAT", "STATUS", "TOOK", "PAGE")
IN_FLIGHT = ("SINCE", "WHO", "METHOD", "PATH", "WORKER")


def user_row(one: Json, now_at: float) -> list[str | Cell]:
    """Return a user's row of a table of people."""
    return [
        wording.person(one, None),
        one["id"],
        wording.age(now_at - one["last_seen_at"]),
        number(wording.number(one["sessions"])),
        number(wording.number(one["requests"])),
        _errors(one["errors"]),
        _place(one),
    ]


def session_row(one: Json, now_at: float) -> list[str | Cell]:
    """Return a session's row."""
    return [
        wording.person(one["user"], one["id"]),
        wording.age(now_at - one["last_seen_at"]),
        number(wording.number(one["requests"])),
        _errors(one["errors"]),
        _place(one),
        wording.device(one["agent"]),
        one["ip"] or "",
    ]


def activity_row(one: Json) -> list[str | Cell]:
    """Return a row of the feed."""
    what = one["method"] if one["kind"] == "request" else one["name"] or one["kind"]
    status = "" if one["status"] is None else str(one["status"])
    failed = one["error"] is not None or one["status"] in FAILED
    page = _place(one) + (f" ({one['error']})" if one["error"] else "")
    if one["kind"] == "custom" and one["data"]:
        told = (f"{name}={wording.datum(value)}" for name, value in one["data"].items())
        page = " ".join([page, *told]).strip()
    took = "" if one["duration_ms"] is None else wording.milliseconds(one["duration_ms"])
    return [
        time_of(one["at"]),
        wording.person(one["user"], one["session"]),
        what or "",
        Cell(status, "bad" if failed else ""),
        number(took),
        page,
    ]


def in_flight_row(one: Json) -> list[str | Cell]:
    """Return the row of a request that has not ended."""
    return [
        number(wording.age(one["age_s"])),
        wording.person(one["user"], one["session"]),
        one["method"] or "",
        one["path"] or one["endpoint"] or "",
        f"{one['host']}:{one['worker']}",
    ]


def stats_rows(stats: Json) -> list[list[str | Cell]]:
    """Return the numbers of the whole app, one a row."""
    latency, coverage = stats["latency_ms"], stats["coverage"]
    since = datetime.fromtimestamp(stats["since_at"]).strftime("%Y-%m-%d %H:%M:%S")
    rows: list[tuple[str, str, str]] = [
        ("people", wording.number(stats["active_users"]), "signed in and active"),
        ("sessions", wording.number(stats["active_sessions"]), "active"),
        (
            "",
            wording.number(stats["total_sessions"]),
            f"not ended, {wording.number(stats['anonymous_sessions'])} of them guests'",
        ),
        ("requests", wording.number(stats["requests_per_s"]), "per second, last 60 s"),
        ("", wording.number(stats["requests_total"]), f"since {since}"),
        ("errors", wording.number(stats["errors_per_s"]), "per second, last 60 s"),
        ("", wording.number(stats["errors_total"]), "since then"),
        ("latency", wording.milliseconds(latency["p50"]), "for half of the last 5 min"),
        ("", wording.milliseconds(latency["p95"]), "for 95 %"),
        ("", wording.milliseconds(latency["p99"]), "for 99 %"),
        ("in flight", wording.number(stats["in_flight"]), "requests"),
        ("viewers", wording.number(stats["viewers"]), "of the dashboard"),
        ("excluded", wording.number(stats["excluded"]), "requests, only counted"),
        (
            "workers",
            wording.number(coverage["workers_reporting"]),
            f"of {coverage['workers']} report, on {coverage['hosts']} host(s)"
            + ("" if coverage["complete"] else "; INCOMPLETE: the numbers are at least these"),
        ),
    ]
    rows += [
        ("dropped", wording.number(count), name)
        for name, count in stats["dropped"].items()
        if count
    ]
    return [[Cell(name, "bold"), number(value), text] for name, value, text in rows]


def _errors(count: int) -> Cell:
    return Cell(wording.number(count), "bad" if count else "", True)
