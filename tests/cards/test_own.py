"""Cards that an app adds of its own."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_realtime_monitor import ConfigError, RealtimeMonitor
from flask_realtime_monitor.cards import CARDS, Card, Reader

from .conftest import House

TEMPLATE = (
    "<p>{{ shown.total | number }} users: {% for one in shown['items'] %}"
    "<bdi>{{ person(one, none) }}</bdi>{% endfor %}</p>"
)
SCRIPT = "export function mount() {}\n"


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., Card]:
    """Write a card's files, and return it."""

    def write(
        stem: str = "staff",
        data: Any = Reader.users,
        html: str = TEMPLATE,
        title: str = "Staff",
        **more: str,
    ) -> Card:
        (tmp_path / f"{stem}.html").write_text(html)
        (tmp_path / f"{stem}.js").write_text(SCRIPT)
        for suffix, text in more.items():
            (tmp_path / f"{stem}.{suffix}").write_text(text)
        return Card(stem, title, data, tmp_path)

    return write


def test_a_card_of_the_app_s_own_stands_above_the_foot(
    house: House, card: Callable[..., Card]
) -> None:
    house.monitor.add_card(card())
    house.visit("/", "ana", "<i>Ana</i>")
    page = house.page()
    assert page.cards["staff"] == "Staff 1 users: <i>Ana</i>"
    stems = list(page.cards)
    assert stems.index("activity") < stems.index("staff") < stems.index("health")
    assert "data-failed" not in house.html()


def test_cards_may_be_given_when_the_monitor_is_made(card: Callable[..., Card]) -> None:
    apps = [Flask("one"), Flask("two")]
    monitor = RealtimeMonitor(authorize=lambda: True, cards=[card()])
    for app in apps:
        monitor.init_app(app)
        assert 'data-card="staff"' in app.test_client().get("/monitor/").text
    other = Flask("other")
    RealtimeMonitor(other, authorize=lambda: True)
    assert "staff" not in other.test_client().get("/monitor/").text
    assert other.test_client().get("/monitor/api/v1/cards/staff").status_code == 404


def test_its_data_are_served_as_json_behind_the_gate(card: Callable[..., Card]) -> None:
    for is_open in (True, False, None):
        house = House(is_open=is_open)
        house.monitor.add_card(card())
        house.visit("/", "ana")
        answer = house.get("cards/staff")
        known, unknown = answer.status_code, house.get("cards/nothing").status_code
        if is_open:
            assert [one["id"] for one in answer.json["items"]] == ["ana"]
            assert (known, unknown) == (200, 404)
        else:
            assert known == unknown and known in (403, 404)
            assert answer.text == house.get("cards/nothing").text


def test_the_reader_has_every_reading_call(house: House, card: Callable[..., Card]) -> None:
    def read(reader: Reader) -> dict[str, Any]:
        session = reader.sessions(limit=1, q="ana")["items"][0]
        return {
            "stats": reader.stats(),
            "users": reader.users(limit=1),
            "session": reader.session(session["id"]),
            "unknown": reader.session("0123456789abcdef"),
            "activities": reader.activities(),
            "endpoints": reader.endpoints(),
            "in-flight": reader.in_flight(),
            "workers": reader.workers(),
            "health": reader.health(),
        }

    house.monitor.add_card(card(data=read, html="{{ shown.stats.requests_total }}"))
    house.visit("/item/a", "ana")
    house.visit("/item/b", "ben")
    found = house.get("cards/staff").json
    assert found["users"]["total"] == 2 and len(found["users"]["items"]) == 1
    assert found["session"]["user"]["id"] == "ana" and found["session"]["activities"]
    assert found["unknown"] is None
    assert found["activities"]["total"] == 2 and found["stats"]["requests_total"] == 2
    for name in ("endpoints", "in-flight", "workers", "health"):
        # The page's version is the API's, not the picture's.
        assert set(found[name]) == set(house.get(name).json) - {"page"}


