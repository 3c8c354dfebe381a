from __future__ import annotations

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
    assert "Active now 2 1 signed in, 2 not yet gone" in text
    assert "Errors a minute 1 1 in all" in text


def test_numbers_of_a_part_say_at_least(house: House) -> None:
    house.visit("/item/a")
    page = house.client.get("/monitor/", environ_overrides={"wsgi.multiprocess": True}).text
    assert page.count('<span class="least">at least </span>') == 4
    assert "at least 1 in all" in page and "none known over a second" in page


def test_numbers_of_all_workers_say_no_such_thing(house: House) -> None:
    house.visit("/item/a")
    assert "at least" not in house.card("tiles")
