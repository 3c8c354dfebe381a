"""What watching costs: CPU per tick of the publisher, and bytes of an idle stream. First figures.

In process, the clock tenfold: a tick each 0.1 s where the default is 1 s, a heartbeat each second
where it is 10 s. 500 sessions; in the busy case 12 of them make a request between two ticks. Each
viewer is drained by a thread of its own, as a server does, and its part is in the figures. The
CPU of the same traffic without viewers is taken off.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from bench_reading import visit
from support import heading, live, options, table, watched

SESSIONS = 500
CHANGED = 12
TICK_S = 0.1
FASTER = 10


class Drain:
    """One viewer, read to the end by a thread."""

    def __init__(self, broadcaster: Any, viewer: Any) -> None:
        self.viewer = viewer
        self.size = 0
        self.events = 0
        broadcaster.connect(viewer, "")
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        for frame in self.viewer.frames():
            self.size += len(frame)
            self.events += 1


def main() -> None:
    quick = options(__doc__).quick
    seconds = 1.5 if quick else 6.0
    heading("One worker's stream, first figures")
    rows, base = [], {}
    for viewers in (0, 1, 100):
        for changed in (0, CHANGED):
            cpu_ms, drains = watch(viewers, changed, seconds)
            if not viewers:
                base[changed] = cpu_ms
            own_ms = cpu_ms - base[changed]
            per_viewer = sum(one.size for one in drains) / max(1, viewers)
            minute = per_viewer / (seconds * FASTER) * 60
            rows.append(
                (
                    f"{viewers} viewers, {changed} changed",
                    f"{own_ms:.3f}" if viewers else "-",
                    f"{own_ms * 1000 / viewers:,.1f}" if viewers else "-",
                    f"{minute:,.0f}" if viewers else "-",
                )
            )
    table(("case", "CPU ms a tick", "us a viewer", "bytes/min a viewer"), rows)
    print(f"sessions: {SESSIONS}; bytes are those after the first snapshot, at the default tick")


def watch(viewers: int, changed: int, seconds: float) -> tuple[float, list[Drain]]:
    """Return CPU per tick in ms, and what the viewers read."""
    from flask_realtime_monitor.broadcaster import Viewer

    app = watched(update_interval=TICK_S, heartbeat_interval=10 / FASTER)
    parts = live(app)
    visit(parts, range(SESSIONS))
    parts.picture.stats()
    drains = [Drain(parts.broadcaster, Viewer("watch", None, lambda: True)) for _ in range(viewers)]
    time.sleep(TICK_S * 3)
    for one in drains:
        one.size = one.events = 0
    ticks = round(seconds / TICK_S)
    began_s, cpu_s = time.monotonic(), time.process_time()
    for tick in range(ticks):
        start = tick * changed % SESSIONS
        visit(parts, range(start, min(SESSIONS, start + changed)))
        time.sleep(max(0.0, began_s + (tick + 1) * TICK_S - time.monotonic()))
    spent_ms = (time.process_time() - cpu_s) * 1000 / ticks
    parts.broadcaster.stop()
    for one in drains:
        one.thread.join()
    return spent_ms, drains


if __name__ == "__main__":
    main()
