from __future__ import annotations

import re
from typing import Any

from flask_realtime_monitor.cards import tiles

from .conftest import House


def test_the_numbers_are_those_of_the_stats(house: House) -> None:
    house.visit("/item/a", "ana")
    house.visit("/fail")
    found = tiles.data(house.picture)
    assert found["stats"]["requests_total"] == 2
    assert found["oldest_in_flight_s"] is None


def test_they_stand_in_the_page(house: House) -> None:
    house.visit("/item/a", "ana")
    house.visit("/fail", agent="another")
    text = house.card("tiles")
    assert "Sessions online 2 1 user signed in, 0 idle" in text
    assert "Requests a minute 2 2 in all" in text
    assert "In flight 0 none over a second" in text
    assert "Errors a minute 1 50 % of requests" in text
    assert "Slowest page – none asked for often enough" in text  # noqa: RUF001 (a dash)


def test_numbers_of_a_part_say_at_least(house: House) -> None:
    house.visit("/item/a")
    page = house.client.get("/monitor/", environ_overrides={"wsgi.multiprocess": True}).text
    assert page.count('<span class="least">at least </span>') == 4
    assert "at least 1 in all" in page and "none known over a second" in page


def test_numbers_of_all_workers_say_no_such_thing(house: House) -> None:
    house.visit("/item/a")
    assert "at least" not in house.card("tiles")


def test_the_slowest_page_is_one_that_is_asked_for_often(house: House) -> None:
    def endpoint(name: str, requests: int, p95: float | None) -> dict[str, Any]:
        return {"endpoint": name, "requests": requests, "latency_ms": {"p95": p95}}

    once, twice = endpoint("rare", tiles.FEW - 1, 900.0), endpoint("slow", tiles.FEW, 40.0)
    found = [once, twice, endpoint("quick", 99, 1.0), endpoint("resting", 99, None)]
    assert tiles.slowest(found) == twice
    assert tiles.slowest([once]) is None
    for _ in range(tiles.FEW):
        house.visit("/item/a")
    html = house.html()
    assert 'data-filter="endpoint" data-value="item" aria-pressed="false"' in html


def test_each_is_a_button_that_says_what_it_counts(house: House) -> None:
    html = house.html()
    buttons = re.findall(r'<button type="button" class="tile"[^>]* title="([^"]+)"', html)
    assert len(set(buttons)) == 5
    assert html.count('class="tile"') == 5


def test_a_spark_has_a_bar_for_each_minute_there_is_data_of(house: House) -> None:
    house.visit("/item/a")
    html = house.html()
    paths = re.findall(r'class="spark".*?<path d="([^"]*)"', html)
    minutes = {one["at"] for one in tiles.data(house.picture)["minutes"] if one["requests"]}
    assert len(paths) == 3 and minutes
    for path in paths:
        assert 1 <= path.count("M") <= 2  # the app has run for no longer
