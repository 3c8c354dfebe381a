from __future__ import annotations

from typing import Any

import pytest

from flask_realtime_monitor.health import Vitals, memory_limit, report

WELL = Vitals(
    memory_bytes=1_000_000,
    sessions=100,
    lock_wait_p99_us=10.0,
    cpu_share=0.01,
    is_one_of_many=False,
    errors=0,
    limits=[{"name": "sessions", "used": 100, "limit": 100_000}],
    store_url="memory:",
    store_lag_s=None,
    sharing=[],
    waiting=0,
)


def test_all_well() -> None:
    assert report(WELL)["status"] == "ok"
    assert report(WELL._replace(lock_wait_p99_us=None, cpu_share=None))["problems"] == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"memory_bytes": 50_000_001}, "more than 50 MB"),
        ({"memory_bytes": 140_000_001, "sessions": 100_000}, "more than 140 MB"),
        ({"lock_wait_p99_us": 10_001.0}, "takes over 10 ms"),
        ({"cpu_share": 0.051}, "5% of a core"),
        ({"is_one_of_many": True}, "one worker's part; set REALTIME_MONITOR_STORE"),
        ({"sharing": ["the store is away"]}, "the store is away"),
        ({"waiting": 2_000}, "not shown yet: 2,000"),
        ({"errors": 3}, "3 calls of the monitor failed"),
        ({"limits": [{"name": "sessions", "used": 5, "limit": 5}]}, "sessions: all 5"),
    ],
)
def test_each_threshold_is_a_problem_in_words(change: dict[str, Any], text: str) -> None:
    found = report(WELL._replace(**change))
    assert found["status"] == "degraded"
    (problem,) = found["problems"]
    assert text in problem


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 50_000_000},
        {"memory_bytes": 140_000_000, "sessions": 100_000},
        {"lock_wait_p99_us": 10_000.0},
        {"cpu_share": 0.05},
        {"limits": [{"name": "activities", "used": 1000, "limit": 1000}]},
    ],
)
def test_at_the_threshold_all_is_well(change: dict[str, Any]) -> None:
    assert report(WELL._replace(**change))["problems"] == []


def test_memory_may_grow_by_a_kilobyte_a_session_above_ten_thousand() -> None:
    assert memory_limit(10_000) == 50_000_000
    assert memory_limit(20_000) == 60_000_000
