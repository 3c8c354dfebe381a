"""What it costs to begin to read a shared picture of 100,000 sessions, and to keep up with it.

Another process writes; 1 % of the sessions change in a second, then none. A tick is what a
worker with viewers reads each second (``snapshot``), and what a reading call asks (``stats``); its
time is the CPU of the reading thread. The hub's stall is measured while the first call loads. The
peer reads a row of JSON per session, as one would write it first; its tick reads the 1 % that have
changed, counts who is active and picks the hundred that were seen last, and renders nothing.

A call that finds nothing new is measured twice: one after the other, which is what it has to do,
and after 20 ms of sleep, when the processor has to fetch everything anew. Its floor is to ask the
place whether there is anything: one pragma of SQLite's, one PING through the client.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from heapq import nlargest
from itertools import count
from operator import itemgetter
from statistics import median
from typing import Any

if "first" in "".join(sys.argv[1:]):
    from gevent import monkey

    monkey.patch_all()

import redis
from bench_reading import visit
from places import KINDS, Stall, paced, parts_of, place, settle
from support import (
    address,
    aims,
    await_start,
    hand_back,
    heading,
    options,
    result_of,
    start_case,
    start_together,
    table,
    watched,
)

SESSIONS = 100_000
WORKERS = 2
INTERVAL_S = 0.25
KEY = "sessions"

Json = dict[str, Any]


def main() -> None:
    arguments = options(__doc__)
    if arguments.case:
        kind, *rest = json.loads(arguments.case)
        hand_back(CASES[kind](*rest))
        return
    quick = arguments.quick
    sessions, seconds = (SESSIONS // 10, 4.0) if quick else (SESSIONS, 20.0)
    heading(f"Reading a shared picture of {sessions:,} sessions, {WORKERS} workers")
    rows, idle, checks = [], [], []
    for kind in KINDS:
        with place(kind) as url:
            found = _watched(url, sessions, seconds, quick)
            peer_ms, peer_tick_ms = _peer(url, sessions)
        rows.append(
            (
                kind,
                f"{found['first_ms']:,.0f}",
                f"{peer_ms:,.0f}",
                f"{found['stall_ms']:.1f}",
                f"{found['moved']:.2f}",
                f"{peer_tick_ms:.1f}",
                *(f"{found[name]:.2f}" for name in ("moved_stats", "still")),
            )
        )
        ways = ("still_stats", "floor", "still_stats_cold", "floor_cold")
        idle.append((kind, *(f"{found[name]:.3f}" for name in ways)))
        checks += [
            (f"{kind}, bootstrap", found["first_ms"], 300, "ms"),
            (f"{kind}, a tick with 1 % changed", found["moved"], 5, "ms"),
            (f"{kind}, a call with nothing changed", found["still_stats"], 0.1, "ms"),
        ]
    head = (
        "ms",
        "first",
        "peer",
        "stall",
        "tick, 1 %",
        "peer's",
        "stats, 1 %",
        "tick, still",
    )
    table(head, rows)
    print()
    table(("ms, nothing new", "stats", "floor", "stats, after sleep", "floor, after sleep"), idle)
    aims(checks)


def _watched(url: str, sessions: int, seconds: float, quick: bool) -> Json:
    cases = [("write", url, number, sessions, seconds) for number in range(WORKERS)]
    crew = [start_case(json.dumps(one), quick) for one in cases]
    start_together(crew)
    reader = start_case(json.dumps(("first", url, seconds)), quick)
    start_together([reader])
    found: Json = result_of(reader)
    for child in crew:
        result_of(child)
    return found


def write(url: str, number: int, sessions: int, seconds: float) -> None:
    """Be one of the workers; each has its share of the visitors."""
    parts = parts_of(watched(store=url, max_sessions=2 * sessions))
    mine = range(number * sessions // WORKERS, (number + 1) * sessions // WORKERS)
    for begin in range(mine.start, mine.stop, 1_000):
        visit(parts, range(begin, min(begin + 1_000, mine.stop)))
    settle(parts)
    await_start()
    each = round(len(mine) * 0.01 * INTERVAL_S)
    turn = count()

    def work() -> None:
        begin = mine.start + next(turn) * each % (len(mine) - each)
        visit(parts, range(begin, begin + each))

    paced(seconds + 4.0, INTERVAL_S, work)
    time.sleep(seconds + 10.0)  # nothing changes; the process is there


def first(url: str, seconds: float) -> Json:
    """Read what nobody in this process has read yet, and go on reading."""
    parts = parts_of(watched(store=url, max_sessions=2 * SESSIONS))
    await_start()
    stall = Stall()
    time.sleep(0.1)
    began_s = time.perf_counter()
    parts.picture.snapshot()
    first_ms = (time.perf_counter() - began_s) * 1000
    stall_ms = stall.stop()[-1]

    def ticks(call: Any, interval_s: float) -> float:
        spent: list[float] = []

        def tick() -> None:
            began_s = time.thread_time()
            call()
            spent.append((time.thread_time() - began_s) * 1000)

        paced(seconds / 2, interval_s, tick)
        return median(spent)

    found = {"first_ms": first_ms, "stall_ms": stall_ms}
    found["moved"] = ticks(parts.picture.snapshot, 1.0)
    found["moved_stats"] = ticks(parts.picture.stats, 1.0)
    time.sleep(5.0)
    found["still"] = ticks(parts.picture.snapshot, 1.0)
    ask = floor(url)
    for name, call in (("still_stats", parts.picture.stats), ("floor", ask)):
        found[name + "_cold"] = ticks(call, 0.02)
        found[name] = at_once(call)
    return found


def at_once(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Return the ms of CPU of a call, one right after the other."""
    spent = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began_s = time.thread_time()
        call()
        spent.append((time.thread_time() - began_s) * 1000)
    return median(spent)


