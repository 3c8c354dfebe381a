"""Lists asked for by exact values give what a look at every item would."""

from __future__ import annotations

import random
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from flask_realtime_monitor.filters import Filter, read
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.shapes import matching

from .support.apps import House
from .test_search import Crowd

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Safari/605.1.15"
VALUES: dict[str, tuple[str, ...]] = {
    "user": ("user1", "user7", "nobody", "USER1"),
    "endpoint": ("home", "order", "(unmatched)", "hom"),
    "path": ("/order/3", "/", "/order"),
    "host": ("host", "elsewhere", "nowhere"),
    "worker": ("worker", "other-worker", "other"),
    "browser": ("Firefox", "Safari", "firefox"),
    "os": ("Linux", "iOS"),
    "device": ("phone", "desktop"),
    "state": ("active", "idle"),
    "who": ("users", "guests"),
    "status": ("5xx",),
}
SINGLE = [{name: value} for name, values in VALUES.items() for value in values]
DOUBLE = [
    {one: VALUES[one][0], other: VALUES[other][-1 if other == "state" else 0]}
    for one, other in combinations(VALUES, 2)
]


def shown(item: dict[str, Any], name: str) -> Any:
    """What an item of people shows of what a filter is called by."""
    if name == "user":
        whose = item.get("user", item)
        return whose and whose["id"]
    if name == "who":
        return "users" if item.get("user", item) is not None else "guests"
    if name == "state":
        return "active" if item["is_active"] else "idle"
    if name == "status":
        return "5xx" if item["errors"] else None
    return item["agent"][name] if name in ("browser", "os", "device") else item[name]


def has(item: dict[str, Any], wanted: dict[str, str]) -> bool:
    return all(shown(item, name) == value for name, value in wanted.items())


def crowd_of(seed: int) -> Crowd:
    crowd = Crowd(seed)
    crowd.move(300)
    for visitor in (1, 9):  # somebody with two sessions and errors
        crowd.visit(visitor, "user7", status=500, agent=FIREFOX)
    crowd.time.pass_(0.001)
    return crowd


@cache
def picture_of(seed: int) -> Picture:
    """For who only reads it."""
    return crowd_of(seed).picture


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("wanted", [*SINGLE, *DOUBLE], ids=str)
def test_sessions_are_those_whose_items_show_the_values(seed: int, wanted: dict[str, str]) -> None:
    picture = picture_of(seed)
    only, items = Filter(**wanted), picture.sessions(1000)["items"]
    expected = [one for one in items if has(one, wanted)]
    page = picture.sessions(3, only=only)
    assert (page["items"], page["total"]) == (expected[:3], len(expected))


@pytest.mark.parametrize("wanted", [*SINGLE, *DOUBLE], ids=str)
def test_users_have_the_values_themselves_or_in_one_of_their_sessions(
    wanted: dict[str, str],
) -> None:
    picture = picture_of(1)
    own = {n: v for n, v in wanted.items() if n in ("user", "endpoint", "path", "state", "status")}
    of_sessions = {n: v for n, v in wanted.items() if n not in own and n != "who"}
    sessions = [one for one in picture.sessions(1000)["items"] if has(one, of_sessions)]
    ids = {one["user"]["id"] for one in sessions if one["user"]}
    expected = [
        one
        for one in picture.users(1000)["items"]
        if one["id"] in ids and has(one, own) and wanted.get("who") != "guests"
    ]
    page = picture.users(3, only=Filter(**wanted))
    assert (page["items"], page["total"]) == (expected[:3], len(expected))


@pytest.mark.parametrize("seed", range(1, 5))
def test_values_and_a_search_are_both_to_be_there(seed: int) -> None:
    picture = picture_of(seed)
    for call in (picture.sessions, picture.users, picture.activities):
        for needle in ("user1", "order", "firefox"):
            for name in ("endpoint", "state"):
                only = Filter(**{name: VALUES[name][0]})
                whole = call(1000, only=only)["items"]
                expected = [one for one in whole if matching(one, needle)]
                page = call(1000, needle, only)
                assert (page["items"], page["total"]) == (expected, len(expected))


def test_the_crowd_has_something_of_everything() -> None:
    picture = picture_of(1)
    found = {
        name: picture.sessions(1000, only=Filter(**{name: v[0]})) for name, v in VALUES.items()
    }
    assert all(page["total"] for page in found.values())
    assert any(page["total"] > 3 for page in found.values())


