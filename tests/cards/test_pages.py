from __future__ import annotations

from flask_realtime_monitor.cards import pages

from .conftest import House


def test_endpoints_with_people_are_listed(house: House) -> None:
    house.visit("/item/a", agent="one")
    house.visit("/item/b", agent="two")
    (one,) = pages.data(house.picture)["endpoints"]
    assert (one["endpoint"], one["active_sessions"]) == ("item", 2)
    assert "item 2 active 95 % within" in house.card("pages")


def test_errors_stand_below_a_page(house: House) -> None:
    house.visit("/fail")
    assert "fail 1 active 1 error, 95 % within" in house.card("pages")


def test_eight_are_shown_and_the_others_offered(house: House) -> None:
    for number in range(9):
        house.app.add_url_rule(f"/room/{number}", f"room{number}", str)
    for number in range(9):
        house.visit(f"/room/{number}", agent=f"agent {number}")
    found = pages.data(house.picture)
    assert (len(found["endpoints"]), found["total"]) == (8, 9)
    text = house.card("pages")
    assert "room7 1" in text and "room8" not in text and "Show all 9" in text


def test_with_nobody_it_says_so(house: House) -> None:
    assert "Nobody is on any page just now." in house.card("pages")
