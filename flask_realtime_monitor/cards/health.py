"""Whether the monitor itself is well, and which workers report."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card


def data(picture: Picture) -> dict[str, Any]:
    """Return health, workers, coverage, and what was thrown away."""
    workers = picture.workers(limit=100)
    stats = picture.stats()
    return {
        "health": picture.health(),
        "workers": workers["items"],
        "coverage": stats["coverage"],
        "dropped": stats["dropped"],
        "excluded": stats["excluded"],
        "as_of": workers["as_of"],
    }


CARD = Card("health", "Workers and health", data)