def test_activities_are_those_whose_values_they_show() -> None:
    picture = picture_of(3)
    feed = picture.activities(1000)["items"]
    wanted: list[tuple[dict[str, str], Any]] = [
        ({"user": "user1"}, lambda one: one["user"] and one["user"]["id"] == "user1"),
        ({"who": "guests"}, lambda one: one["user"] is None),
        ({"endpoint": "order"}, lambda one: one["endpoint"] == "order"),
        ({"path": "/order/3"}, lambda one: one["path"] == "/order/3"),
        ({"kind": "custom"}, lambda one: one["kind"] == "custom"),
        ({"status": "500"}, lambda one: one["status"] == 500),
        ({"status": "2xx"}, lambda one: one["status"] == 200),
        ({"worker": "other-worker"}, lambda one: one["id"].startswith("other-worker-")),
        ({"host": "elsewhere"}, lambda one: one["id"].startswith("other-worker-")),
        ({"kind": "request", "status": "5xx"}, lambda one: one["status"] == 500),
    ]
    for values, is_wanted in wanted:
        expected = [one for one in feed if is_wanted(one)]
        page = picture.activities(2, only=Filter(**values))
        assert expected
        assert (page["items"], page["total"]) == (expected[:2], len(expected)), values


def test_activities_of_5xx_are_all_that_failed_whatever_was_sent() -> None:
    crowd = crowd_of(3)
    crowd.visit(5, status=200, error="BrokenStream", path="/stream")
    crowd.visit(5, status=None, error="Oops", path="/none")
    crowd.visit(5, status=None, path="/unsent")
    feed = crowd.picture.activities(1000)["items"]
    found = crowd.picture.activities(1000, only=Filter(status="5xx"))["items"]
    assert found == [one for one in feed if one["error"] is not None or one["status"] == 500]
    assert [one["path"] for one in found[:2]] == ["/none", "/stream"]
    # A class or a number that was sent is still what was sent.
    assert "/stream" in [
        one["path"] for one in crowd.picture.activities(1000, only=Filter(status="200"))["items"]
    ]


def test_an_activity_has_the_browser_and_the_state_of_its_session() -> None:
    crowd = crowd_of(2)
    sessions = {one["id"]: one for one in crowd.picture.sessions(1000)["items"]}
    feed = crowd.picture.activities(1000)["items"]
    for values in ({"browser": "Firefox"}, {"state": "active"}, {"os": "iOS", "device": "phone"}):
        ids = {one["id"] for one in crowd.picture.activities(1000, only=Filter(**values))["items"]}
        for one in feed:
            session = sessions.get(one["session"])
            if session is not None:
                assert (one["id"] in ids) is has(session, values)


def test_a_session_s_activities_are_those_of_its_guest_too() -> None:
    crowd = Crowd(1)
    crowd.visit(77, path="/before")
    crowd.time.pass_(1)
    crowd.visit(77, "ana", path="/after")
    (session,) = crowd.picture.sessions(only=Filter(user="ana"))["items"]
    guest = f"{77:016x}"
    for id in (session["id"], guest):
        page = crowd.picture.activities(only=Filter(session=id))
        assert [one["path"] for one in page["items"]] == ["/after", "/before"]
        assert crowd.picture.sessions(only=Filter(session=id))["items"] == [session]
        (user,) = crowd.picture.users(only=Filter(session=id))["items"]
        assert user["id"] == "ana"
    for id in ("nonsense", "f" * 16):
        for call in (crowd.picture.activities, crowd.picture.sessions, crowd.picture.users):
            assert call(only=Filter(session=id))["total"] == 0


def test_a_session_with_a_request_in_flight_is_active() -> None:
    house = House(ACTIVE_WINDOW=1)
    seen: list[dict[str, int]] = []

    @house.app.get("/look")
    def look() -> str:
        clock = house.picture._clock
        later = clock.now_ms() + 5_000
        clock.now_ms = lambda: later  # type: ignore[method-assign]
        states = ("active", "idle")
        seen.append({s: house.picture.sessions(only=Filter(state=s))["total"] for s in states})
        return "looked"

    house.visit("/", "ana", agent="one")
    house.visit("/", "bob", agent="other")
    house.visit("/look", "ana", agent="one")
    assert seen == [{"active": 1, "idle": 1}]


# -- the API -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house() -> House:
    made = House()
    made.visit("/item/1", "ana", "Ana", agent=FIREFOX)
    made.visit("/fail", "bob/../x?&#é ", agent=PHONE)
    made.visit("/item/2", agent="guest")
    return made


def total(house: House, list_: str, **query: str) -> int:
    found = house.get(list_, query_string=query)
    assert found.status_code == 200, found.text
    assert found.json["total"] == len(found.json["items"])
    number: int = found.json["total"]
    return number


