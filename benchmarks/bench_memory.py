"""Memory of 100,000 sessions, and how long a full garbage collection then takes.

Each case runs in a process of its own. RSS is what the process grew by, all tables included; the
collection is measured with the sessions and, in the same process, before they came. The peer
keeps a plain dict of dataclasses, as one would write it first; it is measured with 10,000
sessions and scaled.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from support import (
    AGENTS,
    address,
    aims,
    hand_back,
    heading,
    live,
    options,
    result_of,
    start_case,
    table,
    watched,
)

from flask_realtime_monitor import health
from flask_realtime_monitor.records import Record
from flask_realtime_monitor.worker import rss_bytes

SESSIONS = 100_000
PEER_SESSIONS = 10_000
PATHS = [f"/product/{number}" for number in range(2_000)]
AIMS = {1: None, 10: 45, 50: 100}


@dataclass
class Activity:
    at: float
    path: str
    endpoint: str
    method: str
    status: int
    duration_ms: float


@dataclass
class Session:
    id: str
    user: str | None
    ip: str
    agent: str
    first_seen: float
    last_seen: float
    requests: int = 0
    activities: deque[Activity] = field(default_factory=lambda: deque(maxlen=50))


def main() -> None:
    arguments = options(__doc__)
    sessions = SESSIONS // 10 if arguments.quick else SESSIONS
    if arguments.case:
        kind, activities = arguments.case.split(":")
        hand_back(CASES[kind](sessions, int(activities)))
        return
    heading(f"Memory of {sessions:,} sessions")
    # The long one has a core to itself; the others share the second.
    fifty = start_case("ours:50", arguments.quick)
    found = {}
    for kind, activities in (("ours", 1), ("ours", 10), ("peer", 1), ("peer", 10), ("peer", 50)):
        name = f"{kind}:{activities}"
        found[name] = result_of(start_case(name, arguments.quick))
    found["ours:50"] = result_of(fifty)
    scale = sessions / PEER_SESSIONS
    rows, checks = [], []
    for activities, most in AIMS.items():
        ours, peer = found[f"ours:{activities}"], found[f"peer:{activities}"]
        pause_ms = ours["pause_ms"] - ours["empty_ms"]
        peer_pause_ms = (peer["pause_ms"] - peer["empty_ms"]) * scale
        rows.append(
            (
                str(activities),
                f"{ours['rss'] / 1e6:.1f}",
                f"{ours['rss'] / sessions:,.0f}",
                f"{ours['own'] / 1e6:.1f}",
                f"{ours['pause_ms']:.1f}",
                f"{pause_ms:.1f}",
                f"{ours['fold_us']:.1f}",
                f"{peer['rss'] * scale / 1e6:,.0f}",
                f"{peer_pause_ms:,.0f}",
            )
        )
        if most:
            share = sessions / SESSIONS
            checks.append((f"RSS, {activities} activities each", ours["rss"] / 1e6, most, "MB"))
            checks[-1] = (*checks[-1][:2], most * share, "MB")
        checks.append((f"collection, {activities} activities", ours["pause_ms"], 20, "ms"))
    head = ("activities", "RSS MB", "B each", "own count", "gc ms", "gc more", "us each")
    table((*head, "peer MB", "peer gc more"), rows)
    print("gc: a full collection; 'more': than before the sessions came; us each: per activity\n")
    aims(checks)


def ours(sessions: int, activities: int) -> dict[str, float]:
    """Fill the tracker with as many requests of as many visitors, a tenth of them users."""
    app = watched(max_sessions=SESSIONS * 2)
    parts = live(app)
    tracker, visitors = parts.tracker, parts.tracker.visitors
    visitors.fetch(time.time())
    visitors.turn(time.time())
    records = []
    for number in range(2_000):  # warm: the code paths and the feed are not what grows
        records.append(_record(visitors, number % 7, number, parts.clock.now_ms()))
    tracker.fold(records)
    del records
    empty_ms, before = _pause_ms(), rss_bytes() or 0
    began = time.process_time()
    for turn in range(activities):
        for start in range(0, sessions, 250):
            now_ms = parts.clock.now_ms()
            batch = range(start, min(start + 250, sessions))
            tracker.fold([_record(visitors, n, n * 7 + turn, now_ms) for n in batch])
    spent_s = time.process_time() - began
    pause_ms = _pause_ms()
    return {
        "rss": (rss_bytes() or 0) - before,
        "own": health.size_bytes(tracker),
        "pause_ms": pause_ms,
        "empty_ms": empty_ms,
        "fold_us": spent_s / sessions / activities * 1e6,
    }


def _record(visitors: Any, visitor: int, path: int, now_ms: int) -> Record:
    agent = AGENTS[visitor % len(AGENTS)]
    ip = address(visitor)
    return Record(
        kind="request",
        at_ms=now_ms,
        visitor=visitors.visitor(ip, agent),
        user_id=f"user{visitor}" if visitor % 10 == 0 else None,
        user_name=None,
        ip=bytes((10, visitor >> 16 & 255, visitor >> 8 & 255, 0)),
        agent=agent,
        method="GET",
        endpoint="product",
        rule="/product/<int:number>",
        path=PATHS[path % len(PATHS)],
        title=None,
        status=200,
        duration_ms=12.5,
        error=None,
        name=None,
        data=None,
    )


def plain(_: int, activities: int) -> dict[str, float]:
    """Fill a plain dict of dataclasses."""
    empty_ms, before = _pause_ms(), rss_bytes() or 0
    known: dict[str, Session] = {}
    for turn in range(activities):
        for number in range(PEER_SESSIONS):
            name = f"{number:016x}"
            one = known.get(name)
            now = time.time()
            if one is None:
                agent = AGENTS[number % len(AGENTS)]
                user = f"user{number}" if number % 10 == 0 else None
                one = known[name] = Session(name, user, address(number), agent, now, now)
            one.last_seen = now
            one.requests += 1
            path = PATHS[(number * 7 + turn) % len(PATHS)]
            one.activities.append(Activity(now, path, "product", "GET", 200, 12.5 + turn))
    pause_ms = _pause_ms()
    return {"rss": (rss_bytes() or 0) - before, "pause_ms": pause_ms, "empty_ms": empty_ms}


def _pause_ms() -> float:
    """Return how long a full collection takes, the best of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        gc.collect()
        times.append((time.perf_counter() - began) * 1000)
    return min(times)


CASES = {"ours": ours, "peer": plain}


if __name__ == "__main__":
    main()
