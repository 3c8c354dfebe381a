"""How long 100 threads, or 100 greenlets, wait for each other where activities are taken in.

All of them hand activities in as fast as they can, while readers ask for the numbers. A wait is
that for the tracker's lock, as the monitor itself counts it for its health card; a call is all of
handing in one activity, the folding of a full queue included. Threads share one interpreter: what
a call waits for its turn to run at all is in both, so the peer, a plain dict behind a
``threading.Lock``, shows what is the lock's own. Greenlets run under gevent's patches, in a
process of their own as all cases, and give way after each call.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from support import (
    AGENTS,
    VISITORS,
    address,
    aims,
    hand_back,
    heading,
    live,
    options,
    result_of,
    share,
    start_case,
    table,
    watched,
)

from flask_realtime_monitor.ingest import Raw

WRITERS = 100
READERS = 2
READ_PAUSE_S = 0.02


class Waits(list[float]):
    """Takes the place of the tracker's histogram and keeps every wait."""

    def add(self, value: float) -> None:
        self.append(value)

    def read(self, *shares: float) -> list[float | None]:
        return [None for _ in shares]


class Ours:
    def __init__(self) -> None:
        self.parts = live(watched())
        self.waits = self.parts.tracker.lock_wait_us = Waits()
        self.raws = [
            Raw(
                "request",
                time.monotonic(),
                address(visitor),
                AGENTS[visitor % len(AGENTS)],
                (f"user{visitor}", None) if visitor % 2 else None,
                "GET",
                f"/product/{visitor % 50}",
                "",
                "product",
                "/product/<int:number>",
                {"number": visitor % 50},
                None,
                "200 OK",
                0.0125,
            )
            for visitor in range(VISITORS)
        ]
        self.read()

    def write(self, number: int) -> None:
        raw = self.raws[number % VISITORS]
        self.parts.ingest.put(raw._replace(at_s=time.monotonic()))

    def read(self) -> None:
        self.parts.picture.stats()


class Peer:
    """The least one can do: count in a dict, one lock around it."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.lock = threading.Lock()
        self.counts: dict[int, int] = {}

    def write(self, number: int) -> None:
        began = time.perf_counter()
        with self.lock:
            self.waits.add((time.perf_counter() - began) * 1e6)
            key = number % VISITORS
            self.counts[key] = self.counts.get(key, 0) + 1

    def read(self) -> None:
        with self.lock:
            sum(self.counts.values())


def main() -> None:
    arguments = options(__doc__)
    if arguments.case:
        kind, what = arguments.case.split(":")
        if kind == "greenlets":
            from gevent import monkey

            monkey.patch_all()
        hand_back(hammer(Ours if what == "ours" else Peer, kind, 1 if arguments.quick else 8))
        return
    heading(f"Waiting with {WRITERS} writers and {READERS} readers")
    rows, checks = [], []
    for kind in ("threads", "greenlets"):
        for what in ("peer", "ours"):
            found = result_of(start_case(f"{kind}:{what}", arguments.quick))
            name = "a dict behind a Lock" if what == "peer" else "this monitor"
            wait, call = found["wait"], found["call"]
            rows.append(
                (
                    f"{kind}: {name}",
                    f"{found['rate']:,.0f}",
                    *(f"{wait[one]:,.1f}" for one in ("p50", "p99", "p99.9", "max")),
                    f"{wait['over_1ms']:.4f}",
                    *(f"{call[one]:,.1f}" for one in ("p50", "p99", "max")),
                )
            )
            if what == "ours":
                checks.append((f"{kind}: wait p99", wait["p99"], 20, "us"))
                checks.append((f"{kind}: wait p99.9", wait["p99.9"], 1000, "us"))
    head = ("us", "calls/s", "wait p50", "p99", "p99.9", "max", "% > 1 ms")
    table((*head, "call p50", "p99", "max"), rows)
    aims(checks)


def hammer(make: Any, kind: str, seconds: float) -> dict[str, Any]:
    """Let all writers and readers loose for some seconds."""
    target = make()
    calls: list[list[float]] = []
    until = time.monotonic() + seconds
    gives_way = kind == "greenlets"

    def write(number: int) -> None:
        mine: list[float] = []
        calls.append(mine)
        clock = time.perf_counter
        while time.monotonic() < until:
            number += WRITERS + 1
            began = clock()
            target.write(number)
            mine.append((clock() - began) * 1e6)
            if gives_way:
                time.sleep(0)

    def read() -> None:
        while time.monotonic() < until:
            target.read()
            time.sleep(READ_PAUSE_S)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    threads += [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    all_calls = sorted(one for mine in calls for one in mine)
    return {
        "rate": len(all_calls) / seconds,
        "wait": _figures(sorted(target.waits)),
        "call": _figures(all_calls),
    }


def _figures(values: list[float]) -> dict[str, float]:
    return {
        "p50": share(values, 0.5),
        "p99": share(values, 0.99),
        "p99.9": share(values, 0.999),
        "max": values[-1],
        "over_1ms": sum(one > 1000 for one in values) / len(values) * 100,
    }


if __name__ == "__main__":
    main()
