"""What people do, newest first."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card

_FIRST_LINES = 30  # more than the list is high; its script draws no more until it is scrolled
_LOOKED_BACK_S = 1800  # as the page does until its viewer chooses


def data(picture: Picture) -> dict[str, Any]:
    """Return the newest activities of the last half hour, and what an empty list is due to."""
    found = picture.activities(limit=_FIRST_LINES)
    items = found["items"]
    since_at = found["as_of"] - _LOOKED_BACK_S
    return {
        "activities": [one for one in items if one["at"] >= since_at],
        "last_s": found["as_of"] - items[0]["at"] if items else None,
        "excluded": picture.stats()["excluded"],
    }


CARD = Card("activity", "Activity", data)
