from __future__ import annotations

from flask_realtime_monitor.cards import pages

from .conftest import House


def test_endpoints_with_people_are_listed(house: House) -> None:
    house.visit("/item/a", agent="one")
    house.visit("/item/b", agent="two")
    (one,) = pages.data(house.picture)["endpoints"]
    assert (one["endpoint"], one["active_sessions"]) == ("item", 2)
    assert "item 2" in house.card("pages")


def test_with_nobody_it_says_so(house: House) -> None:
    assert "Nobody is on any page just now." in house.card("pages")
