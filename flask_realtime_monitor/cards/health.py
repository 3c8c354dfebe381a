"""Whether the monitor itself is well, and which workers report."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card


def data(picture: Picture) -> dict[str, Any]:
    """Return health, workers and coverage."""
    return {
        "health": picture.health(),
        "workers": picture.workers()["items"],
        "coverage": picture.stats()["coverage"],
    }


CARD = Card("health", "Workers and health", data)
