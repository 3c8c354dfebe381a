"""How values read, as JavaScript has it; tests/browser/test_wording.py asks that itself."""

from __future__ import annotations

from typing import Any

import pytest

from flask_realtime_monitor import wording


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((None, "–"), (0, "0"), (0.0, "0"), (7, "7"), (1200, "1,200"), (2.0, "2")),  # noqa: RUF001
        *((0.25, "0.3"), (0.35, "0.4"), (0.15, "0.2"), (0.04, "0.0"), (99.95, "100.0")),
        *((100.5, "101"), (102.5, "103"), (1234.5, "1,235"), (-0.25, "-0.3")),
        (1e30, "1,000,000,000,000,000,000,000,000,000,000"),
    ],
)
def test_a_number_is_rounded_as_it_reads_halves_up(value: float | None, told: str) -> None:
    assert wording.number(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((None, "–"), (0, "0.0 ms"), (0.25, "0.3 ms"), (0.15, "0.1 ms"), (0.45, "0.5 ms")),  # noqa: RUF001
        *((9.94, "9.9 ms"), (9.96, "10 ms"), (12.5, "13 ms"), (13.5, "14 ms")),
        *((999.5, "1.0 s"), (1000, "1.0 s"), (1250, "1.3 s"), (61_000, "1 min")),
    ],
)
def test_a_duration_is_rounded_by_what_the_number_is_exactly(
    value: float | None, told: str
) -> None:
    assert wording.milliseconds(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((None, "null"), (True, "true"), (False, "false"), (3, "3"), (-3, "-3")),
        *((1.0, "1"), (0.0, "0"), (-0.0, "0"), (-2.5, "-2.5"), (0.1, "0.1"), (120.0, "120")),
        *((1e16, "10000000000000000"), (1e21, "1e+21"), (1.5e21, "1.5e+21"), (-1e22, "-1e+22")),
        *((1e-6, "0.000001"), (1e-7, "1e-7"), (1.25e-7, "1.25e-7"), (5e-324, "5e-324")),
        *(("1.0", "1.0"), ("tab\there", "tab[U+0009]here")),
    ],
)
def test_a_datum_reads_as_javascript_writes_it(value: Any, told: str) -> None:
    assert wording.datum(value) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((-3.5, "0 s"), (0.9, "0 s"), (59.99, "59 s"), (60, "1 min"), (3599.9, "59 min")),
        *((3600, "1 h"), (86_399, "23 h"), (172_800.5, "2 d")),
    ],
)
def test_an_age_is_told_in_whole_units_that_are_over(seconds: float, told: str) -> None:
    assert wording.age(seconds) == told
