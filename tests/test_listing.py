"""Long walks give way."""

from __future__ import annotations

from itertools import repeat

import pytest

from flask_realtime_monitor import listing
from flask_realtime_monitor.listing import Turns, slices


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect how long is slept."""
    found: list[float] = []
    monkeypatch.setattr(listing.time, "sleep", found.append)
    return found


@pytest.mark.parametrize(("count", "turns"), [(0, 0), (2, 0), (3, 1), (8, 2)])
@pytest.mark.parametrize("is_slow", [True, False])
def test_between_parts_that_take_long_it_is_somebody_else_s_turn(
    count: int,
    turns: int,
    is_slow: bool,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = iter(range(100)) if is_slow else repeat(100)
    monkeypatch.setattr(listing.time, "monotonic", lambda: next(now_s))
    items = list(range(count))
    assert [one for part in slices(items, 3) for one in part] == items
    assert len(sleeps) == (turns if is_slow else 0)
    assert all(one > 0 for one in sleeps)  # at 0 gevent lets no I/O in


def test_who_has_just_begun_goes_on(sleeps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(listing.time, "monotonic", lambda: now_s)
    turns = Turns()
    turns()
    assert not sleeps
    now_s += 1.0
    turns()
    turns()
    assert len(sleeps) == 1