def test_a_masked_viewer_s_card_reads_a_masked_picture(card: Callable[..., Card]) -> None:
    def read(reader: Reader) -> list[Any]:
        found = reader.sessions(q="ana")["items"] + reader.users(q="Ana Secret")["items"]
        assert not found
        lists = (reader.users, reader.sessions, reader.activities, reader.in_flight)
        return [one() for one in lists] + [
            reader.session(one["id"]) for one in reader.sessions()["items"]
        ]

    house = House(is_open="view")  # type: ignore[arg-type]
    house.monitor.add_card(card(data=read, html="<p>{{ shown }}</p>"))
    house.visit("/item/smuggled", "ana", "Ana Secret")
    told = house.html(), house.get("cards/staff").text
    for one in told:
        assert "User " in one and "this card failed" not in one.lower()
        assert not re.search("Ana|Secret|smuggled|127.0.0", one)


def test_its_files_are_served_like_ours_under_a_hash_of_all(card: Callable[..., Card]) -> None:
    plain, house = House(), House()
    house.monitor.add_card(card(css="[data-card=staff] p { color: red; }"))
    html = house.html()
    style = re.search(r'href="(/monitor/assets/(\w+)/)page\.css"', html)
    assert style
    url, version = style.groups()
    answer = house.client.get(f"{url}page.css")
    assert answer.mimetype == "text/css"
    assert answer.text.endswith("\n[data-card=staff] p { color: red; }")
    assert "immutable" in answer.headers["Cache-Control"]
    script = house.client.get(f"{url}cards/staff.js")
    assert script.mimetype == "text/javascript" and script.text == SCRIPT
    assert house.client.get(f"{url}cards/staff.html").status_code == 404
    assert version not in plain.html()
    assert plain.client.get(f"{url}cards/staff.js").status_code == 404
    assert house.client.get(f"{url}main.js").status_code == 200


def test_an_empty_script_or_style_is_a_file_too(house: House, card: Callable[..., Card]) -> None:
    house.monitor.add_card(card(css=""))
    url = re.search(r'href="([^"]+/)page\.css"', house.html())
    assert url and house.client.get(f"{url.group(1)}page.css").status_code == 200
    assert house.client.get(f"{url.group(1)}cards/staff.css").status_code == 200


def test_the_app_s_jinja_has_no_part_in_it(house: House, card: Callable[..., Card]) -> None:
    house.app.jinja_env.filters["visible"] = lambda _: "the app's"
    house.app.context_processor(lambda: pytest.fail("the app was asked"))
    house.monitor.add_card(card(data=lambda _: "a<b>\u202e", html="{{ shown | visible }}"))
    assert "a&lt;b&gt;[U+202E]" in house.html()


def broken(_: Reader) -> Any:
    raise LookupError("no such table")