def test_the_parameters_of_the_api(house: House) -> None:
    assert total(house, "sessions", browser="Firefox", os="Linux", device="desktop") == 1
    assert total(house, "sessions", browser="Firefox", who="guests") == 0
    assert total(house, "sessions", who="guests") == 1
    assert total(house, "users", who="guests") == 0
    assert total(house, "users", status="5xx") == total(house, "sessions", status="5xx") == 1
    assert total(house, "activities", status="500") == total(house, "activities", status="5xx") == 1
    assert total(house, "activities", path="/item/1", q="ana") == 1
    assert total(house, "activities", path="/item/1", q="bob") == 0
    (worker,) = house.get("workers").json["items"]
    for name in ("users", "sessions", "activities"):
        all_of = total(house, name)
        assert total(house, name, worker=worker["id"], host=worker["host"]) == all_of
        assert total(house, name, worker="another") == 0


def test_a_user_s_id_may_be_any_text(house: House) -> None:
    for name in ("users", "sessions", "activities"):
        assert total(house, name, user="bob/../x?&#é ") == 1


def test_what_is_empty_or_unknown_is_no_filter(house: House) -> None:
    for name in ("users", "sessions", "activities"):
        everything = total(house, name)
        assert total(house, name, user="", state="", colour="red") == everything
    assert total(house, "sessions", kind="login") == total(house, "sessions")


def test_a_limit_comes_after_the_filter(house: House) -> None:
    found = house.get("activities", query_string={"kind": "request", "limit": "1"}).json
    assert (len(found["items"]), found["total"]) == (1, 3)


@pytest.mark.parametrize(
    ("list_", "query"),
    [
        ("sessions", "state=gone"),
        ("users", "state=ACTIVE"),
        ("activities", "who=me"),
        ("activities", "kind=click"),
        ("activities", "status=6xx"),
        ("activities", "status=20"),
        ("activities", "status=٢٠٠"),
        ("activities", "status=200%0A"),
        ("sessions", "status=404"),
        ("users", "status=2xx"),
        ("sessions", "state=active&status=ok"),
    ],
)
def test_a_value_that_cannot_be_is_400_and_says_what_can(
    house: House, list_: str, query: str
) -> None:
    found = house.get(f"{list_}?{query}")
    assert found.status_code == 400
    assert "active" in found.text or "xx" in found.text or "," in found.json["error"]


@pytest.mark.parametrize(
    "text",
    [
        "é",
        "\x00",
        "a" * 5000,
        "%",
        "İ",
        "ß",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_an_open_value_that_nothing_has_is_an_empty_list(house: House, text: str) -> None:
    for name in (
        "user",
        "endpoint",
        "path",
        "host",
        "worker",
        "browser",
        "os",
        "device",
        "session",
    ):
        assert total(house, "sessions", **{name: text}) == 0
        assert total(house, "activities", **{name: text}) == 0


def test_a_filter_reads_the_values_of_its_list() -> None:
    arguments = {"kind": "login", "state": "idle", "limit": "3", "user": ""}
    assert read(arguments, is_feed=True) == Filter(kind="login", state="idle")
    assert read(arguments, is_feed=False) == Filter(state="idle")
    assert not read({"limit": "3"}, is_feed=True)


def test_a_value_is_found_whatever_its_case_folds_to() -> None:
    house = House()
    names = ["Straße", "STRASSE", "İ", "ﬁ", "é"]
    for number, name in enumerate(random.Random(1).sample(names, len(names))):
        house.visit(f"/item/{name}", name, agent=str(number))
    for name in names:
        (session,) = house.get("sessions", query_string={"path": f"/item/{name}"}).json["items"]
        assert session["path"] == f"/item/{name}"


@pytest.mark.parametrize("wanted", [*SINGLE, *DOUBLE, {"path": "/order/<int:n>"}], ids=str)
def test_a_masked_viewer_filters_by_what_is_shown_alone(wanted: dict[str, str]) -> None:
    crowd = crowd_of(1)
    crowd.visit(70, "user9", endpoint="order", rule="/order/<int:n>", path="/order/9")
    masked = crowd.picture.masked
    if wanted.get("user") == "user7":
        wanted = {**wanted, "user": crowd.tracker.visitors.masked("user7")}
        assert masked.users(only=Filter(user=wanted["user"]))["total"] == 1
    expected = [one for one in masked.sessions(1000)["items"] if has(one, wanted)]
    page = masked.sessions(3, only=Filter(**wanted))
    assert (page["items"], page["total"]) == (expected[:3], len(expected))
    own = {name: value for name, value in wanted.items() if name in ("user", "endpoint", "path")}
    if own == wanted:
        expected = [one for one in masked.users(1000)["items"] if has(one, own)]
        assert masked.users(1000, only=Filter(**own))["items"] == expected
