"""How soon the picture says that workers are missing, that they are gone, that they are back.

Two gunicorns with two workers each are two hosts: own process ids, boot ids and clocks; they share
a Valkey. Visitors make requests of both, some of them the same people, and an admin asks a worker
of the first host, every 50 ms. All processes of the second host are stopped until they count as
gone, then go on; and are killed, all at once, and started again. Then, on one host, one of four
workers is killed, again and again. It waits as long as the package ships; ``--quick`` shortens
that.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

# Two hosts on one machine are what the tests have.
sys.path.append(str(Path(__file__).parents[1]))

import pytest
from bench_outage import Caller
from places import Server
from support import aims, heading, options, table

from tests.support.gunicorn_server import GunicornServer
from tests.support.hosts import Host
from tests.support.lines import Line, line_to_each
from tests.support.sights import agree

VISITORS = 6  # of each host
SHARED = 3  # of them, those that also visit the other host
EACH_S = 0.05
ASKS_S = 0.05
LONGEST_S = 60.0
#: What a killed worker may not have written yet: what came since its last write.
FLUSH_S = 0.25 + 0.1
QUICK = {"SILENT_S": "1", "GONE_S": "3.5"}

Row = tuple[str, float, float]
Aim = tuple[str, float, float, str]


class Sight(NamedTuple):
    """What the admin was told at a moment (monotonic)."""

    at_s: float
    coverage: tuple[int, int, int, bool]
    requests: int
    problems: str
    workers: frozenset[int]


class Admin:
    """Watches the numbers at one worker."""

    def __init__(self, line: Line) -> None:
        self.sights: list[Sight] = []
        self._line = line
        self._is_over = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(ASKS_S):
            stats, health = self._line.api("stats"), self._line.api("health")
            found = stats["coverage"]
            self.sights.append(
                Sight(
                    time.monotonic(),
                    (
                        *(found[name] for name in ("workers", "workers_reporting", "hosts")),  # type: ignore[arg-type]
                        found["complete"],
                    ),
                    stats["requests_total"],
                    str(health["problems"]),
                    frozenset(one["pid"] for one in self._line.api("workers")["items"]),
                )
            )

    def after(self, from_s: float, is_it: Callable[[Sight], bool]) -> float:
        """Return the seconds from a moment until it is told so; infinite where it never is."""
        seen, until_s = 0, time.monotonic() + LONGEST_S
        while time.monotonic() < until_s:
            sights = self.sights[seen:]
            seen += len(sights)
            for sight in sights:
                if sight.at_s >= from_s and is_it(sight):
                    return sight.at_s - from_s
            time.sleep(ASKS_S / 5)
        return float("inf")

    def falls(self) -> int:
        """Return how often the total was less than before."""
        return sum(b.requests < a.requests for a, b in pairwise(self.sights))

    def longest_s(self) -> float:
        """Return the longest time between two looks: how late a figure can be for this alone."""
        return max(b.at_s - a.at_s for a, b in pairwise(self.sights))

    def close(self) -> None:
        """Ask no more."""
        self._is_over.set()
        self._thread.join()


class Visitor(Caller):
    """Somebody who looks at the first page; nothing is tried twice, so that all can be counted."""

    each_s = EACH_S

    def __init__(self, port: int, name: str, is_restless: bool) -> None:
        self._is_restless = is_restless
        self._headers = {"User-Agent": f"bench {name}", "X-User": name}
        self.answered_s: list[float] = []
        self.failed = 0
        super().__init__(port)

    def call(self) -> None:
        """Look at it."""
        try:
            self._connection.request("GET", "/", headers=self._headers)
            answer = self._connection.getresponse()
            answer.read()
            if self._is_restless:
                self._connection.close()
        except (OSError, HTTPException):
            self._connection.close()
            self.failed += 1
            return
        self.failed += answer.status != 200
        self.answered_s.append(time.monotonic())


class Crowd:
    """The visitors of a host.

    Args:
        first: the number of the first of them.
        is_restless: whether they connect anew for each request, and so come to every worker.
    """

    def __init__(self, server: GunicornServer, first: int, is_restless: bool = False) -> None:
        names = [f"user-{number}" for number in range(first, first + VISITORS)]
        self._visitors = [Visitor(server.port, name, is_restless) for name in names]

    def tell_to_stop(self) -> None:
        """Whoever waits for an answer still gets it."""
        for one in self._visitors:
            one._is_over.set()

    def stop(self) -> None:
        """Make no more requests."""
        self.tell_to_stop()
        for one in self._visitors:
            one.stop()

    @property
    def made(self) -> int:
        """How many requests were answered."""
        return sum(len(one.answered_s) for one in self._visitors)

    @property
    def failed(self) -> int:
        """How many were not."""
        return sum(one.failed for one in self._visitors)

    def answered_between(self, from_s: float, to_s: float) -> int:
        """Return how many were answered between two moments."""
        return sum(from_s <= at_s < to_s for one in self._visitors for at_s in one.answered_s)


def main() -> None:
    quick = options(__doc__).quick
    patience = QUICK if quick else {}
    silent_s, gone_s = (1.5, 4.5) if quick else (5.0, 30.0)
    heading(f"Hosts that are silent ({silent_s:g} s) and gone ({gone_s:g} s)")
    rows: list[Row] = []
    checks: list[Aim] = []
    folder = tempfile.TemporaryDirectory(prefix="frm-bench-")
    with folder, Server(Path(folder.name)) as store:
        with two_hosts(store.url, patience) as (one, two):
            frozen(one, two, silent_s, gone_s, rows, checks)
            killed(one, two, silent_s, gone_s, rows, checks)
        other = f"{store.url.removesuffix('/0')}/1"  # the hosts' picture stays out of it
        for name, url in (("auto", "auto"), ("Valkey", other)):
            one_of_four(name, url, 2 if quick else 6, rows, checks)
    head = ("seconds until it is told", "measured", "aim")
    table(head, [(what, f"{took:.2f}", f"{aim:g}" if aim else "") for what, took, aim in rows])
    aims([(what, took, aim, "s") for what, took, aim in rows if aim] + checks)


@contextmanager
def two_hosts(url: str, patience: dict[str, str]) -> Iterator[tuple[Host, Host]]:
    """Serve the tests' app on two hosts."""
    options = ("--workers", "2", "--keep-alive", "300")
    started: list[Host] = []
    try:
        for days, name in enumerate(("one", "two"), 10):
            started.append(Host(name, *options, days_up=days, STORE=url, **patience))
        yield started[0], started[1]
    except pytest.skip.Exception as reason:
        raise SystemExit(str(reason)) from None
    finally:
        for host in started:
            host.close()


