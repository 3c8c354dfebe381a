"""Whether the monitor itself is well: its limits, its cost, and what is wrong in plain words."""

from __future__ import annotations

from typing import Any, NamedTuple

from .tracker import Tracker

MEMORY_BYTES = 50_000_000
MEMORY_BYTES_PER_SESSION = 1_000
MEMORY_FREE_SESSIONS = 10_000
LOCK_WAIT_US = 10_000
CPU_SHARE = 0.05


class Vitals(NamedTuple):
    """What health is judged by."""

    memory_bytes: int
    sessions: int
    lock_wait_p99_us: float | None
    cpu_share: float | None
    is_one_of_many: bool
    errors: int
    limits: list[dict[str, Any]]
    store_url: str
    store_lag_s: float | None
    sharing: list[str]
    waiting: int


def size_bytes(tracker: Tracker) -> int:
    """Return what a tracker holds, by its own count (rows, tables, feed)."""
    return (
        tracker.sessions.size_bytes()
        + 120 * len(tracker.paths)
        + 250 * tracker.rare_count
        + 600 * len(tracker.feed)
    )


def report(vitals: Vitals) -> dict[str, Any]:
    """Return ``health`` as docs/json.md has it, but for the page."""
    problems = _problems(vitals)
    return {
        "status": "degraded" if problems else "ok",
        "problems": problems,
        "limits": vitals.limits,
        "store": {"url": vitals.store_url, "lag_s": vitals.store_lag_s},
    }


def memory_limit(sessions: int) -> int:
    """Return the bytes above which memory is a problem: 50 MB, and 1 KB a session over 10,000."""
    return MEMORY_BYTES + MEMORY_BYTES_PER_SESSION * max(0, sessions - MEMORY_FREE_SESSIONS)


def _problems(vitals: Vitals) -> list[str]:
    found = list(vitals.sharing)
    if vitals.waiting:
        found.append(
            f"not shown yet: {vitals.waiting:,} of what was done here; the store has not given the "
            "salt by which visitors are told apart"
        )
    if vitals.is_one_of_many:
        found.append(
            "several workers run and each keeps its own picture: this is one worker's part; set "
            "REALTIME_MONITOR_STORE to what they share: 'sqlite:////path' for one host, "
            "'redis://host' for several"
        )
    most = memory_limit(vitals.sessions)
    if vitals.memory_bytes > most:
        found.append(
            f"the tracker holds {vitals.memory_bytes / 1e6:.0f} MB, more than {most / 1e6:.0f} MB; "
            f"lower REALTIME_MONITOR_MAX_SESSIONS or REALTIME_MONITOR_SESSION_HISTORY_SIZE"
        )
    wait = vitals.lock_wait_p99_us
    if wait is not None and wait > LOCK_WAIT_US:
        found.append(f"1 in 100 waits for the tracker's lock takes over {wait / 1000:.0f} ms")
    if vitals.cpu_share is not None and vitals.cpu_share > CPU_SHARE:
        found.append(f"the monitor itself uses {vitals.cpu_share:.0%} of a core")
    if vitals.errors:
        found.append(
            f"{vitals.errors} calls of the monitor failed in this worker; the log has the first "
            f"of each kind"
        )
    for limit in vitals.limits:
        if limit["limit"] and limit["used"] >= limit["limit"] and limit["name"] in _TELLING:
            found.append(f"{limit['name']}: all {limit['limit']} are in use")
    return found


# The others are rings and tables that are meant to be full.
_TELLING = frozenset({"sessions", "viewers", "agents", "routes"})
