"""What reading costs: the numbers, the first page of sessions, a snapshot, a search, a filter.

In process, at 1,000 and at 100,000 sessions; "first" builds the index, the others find it. With
1 % changed, as many requests have come just before the call; their folding is not counted, but
bringing the index up to date is. The floor is one ``json.dumps`` of the result; a scan over plain
dicts, what a monitor without an index does for its numbers, is the peer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from support import AGENTS, address, aims, heading, live, options, table, watched

from flask_realtime_monitor.filters import Filter
from flask_realtime_monitor.ingest import Raw

Call = Callable[[], Any]


def main() -> None:
    quick = options(__doc__).quick
    heading("Reading, ms a call")
    rows, checks = [], []
    for sessions in (1_000, 10_000 if quick else 100_000):
        app = watched(max_sessions=200_000)
        parts = live(app)
        visit(parts, range(1))
        parts.ingest.fold()  # it asks for the day's salt, without which nothing is folded
        visit(parts, range(1, sessions))
        picture = parts.picture
        first = timed(picture.stats, 1)
        rows.append((f"{sessions:,}: stats, first", f"{first:.3f}", "", ""))
        calls: list[tuple[str, Call]] = [
            ("stats", picture.stats),
            ("snapshot(100)", partial(picture.snapshot, 100)),
            ("sessions(limit=100)", partial(picture.sessions, 100)),
            ("sessions(q='user77')", partial(picture.sessions, 100, "user77")),
            ("sessions(path=...)", partial(picture.sessions, 100, only=Filter(path="/product/7"))),
            ("sessions(browser=...)", partial(picture.sessions, 100, only=Filter(browser="Edge"))),
            ("users(browser=...)", partial(picture.users, 100, only=Filter(browser="Edge"))),
        ]
        for name, call in calls:
            is_search = "=" in name and "limit" not in name
            times = 3 if is_search else 9 if quick else 51
            still = timed(call, times)
            moved = timed(call, 3 if is_search else 9, partial(change, parts, sessions // 100))
            answer = call()
            floor = timed(lambda kept=answer: json.dumps(kept), 9)
            rows.append((f"{sessions:,}: {name}", f"{still:.3f}", f"{moved:.3f}", f"{floor:.3f}"))
            if name == "stats":
                checks.append((f"stats at {sessions:,}, nothing changed", still, 0.2, "ms"))
        known = [{"last": number, "user": None, "requests": 1} for number in range(sessions)]
        scan = timed(lambda kept=known: sum(one["last"] > 300 for one in kept), 5)
        rows.append((f"{sessions:,}: peer, a scan that counts", f"{scan:.3f}", "", ""))
    table(("sessions: call", "nothing changed", "1 % changed", "json.dumps"), rows)
    aims(checks)


def visit(parts: Any, visitors: Any) -> None:
    """One request of each visitor; half of them are users."""
    for number in visitors:
        user = (f"user{number}", None) if number % 2 else None
        agent = AGENTS[number % len(AGENTS)]
        path = f"/product/{number % 50}"
        route = ("product", "/product/<int:number>", {"number": number % 50})
        now_s = time.monotonic()
        parts.ingest.put(
            Raw(
                "request",
                now_s,
                address(number),
                agent,
                user,
                method="GET",
                path_info=path,
                endpoint=route[0],
                rule=route[1],
                arguments=route[2],
                status="200 OK",
                duration_s=0.0125,
            )
        )
    parts.ingest.fold()


def change(parts: Any, n: int, _at: list[int] = [0]) -> None:  # noqa: B006 (its memory)
    """Let other visitors than last time make a request each."""
    visit(parts, range(_at[0], _at[0] + n))
    _at[0] = (_at[0] + n) % (n * 100)


def timed(call: Call, times: int, before: Call | None = None) -> float:
    """Return the median ms of a call."""
    taken = []
    for _ in range(times):
        if before is not None:
            before()
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)


if __name__ == "__main__":
    main()
