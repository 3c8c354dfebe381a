from __future__ import annotations

from typing import Any

from flask_realtime_monitor.cards import waiting
from flask_realtime_monitor.picture import Picture

from .conftest import House


class Waiting(Picture):
    """A picture of two requests in flight, one of them for long."""

    def __init__(self) -> None:
        pass

    def in_flight(self, limit: int = 100, q: str = "") -> dict[str, Any]:
        return {"items": [{"id": "old", "age_s": 3.2}, {"id": "new", "age_s": 0.4}]}


def test_only_who_waits_for_over_a_second_is_listed() -> None:
    assert waiting.data(Waiting()) == {"requests": [{"id": "old", "age_s": 3.2}]}


def test_with_nobody_waiting_the_card_is_hidden(house: House) -> None:
    html = house.html()
    assert 'data-card="waiting" aria-labelledby="waiting-title" hidden' in html
