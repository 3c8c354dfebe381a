"""What sharing costs: writing, reading, how late it is seen, and how long the hub stands still.

Every worker is a process of its own. CPU is that of flushing, or of the reading call, per activity;
recording is not in it. 2,000 activities a second of 10,000 sessions are spread over the workers,
and one more process reads once a second. The peer writes, as one would first, a row of JSON for
each changed session, with its newest activities: an upsert, or an HSET.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections import deque
from itertools import count
from typing import Any

if "stall" in "".join(sys.argv[1:]):
    from gevent import monkey

    monkey.patch_all()

import redis
from bench_reading import visit
from places import KINDS, Stall, paced, parts_of, place, settle, written_bytes
from support import (
    address,
    aims,
    await_start,
    hand_back,
    heading,
    live,
    options,
    result_of,
    share,
    start_case,
    start_together,
    table,
    watched,
)

RATE = 2_000
SESSIONS = 10_000
MANY = 100_000
CHANGED = 500
FLUSH_S = 0.25
HISTORY = 50

Json = dict[str, Any]
Aim = tuple[str, float, float, str]


def main() -> None:
    arguments = options(__doc__)
    if arguments.case:
        kind, *rest = json.loads(arguments.case)
        hand_back(CASES[kind](*rest))
        return
    quick = arguments.quick
    heading("Shared stores")
    checks: list[Aim] = []
    crews(quick)
    changed_rows(quick, checks)
    lag(quick, checks)
    stalls(quick, checks)
    aims(checks)


def case(quick: bool, *what: Any) -> Any:
    """Start a case in a process of its own."""
    return start_case(json.dumps(what), quick)


def run(*what: Any) -> Any:
    """Run a case alone."""
    child = case(False, *what)
    start_together([child])
    return result_of(child)


# -- one to eight workers ----------------------------------------------------------------------


def crews(quick: bool) -> None:
    """Print what an activity costs by the number of workers."""
    seconds = 3.0 if quick else 8.0
    rows = []
    for kind in KINDS:
        for workers in (1, 4) if quick else (1, 2, 4, 8):
            with place(kind) as url:
                crew = [case(quick, "write", url, n, workers, seconds) for n in range(workers)]
                crew.append(case(quick, "read", url, seconds))
                start_together(crew)
                *written, read = map(result_of, crew)
            activities = sum(one["activities"] for one in written)
            rows.append(
                (
                    f"{kind}, {workers} worker{'s' * (workers > 1)}",
                    f"{sum(one['flush_s'] for one in written) / activities * 1e6:.1f}",
                    f"{sum(one['record_s'] for one in written) / activities * 1e6:.1f}",
                    f"{read['read_s'] / activities * 1e6:.1f}",
                    f"{activities / seconds:,.0f}",
                )
            )
    head = ("us of CPU an activity", "written", "(recorded)", "read", "activities/s")
    table(head, rows)


def write(url: str, number: int, workers: int, seconds: float) -> Json:
    """Be one of the workers."""
    parts = parts_of(watched(store=url))
    mine = range(number, SESSIONS, workers)
    visit(parts, mine)
    settle(parts)
    await_start()
    interval_s = 0.05
    each = round(RATE / workers * interval_s)
    turn = count()

    def work() -> None:
        begin = next(turn) * each
        visit(parts, [mine[(begin + n) % len(mine)] for n in range(each)])

    own_s, all_s = time.thread_time(), time.process_time()
    paced(seconds, interval_s, work)
    own_s, all_s = time.thread_time() - own_s, time.process_time() - all_s
    return {"flush_s": all_s - own_s, "record_s": own_s, "activities": next(turn) * each}


def read(url: str, seconds: float) -> Json:
    """Be the one who reads."""
    parts = parts_of(watched(store=url))
    await_start()
    parts.picture.snapshot()
    spent: list[float] = []

    def look() -> None:
        # A server is asked in another thread, and all that this process does is reading.
        began_s = time.process_time()
        parts.picture.snapshot()
        spent.append(time.process_time() - began_s)

    paced(seconds, 1.0, look)
    return {"read_s": sum(spent)}


# -- one worker's flush ------------------------------------------------------------------------


def changed_rows(quick: bool, checks: list[Aim]) -> None:
    """Print what a changed session costs, snapshots and beats included."""
    seconds = 5.0 if quick else 12.0
    rows = []
    for kind in KINDS:
        for sessions, most in ((SESSIONS, 3.0), (MANY, 5.5)):
            with place(kind) as url:
                ours = run("flush", url, sessions, seconds)
            with place(kind) as url:
                peer = run("plain", url, sessions, seconds)
            checks.append((f"{kind}, a changed session of {sessions:,}", ours["us"], most, "us"))
            rows.append(
                (
                    f"{kind}, {sessions:,} sessions",
                    f"{ours['us']:.2f}",
                    f"{peer['us']:.2f}",
                    f"{ours['bytes'] / seconds * 60 / 1e6:,.1f}",
                    f"{peer['bytes'] / seconds * 60 / 1e6:,.1f}",
                )
            )
    head = (f"{CHANGED} changed a flush", "us each", "peer us", "MB/min", "peer MB/min")
    table(head, rows)


def flush(url: str, sessions: int, seconds: float) -> Json:
    """Share what changes; the flushing thread is all that this process has beside this one."""
    parts = parts_of(watched(store=url, max_sessions=2 * MANY))
    _fill(parts, sessions)
    settle(parts)
    await_start()
    turn = count()

    def work() -> None:
        begin = next(turn) * CHANGED % sessions
        visit(parts, range(begin, begin + CHANGED))

    written, own_s, all_s = written_bytes(url), time.thread_time(), time.process_time()
    paced(seconds, FLUSH_S, work)
    spent_s = (time.process_time() - all_s) - (time.thread_time() - own_s)
    changed = next(turn) * CHANGED
    return {"us": spent_s / changed * 1e6, "bytes": written_bytes(url) - written}


def plain(url: str, sessions: int, seconds: float) -> Json:
    """Write a row of JSON per changed session."""
    known: dict[int, Json] = {}
    acts = {n: deque[Json](maxlen=HISTORY) for n in range(sessions)}
    put = _upsert(url) if url.startswith("sqlite") else _hset(url)
    now = time.time()
    for n in range(sessions):
        known[n] = {"id": f"{n:016x}", "user": f"user{n}", "ip": address(n), "first": now}
        known[n] |= {"requests": 0, "agent": "Mozilla/5.0"}
    spent = []
    turn = count()

    def work() -> None:
        begin = next(turn) * CHANGED % sessions
        for n in range(begin, begin + CHANGED):
            act = {"at": time.time(), "path": f"/product/{n % 50}", "status": 200, "ms": 12.5}
            acts[n].append(act)
            known[n] |= {"last": act["at"], "requests": known[n]["requests"] + 1}
        began_s = time.process_time()
        put(
            [
                (known[n]["id"], json.dumps({**known[n], "activities": list(acts[n])}))
                for n in range(begin, begin + CHANGED)
            ]
        )
        spent.append(time.process_time() - began_s)

    await_start()
    written = written_bytes(url)
    paced(seconds, FLUSH_S, work)
    changed = next(turn) * CHANGED
    return {"us": sum(spent) / changed * 1e6, "bytes": written_bytes(url) - written}


def _upsert(url: str) -> Any:
    db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE session (id TEXT PRIMARY KEY, row TEXT)")

    def put(rows: list[tuple[str, str]]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT OR REPLACE INTO session VALUES (?, ?)", rows)
        db.execute("COMMIT")

    return put


def _hset(url: str) -> Any:
    client = redis.Redis.from_url(url)

    def put(rows: list[tuple[str, str]]) -> None:
        pipe = client.pipeline(transaction=False)
        for id, row in rows:
            pipe.hset("sessions", id, row)
        pipe.execute()

    return put


def _fill(parts: Any, sessions: int) -> None:
    for begin in range(0, sessions, 1_000):
        visit(parts, range(begin, begin + 1_000))


# -- how late it is seen -----------------------------------------------------------------------


def lag(quick: bool, checks: list[Aim]) -> None:
    """Print how long after its end a request is in another process's answer."""
    seconds = 4.0 if quick else 20.0
    rows = []
    for kind in KINDS:
        with place(kind) as url:
            crew = [case(quick, "tell", url, seconds), case(quick, "look", url, seconds)]
            start_together(crew)
            ended, seen = map(result_of, crew)
        late = sorted((then - at) * 1000 for at, then in zip(ended, seen, strict=False))
        p50, p99 = share(late, 0.5), share(late, 0.99)
        rows.append((kind, f"{p50:.0f}", f"{p99:.0f}", f"{late[-1]:.0f}", f"{len(late):,}"))
        checks.append((f"{kind}, a reading call's lag, p99", p99, 500, "ms"))
    table(("lag of a reading call, ms", "p50", "p99", "most", "activities"), rows)


