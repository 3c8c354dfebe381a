"""Where nothing happens the loops turn seldom, and what happens wakes them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from flask_realtime_monitor import pulse, signals
from flask_realtime_monitor.pulse import Pulse
from flask_realtime_monitor.stores import StoreError
from flask_realtime_monitor.viewers import HeldViewer, Pass

from .support.apps import House
from .support.waiting import wait_until

OFTEN_S = 0.001


class Looking:
    """A loop's work: it counts its turns, and feels whether anything has happened."""

    def __init__(self, of: Pulse, is_busy: Callable[[], bool]) -> None:
        self.turns = 0
        self._pulse = of
        self._is_busy = is_busy

    def turn(self) -> float:
        self.turns += 1
        self._pulse.feel(self._is_busy)
        return OFTEN_S


@pytest.fixture(autouse=True)
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is quiet is so at once, and until somebody wakes it."""
    monkeypatch.setattr(pulse, "_AWAKE_S", 0.0)
    monkeypatch.setattr(pulse, "QUIET_S", 1_000.0)


def test_a_loop_rests_where_nothing_happens_until_it_is_woken() -> None:
    quiet, busy = Pulse(), Pulse()
    resting, working = Looking(quiet, lambda: False), Looking(busy, lambda: True)
    quiet.start_loop(resting.turn, "resting", OFTEN_S)
    busy.start_loop(working.turn, "working", OFTEN_S)
    for turns in range(1, 4):
        wait_until(lambda: quiet.is_quiet, "it has looked")
        until = working.turns + 20
        wait_until(lambda until=until: working.turns >= until, "the other goes on")
        assert resting.turns == turns
        quiet.quicken()
        wait_until(lambda turns=turns: resting.turns > turns, "it is awake")


def test_all_loops_of_a_pulse_wake_together() -> None:
    one = Pulse()
    looking: list[Looking] = []
    looking += [Looking(one, lambda: not all(each.turns for each in looking)) for _ in range(3)]
    for each in looking:
        one.start_loop(each.turn, "looking", OFTEN_S)
    wait_until(lambda: one.is_quiet, "all have begun, and rest")
    before = [each.turns for each in looking]
    one.quicken()
    one.quicken()  # two requests at once
    wait_until(
        lambda: all(each.turns > old for each, old in zip(looking, before, strict=True)),
        "all have turned",
    )


def test_what_happens_as_a_loop_looks_is_not_slept_through() -> None:
    one, number = Pulse(), count()

    def is_busy() -> bool:
        told.append(one.is_quiet)
        if next(number) == 1:
            one.quicken()  # by a request that begins now, and finds it quiet
        return False

    told: list[bool] = []
    one.feel(is_busy)
    assert told == [False, True]
    assert not one.is_quiet
    one.feel(is_busy)
    assert one.is_quiet


def test_what_happened_before_a_loop_was_quiet_is_seen() -> None:
    one = Pulse()
    looks = iter((False, True, False, False))
    one.feel(lambda: next(looks))
    assert not one.is_quiet
    one.feel(lambda: next(looks))
    assert one.is_quiet


# -- what wakes a process, and what keeps it awake ---------------------------------------------


def live_of(house: House) -> Any:
    return house.app.extensions["realtime_monitor"].live


def is_quiet(house: House) -> bool:
    return bool(live_of(house).worker.pulse.is_quiet)


@pytest.mark.parametrize("what", ["request", "excluded", "track"])
def test_what_is_recorded_wakes_a_quiet_process(what: str) -> None:
    house = House(EXCLUDE=["/item/"])
    told: list[str] = []

    def tell(_: Any, activity: dict[str, Any]) -> None:
        told.append(activity["kind"])

    def happens() -> None:
        if what == "track":
            with house.app.app_context():
                house.monitor.track("bought")
        else:
            house.visit("/item/1" if what == "excluded" else "/")

    live = live_of(house)
    with signals.activity_recorded.connected_to(tell, house.app):
        for times in (1, 2):
            wait_until(lambda: is_quiet(house), "nothing happens")
            happens()
            wait_until(
                lambda times=times: len(told) + live.tracker.traffic.excluded == times,
                "its loop has turned",
            )


def test_a_request_in_flight_keeps_it_awake() -> None:
    house = House()
    live = live_of(house)
    entry = live.requests.begin(EnvironBuilder("/item/1").get_environ(), lambda *_: None)
    for _ in range(3):
        live.beat()
        assert not is_quiet(house)
    live.requests.end(entry)
    wait_until(lambda: is_quiet(house), "it is over")


def test_a_viewer_keeps_it_awake() -> None:
    house = House()
    live = live_of(house)
    credential = live.broadcaster.credentials.shared(b"ann", lambda _: None)
    viewer = HeldViewer(Pass("view", None, credential), 0)
    assert live.broadcaster.admit(viewer)
    live.broadcaster.join(viewer, "")
    for _ in range(3):
        live.beat()
        assert not is_quiet(house)
    live.broadcaster.leave(viewer)
    wait_until(lambda: is_quiet(house), "nobody watches")


def test_what_is_not_yet_written_keeps_it_awake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(STORE=f"sqlite:///{tmp_path}/store")
    live = live_of(house)
    with monkeypatch.context() as away:
        away.setattr(live.sharing.store, "flush", fails)
        house.visit()
        wait_until(live.sharing.problems, "the store is missed")
        assert not live.sharing.is_settled
        for _ in range(3):
            live.beat()
            assert not is_quiet(house)
    wait_until(lambda: is_quiet(house), "all is written")
    assert live.sharing.is_settled


def fails(_: Any) -> None:
    raise StoreError("it is away")


def test_a_note_of_another_worker_wakes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(STORE=f"sqlite:///{tmp_path}/store")
    live = live_of(house)
    house.visit(user="ann")
    wait_until(lambda: is_quiet(house), "all is written")
    monkeypatch.setattr(pulse, "_AWAKE_S", 1_000.0)
    live.sharing._take_note({"kind": "forget", "user": "ann", "keys": [], "at_ms": 0})
    assert not is_quiet(house)


def test_sessions_that_are_due_to_end_keep_it_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    live = live_of(house)
    monkeypatch.setattr("flask_realtime_monitor.state._MOST_EXPIRED", 2)
    for number in range(9):
        house.visit(user=f"u{number}")
    wait_until(lambda: is_quiet(house), "nothing happens")
    assert len(live.tracker.sessions) == 9
    later = live.clock.now_ms() + 10_000_000
    monkeypatch.setattr(live.clock, "now_ms", lambda: later)
    live.worker.pulse.quicken()  # as its rest is over, in time
    wait_until(lambda: not len(live.tracker.sessions), "its loop has ended them all")
