"""Taking viewers in, and what becomes of those who change their mind, or our mind, on the way."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_realtime_monitor import RealtimeMonitor, capacity, sse
from flask_realtime_monitor import broadcaster as module
from flask_realtime_monitor.broadcaster import Broadcaster
from flask_realtime_monitor.capacity import Capacity, derived_limit
from flask_realtime_monitor.fanout import Pace, most_descriptors
from flask_realtime_monitor.models import User
from flask_realtime_monitor.viewers import DetachedViewer, HeldViewer, Pass


@pytest.fixture
def broadcaster() -> Broadcaster:
    app = Flask("viewers")
    app.config["REALTIME_MONITOR_STORE"] = "memory:"
    RealtimeMonitor(app, authorize=lambda: True)
    made: Broadcaster = app.extensions["realtime_monitor"].live.broadcaster
    return made


def pass_of(broadcaster: Broadcaster, name: str) -> Pass:
    credential = broadcaster.credentials.shared(name.encode(), lambda _: None)
    return Pass("reveal", User(name), credential)


def said(viewer: HeldViewer) -> str:
    """Return all that a viewer who has ended was told."""
    return b"".join(viewer.frames()).decode()


def test_a_beginning_that_fails_keeps_neither_viewer_nor_descriptor(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    viewer = DetachedViewer(pass_of(broadcaster, "ann"), 0)
    assert broadcaster.admit(viewer)
    viewer.fd = writing

    def fail(*_: Any) -> None:
        raise ValueError("nothing to begin with")

    monkeypatch.setattr(broadcaster._channel_of("reveal").timeline, "first", fail)
    with pytest.raises(ValueError, match="nothing to begin with"):
        broadcaster.join(viewer, "")
    broadcaster.leave(viewer)  # as the server does with a body that has failed
    broadcaster.leave(viewer)
    assert broadcaster.viewers == 0
    assert viewer.pass_.credential.viewers == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)
    os.close(reading)


def test_who_comes_not_after_all_leaves_no_place_taken(broadcaster: Broadcaster) -> None:
    viewer = HeldViewer(pass_of(broadcaster, "ann"), 0)
    assert broadcaster.admit(viewer)
    broadcaster.leave(viewer)
    assert viewer.pass_.credential.viewers == 0
    assert not broadcaster._arriving


@pytest.mark.parametrize("kind", [HeldViewer, DetachedViewer])
def test_a_place_nobody_came_for_is_free_again_and_who_comes_late_is_to_come_again(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch, kind: type[HeldViewer]
) -> None:
    monkeypatch.setattr(broadcaster, "limit", lambda _: 1)
    late, next_ = (kind(pass_of(broadcaster, name), 0) for name in ("late", "next"))
    assert broadcaster.admit(late)
    assert not broadcaster.admit(next_)
    broadcaster._arriving[late] -= 31
    assert broadcaster.admit(next_)
    assert late.pass_.credential.viewers == 0
    reading, writing = os.pipe()
    if isinstance(late, DetachedViewer):
        late.fd = writing
        broadcaster.join(late, "")
        text = os.read(reading, 10_000).decode()
        assert os.read(reading, 1) == b""  # closed
    else:
        broadcaster.join(late, "")
        text = said(late)
        os.close(writing)
    os.close(reading)
    broadcaster.leave(late)
    assert text.count('"renew"') == 1
    assert broadcaster.viewers == 0
    assert late.pass_.credential.viewers == 0


Told = list[tuple[str, bool]]


@pytest.fixture
def told(broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the signals' receivers are told, and whether in the lock."""
    found: Told = []
    monkeypatch.setattr(
        broadcaster, "_told", lambda what, _: found.append((what, broadcaster._lock.locked()))
    )
    return found


