"""A worker under load for long: does anything grow?

Requests come as fast as one core of client gives, of 500 visitors, while 200 viewers come and go.
Descriptors, greenlets and memory are looked at while nobody is there, after a warm-up and at the
end; memory also once a second in between, for its slope. ``--seconds 3600 --rate 560`` is an hour
of two million requests, ``--seconds 720`` are as many in a hurry; the default of two minutes only
shows a coarse leak.

Memory in use is told by Python's own count of blocks. RSS also holds what the allocator has freed
and keeps: it climbs by steps until the largest burst has come, which takes some minutes.
"""

from __future__ import annotations

import argparse
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from streaming import (
    STREAM,
    Gunicorn,
    Skip,
    Viewers,
    descriptors,
    prepare,
    rss_kb,
    until,
    workshop,
)
from support import AGENTS, aims, heading, table

VIEWERS = 200
VISITORS = 500
CONNECTIONS = 8
WARM_UP_S = 45.0  # until the visitors' histories are full
LONG_WARM_UP_S = 600.0  # until windows of 5 minutes are full, and bursts no longer set records
LONG_S = 600
_SETTLES_S = 30.0

Looks = list[tuple[float, int]]


class State(NamedTuple):
    """A worker with nobody there."""

    descriptors: int
    greenlets: int
    blocks: int
    rss_kb: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough run of a few seconds")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long (%(default)g)")
    parser.add_argument("--rate", type=float, help="requests a second, instead of all there can be")
    chosen = parser.parse_args()
    seconds, warm_up_s = (10.0, 5.0) if chosen.quick else (chosen.seconds, WARM_UP_S)
    is_long = seconds >= LONG_S
    if is_long:
        warm_up_s = LONG_WARM_UP_S
    prepare()
    heading(f"{seconds:g} s under load, after {warm_up_s:g} s of warm-up")
    try:
        # A client that had to wait for its core finds its connections open.
        with workshop() as folder, Gunicorn("--keep-alive", "60") as server:
            load(server, folder, warm_up_s, chosen.rate)
            before = at_rest(server)
            requests, samples = load(server, folder, seconds, chosen.rate)
            after = at_rest(server)
            failures = server.said()
    except Skip as reason:
        print(f"left out: {reason}")
        return
    per_hour = slope(samples) * 3600 / 1000
    rows = [
        (name, *map(str, values))
        for name, *values in zip(State._fields, before, after, strict=True)
    ]
    table(("", "start", "end"), rows)
    print(
        f"{requests:,} requests, {requests / seconds:,.0f} a second; memory grows by "
        f"{per_hour:,.2f} MB an hour (a line through {len(samples)} looks)"
    )
    sixths = [mean(kb for _, kb in part) / 1000 for part in parts(samples, 6)]
    print(f"memory in each sixth of it: {', '.join(f'{mb:,.1f}' for mb in sixths)} MB")
    if failures:
        print(f"the server said: {failures}")
    print()
    checks = [
        ("descriptors more than at the start", after.descriptors - before.descriptors, 0, ""),
        ("greenlets more than at the start", after.greenlets - before.greenlets, 0, ""),
        ("blocks in use more than at the start", (after.blocks / before.blocks - 1) * 100, 2, "%"),
        ("memory more than at the start", (after.rss_kb - before.rss_kb) / 1000, 1, "MB"),
    ]
    if is_long:
        checks.append(("memory's slope", per_hour, 1, "MB/h"))
    aims(checks)


def load(server: Gunicorn, folder: Path, seconds: float, rate: float | None) -> tuple[int, Looks]:
    """Let visitors and viewers come for a while.

    Args:
        rate: how many requests a second, None for as many as there can be.

    Returns:
        How many requests were answered, and (seconds, kB of RSS) from time to time.
    """
    is_over = threading.Event()
    visitors = ThreadPoolExecutor(1)
    visits = visitors.submit(_visit, server.port, rate, is_over)
    samples: Looks = []
    began_s, chance = time.monotonic(), random.Random(3)
    try:
        with Viewers(folder, server.port, STREAM) as crowd:
            crowd.open(VIEWERS)
            while (now_s := time.monotonic() - began_s) < seconds and not visits.done():
                some = chance.randrange(1, VIEWERS + 1)
                crowd.say(f"drop {some}")
                time.sleep(chance.uniform(0.2, 0.8))
                crowd.open(some)
                time.sleep(chance.uniform(0.2, 0.8))
                samples.append((now_s, rss_kb(server.pid)))
    finally:
        is_over.set()
        visitors.shutdown()
    return visits.result(), samples  # or what went wrong


def _visit(port: int, rate: float | None, is_over: threading.Event) -> int:
    """Ask on several connections at once, each for the next page when the last has come.

    Returns:
        How many requests were answered.
    """
    asks = [
        f"GET /product/{number % 50} HTTP/1.1\r\nHost: shop\r\n"
        f"User-Agent: {AGENTS[number % len(AGENTS)]} Visitor/{number}\r\n\r\n".encode()
        for number in range(VISITORS)
    ]
    links = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    done, began_s = 0, time.monotonic()
    try:
        while not is_over.is_set():
            if rate is not None:
                is_over.wait(max(0.0, began_s + done / rate - time.monotonic()))
            for n, link in enumerate(links):
                link.sendall(asks[(done + n) % VISITORS])
            for link in links:
                answer = link.recv(65536)
                while b"\r\n\r\nproduct" not in answer:  # head and body may come apart
                    more = link.recv(65536)
                    if not more:
                        raise SystemExit(f"a request failed, after {done:,}: {answer!r}")
                    answer += more
            done += len(links)
    finally:
        for link in links:
            link.close()
    return done


def at_rest(server: Gunicorn) -> State:
    """Wait until nobody is there, and look."""
    if until(lambda: not server.viewers(), _SETTLES_S) == float("inf"):
        raise SystemExit(f"{server.viewers()} viewers are told of whom none is left")
    time.sleep(4)  # for connections that are kept alive, and the publisher's last tick
    found = server.inspect()
    return State(descriptors(server.pid), found["greenlets"], found["blocks"], rss_kb(server.pid))


def parts(samples: Looks, n: int) -> list[Looks]:
    """Return them in so many parts, one after the other."""
    return [samples[len(samples) * i // n : len(samples) * (i + 1) // n] for i in range(n)]


def slope(samples: Looks) -> float:
    """Return by how much the second values grow with the first, by least squares."""
    n = len(samples)
    mean_x, mean_y = (sum(column) / n for column in zip(*samples, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


if __name__ == "__main__":
    main()
