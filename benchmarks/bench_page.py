"""How smooth the page is at volume: 10,000 sessions, 100 of them making a request each second.

In a real Chromium, traced, while it scrolls up and down without a pause. The 100 changed sessions
of a second are never the same, so that all rows of the stream's first hundred change: the worst
there is. Once with an update each second, as is the default, and once with ten a second.

- "a frame's work": all that the page's main thread did from one frame to the next, by the trace's
  tasks (RunTask). At 60 Hz a frame has 16.7 ms; one with less than 16 ms of work is in time.
- "shown late": frames that came over 25 ms after the one before (requestAnimationFrame), that is,
  where the screen's next refresh was missed. Headless Chromium refreshes at 60 Hz, too, but draws
  with the CPU, so that other work on the machine shows here: see the floor.
- "longest task": of the main thread; over 50 ms is what browsers call a long one. "of it CPU" is
  the longest by the thread's own time: what other work on the machine took from it is left out.
- The floor is an empty page that is scrolled in the same way, in the same run.

First of all the page's weight: bytes transferred for the page and its files, bodies and headers
(the stream's not), and when the first numbers were painted where no script may run.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from statistics import median
from typing import Any, NamedTuple

from streaming import Gunicorn, Skip, until
from support import aims, heading, options, share, table

SESSIONS = 10_000
CHANGED_PER_S = 100.0
FRAME_MS = 16.0
LATE_MS = 25.0
LONG_MS = 100.0
CATEGORIES = ["disabled-by-default-devtools.timeline", "devtools.timeline"]
FLOOR = "floor: empty page"
# Draws nothing itself: the page below it moves.
SCROLLING = """() => {
    let down = 1;
    let last = performance.now();
    window.deltas = [];
    const step = (now) => {
        window.deltas.push(now - last);
        last = now;
        const before = scrollY;
        scrollBy(0, 9 * down);
        if (scrollY === before) down = -down;
        requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
}"""


class Figures(NamedTuple):
    """How smooth a page was."""

    frames: int
    in_time: float  # 0 to 1
    work_p50_ms: float
    work_p99_ms: float
    late: float  # 0 to 1
    longest_ms: float
    longest_cpu_ms: float
    long_tasks: int


class Weight(NamedTuple):
    """What it takes to see the page."""

    files: int
    body_bytes: int
    header_bytes: int
    page_bytes: int
    first_numbers_ms: float

    @property
    def all_bytes(self) -> int:
        return self.body_bytes + self.header_bytes


def main() -> None:
    """Print how smooth the page is."""
    quick = options(__doc__).quick
    seconds = 4.0 if quick else 20.0
    heading(f"The page with {SESSIONS:,} sessions, {CHANGED_PER_S:g} changed a second")
    try:
        found, weight = measured(seconds, 2 if quick else 5)
    except Skip as reason:
        print(f"left out: {reason}")
        return
    tell(found, weight)


def measured(seconds: float, rounds: int) -> tuple[dict[str, Figures], Weight]:
    """Return the figures by case, and the weight."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise Skip("no chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Skip("no playwright") from None
    found: dict[str, Figures] = {}
    with sync_playwright() as playwright:
        # Before any server: what is started later has one core only.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found[FLOOR] = floor(browser, seconds)
        for interval_s in (1.0, 0.1):
            print(f"an update each {interval_s:g} s", file=sys.stderr, flush=True)
            with Gunicorn(
                *("--workers", "1"),
                changed=CHANGED_PER_S,
                sessions=SESSIONS,
                update_interval=interval_s,
            ) as server:
                until(lambda: sessions_of(server) >= SESSIONS, 60)
                if interval_s == 1.0:
                    weight = weigh(browser, server, rounds)
                found[f"an update each {interval_s:g} s"] = watched(browser, server, seconds)
        browser.close()
    return found, weight


def sessions_of(server: Gunicorn) -> int:
    """Return how many sessions the page is about."""
    return int(json.loads(server.get("/monitor/api/v1/stats")[1])["total_sessions"])


def url_of(server: Gunicorn) -> str:
    """Return the URL of the page."""
    return f"http://127.0.0.1:{server.port}/monitor/"


# -- smoothness --------------------------------------------------------------------------------


def floor(browser: Any, seconds: float) -> Figures:
    """Return what a page that does nothing comes to on this machine."""
    page = opened(browser)
    page.set_content("<!doctype html><title>floor</title><pre>" + "line\n" * 300)
    figures = traced(browser, page, seconds)
    page.context.close()
    return figures


def watched(browser: Any, server: Gunicorn, seconds: float) -> Figures:
    """Return how smooth the monitor's page is, once it is live."""
    page = opened(browser)
    page.goto(url_of(server))
    page.locator("#connection[data-state=live]").wait_for()
    figures = traced(browser, page, seconds)
    words = page.locator("#connection-text").inner_text()
    if not words.startswith("Live"):
        raise SystemExit(f"the page did not stay live: {words}")
    page.context.close()
    return figures


def opened(browser: Any) -> Any:
    """Return a new page of a desktop's size."""
    return browser.new_context(viewport={"width": 1440, "height": 900}).new_page()


def traced(browser: Any, page: Any, seconds: float) -> Figures:
    """Scroll a page for a while; return what its main thread did."""
    page.evaluate(SCROLLING)
    time.sleep(1.0)
    page.evaluate("window.deltas.length = 0")
    browser.start_tracing(page=page, categories=CATEGORIES)
    time.sleep(seconds)
    trace = json.loads(browser.stop_tracing())["traceEvents"]
    deltas = page.evaluate("window.deltas")
    return figures_of(trace, deltas)


def figures_of(trace: list[dict[str, Any]], deltas: list[float]) -> Figures:
    """Return the figures of a trace and of the page's own count of frames."""
    frames = [one for one in trace if one["name"] == "FireAnimationFrame"]
    (thread, _), *_ = Counter((one["pid"], one["tid"]) for one in frames).most_common(1)
    starts = sorted(one["ts"] for one in frames if (one["pid"], one["tid"]) == thread)
    tasks = sorted(
        (one["ts"], one["dur"], one.get("tdur", one["dur"]))
        for one in trace
        if one["name"] == "RunTask" and (one["pid"], one["tid"]) == thread and "dur" in one
    )
    work = [0.0] * (len(starts) - 1)
    at = 0
    for began, took, _ in tasks:
        # A task that fires a frame is that frame's, though it began a moment before.
        while at < len(work) and starts[at + 1] <= began + took:
            at += 1
        if at < len(work) and began + took >= starts[0]:
            work[at] += took / 1000
    longest = sorted(took / 1000 for _, took, _ in tasks)
    work.sort()
    return Figures(
        frames=len(work),
        in_time=sum(one < FRAME_MS for one in work) / len(work),
        work_p50_ms=median(work),
        work_p99_ms=share(work, 0.99),
        late=sum(one > LATE_MS for one in deltas) / max(1, len(deltas)),
        longest_ms=longest[-1],
        longest_cpu_ms=max(cpu for _, _, cpu in tasks) / 1000,
        long_tasks=sum(one > LONG_MS for one in longest),
    )


# -- weight ------------------------------------------------------------------------------------


def weigh(browser: Any, server: Gunicorn, rounds: int) -> Weight:
    """Return what the page weighs, and when its first numbers are there without any script."""
    page = opened(browser)
    ended: list[Any] = []

    def end(request: Any) -> None:
        ended.append(request)

    page.on("requestfinished", end)
    page.goto(url_of(server))
    page.locator("#connection[data-state=live]").wait_for()
    sizes = {
        one.url: one.sizes() for one in ended if "/stream" not in one.url and "/api/" not in one.url
    }
    page.context.close()
    painted = [first_numbers_ms(browser, server) for _ in range(rounds)]
    return Weight(
        files=len(sizes),
        body_bytes=sum(one["responseBodySize"] for one in sizes.values()),
        header_bytes=sum(one["responseHeadersSize"] for one in sizes.values()),
        page_bytes=sizes[url_of(server)]["responseBodySize"],
        first_numbers_ms=median(painted),
    )


def first_numbers_ms(browser: Any, server: Gunicorn) -> float:
    """Return when the first numbers were painted, in ms from the click; scripts are blocked."""
    page = opened(browser)
    page.route("**/*.js", lambda route: route.abort())
    page.goto(url_of(server))
    figure = page.locator(".tile .figure").first
    figure.wait_for()
    if not any(one.isdigit() for one in figure.inner_text()):
        raise SystemExit(f"no number without a script: {figure.inner_text()!r}")
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
    until(lambda: page.evaluate(paint) is not None, 10)
    found = float(page.evaluate(paint))
    page.context.close()
    return found


# -- telling -----------------------------------------------------------------------------------


def tell(found: dict[str, Figures], weight: Weight) -> None:
    """Print what was found, beside the aims."""
    table(
        (
            *("", "frames", "work under 16 ms", "p50 ms", "p99 ms", "shown late"),
            *("longest task ms", "of it CPU", "tasks over 100 ms"),
        ),
        [
            (
                name,
                f"{one.frames:,}",
                f"{one.in_time:.1%}",
                f"{one.work_p50_ms:.1f}",
                f"{one.work_p99_ms:.1f}",
                f"{one.late:.1%}",
                f"{one.longest_ms:.1f}",
                f"{one.longest_cpu_ms:.1f}",
                f"{one.long_tasks}",
            )
            for name, one in found.items()
        ],
    )
    table(
        ("the page", ""),
        [
            (f"transferred, {weight.files} files", f"{weight.all_bytes:,} bytes"),
            ("of it headers", f"{weight.header_bytes:,} bytes"),
            ("of it the HTML", f"{weight.page_bytes:,} bytes"),
            ("first numbers, no script", f"{weight.first_numbers_ms:,.0f} ms"),
        ],
    )
    ours = {name: one for name, one in found.items() if name != FLOOR}
    aims(
        [
            *(
                (f"{name}: frames of 16 ms or more", 100 * (1 - one.in_time), 5, "%")
                for name, one in ours.items()
            ),
            *(
                (f"{name}: longest task", one.longest_ms, LONG_MS, "ms")
                for name, one in ours.items()
            ),
            ("transferred", weight.all_bytes, 60_000, "bytes"),
        ]
    )


if __name__ == "__main__":
    main()
