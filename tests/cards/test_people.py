from __future__ import annotations

from flask_realtime_monitor.cards import people

from .conftest import House


def test_sessions_of_one_user_stand_together(house: House) -> None:
    house.visit("/item/1", "ana", "Ana", agent="one")
    house.visit("/item/2", agent="guest")
    house.visit("/item/3", "ana", "Ana", agent="two")
    found = people.data(house.picture)
    assert sorted(len(one["sessions"]) for one in found["people"]) == [1, 2]
    assert (found["shown"], found["total"]) == (3, 3)


def test_rows_name_the_person_the_page_and_the_state(house: House) -> None:
    house.visit("/item/tea", "ana", "Ana")
    text = house.card("people")
    assert "Ana ana you active 1 sessions /item/tea 0 s Unknown" in text


def test_with_more_sessions_than_rows_it_says_so(house: House) -> None:
    for number in range(people.FIRST_ROWS + 2):
        house.visit("/item/x", agent=f"agent {number}")
    assert "50 of 52 sessions shown" in house.card("people")


def test_with_nobody_it_listens(house: House) -> None:
    assert "Listening. Nobody has asked for a page" in house.card("people")


def test_a_hostile_name_is_only_text(house: House) -> None:
    house.visit("/item/x", "eve", "<script>alert(1)</script>\u202e")
    page = house.page()
    assert "<script>alert(1)</script>[U+202E]" in page.cards["people"]
    assert page.tags.count("script") == 2
