"""Where people are now."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card

MOST = 8


def data(picture: Picture) -> dict[str, Any]:
    """Return the endpoints with active sessions, the fullest first, and how many there are."""
    busy = [one for one in picture.endpoints(limit=100)["items"] if one["active_sessions"]]
    busy.sort(key=lambda one: (-one["active_sessions"], one["endpoint"]))
    return {"endpoints": busy[:MOST], "total": len(busy)}


CARD = Card("pages", "Pages now", data)
