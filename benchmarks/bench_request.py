"""Added time per request, against the plain app, a no-op floor and prometheus-flask-exporter.

All variants are the same Flask app, called as a server would call it, in one process, in small
blocks one after the other. Of each block the median time of a request is taken; a round's
difference to the plain app is one sample, and the table shows the median of the samples. CPU is
that of all threads over whole blocks, the folding of what was queued included. Receivers of
Flask's signals are connected for the blocks of their own app only: one anywhere in the process
makes every app's signals dearer.
"""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import Any

from flask import Flask, got_request_exception, request_finished, request_tearing_down
from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from support import aims, fresh, heading, live, options, serve, share, shop, table, visits, watched

BLOCK = 400
SIGNALS = (request_finished, request_tearing_down, got_request_exception)


def floor() -> Flask:
    """Return the app with all the monitor's hooks, each empty."""
    app = shop()
    inner = app.wsgi_app

    def passed_on(environ: Any, start_response: Any) -> Any:
        return inner(environ, start_response)

    def nothing(_: Flask, **__: Any) -> None:
        pass

    def nothing_either(_: Flask, **__: Any) -> None:
        pass

    app.wsgi_app = passed_on  # type: ignore[method-assign]
    request_finished.connect(nothing, app, weak=False)
    request_tearing_down.connect(nothing_either, app, weak=False)
    got_request_exception.connect(nothing, app, weak=False)
    return app


def exporter() -> Flask:
    app = shop()
    PrometheusMetrics(app, registry=CollectorRegistry())
    return app


class Variant:
    """One app and what its blocks took."""

    def __init__(self, name: str, app: Flask, is_ours: bool = False) -> None:
        self.name = name
        self.app = app
        self.is_ours = is_ours
        self.medians: list[float] = []
        self.cpu: list[float] = []
        self.all: list[float] = []
        self.receivers = [
            (signal, receiver) for signal in SIGNALS for receiver in signal.receivers_for(app)
        ]
        self.disconnect()

    def connect(self) -> None:
        for signal, receiver in self.receivers:
            signal.connect(receiver, self.app, weak=False)

    def disconnect(self) -> None:
        for signal, receiver in self.receivers:
            signal.disconnect(receiver, self.app)

    def run(self, environs: list[dict[str, Any]]) -> None:
        """Serve a block of requests; times in us."""
        self.connect()
        app, clock = self.app, time.perf_counter
        times = []
        gc.collect()
        cpu = time.process_time()
        for environ in environs:
            began = clock()
            serve(app, environ)
            times.append((clock() - began) * 1e6)
        if self.is_ours:
            live(app).ingest.fold()
        self.cpu.append((time.process_time() - cpu) / len(environs) * 1e6)
        self.medians.append(median(times))
        self.all += times
        self.disconnect()


def main() -> None:
    quick = options(__doc__).quick
    heading("Added time per request")
    plain = Variant("plain Flask app", shop())
    ours = Variant("this monitor", watched(), True)
    peer = Variant("prometheus-flask-exporter", exporter())
    variants = [
        plain,
        Variant("no-op signals and wrapper", floor()),
        ours,
        Variant("this monitor, identify hook", watched(identify=True), True),
        peer,
    ]
    requests = visits(BLOCK * 20)
    until = time.monotonic() + (5 if quick else 45)
    rounds = 0
    while time.monotonic() < until or rounds < 5:
        start = rounds * BLOCK % len(requests)
        for turn in range(len(variants)):
            variant = variants[(turn + rounds) % len(variants)]
            variant.run([fresh(one) for one in requests[start : start + BLOCK]])
        rounds += 1
        if rounds == 2:  # what came first warmed the caches
            for variant in variants:
                variant.medians, variant.cpu, variant.all = [], [], []

    def added(one: Variant, kind: str) -> float:
        pairs = zip(getattr(one, kind), getattr(plain, kind), strict=True)
        return median(mine - its for mine, its in pairs)

    slow = {one: share(sorted(one.all), 0.99) for one in variants}
    table(
        ("us per request", "median", "added", "of peer's", "p99", "CPU", "added CPU", "of peer's"),
        [
            (
                one.name,
                f"{median(one.medians):.1f}",
                f"{added(one, 'medians'):.1f}",
                f"{added(one, 'medians') / added(peer, 'medians'):.2f}",
                f"{slow[one]:.0f}",
                f"{median(one.cpu):.1f}",
                f"{added(one, 'cpu'):.1f}",
                f"{added(one, 'cpu') / added(peer, 'cpu'):.2f}",
            )
            for one in variants
        ],
    )
    print(f"{rounds - 2} rounds of {BLOCK} requests each; the peer is the exporter\n")
    aims(
        [
            ("added time, median", added(ours, "medians"), 8, "us"),
            ("added CPU, all threads", added(ours, "cpu"), 12, "us"),
            ("of the exporter's", added(ours, "medians") / added(peer, "medians"), 0.25, ""),
        ]
    )


if __name__ == "__main__":
    main()
