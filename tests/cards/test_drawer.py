from __future__ import annotations

import re
from pathlib import Path

import flask_realtime_monitor
from flask_realtime_monitor.cards import drawer

from .conftest import House


def test_it_waits_closed_for_a_session_to_be_named(house: House) -> None:
    house.visit("/item/x", "ana", "Ana")
    assert drawer.data(house.picture) == {}
    html = house.html()
    assert '<dialog class="drawer" data-card="drawer"' in html and "<dialog open" not in html
    assert "Ana" not in house.card("drawer")


def test_every_name_in_the_page_leads_to_a_story(house: House) -> None:
    house.visit("/item/x", "ana", "Ana")
    (session,) = house.monitor.get_active_sessions()
    html = house.html()
    assert html.count(f'href="#session={session["id"]}"') == 2


def test_its_end_is_hidden_until_the_script_knows_that_it_may_be_offered(house: House) -> None:
    house.monitor.authorize(lambda: "act")
    assert "data-token" not in house.html()  # the app cannot end any
    house.monitor.on_end_session(lambda session: None)
    html = house.html()
    assert "data-token" in html and '<section class="ending" data-ending hidden>' in html


def test_all_it_tells_is_what_the_api_answers(house: House) -> None:
    """The script reads these; a name that is gone would show as nothing."""
    house.visit("/item/x", "ana", "Ana")
    (session,) = house.monitor.get_active_sessions()
    told = house.client.get(f"/monitor/api/v1/sessions/{session['id']}").json
    assert told is not None
    assert {"id", "user", "ip", "agent", "activities", "why", "worker", "host"} <= told.keys()
    assert {"rule", "joined", "workers", "first_by", "ends_at", "ip_kept"} == told["why"].keys()
    person = house.client.get("/monitor/api/v1/user", query_string={"id": "ana"}).json
    assert person is not None
    assert {"user", "sessions", "activities"} == person.keys()
    assert {"id", "name", "sessions", "requests", "errors", "first_seen_at"} <= person[
        "user"
    ].keys()


def test_it_has_words_for_the_rules_that_the_api_names_and_for_no_others() -> None:
    package = Path(flask_realtime_monitor.__file__).parent
    reference = (package.parent / "docs" / "json.md").read_text()
    (row,) = re.findall(r"^\| `why\.rule` \|.*\|$", reference, re.M)
    script = (package / "static" / "story.js").read_text()
    words = script.partition("const RULES = new Map([")[2].partition("]);")[0]
    assert set(re.findall(r'\["(\w+)",', words)) == set(re.findall(r"`(\w+)`", row))
