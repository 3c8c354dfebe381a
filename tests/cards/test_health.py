from __future__ import annotations

from flask_realtime_monitor.cards import health

from .conftest import House


def test_it_names_the_worker_and_the_limits(house: House) -> None:
    found = health.data(house.picture)
    assert found["health"]["status"] == "ok"
    assert found["coverage"]["workers"] == len(found["workers"]) == 1
    text = house.card("health")
    assert "All well: 1 of 1 reporting" in text
    assert "sessions 0 of 100,000" in text


def test_one_of_several_workers_says_that_this_is_a_part(house: House) -> None:
    page = house.client.get("/monitor/", environ_overrides={"wsgi.multiprocess": True}).text
    assert 'data-well="no"' in page
    assert "<details open>" in page
