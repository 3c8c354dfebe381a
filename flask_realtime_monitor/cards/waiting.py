"""Requests that have been in flight for over a second."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card

_LONG_S = 1.0


def data(picture: Picture) -> dict[str, Any]:
    """Return the requests that somebody is waiting for, oldest first."""
    items = picture.in_flight(limit=100)["items"]
    return {"requests": [one for one in items if one["age_s"] > _LONG_S]}


CARD = Card("waiting", "Waiting now", data)