def floor(url: str) -> Callable[[], object]:
    """Return what asks a place the least one can ask."""
    if not url.startswith("sqlite"):
        return redis.Redis.from_url(url).ping
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    return lambda: db.execute("PRAGMA data_version").fetchone()


# -- the peer ----------------------------------------------------------------------------------


def _peer(url: str, sessions: int) -> tuple[float, float]:
    """Return the ms it takes to read all rows of JSON, and those of a tick with 1 % changed."""
    now = time.time()
    row = {"agent": "Mozilla/5.0", "first": now, "last": now, "requests": 1}
    act = {"at": now, "path": "/product/7", "status": 200, "ms": 12.5}
    rows = {
        f"{n:016x}": json.dumps(
            {"id": f"{n:016x}", "user": f"user{n}", "ip": address(n), **row, "activities": [act]}
        )
        for n in range(sessions)
    }
    read = (_peer_sqlite if url.startswith("sqlite") else _peer_valkey)(url, rows)
    began_s = time.perf_counter()
    known = {id: json.loads(row) for id, row in read(None)}
    taken_ms = (time.perf_counter() - began_s) * 1000
    assert len(known) == sessions
    spent, ids = [], list(known)
    for turn in range(5):
        time.sleep(1.0)
        changed = ids[turn * sessions // 100 :][: sessions // 100]
        began_s = time.thread_time()
        known.update((id, json.loads(row)) for id, row in read(changed))
        assert sum(one["last"] > now - 300 for one in known.values()) == sessions
        assert len(nlargest(100, known.values(), key=itemgetter("last"))) == min(100, sessions)
        spent.append((time.thread_time() - began_s) * 1000)
    return taken_ms, median(spent)


def _peer_sqlite(url: str, rows: dict[str, str]) -> Callable[[list[str] | None], Any]:
    db = sqlite3.connect(url.removeprefix("sqlite:///") + "-peer")
    db.execute("CREATE TABLE session (id TEXT PRIMARY KEY, row TEXT)")
    with db:
        db.executemany("INSERT INTO session VALUES (?, ?)", rows.items())

    def read(ids: list[str] | None) -> Any:
        if ids is None:
            return db.execute("SELECT * FROM session")
        those = "SELECT * FROM session WHERE id IN (SELECT value FROM json_each(?))"
        return db.execute(those, (json.dumps(ids),))

    return read


def _peer_valkey(url: str, rows: dict[str, str]) -> Callable[[list[str] | None], Any]:
    client = redis.Redis.from_url(url)
    client.hset(KEY, mapping=rows)  # type: ignore[arg-type]

    def read(ids: list[str] | None) -> Any:
        if ids is None:
            return client.hgetall(KEY).items()  # type: ignore[union-attr]
        return zip(ids, client.hmget(KEY, ids), strict=True)  # type: ignore[arg-type]

    return read


CASES = {"write": write, "first": first}


if __name__ == "__main__":
    main()
