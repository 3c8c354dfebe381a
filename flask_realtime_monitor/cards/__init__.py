"""The cards of the dashboard, in the order in which they stand on the page."""

from __future__ import annotations

from . import activity, drawer, health, pages, people, tiles, timeline, waiting
from .base import Card

__all__ = ["CARDS", "Card"]

CARDS: tuple[Card, ...] = (
    tiles.CARD,
    timeline.CARD,
    people.CARD,
    pages.CARD,
    waiting.CARD,
    activity.CARD,
    health.CARD,
    drawer.CARD,
)
