"""What a card is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

#: Rows in the page's HTML; the script fills in the rest.
FIRST_ROWS = 50


@dataclass(frozen=True)
class Card:
    """One part of the dashboard: ours, or one that an app adds by ``monitor.add_card``.

    Everything of a card has one stem: ``<stem>.html`` its first sight, ``<stem>.js`` its life and,
    where there is one, ``<stem>.css`` its looks. Ours lie in ``templates/realtime_monitor/cards``
    and ``static/cards``, their data in ``cards/<stem>.py`` and their test in
    ``tests/cards/test_<stem>.py``; those of an app lie in a folder of its own.

    Attributes:
        stem: the name all of these share: small letters, digits and dashes.
        title: the heading a reader sees.
        data: returns what the template shows before any script runs, as plain JSON data. An app's
            own is called with a ``Reader``.
        folder: where the files of an app's card lie; None for ours.
    """

    stem: str
    title: str
    data: Callable[[Any], Any]
    folder: str | PathLike[str] | None = None
