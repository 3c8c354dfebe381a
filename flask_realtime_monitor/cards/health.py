"""Whether the monitor itself is well, and which workers report."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card


def data(picture: Picture) -> dict[str, Any]:
    """Return health, workers and coverage."""
    workers = picture.workers()
    return {
        "health": picture.health(),
        "workers": workers["items"],
        "coverage": picture.stats()["coverage"],
        "as_of": workers["as_of"],
    }


CARD = Card("health", "Workers and health", data)
