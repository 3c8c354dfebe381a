from __future__ import annotations

import re

from flask_realtime_monitor.cards import timeline
from flask_realtime_monitor.cards.minutes import MINUTES, last_minutes

from .conftest import House


def minute(at: int, requests: int) -> dict[str, int]:
    return {"at": at, "requests": requests, "errors": 0, "active_users": 0, "active_sessions": 0}


def test_before_the_picture_began_there_is_no_data() -> None:
    history = [minute(60 * number, number) for number in range(60)]
    found = last_minutes({"history": history, "since_at": 60 * 57 + 1.0})
    assert [one["at"] for one in found] == [60 * number for number in range(30, 60)]
    assert [one["requests"] for one in found[-4:]] == [None, 57, 58, 59]
    assert found[0]["active_sessions"] is None


def test_it_adds_up_and_draws_what_there_is(house: House) -> None:
    house.visit("/item/a", "ana")
    house.visit("/fail", agent="another")
    found = timeline.data(house.picture)
    assert len(found["minutes"]) == MINUTES
    assert (found["requests"], found["errors"]) == (2, 1)
    text = house.card("timeline")
    assert re.search(r"In 30 min: 2 requests, 1 error, up to (1 session|2 sessions) a minute", text)
    html = house.html()
    bars = re.search(r'class="bars".*?<path d="([^"]*)"', html)
    assert bars and 1 <= bars.group(1).count("M") <= 2
    assert html.count('fill="url(#hatch)"') == 1
    assert "<li data-blank>" in html


def test_of_a_part_it_says_at_least(house: House) -> None:
    house.visit("/item/a")
    page = house.client.get("/monitor/", environ_overrides={"wsgi.multiprocess": True}).text
    assert "In 30 min: at least 1 request, 0 errors" in page


def test_with_data_of_every_minute_none_is_missing(house: House) -> None:
    house.picture._began_at -= 3600
    html = house.html()
    assert "<li data-blank hidden>" in html and 'class="none"' not in html
