"""The numbers at the top."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card


def data(picture: Picture) -> dict[str, Any]:
    """Return the stats and the age of the oldest request in flight."""
    oldest = picture.in_flight(limit=1)["items"]
    return {
        "stats": picture.stats(),
        "oldest_in_flight_s": oldest[0]["age_s"] if oldest else None,
    }


CARD = Card("tiles", "Now", data)
