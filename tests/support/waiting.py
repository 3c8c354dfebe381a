"""Waiting for a condition, with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
DEADLINE_S = 40.0


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return what a condition gives as soon as it is true."""
    pause, ends = Event(), monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if monotonic() > ends:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        pause.wait(0.02)