@pytest.mark.parametrize(
    ("data", "html"),
    [
        (broken, "x"),
        (lambda _: {1, 2}, "x"),
        (lambda _: float("nan"), "x"),
        (lambda _: object(), "x"),
        (lambda _: {(1, 2): 3}, "x"),
        (lambda: {}, "x"),
        (lambda _: {}, "{{ shown.nothing.at_all }}"),
        (lambda _: {}, "{{ nothing }}"),
        (lambda _: 1, "{{ shown / 0 }}"),
        (lambda _: {}, "{% include 'no-such.html' %}"),
        (lambda _: "\ud800", "{{ shown }}"),
    ],
)
def test_a_card_that_fails_says_so_and_the_page_lives_on(
    house: House,
    card: Callable[..., Card],
    data: Any,
    html: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    house.monitor.add_card(card(data=data, html=html))
    house.monitor.add_card(card("well", lambda _: "is well", "{{ shown }}", title="Other"))
    with caplog.at_level(logging.WARNING):
        pages = [house.page() for _ in range(3)]
    for page in pages:
        assert page.cards["staff"] == "Staff This card failed; the app's log says why."
        assert page.cards["well"] == "Other is well"
        assert set(page.cards) >= {one.stem for one in CARDS}
    assert "data-failed" in house.html()
    told = [one for one in caplog.records if "staff" in one.getMessage()]
    assert len(told) == 1 and told[0].exc_info
    answer = house.get("cards/staff")
    if answer.status_code == 500:
        assert answer.json == {"error": "this card failed; the app's log says why"}
    else:
        assert json.dumps(answer.json)


def test_only_the_log_says_why(house: House, card: Callable[..., Card]) -> None:
    house.monitor.add_card(card(data=broken))
    assert "no such table" not in house.html() + house.get("cards/staff").text


@pytest.mark.parametrize(
    "stem",
    ["", "Staff", "a b", "a/b", "../x", "-a", "a-", "a--b", "7a", "a" * 41, None, "ä", "a\n"],
)
def test_a_stem_is_a_plain_name(stem: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stem is a name such as 'baskets'"):
        RealtimeMonitor(cards=[Card(stem, "X", Reader.stats, tmp_path)])


def test_a_stem_is_taken_once(card: Callable[..., Card]) -> None:
    monitor = RealtimeMonitor()
    monitor.add_card(card())
    with pytest.raises(ConfigError, match=r"there is a card 'staff' already; .*'our-staff'"):
        monitor.add_card(card())
    for one in CARDS:
        with pytest.raises(ConfigError, match=f"such as 'our-{one.stem}'"):
            monitor.add_card(card(one.stem))


async def later(_: Reader) -> None: ...


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"title": " "}, "the title is the heading"),
        ({"title": None}, "the title is the heading"),
        ({"data": {"a": 1}}, "data is a function that takes a Reader .*not dict"),
        ({"data": later}, "async def; write a plain def"),
        ({"folder": None}, r"has no folder; .*folder=Path\(__file__\).parent"),
        ({"folder": 7}, "folder is a path, not int"),
        ({"folder": "cards"}, r"relative.* write Path\(__file__\).parent / 'cards'"),
        ({"folder": "/no/such/place"}, "there is no folder '/no/such/place'; make it"),
    ],
)
def test_a_wrong_card_is_told_what_to_write(
    card: Callable[..., Card], change: dict[str, Any], text: str
) -> None:
    right = card()
    given = {"stem": "staff", "title": "X", "data": right.data, "folder": right.folder, **change}
    monitor = RealtimeMonitor()
    with pytest.raises(ConfigError, match=text):
        monitor.add_card(Card(**given))
    monitor.add_card(right)  # nothing of the wrong one is left


@pytest.mark.parametrize("suffix", ["html", "js"])
def test_a_missing_file_is_named(card: Callable[..., Card], tmp_path: Path, suffix: str) -> None:
    made = card()
    (tmp_path / f"staff.{suffix}").unlink()
    with pytest.raises(
        ConfigError, match=rf"staff\.{suffix}.*No such file.*staff\.html, staff\.js"
    ):
        RealtimeMonitor().add_card(made)


def test_a_template_that_is_none_is_told_with_its_line(card: Callable[..., Card]) -> None:
    with pytest.raises(ConfigError, match=r"'staff': staff\.html: line 2: Expected"):
        RealtimeMonitor().add_card(card(html="<p>\n{% if %}"))
    made = card()
    Path(made.folder or "", "staff.html").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"'staff': staff\.html: 'utf-8'"):
        RealtimeMonitor().add_card(made)


def test_what_is_no_card_is_refused(card: Callable[..., Card]) -> None:
    with pytest.raises(ConfigError, match=r"takes a Card, not str; write add_card\(Card\("):
        RealtimeMonitor().add_card("baskets")  # type: ignore[arg-type]


def test_after_the_first_request_it_is_too_late(house: House, card: Callable[..., Card]) -> None:
    house.visit("/")
    with pytest.raises(ConfigError, match="after the app's first request"):
        house.monitor.add_card(card())
