from __future__ import annotations

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from flask_realtime_monitor import metrics
from flask_realtime_monitor.picture import Picture

from .support.apps import House

assert openmetrics  # the parser of the other format must not be what reads ours


def samples(text: str) -> dict[tuple[str, str], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_the_numbers_are_those_of_the_stats() -> None:
    house = House()
    house.visit("/", "ana")
    house.visit("/fail", agent="another")
    text = house.client.get("/monitor/metrics").text
    stats = house.monitor.get_stats()
    found = samples(text)
    by_name = {
        name.removeprefix("flask_realtime_monitor_"): one for (name, _), one in found.items()
    }
    assert by_name["requests_total"] == stats["requests_total"] == 2
    assert by_name["errors_total"] == stats["errors_total"] == 1
    assert by_name["active_users"] == stats["active_users"] == 1
    assert by_name["active_sessions"] == stats["active_sessions"] == 2
    assert by_name["requests_in_flight"] == 0


COVERAGE = ("workers", "workers_reporting", "hosts", "coverage_complete", "oldest_report_seconds")


def covered(house: House) -> dict[str, float]:
    found = samples(house.client.get("/monitor/metrics").text)
    named = {name.removeprefix("flask_realtime_monitor_"): one for (name, _), one in found.items()}
    return {name: named[name] for name in (*COVERAGE, "store_lag_seconds") if name in named}


def test_who_has_reported_is_told_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    # Nothing is shared: there is no lag, rather than one of 0.
    assert covered(house) == dict(zip(COVERAGE, (1, 1, 1, 1, 0), strict=True))
    coverage = {
        "workers": 3,
        "workers_reporting": 2,
        "hosts": 2,
        "oldest_report_s": 7.25,
        "complete": False,
    }
    stats, health = house.picture.stats(), house.picture.health()
    health["store"]["lag_s"] = 0.125
    monkeypatch.setattr(Picture, "stats", lambda _: {**stats, "coverage": coverage})
    monkeypatch.setattr(Picture, "health", lambda _: health)
    wanted = dict(zip(COVERAGE, (3, 2, 2, 0, 7.25), strict=True))
    assert covered(house) == {**wanted, "store_lag_seconds": 0.125}


def test_every_family_has_a_type_and_a_help_and_one_prefix() -> None:
    house = House()
    house.visit("/")
    text = metrics.render(house.picture)
    families = list(text_string_to_metric_families(text))
    assert families
    for family in families:
        assert family.name.startswith("flask_realtime_monitor_")
        assert family.type in ("counter", "gauge", "summary", "histogram")


def test_hostile_names_of_endpoints_break_nothing() -> None:
    house = House()
    evil = 'a"b\\c\nd{e}'
    house.app.add_url_rule("/evil", evil.replace(".", ""), lambda: "evil")
    house.visit("/evil")
    found = samples(house.client.get("/monitor/metrics").text)
    assert any(f"endpoint={evil}" in labels for _, labels in found)


def test_the_kind_is_the_text_format_s() -> None:
    answer = House().client.get("/monitor/metrics")
    assert answer.content_type.startswith("text/plain; version=0.0.4")
