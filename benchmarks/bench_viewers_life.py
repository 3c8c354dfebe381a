"""How streams live and end: idle, busy, stuck, closed at once, and with a worker that goes.

Each case starts a gunicorn of its own, with the defaults but for what the case is about, and says
in a line what it saw; ``--case`` with the name of one runs it alone. The app has 500 sessions, half
of them of users.

A ``bye`` is late by what lies between the signal, as it is sent to the server's master (with
``max_requests`` the beginning of a worker's last request), and the moment at which the viewers have
read its bytes. All viewers are one process, on the core that is not the server's: what it takes to
read 10,000 sockets is in the figures. Who only comes while a worker goes is not.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import zlib
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from streaming import (
    STREAM,
    Asker,
    Gunicorn,
    Skip,
    Viewers,
    is_alive,
    most_viewers,
    prepare,
    rss_kb,
    until,
    workshop,
)
from support import aims, heading, options, share

Check = tuple[str, float, float, str]
MANY = 10_000
RESYNC_S = 300  # the default of REALTIME_MONITOR_RESYNC_INTERVAL
_SETTLE_S = 2.0


def main() -> None:
    chosen = options(__doc__)
    prepare()
    heading("How streams live and end")
    checks: list[Check] = []
    with workshop() as folder:
        for case in CASES:
            if chosen.case in (None, case.__name__):
                try:
                    checks += case(folder, chosen.quick)
                except Skip as reason:
                    print(f"left out: {case.__name__}: {reason}")
    print()
    aims(checks)


def say(text: str) -> None:
    print(text, flush=True)


def many(quick: bool) -> int:
    """Return how many viewers are as many as may be here."""
    return min(1_000 if quick else MANY, most_viewers())


# -- bytes -------------------------------------------------------------------------------------


def idle(folder: Path, quick: bool) -> list[Check]:
    """Nobody does anything."""
    seconds = 20.0 if quick else 60.0
    with Gunicorn() as server, Viewers(folder, server.port, STREAM) as crowd:
        crowd.open(10)
        time.sleep(_SETTLE_S)
        report = crowd.watch(seconds)
    per_minute = report["bytes"] / 10 / seconds * 60
    say(f"idle app: {per_minute:,.0f} bytes a minute, {report['comments'] / 10:g} heartbeats")
    return [("idle app, a viewer's minute", per_minute / 1000, 1, "KB")]


def busy(_folder: Path, quick: bool) -> list[Check]:
    """12 changed sessions a second, a viewer who takes gzip."""
    seconds = 10.0 if quick else 60.0
    with Gunicorn(changed=12) as server:
        time.sleep(_SETTLE_S)
        coding, first, later, plain = listen(server.port, seconds)
    minute = later / seconds * 60 / 1000
    resync = first / 1000 * 60 / RESYNC_S
    say(
        f"busy app: content coding {coding}, {minute:,.1f} KB a minute, a snapshot of "
        f"{first / 1000:,.1f} KB every {RESYNC_S} s; without coding {plain / seconds * 0.06:,.0f} "
        "KB a minute"
    )
    return [("12 changed sessions/s, a viewer's minute, resync in it", minute + resync, 75, "KB")]


def listen(port: int, seconds: float) -> tuple[str, int, int, int]:
    """Watch as a browser does.

    Returns:
        The content coding, bytes on the wire of the first event and of all later ones, and bytes
        of the later ones without the coding.
    """
    wire = b""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(
            f"GET {STREAM} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            "Accept-Encoding: gzip, deflate\r\n\r\n".encode()
        )
        link.settimeout(0.2)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            try:
                wire += link.recv(1 << 20)
            except TimeoutError:
                continue
    head, _, body = wire.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    coding = fields.get("content-encoding", "none")
    inflate = zlib.decompressobj(wbits=47).decompress if coding == "gzip" else bytes
    at = first = plain = 0
    text = b""
    while (size_end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:size_end], 16)
        chunk = body[size_end + 2 : size_end + 2 + size]
        at = size_end + 4 + size
        text += inflate(chunk)
        if not first and text.find(b"\n\n", text.find(b"event: ")) >= 0:
            first, plain = at, len(text)
    if b"event: snapshot" not in text[:2000] or text.count(b"event: update") < seconds / 6:
        raise SystemExit(f"no stream of snapshot and updates: {head!r} {text[:200]!r}")
    return coding, first, len(body) - first, len(text) - plain


# -- viewers who stop and go -------------------------------------------------------------------


def stuck(folder: Path, quick: bool) -> list[Check]:
    """Half of 400 viewers stop reading; updates are large, so that their buffers are soon full."""
    seconds, longest_s = (5.0, 40.0) if quick else (15.0, 120.0)
    with Gunicorn(changed=60) as server, Viewers(folder, server.port, STREAM) as crowd:
        crowd.open(200, rcvbuf=4096)
        crowd.open(200)
        time.sleep(_SETTLE_S * 2)
        well = crowd.watch(seconds)
        before_kb = most_kb = rss_kb(server.pid)
        stats = json.loads(server.get("/monitor/api/v1/stats")[1])
        dropped, skipped_s = stats["dropped"]["events"], 0.0
        began_s = time.monotonic()
        crowd.say(f"window {time.time():.6f} {time.time() + seconds:.6f}")
        crowd.say("stop 200")

        def are_gone() -> bool:
            nonlocal most_kb, skipped_s
            most_kb = max(most_kb, rss_kb(server.pid))
            stats = json.loads(server.get("/monitor/api/v1/stats")[1])
            if not skipped_s and stats["dropped"]["events"] > dropped:
                skipped_s = time.monotonic()
            return bool(stats["viewers"] <= 200)

        gone_s = until(are_gone, longest_s, each_s=0.2)
        time.sleep(max(0.0, began_s + seconds + 1 - time.monotonic()))
        report = crowd.say("report")
    since_s = gone_s - (skipped_s - began_s) if skipped_s else float("inf")
    growth, ratio = (most_kb - before_kb) / 1000, report["lag_p50_ms"] / well["lag_p50_ms"]
    say(
        f"200 of 400 stop reading: RSS +{growth:.1f} MB, the others' lag {well['lag_p50_ms']:.1f} "
        f"-> {report['lag_p50_ms']:.1f} ms at the median, {well['lag_p99_ms']:.1f} -> "
        f"{report['lag_p99_ms']:.1f} ms at p99, gone {gone_s:.1f} s after they stopped, "
        f"{since_s:.1f} s after their first event was skipped"
    )
    return [
        ("200 stuck viewers, memory", growth, 40, "MB"),
        ("the others' lag at the median, times", ratio, 2, ""),
        ("stuck viewers gone, since an event was skipped", since_s, 15, "s"),
    ]


def closed(folder: Path, quick: bool) -> list[Check]:
    """All viewers close at once."""
    viewers = many(quick)
    with Gunicorn(changed=2.5) as server, Viewers(folder, server.port, STREAM) as crowd:
        opened = crowd.open(viewers)["open"]
        time.sleep(_SETTLE_S)
        counted = server.viewers()
        answer = crowd.say(f"drop {viewers}")
        until(lambda: not server.viewers(), 60, each_s=0.005)
        took_s = time.time() - answer["to_at"]
    say(
        f"{opened:,} viewers (told: {counted:,}) close within "
        f"{answer['to_at'] - answer['from_at']:.2f} s: none is told {took_s:.2f} s later"
    )
    return [(f"{opened:,} closed at once, until none is told", took_s, 0.3, "s")]


# -- workers that go ---------------------------------------------------------------------------


def lateness(byes: Sequence[float], told: Sequence[float]) -> list[float]:
    """Return how late each bye was after the last moment at which a worker was told, sorted."""
    return sorted(at - told[max(0, bisect(told, at) - 1)] for at in byes)


def spread(late_s: list[float]) -> str:
    """Return the median, p99 and last of what is sorted, in words."""
    if not late_s:
        return "none was told bye"
    p50, p99, most = (share(late_s, part) * 1000 for part in (0.5, 0.99, 1))
    return f"bye was read after {p50:.0f} ms at the median, {p99:.0f} at p99, {most:.0f} the last"


def last(late_s: list[float]) -> float:
    """Return how late the last bye was; infinity where there was none."""
    return late_s[-1] if late_s else float("inf")


def term(folder: Path, quick: bool) -> list[Check]:
    """The server is told to stop; it may take 30 s for it."""
    viewers = many(quick)
    server = Gunicorn("--graceful-timeout", "30", changed=2.5)
    with server, Viewers(folder, server.port, STREAM) as crowd:
        opened = crowd.open(viewers)["open"]
        time.sleep(_SETTLE_S)
        pid = server.pid
        told_at = time.time()
        server.process.terminate()
        took_s = until(lambda: not is_alive(pid), 40, each_s=0.005)
        until(lambda: crowd.say("report")["lost"] >= opened, 5)
        report = crowd.say("report")
        late_s = lateness(crowd.byes(), [told_at])
        faults = server.said().count("Traceback")
    say(
        f"SIGTERM with {opened:,} viewers: the worker is gone after {took_s:.2f} s, "
        f"{report['byes']:,} were told bye, {report['open']:,} are still connected, "
        f"{faults} tracebacks; {spread(late_s)}"
    )
    return [
        (f"SIGTERM with {opened:,} viewers, last bye", last(late_s), 0.2, "s"),
        (f"SIGTERM with {opened:,} viewers, worker gone", took_s, 1.2, "s"),
        ("viewers who were not told bye", opened - report["byes"], 0, ""),
    ]


def reload(folder: Path, _quick: bool) -> list[Check]:
    """HUP with 100 viewers, who come back, and ordinary requests."""
    server = Gunicorn("--graceful-timeout", "30", changed=2.5, workers=2)
    with (
        server,
        Viewers(folder, server.port, STREAM) as crowd,
        Asker(server.port, per_s=50, keeps=False) as asker,
    ):
        crowd.say("stay")
        crowd.open(100)
        time.sleep(_SETTLE_S)
        old = server.crew()
        told_at = time.time()
        server.process.send_signal(signal.SIGHUP)
        took_s = until(lambda: not any(map(is_alive, old)), 40)
        until(lambda: crowd.say("report")["back"] >= 100, 10)
        report = crowd.say("report")
        late_s = lateness(crowd.byes(), [told_at])
    failed = sum(not one.is_answered for one in asker.replies)
    say(
        f"HUP with 100 viewers: {failed} of {len(asker.replies)} requests failed, the longest took "
        f"{max(one.ms for one in asker.replies):.0f} ms; the old workers are gone after "
        f"{took_s:.2f} s; {report['byes']} were told bye, {report['back']} are back; "
        f"{spread(late_s)}"
    )
    return [
        ("HUP, last bye", last(late_s), 0.2, "s"),
        ("HUP, requests that failed", failed, 0, ""),
        ("HUP, old workers gone", took_s, 1.5, "s"),
    ]


def max_requests(folder: Path, _quick: bool) -> list[Check]:
    """The only worker ends after so many requests, with 20 viewers."""
    server = Gunicorn("--graceful-timeout", "30", "--max-requests", "150", changed=2.5)
    with (
        server,
        Viewers(folder, server.port, STREAM) as crowd,
        Asker(server.port, per_s=40, keeps=False) as asker,
    ):
        crowd.say("stay")
        crowd.open(20)
        workers = {server.pid}
        until_s = time.monotonic() + 12
        while time.monotonic() < until_s:
            workers |= set(server.crew())
            time.sleep(0.1)
        ends_at = [float(at) for at in re.findall(r"last request at ([\d.]+)", server.said())]
        late_s = lateness(crowd.byes(), ends_at)
    ends_s = sorted(one.at_s + one.ms / 1000 for one in asker.replies)
    pause_s = max(b - a for a, b in pairwise(ends_s))
    failed = sum(not one.is_answered for one in asker.replies)
    say(
        f"max_requests, one worker, 20 viewers: {len(workers)} workers in 12 s, longest pause "
        f"between replies {pause_s:.2f} s, {failed} of {len(ends_s)} requests failed; "
        f"{spread(late_s)}"
    )
    return [
        ("max_requests, last bye", last(late_s), 0.2, "s"),
        ("max_requests, longest pause between replies", pause_s, 0.5, "s"),
        ("max_requests, requests that failed", failed, 0, ""),
    ]


def killed(folder: Path, _quick: bool) -> list[Check]:
    """The worker of 1,000 viewers is killed; they wait as they were told to."""
    with (
        Gunicorn(changed=2.5) as server,
        Viewers(folder, server.port, STREAM) as crowd,
    ):
        crowd.say("stay")
        crowd.open(1_000)
        time.sleep(_SETTLE_S)
        os.kill(server.pid, signal.SIGKILL)
        took_s = until(lambda: crowd.say("report")["back"] >= 1_000, 30)
        report = crowd.say("report")
    spread_s = report["last_try_at"] - report["first_try_at"]
    say(
        f"kill -9 with 1,000 viewers: they ask again over {spread_s:.2f} s; all are back after "
        f"{took_s:.2f} s"
    )
    return [("kill -9, 2 s of the spread over which 1,000 return", 2 / max(spread_s, 0.001), 1, "")]


# -- limits ------------------------------------------------------------------------------------


def cap(folder: Path, _quick: bool) -> list[Check]:
    """200 want to watch where 50 may."""
    server = Gunicorn(changed=2.5, max_viewers=50)
    with (
        server,
        Viewers(folder, server.port, STREAM) as crowd,
        Asker(server.port, per_s=50, keeps=False) as asker,
    ):
        found = crowd.open(200)
        time.sleep(_SETTLE_S)
    failed = sum(not one.is_answered for one in asker.replies)
    say(
        f"200 viewers, 50 places: {found['open']} watch, {found['full']} got 503 "
        f"({found['hints']} with Retry-After), {failed} of {len(asker.replies)} ordinary requests "
        "failed"
    )
    return [
        ("50 places, viewers more or less", abs(found["open"] - 50), 0, ""),
        ("50 places, surplus not told 503 and when", 150 - found["hints"], 0, ""),
        ("50 places, ordinary requests that failed", failed, 0, ""),
    ]


def few_descriptors(folder: Path, _quick: bool) -> list[Check]:
    """400 want to watch where a process may have 256 descriptors."""
    server = Gunicorn(changed=2.5, descriptors=256, max_viewers=0)
    with (
        server,
        Viewers(folder, server.port, STREAM) as crowd,
        Asker(server.port, per_s=50, keeps=False, timeout_s=3) as asker,
    ):
        found = crowd.open(400, within_s=10)
        time.sleep(_SETTLE_S)
    failed = sum(not one.is_answered for one in asker.replies)
    longest_ms = max(one.ms for one in asker.replies)
    say(
        f"400 viewers, 256 descriptors: {found['open']} watch, {found['full']} got 503, "
        f"{found['other']} neither; {failed} of {len(asker.replies)} ordinary requests failed, the "
        f"longest took {longest_ms:.0f} ms"
    )
    return [
        ("256 descriptors, ordinary requests that failed", failed, 0, ""),
        ("256 descriptors, longest ordinary request", longest_ms, 1_000, "ms"),
    ]


CASES: tuple[Callable[[Path, bool], list[Check]], ...] = (
    idle,
    busy,
    stuck,
    closed,
    term,
    reload,
    max_requests,
    killed,
    cap,
    few_descriptors,
)


if __name__ == "__main__":
    main()