def test_who_leaves_with_the_first_write_has_come_before(
    broadcaster: Broadcaster, told: Told
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    viewer = DetachedViewer(pass_of(broadcaster, "ann"), 0)
    viewer.fd = writing
    assert broadcaster.admit(viewer)
    broadcaster.join(viewer, "")
    broadcaster.leave(viewer)
    assert told == [("connected", False), ("disconnected", False)]
    assert broadcaster.viewers == 0
    assert viewer.pass_.credential.viewers == 0


@pytest.mark.parametrize("part", ["tick", "timeline.first"])
def test_who_cannot_be_taken_in_has_come_and_gone_once(
    broadcaster: Broadcaster, told: Told, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("nothing to begin with")

    channel = broadcaster._channel_of("reveal")
    monkeypatch.setattr(channel.timeline if "." in part else channel, part.rpartition(".")[2], fail)
    viewer = HeldViewer(pass_of(broadcaster, "ann"), 0)
    assert broadcaster.admit(viewer)
    with pytest.raises(ValueError, match="nothing to begin with"):
        broadcaster.join(viewer, "")
    broadcaster.leave(viewer)
    broadcaster.leave(viewer)
    assert told == [("connected", False), ("disconnected", False)]
    assert viewer.pass_.credential.viewers == 0
    assert not broadcaster._arriving
    assert not broadcaster._joining


def test_nobody_waits_for_the_publisher_to_begin_and_one_that_cannot_is_tried_again(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, are_locked = threading.Thread.start, []

    def look(thread: threading.Thread) -> None:
        are_locked.append(broadcaster._lock.locked())
        if len(are_locked) == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", look)
    first, second = (HeldViewer(pass_of(broadcaster, name), 0) for name in ("ann", "bob"))
    assert broadcaster.admit(first)
    with pytest.raises(RuntimeError, match="new thread"):
        broadcaster.join(first, "")
    broadcaster.leave(first)
    assert broadcaster.viewers == 0
    assert broadcaster.admit(second)
    broadcaster.join(second, "")
    assert are_locked == [False, False]
    broadcaster.leave(second)


def test_who_is_refused_or_signs_out_on_the_way_is_shown_out(broadcaster: Broadcaster) -> None:
    for name in ("ann", "bob"):
        viewer = HeldViewer(pass_of(broadcaster, name), 0)
        assert broadcaster.admit(viewer)
        if name == "ann":
            broadcaster.sign_out(name)
        else:
            broadcaster.credentials._refuse(viewer.pass_.credential, "unauthorized")
        broadcaster.join(viewer, "")
        assert '"unauthorized"' in said(viewer)
        assert broadcaster.viewers == 0
    other = HeldViewer(pass_of(broadcaster, "carl"), 0)
    assert broadcaster.admit(other)
    broadcaster.join(other, "")
    assert broadcaster.viewers == 1
    broadcaster.stop()
    assert '"restart"' in said(other)


def test_all_are_told_bye_once_before_any_is_closed_though_the_process_ends_meanwhile(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []

    class EndingPace(Pace):
        """Lets the process end where others may work for the first time."""

        def rest(self) -> bool:
            if self._slice_s < inf and not ends:
                ends.append(1)
                broadcaster.stop(is_last=True)
            return False

    monkeypatch.setattr(module, "Pace", EndingPace)
    channel = broadcaster._channel_of("reveal")
    pipes = [os.pipe() for _ in range(100)]
    held = HeldViewer(pass_of(broadcaster, "held"), 0)
    channel.viewers[held] = None
    for _, writing in pipes:
        viewer = DetachedViewer(pass_of(broadcaster, "ann"), 0)
        viewer.fd = writing
        channel.viewers[viewer] = None
    told: list[bytes] = []

    def parted(*_: object) -> None:
        if not told:  # at the first that is closed
            for reading, _ in pipes:
                os.set_blocking(reading, False)
                told.append(os.read(reading, 10_000))

    monkeypatch.setattr(broadcaster, "_told", parted)
    broadcaster.stop()
    assert ends
    assert broadcaster.viewers == 0
    assert len(told) == 100
    for text in (*told, said(held).encode()):
        assert text.count(b'"restart"') == 1
    for reading, _ in pipes:
        assert os.read(reading, 1) == b""  # closed, and nothing more was said
        os.close(reading)


def test_after_a_tick_that_the_app_held_up_the_next_is_not_at_once(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    clocks = {"thread_time": time.thread_time, "time": time.time}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s, **clocks))
    channel = broadcaster._channel_of("reveal")

    def held_up() -> None:
        nonlocal now_s
        now_s += 3.0

    monkeypatch.setattr(channel, "tick", held_up)
    channel.viewers[HeldViewer(pass_of(broadcaster, "ann"), 0)] = None
    assert broadcaster._round(now_s) >= 1003.0 + broadcaster.interval_s / 2


def test_heartbeats_do_not_wait_for_the_next_tick(
    broadcaster: Broadcaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    clocks = {"thread_time": time.thread_time, "perf_counter": time.perf_counter}
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s, **clocks))
    channel = broadcaster._channel_of("reveal")
    viewer = HeldViewer(pass_of(broadcaster, "ann"), 0)
    assert broadcaster._quiet_until_s() == inf
    channel.viewers[viewer], channel.sent_s = None, now_s
    heard = []
    for _ in range(30):
        assert broadcaster._round(1060.0) == 1060.0
        heard.append(sse.HEARTBEAT in viewer._waiting)
        viewer._waiting.clear()
        now_s += 1
    assert [at for at, is_heard in enumerate(heard) if is_heard] == [10, 20]
    assert broadcaster._quiet_until_s() == 1030.0


@pytest.mark.parametrize("interval_s", [0.2, 10.0])
def test_gates_are_asked_as_often_as_it_says(interval_s: float) -> None:
    app = Flask("gates")
    app.config["REALTIME_MONITOR_REAUTHORIZE_INTERVAL"] = interval_s
    RealtimeMonitor(app, authorize=lambda: True)
    broadcaster: Broadcaster = app.extensions["realtime_monitor"].live.broadcaster
    broadcaster._fanout._viewers[0] = DetachedViewer(pass_of(broadcaster, "ann"), 0)
    waits: list[float] = []
    broadcaster._wake = SimpleNamespace(wait=waits.append, clear=list)  # type: ignore[assignment]
    broadcaster._wait(inf)
    assert waits == [min(1.0, interval_s)]


def test_a_limit_that_is_only_read_leaves_the_process_as_it_is(broadcaster: Broadcaster) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = hard // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        assert derived_limit(is_detached=True) == most_descriptors() // 2
        assert broadcaster.limit() > 0
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == lower
        assert broadcaster.admit(DetachedViewer(pass_of(broadcaster, "ann"), 0))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_has_just_begun_is_not_reassured(broadcaster: Broadcaster) -> None:
    viewer = HeldViewer(pass_of(broadcaster, "ann"), 0)
    assert broadcaster.admit(viewer)
    broadcaster.join(viewer, "")
    assert broadcaster._quiet_until_s() > time.monotonic()
    broadcaster.leave(viewer)


def test_whatever_is_set_the_app_keeps_some_of_what_streams_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    like = {"__module__": "gunicorn.workers.ggevent"}
    cfg = SimpleNamespace(worker_connections=100, threads=1)
    server = type("Server", (), {**like, "cfg": cfg})()
    monkeypatch.setattr(capacity, "server_worker", lambda: server)
    for most, held in ((5_000, 75), (60, 60), (0, 50)):
        assert Capacity(most).limit(is_detached=False) == held
    assert Capacity(10**6).limit(is_detached=True) == most_descriptors() * 3 // 4


def test_who_signed_out_on_the_way_is_told_so(broadcaster: Broadcaster) -> None:
    since_s = time.monotonic()
    broadcaster.sign_out("ann")
    ways = {"ann": since_s, "bob": since_s, "ann again": time.monotonic()}
    for name, began_s in ways.items():
        viewer = HeldViewer(
            pass_of(broadcaster, name)._replace(user=User(name.partition(" ")[0])), 0
        )
        assert broadcaster.admit(viewer, began_s)
        broadcaster.join(viewer, "")
        viewer.end()
        assert ('"unauthorized"' in said(viewer)) == (name == "ann")
        broadcaster.leave(viewer)


def test_the_limit_is_that_of_the_way_the_last_stream_came(broadcaster: Broadcaster) -> None:
    assert broadcaster.limit() == 100  # of a server that does not tell
    for kind, is_detached in ((DetachedViewer, True), (HeldViewer, False)):
        assert broadcaster.admit(kind(pass_of(broadcaster, "ann"), 0))
        assert broadcaster.limit() == derived_limit(is_detached)


def test_who_gets_one_answer_is_not_to_come_again_with_all_others(broadcaster: Broadcaster) -> None:
    answers = [broadcaster.once("reveal") for _ in range(50)]
    waits = [[int(ms) for ms in re.findall(rb"^retry: (\d+)$", one, re.M)] for one in answers]
    assert all(first == last for first, last in waits)
    assert all(1000 <= first <= 3500 for first, _ in waits)
    assert len({first for first, _ in waits}) > 10
