"""What people do, newest first."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import FIRST_ROWS, Card


def data(picture: Picture) -> dict[str, Any]:
    """Return the newest activities."""
    return {"activities": picture.activities(limit=FIRST_ROWS)["items"]}


CARD = Card("activity", "Activity", data)
