"""The numbers at the top."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card
from .minutes import last_minutes

#: A page asked for less often than this has no 95th part of its requests to speak of.
FEW = 5


def data(picture: Picture) -> dict[str, Any]:
    """Return the stats, their last minutes, the oldest request in flight, the slowest endpoint."""
    oldest = picture.in_flight(limit=1)["items"]
    stats = picture.stats()
    return {
        "stats": stats,
        "minutes": last_minutes(stats),
        "oldest_in_flight_s": oldest[0]["age_s"] if oldest else None,
        "slowest": slowest(picture.endpoints(limit=100)["items"]),
        "few": FEW,
    }


def slowest(endpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the endpoint that keeps the slowest 1 in 20 of its requests waiting longest.

    Only those count that were asked for in the last 5 min, and a few times in all.
    """
    known = [
        one for one in endpoints if one["requests"] >= FEW and one["latency_ms"]["p95"] is not None
    ]
    return max(known, key=lambda one: float(one["latency_ms"]["p95"]), default=None)


CARD = Card("tiles", "Now", data)