@contextmanager
def lines_to(*servers: GunicornServer) -> Iterator[list[Line]]:
    """Open a line to each worker."""
    lines = [line for server in servers for line in line_to_each(server)]
    try:
        yield lines
    finally:
        for line in lines:
            line.close()


def missing(
    what: str, admin: Admin, from_s: float, names: list[str], silent_s: float, gone_s: float
) -> list[Row]:
    """Measure how a host's absence is told until it counts as gone."""

    def is_named(sight: Sight) -> bool:
        return all(name in sight.problems for name in names)

    return [
        (f"{what}: incomplete", admin.after(from_s, lambda s: not s.coverage[3]), silent_s),
        (f"{what}: named", admin.after(from_s, is_named), silent_s),
        (f"{what}: gone", admin.after(from_s, lambda s: s.coverage == (2, 2, 1, True)), gone_s),
    ]


def names_of(line: Line, host: str) -> list[str]:
    """Return what a host's workers are called where they are missed."""
    workers = line.api("workers")["items"]
    return [f"{host}:{one['pid']}" for one in workers if one["host"] == host]


def frozen(
    one: Host, two: Host, silent_s: float, gone_s: float, rows: list[Row], checks: list[Aim]
) -> None:
    """Stop a host until it counts as gone, and let it go on."""
    with lines_to(one, two) as lines, closing(Line(one)) as asked:
        before = agree(lines)
        names = names_of(asked, "two")
        with closing(Admin(asked)) as admin:
            crowds = [Crowd(one, 0), Crowd(two, SHARED)]
            time.sleep(2)
            from_s = time.monotonic()
            two.freeze()
            rows += missing("host frozen", admin, from_s, names, silent_s, gone_s)
            for crowd in crowds:
                crowd.tell_to_stop()
            back_s = time.monotonic()
            two.thaw()
            for crowd in crowds:
                crowd.stop()
            due = before["requests_total"] + sum(crowd.made for crowd in crowds)

            def is_exact(sight: Sight) -> bool:
                return sight.coverage == (4, 4, 2, True) and sight.requests == due

            rows.append(("host goes on: whole and exact", admin.after(back_s, is_exact), 5.0))
            time.sleep(2)  # in which nothing may be added
            rows.append(("(between two looks meanwhile)", admin.longest_s(), 0.0))
        people = before["total_sessions"] + 2 * VISITORS - SHARED
        after = agree(lines)
        checks += [
            ("frozen: requests that failed", sum(crowd.failed for crowd in crowds), 0, ""),
            ("frozen: requests lost", max(0, due - after["requests_total"]), 0, ""),
            ("frozen: requests told twice", max(0, after["requests_total"] - due), 0, ""),
            (
                "frozen: sessions missing or told twice",
                abs(after["total_sessions"] - people),
                0,
                "",
            ),
            ("frozen: falls of the total", admin.falls(), 0, ""),
        ]


