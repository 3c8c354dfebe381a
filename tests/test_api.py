from __future__ import annotations

import json
from typing import Any

import pytest

from .support.apps import House

SHAPES = {
    "users": "id name sessions requests errors first_seen_at last_seen_at is_active endpoint path",
    "sessions": "id user ip agent first_seen_at last_seen_at is_active requests errors endpoint "
    "path title worker host",
    "activities": "id at kind session user method endpoint path title status duration_ms error "
    "name data",
    "endpoints": "endpoint requests errors active_users active_sessions latency_ms",
    "workers": "id host pid started_at last_report_at is_reporting sessions viewers rss_bytes "
    "record_us lock_wait_us dropped errors",
}
STATS = (
    "as_of since_at excluded active_users active_sessions anonymous_sessions total_sessions "
    "requests_total errors_total requests_per_s errors_per_s latency_ms in_flight viewers dropped "
    "history coverage"
)
MINUTE = "at requests errors active_users active_sessions"
IN_FLIGHT = "id session user method endpoint path started_at age_s worker host"


@pytest.fixture
def house() -> House:
    made = House()
    made.visit("/item/1", "ana", "Ana", agent="Mozilla/5.0 (X11; Linux) Firefox/130.0")
    made.visit("/fail", "bob", agent="another")
    made.visit("/item/2", agent="guest")
    return made


@pytest.mark.parametrize("name", SHAPES)
def test_lists_have_their_shape(house: House, name: str) -> None:
    found = house.get(name).json
    assert set(found) == {"items", "total", "as_of"}
    assert found["total"] == len(found["items"]) > 0
    for item in found["items"]:
        assert set(item) >= set(SHAPES[name].split())


def test_stats_have_their_shape(house: House) -> None:
    found = house.get("stats").json
    assert set(found) == set(STATS.split())
    assert set(found["latency_ms"]) == {"p50", "p95", "p99"}
    assert len(found["history"]) == 60
    assert set(found["history"][0]) == set(MINUTE.split())
    assert found["coverage"] == {
        "workers": 1,
        "workers_reporting": 1,
        "hosts": 1,
        "oldest_report_s": 0.0,
        "complete": True,
    }
    assert found == house.monitor.get_stats() | {"as_of": found["as_of"], "excluded": 1}


def test_in_flight_has_its_shape() -> None:
    house = House()
    seen: list[Any] = []

    @house.app.get("/looks")
    def looks() -> str:
        seen.extend(house.picture.in_flight()["items"])
        return "looked"

    house.visit("/looks", agent="guest")
    (item,) = seen
    assert set(item) == set(IN_FLIGHT.split())
    assert (item["endpoint"], item["method"], item["path"]) == ("looks", "GET", "/looks")


def test_health_has_its_shape(house: House) -> None:
    found = house.get("health").json
    assert set(found) == {"status", "problems", "limits", "store", "page"}
    assert (found["status"], found["problems"]) == ("ok", [])
    assert found["store"] == {"url": "memory:", "lag_s": None}
    assert f"/monitor/assets/{found['page']}/main.js" in house.client.get("/monitor/").text
    assert {"sessions", "viewers", "activities"} <= {one["name"] for one in found["limits"]}


def test_a_session_comes_with_its_activities(house: House) -> None:
    (ana,) = house.get("sessions?q=ana").json["items"]
    found = house.get(f"sessions/{ana['id']}").json
    assert found["activities"][0]["path"] == "/item/1"
    assert {key: found[key] for key in ana} == ana
    assert found == house.monitor.get_session(ana["id"])


def test_an_unknown_session_is_404(house: House) -> None:
    for id in ("0123456789abcdef", "nonsense", "x" * 16, "é"):
        found = house.get(f"sessions/{id}")
        assert (found.status_code, found.json) == (404, {"error": "no such session"})


def test_an_ended_session_says_when(house: House) -> None:
    (ana,) = house.get("sessions?q=ana").json["items"]
    clock = house.picture._clock
    later = clock.now_ms() + 10_000_000
    clock.now_ms = lambda: later  # type: ignore[method-assign]
    house.app.extensions["realtime_monitor"].live.tracker.expire()
    found = house.get(f"sessions/{ana['id']}")
    assert found.status_code == 404
    assert found.json["ended_at"] > ana["last_seen_at"]


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        *(("1", 1), ("0", 1), ("-5", 1), ("-" + "9" * 5000, 1), ("99999", 3), ("9" * 5000, 3)),
        *(("0000000000002", 2), ("0" * 5000, 1), ("0" * 5000 + "2", 2), ("-0000000000002", 1)),
    ],
)
def test_limit_is_clamped_and_total_counts_before_it(house: House, limit: str, shown: int) -> None:
    found = house.get(f"sessions?limit={limit}").json
    assert (len(found["items"]), found["total"]) == (shown, 3)


@pytest.mark.parametrize(
    "limit", ["ten", "", "1.5", "1e3", "1_0", "%205", "%D9%A3", "%F0%9F%98%80"]
)
def test_a_limit_that_is_no_number_is_400(house: House, limit: str) -> None:
    found = house.get(f"sessions?limit={limit}")
    assert found.status_code == 400
    assert "whole number" in found.json["error"]


def test_q_searches_any_text_in_any_case(house: House) -> None:
    assert house.get("sessions?q=FIREFOX").json["total"] == 1
    assert house.get("users?q=Ana").json["total"] == 1
    assert house.get("activities?q=/item/").json["total"] == 2
    found = house.get("activities?q=/item/&limit=1").json
    assert (len(found["items"]), found["total"]) == (1, 2)
    assert house.get("endpoints?q=nothing-like-it").json["items"] == []


def test_a_q_longer_than_what_is_there_finds_nothing(house: House) -> None:
    long = "/item/" + "x" * 240
    house.visit(long)
    for q, total in ((long, 1), (long + "y", 0), (long[:199] + "y", 0), (long + "x" * 100_000, 0)):
        found = house.client.get("/monitor/api/v1/activities", query_string={"q": q}).json
        assert found["total"] == total, len(q)


def test_q_searches_the_names_of_an_activity_s_data_and_no_other_names(house: House) -> None:
    house.monitor.track("bought", user="ana", Blend="Sencha", data=5)
    for q, total in (("blend", 1), ("DAT", 1), ("sencha", 1), ("duration", 0), ("endpoint", 0)):
        assert house.get(f"activities?q={q}").json["total"] == total, q


def test_the_newest_come_first(house: House) -> None:
    seen = [one["last_seen_at"] for one in house.get("sessions").json["items"]]
    assert seen == sorted(seen, reverse=True)
    at = [one["at"] for one in house.get("activities").json["items"]]
    assert at == sorted(at, reverse=True)


def test_everything_is_plain_json(house: House) -> None:
    for name in (*SHAPES, "stats", "health", "in-flight"):
        answer = house.get(name)
        assert answer.content_type == "application/json"
        json.loads(answer.text, parse_constant=pytest.fail)


def test_the_reading_calls_give_the_same(house: House) -> None:
    monitor = house.monitor
    assert {one["id"] for one in monitor.get_active_users()} == {"ana", "bob"}
    assert len(monitor.get_active_sessions()) == 3
    assert len(monitor.get_activities(2)) == 2
    assert monitor.get_session("0123456789abcdef") is None
