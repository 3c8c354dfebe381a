from __future__ import annotations

from flask_realtime_monitor.cards import drawer

from .conftest import House


def test_it_waits_closed_for_a_session_to_be_named(house: House) -> None:
    assert drawer.data(house.picture) == {}
    html = house.html()
    assert '<dialog class="drawer" data-card="drawer"' in html and "<dialog open" not in html


def test_every_name_in_the_page_leads_to_a_story(house: House) -> None:
    house.visit("/item/x", "ana", "Ana")
    (session,) = house.monitor.get_active_sessions()
    html = house.html()
    assert html.count(f'href="#session={session["id"]}"') == 2