def killed(
    one: Host, two: Host, silent_s: float, gone_s: float, rows: list[Row], checks: list[Aim]
) -> None:
    """End a host as if its power went, and start it again."""
    with lines_to(one) as here, closing(Line(one)) as asked:
        before = agree(here)
        names = names_of(asked, "two")
        with closing(Admin(asked)) as admin:
            crowds = [Crowd(one, 0), Crowd(two, SHARED)]
            time.sleep(2)
            from_s = time.monotonic()
            crowds[1].tell_to_stop()  # or they would ask a host that is not there
            two.stop(signal.SIGKILL)
            rows += missing("host killed", admin, from_s, names, silent_s, gone_s)
            for crowd in crowds:
                crowd.stop()
            due = before["requests_total"] + sum(crowd.made for crowd in crowds)
            late = crowds[1].answered_between(from_s - FLUSH_S, float("inf"))
            after = agree(here)["requests_total"]
            back_s = time.monotonic()
            two.start()
            crowd = Crowd(two, SHARED, is_restless=True)  # who serves nobody is no worker yet
            rows.append(("(between two looks meanwhile)", admin.longest_s(), 0.0))
            whole_s = admin.after(back_s, lambda sight: sight.coverage == (4, 4, 2, True))
            crowd.stop()
            rows.append(("host started again: whole (its start included)", whole_s, 0.0))
        with lines_to(one, two) as lines:
            agree(lines)
        checks += [
            (f"killed: requests lost, of its last {FLUSH_S} s", max(0, due - after), late, ""),
            ("killed: requests told twice", max(0, after - due), 0, ""),
            ("killed: falls of the total", admin.falls(), 0, ""),
        ]


def one_of_four(store: str, url: str, rounds: int, rows: list[Row], checks: list[Aim]) -> None:
    """Kill one of a host's workers, a few times."""
    options = ("--workers", "4", "--keep-alive", "300")
    missed_s, whole_s = [], []
    server = GunicornServer("tests.apps.shared:served()", *options, STORE=url)
    with closing(server), closing(Line(server)) as asked, closing(Admin(asked)) as admin:
        crowd = Crowd(server, 0, is_restless=True)
        admin.after(time.monotonic(), lambda sight: sight.coverage[:2] == (4, 4))
        for number in range(rounds):
            others = [pid for pid in server.workers() if pid != asked.pid]
            victim = others[number % len(others)]
            from_s = time.monotonic()
            os.kill(victim, signal.SIGKILL)

            def is_right(sight: Sight, victim: int = victim) -> bool:
                return sight.coverage[3] and victim not in sight.workers

            missed_s.append(admin.after(from_s, is_right))
            whole_s.append(
                admin.after(from_s, lambda sight: is_right(sight) and sight.coverage[:2] == (4, 4))
            )
        crowd.stop()
    rows.append((f"{store}, one of 4 workers killed: right", max(missed_s), 2.0))
    rows.append((f"{store}, the next in its place: told (its start included)", max(whole_s), 0.0))
    checks.append((f"{store}, falls of the total", admin.falls(), 0, ""))


if __name__ == "__main__":
    main()
