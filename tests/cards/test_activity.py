from __future__ import annotations

import re

import pytest

from flask_realtime_monitor.cards import activity
from flask_realtime_monitor.picture import Picture

from .conftest import House


def test_the_newest_come_first(house: House) -> None:
    house.visit("/item/first")
    house.visit("/item/second")
    paths = [one["path"] for one in activity.data(house.picture)["activities"]]
    assert paths == ["/item/second", "/item/first"]


def test_a_line_says_when_what_who_and_how(house: House) -> None:
    house.visit("/fail", "ana", "Ana")
    assert re.search(r"\d\d:\d\d:\d\d 500 GET /fail Ana only [\d.]+ ms", house.card("activity"))


def test_values_filter_and_the_name_leads_to_the_story(house: House) -> None:
    house.visit("/item/x", 'a"<b>', "Ana")
    html = house.html()
    for name, value in (("status", "200"), ("endpoint", "item"), ("user", "a&#34;&lt;b&gt;")):
        assert f'data-filter="{name}" data-value="{value}"' in html
    house.monitor.track("from afar", user="eve&co")
    assert 'href="#person=eve%26co"' in house.html()


def test_kinds_are_chosen_one_at_a_time(house: House) -> None:
    html = house.html()
    kinds = re.findall(r'<input type="radio"[^>]* data-kind="([^"]*)" data-status="([^"]*)"', html)
    assert kinds == [
        ("", ""),
        ("page", ""),
        ("api", ""),
        ("custom", ""),
        ("", "5xx"),
        ("sign-in", ""),
    ]
    assert html.count(" checked>All</label>") == 1


def test_with_nothing_to_show_it_says_why(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = "Nothing has happened yet. The first request will stand here."
    assert nothing in house.card("activity")
    stats = house.picture.stats()
    monkeypatch.setattr(Picture, "stats", lambda _: {**stats, "excluded": 340})
    assert f"{nothing} Left out by rule: 340 requests, this" in house.card("activity")
    house.visit("/item/x")
    found = house.picture.activities()
    old = {**found["items"][0], "at": found["as_of"] - 2400}
    monkeypatch.setattr(Picture, "activities", lambda *_, **__: {**found, "items": [old]})
    assert "Nothing in the last 30 min. The last was 40 min ago." in house.card("activity")
    assert "/item/x" not in house.card("activity")


def test_what_is_no_request_goes_by_its_name(house: House) -> None:
    house.visit("/item/x", "ana", "Ana")
    house.monitor.track("report exported", user="ana", pages=3, draft=False, by=None)
    assert "report exported pages: 3 draft: false by: null" in house.card("activity")
