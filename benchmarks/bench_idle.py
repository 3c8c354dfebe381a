"""What a worker costs that nobody asks for anything: CPU, and how often it wakes.

One gunicorn with one gevent worker each, for a while after a few requests: of a Flask app without
the monitor, which is the floor, and of one with it, that shares what it sees through the file of
"auto", through a Valkey, or not at all. Nobody watches. A wake is one wait of one of the worker's
threads that is over.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from flask import Flask
from places import Server
from streaming import Gunicorn, cpu_s, prepare, workshop
from support import aims, heading, options, table

UNTIL_IDLE_S = 4.0
FLOOR = "a Flask app without it"


class Figures(NamedTuple):
    """What one worker took."""

    ms_per_s: float
    wakes_per_s: float


def bare() -> Flask:
    """Return an app that is not watched."""
    app = Flask("bare")

    @app.get("/healthz")
    def well() -> str:
        return "well"

    return app


def main() -> None:
    quick = options(__doc__).quick
    rounds, seconds = (1, 6.0) if quick else (5, 20.0)
    heading(f"A worker at rest, {rounds} rounds of {seconds:g} s")
    prepare()
    found: dict[str, list[Figures]] = {}
    with ExitStack() as stack:
        store = stack.enter_context(Server(stack.enter_context(workshop())))
        cases: dict[str, dict[str, Any]] = {
            FLOOR: {"app": "bench_idle:bare()"},
            "the monitor, alone": {"store": "memory:"},
            "the monitor, auto": {},
            "the monitor, Valkey": {"store": store.url},
        }
        for _ in range(rounds):
            for name, case in cases.items():
                with Gunicorn(**case) as server:
                    time.sleep(UNTIL_IDLE_S)
                    found.setdefault(name, []).append(measured(server.pid, seconds))
    middle = {name: Figures(*map(median, zip(*one, strict=True))) for name, one in found.items()}
    table(
        ("a worker at rest", "ms of CPU a second", "wakes a second"),
        [(name, f"{one.ms_per_s:.2f}", f"{one.wakes_per_s:.1f}") for name, one in middle.items()],
    )
    floor = middle.pop(FLOOR)
    checks = []
    for name, one in middle.items():
        checks.append((f"{name}: CPU more", one.ms_per_s - floor.ms_per_s, 3, "ms/s"))
        checks.append((f"{name}: wakes more", one.wakes_per_s - floor.wakes_per_s, 5, "a second"))
    aims(checks)


def measured(pid: int, seconds: float) -> Figures:
    """Watch a process for a while."""
    from_s, from_cpu_s, from_wakes = time.monotonic(), cpu_s(pid), wakes(pid)
    time.sleep(seconds)
    passed_s = time.monotonic() - from_s
    return Figures((cpu_s(pid) - from_cpu_s) * 1e3 / passed_s, (wakes(pid) - from_wakes) / passed_s)


def wakes(pid: int) -> int:
    """Return how often the threads of a process have waited for something (proc(5), status)."""
    told = [one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line for one in told for line in one.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


if __name__ == "__main__":
    main()
