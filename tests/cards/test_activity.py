from __future__ import annotations

from flask_realtime_monitor.cards import activity

from .conftest import House


def test_the_newest_come_first(house: House) -> None:
    house.visit("/item/first")
    house.visit("/item/second")
    paths = [one["path"] for one in activity.data(house.picture)["activities"]]
    assert paths == ["/item/second", "/item/first"]


def test_a_line_says_when_what_who_and_how(house: House) -> None:
    house.visit("/fail", "ana", "Ana")
    text = house.card("activity")
    assert "500 GET /fail Ana" in text
    assert text.endswith("Nothing has happened yet. The first request will stand here.")


def test_what_is_no_request_goes_by_its_name(house: House) -> None:
    house.visit("/item/x", "ana", "Ana")
    house.monitor.track("report exported", user="ana", pages=3, draft=False, by=None)
    assert "report exported pages: 3 draft: false by: null" in house.card("activity")
