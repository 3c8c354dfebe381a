"""Waiting for a condition, with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
DEADLINE_S = 40.0


def elsewhere(call: Callable[[], T]) -> T:
    """Return what a call gives in a thread of its own, where nothing is held already."""
    found: list[T] = []
    thread = Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert found, "no answer: something is held"
    return found[0]


def wait_until(
    condition: Callable[[], T], what: str | Callable[[], str], deadline_s: float = DEADLINE_S
) -> T:
    """Return what a condition gives as soon as it is true.

    Args:
        what: it means; a call is made when it was not.
    """
    pause, ends = Event(), monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if monotonic() > ends:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {deadline_s} s: {said}")
        pause.wait(0.02)
