"""What a card is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..picture import Picture

#: Rows in the page's HTML; the script fills in the rest.
FIRST_ROWS = 50


@dataclass(frozen=True)
class Card:
    """One part of the dashboard.

    Everything of a card has one stem: ``cards/<stem>.py`` its data, ``templates/realtime_monitor/
    cards/<stem>.html`` its first sight, ``static/cards/<stem>.js`` its life and
    ``<stem>.css`` its looks, ``tests/cards/test_<stem>.py`` its test.

    Attributes:
        stem: the name all of these share.
        title: the heading a reader sees.
        data: returns what the template shows before any script runs, as plain JSON data.
        has_style: whether there is a style of its own.
    """

    stem: str
    title: str
    data: Callable[[Picture], dict[str, Any]]
    has_style: bool = True