def tell(url: str, seconds: float) -> list[float]:
    """Make a request now and then; return when each ended (monotonic, the same in all)."""
    parts = live(watched(store=url))
    visit(parts, [0])
    settle(parts)
    await_start()
    time.sleep(1.0)  # until the other is reading
    ended: list[float] = []

    def work() -> None:
        visitor = len(ended) % 100
        ended.append(time.monotonic())
        visit(parts, [visitor])

    paced(seconds, 0.0173, work)
    time.sleep(1.0)
    return ended


def look(url: str, seconds: float) -> list[float]:
    """Ask for the total again and again; return when it first was 2, 3, 4 and so on."""
    parts = parts_of(watched(store=url))
    await_start()
    seen: list[float] = []
    until_s = time.monotonic() + seconds + 2.0
    while time.monotonic() < until_s:
        total = parts.picture.stats()["requests_total"] - 1
        seen += [time.monotonic()] * (total - len(seen))
        time.sleep(0.005)
    return seen


# -- the hub -----------------------------------------------------------------------------------


def stalls(quick: bool, checks: list[Aim]) -> None:
    """Print how late a greenlet wakes in a worker that shares, and in one that does not."""
    seconds = 4.0 if quick else 12.0
    rows = []
    for sessions in (SESSIONS, MANY):
        late = run("stall", "memory:", sessions, seconds)
        rows.append((f"not sharing, {sessions:,} sessions", *(f"{one:.2f}" for one in late)))
        for kind in KINDS:
            with place(kind) as url:
                late = run("stall", url, sessions, seconds)
            rows.append((f"{kind}, {sessions:,} sessions", *(f"{one:.2f}" for one in late)))
            checks.append((f"{kind}, stall at {sessions:,} sessions, p99.9", late[2], 5, "ms"))
    table((f"hub late, ms, {RATE:,}/s", "p50", "p99", "p99.9", "most"), rows)


def stall(url: str, sessions: int, seconds: float) -> list[float]:
    """Serve a busy worker's hub."""
    parts = live(watched(store=url, max_sessions=2 * MANY))
    _fill(parts, sessions)
    if url != "memory:":
        settle(parts)
    await_start()
    interval_s = 0.005
    each = round(RATE * interval_s)
    turn = count()

    def work() -> None:
        begin = next(turn) * each % sessions
        visit(parts, range(begin, begin + each))

    measured = Stall()
    paced(seconds, interval_s, work)
    late = measured.stop()
    return [share(late, part) for part in (0.5, 0.99, 0.999, 1.0)]


CASES = {
    "write": write,
    "read": read,
    "flush": flush,
    "plain": plain,
    "tell": tell,
    "look": look,
    "stall": stall,
}


if __name__ == "__main__":
    main()
