"""What viewers cost one worker: CPU, memory and lag with 100 to 10,000 of them.

One update a second of about 2 KB, made of 2.5 changed sessions a second of a 500-user app. The
monitor's settings are the defaults, but for REALTIME_MONITOR_MAX_VIEWERS. In the same run nginx
with nchan is the peer, told an event of the same size each second, and a C program that writes the
same bytes to all is the floor. The server has a core of its own, viewers and all else the other.

- "us an event": CPU of the server's process per delivered event, less what the same process takes
  without viewers (for the monitor: its visitors; for all: the ordinary requests). For the monitor
  it includes the tick, which looks, compares and encodes; "of it sending" leaves that out (measured
  with a single viewer). What up to 1,000 viewers cost is little beside the ordinary requests, and
  these vary: there it is the median of turns without, with one and with all, and nobody asks
  meanwhile.
- "KB each": growth of RSS by the viewers, each.
- "lag": the time at which a viewer's process had read an event less the event's own time.
- "request": an ordinary one of the same worker, 20 a second meanwhile.

On a busy machine the tails tell of its other work; the C program's say how much.

Medians of three rounds, which take about forty minutes.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from stream_peers import Nchan, Writer
from streaming import (
    Asker,
    Gunicorn,
    Skip,
    Viewers,
    cpu_s,
    most_viewers,
    prepare,
    rss_kb,
    workshop,
)
from support import aims, heading, options, share, table

OURS, NCHAN, WRITER = "monitor", "nginx + nchan", "C writer"
CHANGED_PER_S = 2.5
FEWEST_FOR_FLOOR = 1_000
#: What so many viewers cost is found out by turns.
FEW, TURNS = 1_000, 4
#: So few get so few events that they are watched for longer.
FEWEST, LONGER = 100, 3
RSS_KB = {1_000: 2.5, 4_000: 2.0, 10_000: 2.0}


class Figures(NamedTuple):
    """What one server did in one round."""

    size_bytes: float
    us_event: float
    us_sending: float
    kb_each: float
    lag_p50_ms: float
    lag_p99_ms: float
    request_p99_ms: float
    core_percent: float
    opened_s: float
    missed: float
    collect_ms: float


def main() -> None:
    quick = options(__doc__).quick
    prepare()
    sizes = (100, 1_000) if quick else (100, 1_000, 4_000, 10_000)
    rounds, seconds = (1, 5.0) if quick else (3, 10.0)
    heading(f"Viewers of one worker, {rounds} rounds of {seconds:g} s")
    found: dict[tuple[int, str], list[Figures]] = defaultdict(list)
    missing: dict[str, str] = {}
    with workshop() as folder:
        for number in range(1, rounds + 1):
            for viewers in sizes:
                if viewers > most_viewers():
                    missing[f"{viewers:,} viewers"] = "the limit of descriptors is too low"
                    continue
                print(f"round {number}: {viewers:,} viewers", file=sys.stderr, flush=True)
                one_round(folder, viewers, seconds, found, missing)
    for what, why in missing.items():
        print(f"left out: {what}: {why}")
    tell(sizes, found)


def one_round(
    folder: Path,
    viewers: int,
    seconds: float,
    found: dict[tuple[int, str], list[Figures]],
    missing: dict[str, str],
) -> None:
    """Measure the monitor, then the others with events of the same size."""
    size = 2048

    def run(name: str, server: Callable[[], Any]) -> None:
        try:
            with server() as entered:
                figures = measure(folder, entered, viewers, seconds)
        except Skip as reason:
            missing[name] = str(reason)
        else:
            found[viewers, name].append(figures)

    run(OURS, lambda: Gunicorn(changed=CHANGED_PER_S))
    if found[viewers, OURS]:
        size = round(found[viewers, OURS][-1].size_bytes)
    run(NCHAN, lambda: Nchan(folder, size, most_viewers() + 200))
    run(WRITER, lambda: Writer(folder, size + 32))  # which counts the lines around the data too


def measure(folder: Path, server: Any, viewers: int, seconds: float) -> Figures:
    """Open the viewers and look at all that is asked about."""
    is_ours = isinstance(server, Gunicorn)
    asked = nullcontext() if isinstance(server, Writer) else Asker(server.port)
    with Viewers(folder, server.port, server.stream) as crowd:
        # The first viewers and requests bring in code and buffers that stay.
        crowd.open(20)
        if is_ours:
            server.inspect()
        time.sleep(1.5)
        crowd.say("drop 20")
        time.sleep(1.5)
        with asked as asker:
            collect_ms = collection_ms(server) if is_ours else 0.0
            before_kb = rss_kb(server.pid)
            idle = use(server, seconds * 0.3)
            single = 0.0
            if is_ours:
                crowd.open(1)
                time.sleep(1.5)
                single = max(0.0, use(server, seconds / 2) - idle)
                crowd.say("drop 1")
            began_s = time.monotonic()
            opened = crowd.open(viewers)
            opened_s = time.monotonic() - began_s
            if opened["open"] != viewers:
                raise SystemExit(f"{type(server).__name__}: {opened} of {viewers}")
            time.sleep(3)
            watched_s = seconds * (LONGER if viewers <= FEWEST else 1)
            from_s, from_cpu_s = time.monotonic(), cpu_s(server.pid)
            end: list[float] = []
            report = crowd.watch(
                watched_s, lambda: end.extend((time.monotonic(), cpu_s(server.pid)))
            )
            core = (end[1] - from_cpu_s) / (end[0] - from_s) - idle
            after_kb = rss_kb(server.pid)
            if is_ours:
                collect_ms = collection_ms(server) - collect_ms
        if viewers <= FEW:  # last: memory that they take is kept for who comes next
            crowd.say(f"drop {viewers}")
            time.sleep(1.5)
            core, single = costs(server, crowd, viewers, seconds / 2)
        took = sorted(one.ms for one in asker.since(from_s, end[0])) if asker else []
    per_s = max(1, report["events"]) / watched_s
    return Figures(
        size_bytes=report["update_bytes"],
        us_event=core / per_s * 1e6,
        us_sending=max(0.0, core - single) / per_s * 1e6 if is_ours else 0.0,
        kb_each=(after_kb - before_kb) / viewers,
        lag_p50_ms=report["lag_p50_ms"],
        lag_p99_ms=report["lag_p99_ms"],
        request_p99_ms=share(took, 0.99) if took else 0.0,
        core_percent=core * 100,
        opened_s=opened_s,
        missed=viewers * report["moments"] - report["events"] + report["lost"],
        collect_ms=collect_ms,
    )


def costs(server: Any, crowd: Viewers, viewers: int, seconds: float) -> tuple[float, float]:
    """Return the shares of a core that all viewers take and that one takes, the others as 0."""
    all_, single = [], []
    for _ in range(TURNS):
        idle = use(server, seconds)
        for number, found in ((1, single), (viewers, all_)):
            if number > 1 or isinstance(server, Gunicorn):
                crowd.open(number)
                time.sleep(2)
                found.append(use(server, seconds) - idle)
                crowd.say(f"drop {number}")
                time.sleep(1)
    return median(all_), max(0.0, median(single)) if single else 0.0


def use(server: Any, seconds: float) -> float:
    """Return the share of a core that a server takes for a while."""
    from_s, from_cpu_s = time.monotonic(), cpu_s(server.pid)
    time.sleep(seconds)
    return (cpu_s(server.pid) - from_cpu_s) / (time.monotonic() - from_s)


def collection_ms(server: Gunicorn) -> float:
    """Return the ms of a full garbage collection; the first ones also clear up."""
    return min(server.inspect()["collect_ms"] for _ in range(3))


def tell(sizes: tuple[int, ...], found: dict[tuple[int, str], list[Figures]]) -> None:
    """Print the medians, and the aims."""
    middle = {
        key: Figures(*(median(column) for column in zip(*rounds, strict=True)))
        for key, rounds in found.items()
        if rounds
    }
    head = ("viewers", "server", "bytes", "us an event", "of it sending", "KB each", "lag p50 ms")
    head += ("p99 ms", "request p99 ms", "% of a core", "s to open", "missed")
    rows = []
    for (viewers, name), one in sorted(middle.items(), key=lambda item: item[0][0]):
        is_ours = name == OURS
        rows.append(
            (
                f"{viewers:,}",
                name,
                f"{one.size_bytes:,.0f}",
                f"{one.us_event:.1f}",
                f"{one.us_sending:.1f}" if is_ours else "-",
                f"{one.kb_each:.2f}",
                f"{one.lag_p50_ms:.1f}",
                f"{one.lag_p99_ms:.1f}",
                f"{one.request_p99_ms:.1f}" if one.request_p99_ms else "-",
                f"{one.core_percent:.2f}",
                f"{one.opened_s:.1f}",
                f"{one.missed:,.0f}",
            )
        )
    table(head, rows)
    checks: list[tuple[str, float, float, str]] = []
    for viewers in sizes:
        ours = middle.get((viewers, OURS))
        if ours is None:
            continue
        of = f"{viewers:,} viewers"
        nchan, writer = middle.get((viewers, NCHAN)), middle.get((viewers, WRITER))
        if nchan:
            ratio = ours.us_event / nchan.us_event
            checks.append((f"{of}: CPU an event, of nchan's (equal: under 1.25)", ratio, 1.25, ""))
            ratio = ours.lag_p99_ms / nchan.lag_p99_ms
            checks.append((f"{of}: p99 lag, of nchan's", ratio, 1.25, ""))
        if writer and viewers >= FEWEST_FOR_FLOOR:
            ratio = ours.us_event / writer.us_event
            checks.append((f"{of}: CPU an event, of the C writer's", ratio, 1.3, ""))
        if viewers in RSS_KB:
            checks.append((f"{of}: memory each", ours.kb_each, RSS_KB[viewers], "KB"))
        checks.append((f"{of}: an ordinary request, p99", ours.request_p99_ms, 6, "ms"))
        if viewers == 1_000:
            checks.append((f"{of}: share of a core", ours.core_percent, 2, "%"))
        if viewers == 4_000:
            checks.append((f"{of}: gc.collect() longer by", ours.collect_ms, 20, "ms"))
        checks.append((f"{of}: events missed", ours.missed, 0, ""))
    aims(checks)


if __name__ == "__main__":
    main()
