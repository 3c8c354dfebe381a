"""What several workers tell of one picture, and visits that give them something to tell."""

from __future__ import annotations

from typing import Any, NamedTuple

from .lines import Line
from .waiting import wait_until

TOTALS = (
    *("requests_total", "errors_total", "total_sessions", "active_users", "active_sessions"),
    "since_at",
)


class Everything(NamedTuple):
    """All that must be the same, whoever is asked, and whenever."""

    sessions: dict[str, tuple[int, int, Any]]
    endpoints: dict[str, tuple[int, int]]
    history: list[tuple[Any, ...]]
    feed: list[str]


def visit(lines: list[Line], n: int, people: int = 5, one_fails_in: int | None = None) -> None:
    """Make requests, each by the next worker, and see that each is answered."""
    for number in range(n):
        user = number % people
        fails = one_fails_in is not None and number % one_fails_in == one_fails_in - 1
        said = lines[number % len(lines)].get(
            "/fail" if fails else "/", agent=f"agent {user}", X_User=f"user-{user}"
        )
        assert said == "home" or fails


def told(line: Line) -> dict[str, Any]:
    """Return a worker's totals."""
    stats = line.api("stats")
    return {name: stats[name] for name in TOTALS}


def agree(lines: list[Line], **wanted: Any) -> dict[str, Any]:
    """Wait until all tell the same and a whole picture, and some numbers as wanted; return it."""

    def same() -> dict[str, Any] | None:
        # Asked first: what was told before it was whole may be a part on which all agree.
        is_whole = all(line.api("stats")["coverage"]["complete"] for line in lines)
        found = [told(line) for line in lines]
        is_right = all(one == found[0] for one in found) and found[0].items() >= wanted.items()
        return found[0] if is_right and is_whole else None

    return wait_until(
        same, lambda: f"all tell the same, with {wanted}; not {[told(one) for one in lines]}"
    )


def coverage(line: Line) -> tuple[int, int, int, bool]:
    """Return how many workers there are, report, on how many hosts, and if that is all."""
    found = line.api("stats")["coverage"]
    return found["workers"], found["workers_reporting"], found["hosts"], found["complete"]


def everything(line: Line) -> Everything:
    """Return what a worker tells, in an order that does not depend on who is asked."""
    sessions = {
        one["id"]: (one["requests"], one["errors"], one["user"])
        for one in line.api("sessions?limit=1000")["items"]
    }
    endpoints = {
        one["endpoint"]: (one["requests"], one["errors"])
        for one in line.api("endpoints?limit=1000")["items"]
    }
    history = [
        (one["at"], one["requests"], one["errors"], one["active_users"], one["active_sessions"])
        for one in line.api("stats")["history"]
        if one["requests"]
    ]
    feed = [one["id"] for one in line.api("activities?limit=1000")["items"]]
    assert len(set(feed)) == len(feed), "an activity is told twice"
    return Everything(sessions, endpoints, sorted(history), sorted(feed))


def tell_everything_alike(lines: list[Line]) -> Everything:
    """See that all tell the same to the last activity; return it."""
    first, *others = [everything(line) for line in lines]
    assert all(other == first for other in others)
    return first
