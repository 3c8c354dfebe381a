"""One thread does all; whoever waits for it is through in time."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_realtime_monitor.stores import StoreError
from flask_realtime_monitor.stores.desk import Desk
from tests.support.gunicorn_server import ROOT
from tests.support.waiting import DEADLINE_S, wait_until


class Hang:
    """A job that hangs until it is let go."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.has_ended = threading.Event()

    def __call__(self) -> str:
        self.has_begun.set()
        self.may_end.wait(DEADLINE_S)
        self.has_ended.set()
        return "late"


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.may_end.set()


def works(desk: Desk) -> bool:
    try:
        return desk.do(lambda: True)
    except StoreError:
        return False


def test_all_is_done_in_one_thread_and_told_to_who_asked() -> None:
    desk = Desk("the server", 5)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(desk.do, lambda n=n: (n, threading.get_ident())) for n in range(200)]
        found = [one.result() for one in asked]
    assert [n for n, _ in found] == list(range(200))
    (one,) = {ident for _, ident in found}
    assert one != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        desk.do(lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="of its own"):
        desk.do(lambda: (_ for _ in ()).throw(TimeoutError("of its own")))


def test_a_job_may_hand_in_another() -> None:
    desk = Desk("the server", 5)
    assert desk.do(lambda: desk.do(threading.get_ident)) == desk.do(threading.get_ident)


def test_who_waits_behind_a_job_that_hangs_is_told_and_nothing_is_done_later(hang: Hang) -> None:
    desk = Desk("the server", 0.2)
    done: list[int] = []
    refused: list[str] = []

    def ask(n: int) -> None:
        try:
            desk.do(lambda: done.append(n))
        except StoreError as error:
            refused.append(str(error))

    def wait_for_it() -> None:
        with pytest.raises(StoreError):
            desk.do(hang)

    first = threading.Thread(target=wait_for_it)
    first.start()
    assert hang.has_begun.wait(DEADLINE_S)
    others = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for one in others:
        one.start()
    for one in (first, *others):
        one.join(DEADLINE_S)
        assert not one.is_alive()
    assert refused == ["the server does not answer in time (0.2 s)"] * 20
    with pytest.raises(StoreError):
        desk.do(lambda: done.append(-1))
    hang.may_end.set()
    wait_until(lambda: works(desk), "it goes on")
    assert done == []


def test_a_thread_with_nothing_to_do_ends_and_the_next_job_begins_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.stores.desk._IDLE_S", 0.01)
    desk = Desk("the server", 5)
    for _ in range(3):
        thread = desk.do(threading.current_thread)
        assert thread.daemon
        wait_until(lambda thread=thread: not thread.is_alive(), "it has ended")  # type: ignore[misc]


def test_a_thread_that_somebody_ends_is_followed_by_another() -> None:
    desk = Desk("the server", 5)

    def end() -> None:
        raise SystemExit

    with pytest.raises(StoreError, match="ended"):
        desk.do(end)
    assert desk.do(lambda: "done") == "done"


def test_what_failed_is_not_kept() -> None:
    class OurError(Exception):
        pass

    def fail() -> None:
        raise OurError

    desk = Desk("the server", 5)
    gc.disable()
    try:
        kept: weakref.ref[Any] | None = None
        try:
            desk.do(fail)
        except OurError as error:
            kept = weakref.ref(error)
        assert kept is not None
        wait_until(lambda: kept() is None, "it has gone without the garbage collector")
    finally:
        gc.enable()


def run(script: str) -> str:
    """Run a script of its own; return what it says."""
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert not out.returncode, out.stderr
    return out.stdout + out.stderr


def test_a_child_has_a_thread_of_its_own() -> None:
    script = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from flask_realtime_monitor.stores.desk import Desk
desk = Desk("the server", 5)
begun, hang = threading.Event(), threading.Event()
threading.Thread(target=lambda: desk.do(lambda: (begun.set(), hang.wait(10)))).start()
begun.wait(10)
pid = os.fork()
if not pid:
    print(desk.do(lambda: "done in the child"), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
hang.set()
"""
    assert run(script) == "done in the child\n"


def test_a_process_ends_at_once_and_writes_at_its_end() -> None:
    script = """
import atexit, threading
from flask_realtime_monitor.stores import StoreError
from flask_realtime_monitor.stores.desk import Desk
well, bad = Desk("the server", 5), Desk("the other", 0.1)
well.do(int)
try:
    bad.do(threading.Event().wait)
except StoreError:
    pass
atexit.register(lambda: print(well.do(lambda: "the last"), Desk("new", 5).do(lambda: "word")))
"""
    assert run(script) == "the last word\n"


def test_once_gevent_has_patched_it_is_a_greenlet_that_the_app_s_time_outs_do_not_break() -> None:
    script = """
from gevent import monkey
monkey.patch_all()
import os, threading
import gevent
from flask_realtime_monitor.stores.desk import Desk
desk = Desk("the server", 5)
hang, done = threading.Event(), []
def ask():
    return desk.do(lambda: hang.wait(5))
begun = gevent.spawn(ask)
gevent.sleep(0)
try:
    with gevent.Timeout(0.05):
        desk.do(lambda: done.append("queued"))
except gevent.Timeout:
    print("timed out while queued")
hang.set()
print(begun.get(), done)
hang.clear()
try:
    with gevent.Timeout(0.05):
        desk.do(lambda: (hang.wait(5), done.append("late")))
except gevent.Timeout:
    print("timed out while done")
gevent.spawn_later(0.05, hang.set)
print(desk.do(lambda: "goes on"), done)
here = threading.get_ident()
print(len({gevent.spawn(desk.do, gevent.getcurrent).get() for _ in range(3)}))
native = gevent.get_hub().threadpool.apply(lambda: desk.do(gevent.getcurrent))
print("from a native thread:", native is desk.do(gevent.getcurrent), flush=True)
os._exit(0)  # older gevent complains at the end of who has lent a thread
"""
    assert run(script).splitlines() == [
        "timed out while queued",
        "True []",
        "timed out while done",
        "goes on ['late']",
        "1",
        "from a native thread: True",
    ]
