"""The cards of the dashboard: one stem each for data, template, script and test."""

from __future__ import annotations

CARDS: tuple[object, ...] = ()
