"""What visitors notice of a store that hangs or goes away, and what an admin sees of it.

Two gunicorn workers share a Valkey. Visitors on open connections make requests at a steady rate
while the server is well, while it is frozen (connections stay open, nothing answers), while it is
well again, and while it is killed; then it comes back empty. An admin asks for the numbers all
along. The floor is the same run's requests while all is well, before the frost and after it, in
stretches as long as those of the frost: how far these lie apart is what the method cannot tell.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

from flask import Flask
from places import Server
from support import SERVED_PATH, aims, heading, options, share, shop, table

from flask_realtime_monitor import RealtimeMonitor

VISITORS = 8
EACH_S = 0.02
ASKS_S = 0.1
LONGEST_S = 60.0
STRETCHES = 3  # of a phase; the second in which the server stops and comes back is in none


class Visit(NamedTuple):
    """One request of a visitor; times are monotonic."""

    at_s: float
    ms: float
    is_answered: bool


class Sight(NamedTuple):
    """What the admin was told at a moment."""

    at_s: float
    is_whole: bool
    requests: int


def served() -> Flask:
    """Return the app that gunicorn serves here."""
    app = shop()
    app.config["REALTIME_MONITOR_STORE"] = os.environ["BENCH_STORE"]
    RealtimeMonitor(app, authorize=lambda: True)
    return app


def main() -> None:
    spell_s = 6.0 if options(__doc__).quick else 30.0
    heading(f"A store that is frozen for {spell_s:g} s, then killed, then back and empty")
    folder = tempfile.TemporaryDirectory(prefix="frm-bench-")
    with folder, Server(Path(folder.name)) as store, gunicorn(store.url) as port:
        crowd, admin = [Crowd(port) for _ in range(VISITORS)], Admin(port)
        phases: dict[str, float] = {}

        def phase(name: str, seconds: float) -> None:
            phases[name] = time.monotonic()
            time.sleep(seconds)

        time.sleep(2)
        phase("well", spell_s)
        store.process.send_signal(signal.SIGSTOP)
        phase("frozen", spell_s)
        store.process.send_signal(signal.SIGCONT)
        phase("well again", spell_s)
        store.stop()
        phase("killed", spell_s / 3)
        store.start()
        phase("back, empty", spell_s / 3)
        for one in crowd:
            one.stop()
        phases["end"] = time.monotonic()
        made = sum(len(one.visits) for one in crowd)
        settled = admin.first(phases["end"], lambda sight: sight.requests >= made)
        admin.stop()
    visits = [visit for one in crowd for visit in one.visits]
    rows = []
    for (name, from_s), (_, to_s) in pairwise(phases.items()):
        during = [one for one in visits if from_s <= one.at_s < to_s]
        took = sorted(one.ms for one in during)
        failed = sum(not one.is_answered for one in during)
        rows.append((name, len(took), failed, share(took, 0.5), share(took, 0.99), took[-1]))
    head = ("store", "requests", "failed", "p50 ms", "p99 ms", "longest ms")
    table(head, [(a, f"{b:,}", str(c), *(f"{one:.1f}" for one in d)) for a, b, c, *d in rows])
    frozen = rows[1]
    p99s = {
        name: stretches(visits, phases[name] + 1, spell_s - 1)
        for name in ("well", "frozen", "well again")
    }
    head = ("p99 ms of a stretch", *(str(number + 1) for number in range(STRETCHES)))
    table(head, [(name, *(f"{one:.1f}" for one in found)) for name, found in p99s.items()])
    healthy = [*p99s["well"], *p99s["well again"]]
    print(f"healthy stretches lie apart by a factor of {max(healthy) / min(healthy):.2f}\n")

    def after(name: str, is_whole: bool) -> float:
        from_s = phases[name]
        return admin.first(from_s, lambda sight: sight.is_whole is is_whole).at_s - from_s

    totals = [sight.requests for sight in admin.sights]
    aims(
        (
            ("longest request while it is frozen", frozen[5], 50, "ms"),
            (
                "p99 while it is frozen (middle stretch), of the highest while well",
                median(p99s["frozen"]) / max(healthy),
                1,
                "",
            ),
            ("said to be incomplete after the frost began", after("frozen", False), 5, "s"),
            ("whole after the frost", after("well again", True), 5, "s"),
            ("whole after it came back empty", after("back, empty", True), 5, "s"),
            ("requests that failed", sum(row[2] for row in rows), 0, ""),
            ("requests that the picture lacks or has twice", abs(settled.requests - made), 0, ""),
            ("falls of the total", sum(b < a for a, b in pairwise(totals)), 0, ""),
        )
    )


def stretches(visits: list[Visit], from_s: float, seconds: float) -> list[float]:
    """Return the p99 (ms) of the requests of each part of a phase."""
    each_s = seconds / STRETCHES
    parts: list[list[float]] = [[] for _ in range(STRETCHES)]
    for one in visits:
        if 0 <= one.at_s - from_s < seconds:
            parts[int((one.at_s - from_s) / each_s)].append(one.ms)
    return [share(sorted(part), 0.99) for part in parts]


@contextmanager
def gunicorn(store: str, *more: str, workers: int = 2) -> Iterator[int]:
    """Serve the app; yield the port.

    Args:
        more: further options of gunicorn.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = Path(__file__).parent
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(here), "--workers", str(workers)]
    command += ["--worker-class", "gevent", "--bind", f"127.0.0.1:{port}", "--keep-alive", "60"]
    command += ["--log-level", "error", *more, "bench_outage:served()"]
    server = subprocess.Popen(
        command, env={**os.environ, "BENCH_STORE": store, "PYTHONPATH": SERVED_PATH}
    )
    try:
        until_s = time.monotonic() + LONGEST_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > until_s or server.poll() is not None:
                    raise SystemExit("gunicorn does not serve") from None
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


class Caller(ABC):
    """Asks again and again, on one connection, in a thread of its own."""

    each_s = EACH_S

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(self.each_s):
            self.call()

    @abstractmethod
    def call(self) -> None:
        """Ask once."""

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        while True:
            try:
                self._connection.request("GET", path, headers={"User-Agent": "bench"})
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._connection.close()  # its worker has ended between two requests

    def stop(self) -> None:
        """Ask no more."""
        self._is_over.set()
        self._thread.join()
        self._connection.close()


class Crowd(Caller):
    """A visitor."""

    def __init__(self, port: int) -> None:
        self.visits: list[Visit] = []
        super().__init__(port)

    def call(self) -> None:
        """Look at the first page."""
        began_s = time.monotonic()
        status, _ = self.get("/")
        self.visits.append(Visit(began_s, (time.monotonic() - began_s) * 1000, status == 200))


class Admin(Caller):
    """Watches the numbers."""

    each_s = ASKS_S

    def __init__(self, port: int) -> None:
        self.sights: list[Sight] = []
        super().__init__(port)

    def call(self) -> None:
        """Read them."""
        stats = json.loads(self.get("/monitor/api/v1/stats")[1])
        sight = Sight(time.monotonic(), stats["coverage"]["complete"], stats["requests_total"])
        self.sights.append(sight)

    def first(self, from_s: float, is_it: Callable[[Sight], bool]) -> Sight:
        """Return the first sight after a moment that is so, or wait for it."""
        until_s = time.monotonic() + LONGEST_S
        while time.monotonic() < until_s:
            for sight in self.sights:
                if sight.at_s >= from_s and is_it(sight):
                    return sight
            time.sleep(ASKS_S)
        return Sight(float("inf"), False, self.sights[-1].requests)


if __name__ == "__main__":
    main()
