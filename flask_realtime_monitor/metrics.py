"""The picture as Prometheus text: each number once, under one name (docs/json.md).

Format: Prometheus "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .picture import Picture

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "flask_realtime_monitor_"
_QUANTILES = (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))

Sample = tuple[dict[str, str], float | None]


class Metric(NamedTuple):
    """One family: its name without the prefix, its type, what it says, and its samples."""

    name: str
    type: str
    help: str
    samples: list[Sample]


def render(picture: Picture) -> str:
    """Return every metric of the picture; a number without data is left out, never 0."""
    return "".join(_text(metric) for metric in _metrics(picture))


def _metrics(picture: Picture) -> Iterator[Metric]:
    stats = picture.stats()
    coverage = stats["coverage"]
    for name, type_, help_, value in (
        ("active_users", "gauge", "Signed-in users active now.", stats["active_users"]),
        ("active_sessions", "gauge", "Sessions active now.", stats["active_sessions"]),
        ("sessions", "gauge", "Sessions not yet ended.", stats["total_sessions"]),
        ("anonymous_sessions", "gauge", "Those without a user.", stats["anonymous_sessions"]),
        ("requests_total", "counter", "Requests that have ended.", stats["requests_total"]),
        ("errors_total", "counter", "5xx and unhandled exceptions.", stats["errors_total"]),
        ("excluded_total", "counter", "Requests not recorded.", stats["excluded"]),
        ("requests_per_second", "gauge", "Over 60 s.", stats["requests_per_s"]),
        ("errors_per_second", "gauge", "Over 60 s.", stats["errors_per_s"]),
        ("requests_in_flight", "gauge", "Requests not yet ended.", stats["in_flight"]),
        ("viewers", "gauge", "Open streams.", stats["viewers"]),
        ("workers", "gauge", "Workers not yet gone.", coverage["workers"]),
        (
            "workers_reporting",
            "gauge",
            "Workers that have reported lately.",
            coverage["workers_reporting"],
        ),
        ("hosts", "gauge", "Hosts of the workers.", coverage["hosts"]),
        (
            "coverage_complete",
            "gauge",
            "1 = every worker is in the numbers, 0 = they are at least so much.",
            float(coverage["complete"]),
        ),
        (
            "oldest_report_seconds",
            "gauge",
            "Age of the oldest worker's last report.",
            coverage["oldest_report_s"],
        ),
        ("since_timestamp_seconds", "gauge", "When the picture began.", stats["since_at"]),
    ):
        yield Metric(name, type_, help_, [({}, value)])
    yield Metric(
        "dropped_total",
        "counter",
        "Thrown away at a bound.",
        [({"what": what}, n) for what, n in stats["dropped"].items()],
    )
    yield Metric(
        "latency_seconds",
        "gauge",
        "Request durations of the last 5 min.",
        _quantiles({}, stats["latency_ms"], 1e-3),
    )
    yield from _endpoints(picture.endpoints(limit=1000)["items"])
    yield from _workers(picture.workers(limit=1000)["items"])
    health = picture.health()
    yield Metric(
        "healthy", "gauge", "1 = ok, 0 = degraded.", [({}, float(health["status"] == "ok"))]
    )
    yield Metric(
        "store_lag_seconds",
        "gauge",
        "Age of what the store has of the worker that answers.",
        [({}, health["store"]["lag_s"])],
    )
    for name, key in (("limit_used", "used"), ("limit", "limit")):
        yield Metric(
            name,
            "gauge",
            "The bounds and how full they are.",
            [({"name": limit["name"]}, limit[key]) for limit in health["limits"]],
        )


def _endpoints(items: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, type_, key in (
        ("endpoint_requests_total", "counter", "requests"),
        ("endpoint_errors_total", "counter", "errors"),
        ("endpoint_active_sessions", "gauge", "active_sessions"),
        ("endpoint_active_users", "gauge", "active_users"),
    ):
        samples: list[Sample] = [({"endpoint": one["endpoint"]}, one[key]) for one in items]
        yield Metric(name, type_, f"By endpoint: {key.replace('_', ' ')}.", samples)
    yield Metric(
        "endpoint_latency_seconds",
        "gauge",
        "By endpoint: request durations of the last 5 min.",
        [
            sample
            for one in items
            for sample in _quantiles({"endpoint": one["endpoint"]}, one["latency_ms"], 1e-3)
        ],
    )


def _workers(items: list[dict[str, Any]]) -> Iterator[Metric]:
    labels = [{"worker": one["id"], "host": one["host"]} for one in items]
    yield Metric(
        "worker_memory_bytes",
        "gauge",
        "Resident memory of the worker.",
        [(label, one["rss_bytes"]) for label, one in zip(labels, items, strict=True)],
    )
    yield Metric(
        "worker_failures_total",
        "counter",
        "Calls of the monitor that failed.",
        [(label, one["errors"]) for label, one in zip(labels, items, strict=True)],
    )
    for name, key in (
        ("worker_record_seconds", "record_us"),
        ("worker_lock_wait_seconds", "lock_wait_us"),
    ):
        yield Metric(
            name,
            "gauge",
            f"{key.removesuffix('_us').replace('_', ' ').capitalize()} per request.",
            [
                sample
                for label, one in zip(labels, items, strict=True)
                for sample in _quantiles(label, one[key], 1e-6)
            ],
        )


def _quantiles(labels: dict[str, str], values: dict[str, Any], unit: float) -> list[Sample]:
    return [
        ({**labels, "quantile": quantile}, None if values[key] is None else values[key] * unit)
        for quantile, key in _QUANTILES
        if key in values
    ]


def _text(metric: Metric) -> str:
    lines = [
        f"{_PREFIX}{metric.name}{_labels(labels)} {_number(value)}\n"
        for labels, value in metric.samples
        if value is not None
    ]
    if not lines:
        return ""
    name = _PREFIX + metric.name
    return f"# HELP {name} {metric.help}\n# TYPE {name} {metric.type}\n" + "".join(lines)


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(value) if isinstance(value, int) else f"{value:.10g}"
