from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import has_app_context, has_request_context
from werkzeug.datastructures import ImmutableMultiDict

from flask_realtime_monitor import Activity, User, rows
from flask_realtime_monitor.privacy import Redactor, clean, masked, pack_ip, visitor_part
from flask_realtime_monitor.testing import strict

from .support.apps import House


@pytest.mark.parametrize(
    ("mode", "address", "kept"),
    [
        ("masked", "203.0.113.77", "203.0.113.0"),
        ("masked", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("masked", "::ffff:203.0.113.77", "203.0.113.0"),
        ("full", "203.0.113.77", "203.0.113.77"),
        ("off", "203.0.113.77", None),
        ("full", "203.0.113.77:50001", "203.0.113.77"),
        ("full", "[2001:db8::1]:443", "2001:db8::1"),
        ("full", "[fe80::1%eth0]", "fe80::1"),
        ("full", "[203.0.113.77:1", None),
        ("full", "localhost:80", None),
        ("masked", "", None),
        ("masked", "<script>", None),
    ],
)
def test_addresses_are_kept_as_the_setting_says(mode: str, address: str, kept: str | None) -> None:
    assert rows.ip_text(masked(pack_ip(address), mode)) == kept


def test_a_visitor_whose_proxy_appends_the_port_is_one() -> None:
    house = House()
    for port in (50001, 50002):
        house.visit("/", environ_base={"REMOTE_ADDR": f"203.0.113.77:{port}"})
    (one,) = house.monitor.get_active_sessions()
    assert (one["requests"], one["ip"]) == (2, "203.0.113.0")


def test_a_visitor_is_an_ipv4_address_or_an_ipv6_net() -> None:
    first, second, net, same_net, other_net = (
        visitor_part(pack_ip(one), one)
        for one in (
            "203.0.113.77",
            "203.0.113.78",
            "2001:db8:1:2::1",
            "2001:db8:1:2::ffff",
            "2001:db8:1:3::1",
        )
    )
    assert len({first, second, net, other_net}) == 4
    assert net == same_net


@pytest.mark.parametrize("mode", ["masked", "off"])
def test_a_full_address_is_nowhere(mode: str) -> None:
    house = House(IP=mode)
    house.visit("/item/x", environ_base={"REMOTE_ADDR": "203.0.113.77"})
    for name in ("sessions", "activities", "users", "in-flight"):
        assert "203.0.113.77" not in house.get(name).text
    (one,) = house.monitor.get_active_sessions()
    assert one["ip"] == ("203.0.113.0" if mode == "masked" else None)


def test_no_query_string_is_kept_but_what_is_allowed() -> None:
    house = House(QUERY_STRING=("page",))
    house.visit("/item/x?page=2&session=abc&q=secret")
    assert house.monitor.get_activities()[0]["path"] == "/item/x?page=2"
    bare = House()
    bare.visit("/item/x?page=2")
    assert bare.monitor.get_activities()[0]["path"] == "/item/x"


def test_a_view_argument_with_a_secret_s_name_shows_as_its_name() -> None:
    house = House()
    house.visit("/reset/hunter2")
    assert house.monitor.get_activities()[0]["path"] == "/reset/<token>"
    other = House(REDACT=("name",))
    other.visit("/item/hunter2")
    other.visit("/reset/shown")
    paths = [one["path"] for one in other.monitor.get_activities()]
    assert paths == ["/reset/shown", "/item/<name>"]


@pytest.mark.parametrize("name", ["api_key", "PassWord", "csrf_token", "promo_code", "signature"])
def test_custom_data_with_a_secret_s_name_is_never_kept(name: str) -> None:
    house = House()
    house.visit("/", "ana")
    house.monitor.track("did", user="ana", **{name: "hunter2"})
    assert house.monitor.get_activities()[0]["data"] == {name: f"<{name}>"}


def test_custom_data_is_bounded_and_plain() -> None:
    redactor = Redactor((), ())
    hostile = type("Hostile", (), {"__str__": lambda self: 1 / 0})()
    kept = redactor.data({"a": 1, "b": 2.5, "c": None, "d": [1], "e": hostile, "f": 2**60})
    assert (kept["a"], kept["b"], kept["c"], kept["d"]) == (1, 2.5, None, "[1]")
    assert isinstance(kept["e"], str)
    assert kept["f"] == str(2**60)
    assert len(redactor.data({str(n): n for n in range(100)})) == 16


def test_no_secret_of_a_form_or_a_list_is_kept() -> None:
    class Hostile(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise LookupError

    house = House()
    house.visit("/", "ana")
    form = ImmutableMultiDict({"password": "hunter2", "name": "ana"})
    house.monitor.track(
        "signed up", user="ana", form=form, steps=[{"api_key": "hunter2"}, ({"a": 1},)]
    )
    house.monitor.track("odd", user="ana", odd=Hostile(a=1), deep=[[[[[["hunter2"]]]]]])
    odd, one = house.monitor.get_activities(2)
    assert "hunter2" not in str(odd) + str(one)
    assert one["data"]["form"] == "{'password': '<password>', 'name': 'ana'}"
    assert one["data"]["steps"] == "[{'api_key': '<api_key>'}, [{'a': 1}]]"
    assert odd["data"]["odd"] == "<unprintable>"


@pytest.mark.parametrize("text", ["\ud800", "x" * 10_000, "a\0b", "\u202eevil"])
def test_any_text_becomes_short_text_that_json_can_carry(text: str) -> None:
    kept = clean(text)
    kept.encode("utf-8")
    assert len(kept) <= 500


def test_what_json_cannot_carry_becomes_as_many_signs_that_it_can() -> None:
    assert clean("a\ud800\udfffb", 9) == "a\ufffd\ufffdb"
    assert clean("\udc80" * 300, 128) == "\ufffd" * 127 + "…"
    assert clean("Ünï\U0001f600", 9) == "Ünï\U0001f600"


def test_before_record_may_edit() -> None:
    house = House()

    @house.monitor.before_record
    def scrub(activity: Activity) -> Activity:
        return replace(activity, path="/hidden", ip=None, title="scrubbed", user=None)

    house.visit("/item/secret", "ana")
    (one,) = house.monitor.get_activities()
    assert (one["path"], one["title"], one["user"]) == ("/hidden", "scrubbed", None)
    (session,) = house.monitor.get_active_sessions()
    assert (session["ip"], session["user"], session["path"]) == (None, None, "/hidden")


def test_before_record_may_take_away_anything() -> None:
    house = House()

    @house.monitor.before_record
    def scrub(activity: Activity) -> Activity:
        emptied: dict[str, Any] = {"user": User(None), "agent": None, "method": None}  # type: ignore[arg-type]
        return replace(activity, **emptied, endpoint=None, path=None, status=10**9)

    house.visit("/item/secret", "ana")
    (one,) = house.monitor.get_activities()
    assert (one["user"], one["method"], one["path"]) == (None, None, None)
    (session,) = house.monitor.get_active_sessions()
    (listed,) = house.monitor.get_session(session["id"])["activities"]  # type: ignore[index]
    assert session["agent"]["browser"] is None
    assert listed["status"] == one["status"]


def test_where_no_route_matched_has_a_name_for_before_record_and_for_what_is_excluded() -> None:
    house = House()
    seen: list[str | None] = []

    @house.monitor.before_record
    def look(activity: Activity) -> Activity:
        seen.append(activity.endpoint)
        return replace(activity, title="seen")

    house.visit("/nowhere")
    house.visit("/")
    house.monitor.track("done", user="ana")
    assert [one["endpoint"] for one in house.monitor.get_activities()] == [
        *(None, "home", "(unmatched)"),
    ]
    assert seen == ["(unmatched)", "home", None]
    other = House(EXCLUDE=("(unmatched)",))
    other.visit("/nowhere")
    other.visit("/")
    stats = other.monitor.get_stats()
    assert (stats["requests_total"], stats["excluded"]) == (1, 1)


def test_before_record_may_drop_which_counts_as_excluded() -> None:
    house = House()
    house.monitor.before_record(lambda activity: None)
    house.visit("/")
    stats = house.monitor.get_stats()
    assert (stats["excluded"], stats["requests_total"]) == (1, 0)


def test_before_record_sees_nothing_of_the_request_that_happens_to_be_there() -> None:
    house = House()
    seen: list[bool] = []

    @house.monitor.before_record
    def look(activity: Activity) -> Activity:
        seen.append(has_request_context() or has_app_context())
        return activity

    live = house.app.extensions["realtime_monitor"].live
    with live._beating, house.app.test_request_context("/of-another"):
        house.monitor.track("done", user="ana")
        house.monitor.get_stats()
        assert has_request_context()
    assert seen == [False]


@pytest.mark.parametrize(
    ("edit", "field", "kept"),
    [
        ({"user": "9"}, "user", {"id": "9", "name": None}),
        ({"user": 9}, "user", {"id": "9", "name": None}),
        ({"data": None}, "data", {}),
        ({"data": {"password": "hunter2"}}, "data", {"password": "<password>"}),
        ({"kind": "logout"}, "kind", "custom"),
        ({"duration_ms": 7.0}, "duration_ms", None),
    ],
)
def test_what_before_record_obviously_means_is_kept(
    edit: dict[str, Any], field: str, kept: Any
) -> None:
    house = House()
    house.monitor.before_record(lambda activity: replace(activity, **edit))
    house.monitor.track("done", user="ana", a=1)
    assert house.monitor.get_activities()[0][field] == kept


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"user": {"id": "9"}}, "whose user is dict; give it a User, an id or None"),
        ({"data": ["a"]}, "whose data is list; give it a dict or None"),
    ],
)
def test_what_before_record_cannot_mean_is_told_and_nothing_of_it_kept(
    edit: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
    strict(house.app, False)
    house.monitor.before_record(lambda activity: replace(activity, **edit))
    house.visit("/")
    assert (house.monitor.get_stats()["excluded"], house.monitor.get_activities()) == (1, [])
    assert "before_record: TypeError" in caplog.text
    assert says in caplog.text


@pytest.mark.parametrize("answer", ["text", 7, "raise"])
def test_what_before_record_meant_to_scrub_is_never_kept_when_it_fails(answer: Any) -> None:
    house = House()
    strict(house.app, False)

    @house.monitor.before_record
    def broken(activity: Activity) -> Any:
        if answer == "raise":
            raise LookupError
        return answer

    assert house.visit("/item/secret") == 200
    assert house.monitor.get_activities() == []
    stats = house.monitor.get_stats()
    assert (stats["excluded"], stats["dropped"]["activities"]) == (1, 0)
    assert house.get("health").json["status"] == "degraded"


def test_only_listed_fields_of_a_request_are_kept() -> None:
    house = House()
    house.client.get(
        "/item/x",
        headers={"Cookie": "c=hunter2", "Authorization": "Bearer hunter2", "Referer": "hunter2"},
        query_string={"a": "hunter2"},
        data=b"hunter2",
    )
    everything = [house.get(name).text for name in ("sessions", "activities", "endpoints")]
    assert "hunter2" not in str(everything)
