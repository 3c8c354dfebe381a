from __future__ import annotations

from typing import Any

import pytest

from flask_realtime_monitor.cards import health
from flask_realtime_monitor.picture import Picture

from .conftest import House

Edit = dict[str, Any]


@pytest.fixture
def told(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the picture tell of other workers: of each the fields that differ from its own."""

    def tell(*others: Edit, store: Edit | None = None, **coverage: Any) -> str:
        stats, found = house.picture.stats(), house.picture.workers()
        (own,) = found["items"]
        items = [own, *({**own, "id": f"other {n}", **one} for n, one in enumerate(others))]
        sound = house.picture.health()
        covered = {
            **stats["coverage"],
            "workers": len(items),
            "workers_reporting": sum(one["is_reporting"] for one in items),
            **coverage,
        }
        told = {
            "stats": {**stats, "coverage": covered},
            "workers": {**found, "items": items},
            "health": {**sound, "store": {**sound["store"], **(store or {})}},
        }
        for name, answer in told.items():
            monkeypatch.setattr(Picture, name, lambda *_, answer=answer, **__: answer)
        return house.card("health") + " | " + house.page().cards[""]

    return tell


def test_it_names_the_worker_and_the_limits(house: House) -> None:
    found = health.data(house.picture)
    assert found["health"]["status"] == "ok"
    assert found["coverage"]["workers"] == len(found["workers"]) == 1
    text = house.card("health")
    assert "The only worker is reporting" in text
    assert "Thrown away at a limit: 0 sessions, 0 activities, 0 events of slow viewers." in text
    assert "Left out by rule: 1 request." in text  # this page
    assert "sessions 0 of 100,000" in text
    assert "Store: memory: , in this process alone" in text


def test_it_covers_workers_and_hosts_and_so_does_the_header(told: Any) -> None:
    text = told({"host": "two"}, hosts=2, oldest_report_s=3.4)
    assert text.count("2 of 2 workers, 2 hosts, oldest report 3 s ago") == 1
    assert "silent" not in text and "All 2 workers reporting" in text


def test_well_it_says_what_the_costliest_worker_costs(told: Any) -> None:
    text = told({"record_us": {"p50": 38.4, "p99": 120.0}, "version": "2.1"})
    assert "All 2 workers reporting, cost 38 µs a request" in text
    assert "38.4 / 120 µs" in text and " 2.1 " in text


def test_a_silent_worker_is_named_with_its_silence(house: House, told: Any) -> None:
    reported_at = house.picture.workers()["as_of"] - 65
    silent = {
        "host": "two",
        "pid": 42,
        "is_reporting": False,
        "last_report_at": reported_at,
    }
    text = told(silent, complete=False, hosts=2, oldest_report_s=65.0)
    assert text.count("1 of 2 workers, 2 hosts, oldest report 1 min ago: two :42 is silent") == 2
    assert "Degraded" in text and "two :42 silent for 1 min" in text
    assert 'class="silent long"' in house.html()


def test_of_several_silent_workers_the_first_is_named(told: Any) -> None:
    silent = {"host": "two", "pid": 42, "is_reporting": False}
    text = told(silent, {**silent, "pid": 43}, complete=False, oldest_report_s=9.0)
    assert text.count("1 of 3 workers, 1 host, oldest report 9 s ago: two :42 and 1 more are") == 2


def test_before_any_request_no_worker_is_missed(told: Any) -> None:
    assert told(workers=0, workers_reporting=0, hosts=0).count("No worker has served a") == 2


def test_it_says_where_the_picture_is_shared_and_how_fresh(told: Any) -> None:
    text = told(store={"url": "redis://ten.example/0", "lag_s": 0.2})
    assert "Store: redis://ten.example/0 , written 200 ms ago" in text


def test_a_worker_that_has_written_nothing_says_so(told: Any) -> None:
    text = told(store={"url": "redis://ten.example/0", "lag_s": None})
    assert "Store: redis://ten.example/0 , not yet written by the worker that tells this" in text


def test_one_of_several_workers_says_that_this_is_a_part(house: House) -> None:
    page = house.client.get("/monitor/", environ_overrides={"wsgi.multiprocess": True}).text
    assert 'data-well="no"' in page
    assert "<details open>" in page
    assert 'data-complete="no">1 of 1 worker, 1 host, oldest report 0 s ago: this may be' in page
