"""What comes between: time-outs, kills and exits that hit a request while our code runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextvars import copy_context
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import gevent
import pytest
from greenlet import GreenletExit

from flask_realtime_monitor.state import EXTENSION

from .support.apps import House
from .support.gunicorn_server import ROOT
from .support.waiting import elsewhere

KINDS: tuple[Callable[[], BaseException], ...] = (
    GreenletExit,
    lambda: gevent.Timeout(1),
    SystemExit,
    KeyboardInterrupt,
)


class Interruption:
    """Raises at one of the moments, in our code, at which Python may run a signal's handler.

    These are where a function begins, and after a call of one that is written in C.

    Args:
        number: at which of them, from 1.
    """

    def __init__(self, number: int, error: BaseException) -> None:
        self._left = number
        self._error = error

    def run(self, call: Callable[[], object]) -> bool:
        """Call something; tell whether it lasted until that moment."""
        # Flask may not come to pop its contexts; the tests that follow are not to find them.
        apart = copy_context()
        sys.setprofile(self._look)
        try:
            apart.run(call)
        except type(self._error) as error:
            assert error is self._error
            error.__traceback__ = None  # it would keep alive what was cut short
        finally:
            sys.setprofile(None)
        return self._left <= 0

    def _look(self, frame: FrameType, what: str, _: object) -> None:
        if what not in ("call", "c_return"):
            return
        if frame.f_globals.get("__name__", "").startswith("flask_realtime_monitor."):
            self._left -= 1
            if not self._left:
                raise self._error


# What is cut short between an open() and its with is closed as it is let go of, with a warning.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO name=./proc/self/statm"
    ":pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("is_shared", [False, True])
def test_whatever_is_cut_short_the_next_request_is_recorded(
    is_shared: bool, tmp_path: Path
) -> None:
    """At each moment, of a request, of what folds it, and of a reading call within the app."""
    house = House(STORE=f"sqlite:///{tmp_path}/monitor.db" if is_shared else "memory:")
    live = house.app.extensions[EXTENSION].live
    house.visit("/item/first", user="ana")

    def request_and_reading() -> None:
        live.worker._rss_until_s = 0.0  # what is looked at once a second is, each time
        house.visit("/healthz")  # excluded
        house.visit("/fail", user="ana")
        house.monitor.get_stats()

    def next_request(number: int) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        house.visit("/item/next", user="bob")
        before = house.monitor.get_stats()
        house.visit(f"/item/{number}", user="bob")
        return before, house.monitor.get_stats(), house.monitor.get_activities()

    for number in count(1, 3 if is_shared else 1):
        if not Interruption(number, KINDS[number % len(KINDS)]()).run(request_and_reading):
            break
        before, after, feed = elsewhere(lambda number=number: next_request(number))
        assert after["requests_total"] == before["requests_total"] + 1, number
        assert after["in_flight"] == 0, number
        assert feed[0]["path"] == f"/item/{number}", number
        assert len({one["id"] for one in feed}) == len(feed), number
    assert number > 100
    assert live.state.guard.failures == {}


def test_a_greenlet_killed_while_it_waits_keeps_nothing_that_others_need() -> None:
    """A hook of the app's may switch while we hold what folds; see apps/killed.py."""
    command = [sys.executable, "-m", "tests.apps.killed"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
