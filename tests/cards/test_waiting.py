from __future__ import annotations

import re
from typing import Any

import pytest

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
    assert re.search(r'data-card="waiting" [^>]* hidden>', html)


def test_who_waits_leads_to_a_story(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {
        "id": "one",
        "age_s": 3.2,
        "method": "GET",
        "endpoint": "item",
        "path": None,
        "host": "<two>",
        "user": {"id": "a b&c", "name": "<b>Ana"},
        "session": None,
    }
    answer = {"items": [waits, {**waits, "id": "two", "session": "0123456789abcdef"}]}
    monkeypatch.setattr(Picture, "in_flight", lambda *_, **__: answer)
    html = house.html()
    assert 'href="#person=a%20b%26c"' in html and 'href="#session=0123456789abcdef"' in html
    assert 'data-filter="endpoint" data-value="item"' in html
    assert "GET item <b>Ana <two> 3 s" in house.card("waiting")
