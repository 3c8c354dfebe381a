"""The last half hour: requests, errors and people of each minute."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card
from .minutes import last_minutes


def data(picture: Picture) -> dict[str, Any]:
    """Return the minutes, their sums and their largest."""
    stats = picture.stats()
    minutes = last_minutes(stats)
    return {
        "minutes": minutes,
        "requests": sum(one["requests"] or 0 for one in minutes),
        "errors": sum(one["errors"] or 0 for one in minutes),
        "most_requests": max(one["requests"] or 0 for one in minutes),
        "most_people": max(one["active_sessions"] or 0 for one in minutes),
        "coverage": stats["coverage"],
    }


CARD = Card("timeline", "Last 30 minutes", data)
