"""Asking the gate again: how often, about whom, and what becomes of a gate that hangs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Event, Thread, current_thread

import pytest

from flask_realtime_monitor import credentials as module
from flask_realtime_monitor.credentials import Credential, Credentials

from .support.waiting import DEADLINE_S, wait_until


class Gate:
    """Notes who asks about what, and answers as told."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: dict[bytes, Callable[[], str | None]] = {}

    def __call__(self, key: bytes) -> str | None:
        self.asked.append(key)
        return self.answers.get(key, lambda: None)()


@pytest.fixture
def gate() -> Gate:
    return Gate()


def made(refused: list[bytes], faults: list[str]) -> Credentials:
    return Credentials(
        10.0, lambda one: refused.append(one.key), lambda what, error: faults.append(str(error))
    )


def admit(all_: Credentials, gate: Gate, *keys: bytes) -> list[Credential]:
    found = [all_.shared(key, gate) for key in keys]
    for one in found:
        all_.admit(one)
        assert all_.shared(one.key, gate) is one
    return found


def test_each_credential_is_asked_about_once_an_interval(gate: Gate) -> None:
    refused: list[bytes] = []
    all_ = made(refused, [])
    admit(all_, gate, b"a", b"b")
    admit(all_, gate, b"a", b"a")
    now_s = time.monotonic()
    all_.turn(now_s + 1)
    assert gate.asked == []
    for later_s in (11, 11.5, 21.5):
        all_.turn(now_s + later_s)
        count = 2 if later_s < 20 else 4
        wait_until(lambda count=count: len(gate.asked) == count, f"asked {count} times")
    assert sorted(gate.asked) == [b"a", b"a", b"b", b"b"]
    assert refused == []


def test_who_has_left_is_not_asked_about(gate: Gate) -> None:
    all_ = made([], [])
    gone, stays = admit(all_, gate, b"gone", b"stays")
    all_.release(gone)
    all_.turn(time.monotonic() + 11)
    wait_until(lambda: gate.asked, "asked")
    assert gate.asked == [b"stays"]
    assert all_.shared(b"gone", gate) is not gone
    assert all_.shared(b"stays", gate) is stays


def test_a_no_and_a_fault_are_refusals(gate: Gate) -> None:
    refused: list[bytes] = []
    faults: list[str] = []
    all_ = made(refused, faults)

    def broken() -> str:
        raise ValueError("the gate is broken")

    gate.answers = {b"no": lambda: "unauthorized", b"broken": broken}
    admit(all_, gate, b"no", b"yes", b"broken")
    all_.turn(time.monotonic() + 11)
    wait_until(lambda: len(refused) == 2, "two are refused")
    assert sorted(refused) == [b"broken", b"no"]
    assert faults == ["the gate is broken"]
    assert all_.shared(b"no", gate).ended_by is None
    assert all_.shared(b"no", gate).viewers == 0  # who comes with it again is asked about anew


def test_a_slow_gate_is_not_asked_again_about_who_waits(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DEADLINE_S", 1000.0)
    all_ = made([], [])
    go_on = Event()
    gate.answers = {b"first": lambda: None if go_on.wait(60) else "late"}
    admit(all_, gate, b"first")
    now_s = time.monotonic()
    all_.turn(now_s + 11)
    wait_until(lambda: gate.asked, "the first is asked about")
    admit(all_, gate, b"a", b"b")
    for later_s in (12.0, 22.1, 32.2, 42.3):  # a thread or two, and nobody is impatient
        all_._waiting = deque((now_s + later_s, one) for _, one in all_._waiting)
        all_.turn(now_s + later_s)
    assert [one.key for _, one in all_._waiting].count(b"a") == 1
    go_on.set()
    wait_until(lambda: {b"a", b"b"} <= set(gate.asked), "all are asked about")
    assert [gate.asked.count(one) for one in (b"a", b"b")] == [1, 1]


@pytest.mark.parametrize("answer", [None, "unauthorized"])
def test_a_gate_that_hangs_is_a_no_and_holds_up_nobody(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    monkeypatch.setattr(module, "_DEADLINE_S", 0.2)
    refused: list[bytes] = []
    all_ = made(refused, [])
    never = Event()
    askers: list[Thread] = []

    def hangs() -> str | None:
        askers.append(current_thread())
        never.wait(60)
        return answer

    gate.answers = {b"hangs": hangs}
    admit(all_, gate, b"hangs", *(b"%d" % number for number in range(5)))
    now_s = time.monotonic()

    def all_are_done() -> bool:
        all_.turn(max(time.monotonic(), now_s + 10.5))
        return refused == [b"hangs"] and len(set(gate.asked)) == 6

    # What is due is due by the clock that is given; the deadline runs by the real one.
    all_.turn(now_s + 10.5)
    wait_until(lambda: gate.asked, "asked")
    wait_until(all_are_done, "the others were asked about")
    never.set()
    (asker,) = askers
    asker.join(DEADLINE_S)
    assert not asker.is_alive()
    assert refused == [b"hangs"], "a late answer changes nothing"
