"""One session's story; what it shows is asked for when it opens."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import Card


def data(_: Picture) -> dict[str, Any]:
    """Return nothing: the page does not know yet whose story will be read."""
    return {}


CARD = Card("drawer", "Session", data)
