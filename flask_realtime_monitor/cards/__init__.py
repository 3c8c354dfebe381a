"""The cards of the dashboard, in the order in which they stand on the page.

An app adds its own: ``from flask_realtime_monitor.cards import Card, Reader``.
"""

from __future__ import annotations

from . import activity, drawer, health, pages, people, tiles, timeline, waiting
from .base import Card
from .deck import CardFailed, Deck, FirstSight
from .reader import Reader

__all__ = ["CARDS", "Card", "CardFailed", "Deck", "FirstSight", "Reader"]

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
