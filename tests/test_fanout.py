"""What arrives at viewers who read now and then, and how their connections are watched."""

from __future__ import annotations

import json
import os
import signal
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_realtime_monitor import RealtimeMonitor, sse, worker
from flask_realtime_monitor.broadcaster import Broadcaster
from flask_realtime_monitor.channels import Channel
from flask_realtime_monitor.fanout import Fanout, Pace
from flask_realtime_monitor.packet import CHUNKED, GZIP, Packet
from flask_realtime_monitor.viewers import DetachedViewer, HeldViewer, Pass, Viewer

from .support.waiting import wait_until

HEARTBEAT_S = 10.0
FORMS = st.sampled_from([0, GZIP, CHUNKED, CHUNKED | GZIP])
STEPS = st.one_of(
    st.tuples(st.just("join"), st.tuples(st.sampled_from(["held", "detached"]), FORMS)),
    *[st.tuples(st.just("frame"), st.sampled_from([10, 300, 3_000, 30_000]))] * 3,
    *[st.tuples(st.just("read"), st.integers(0, 5))] * 3,
    st.tuples(st.sampled_from(["quiet", "resync", "erase"]), st.just(0)),
)


class Told:
    """A timeline that a test moves on."""

    is_forgetting = is_due = False

    def __init__(self) -> None:
        self.number = 0
        self._text = ""
        self.frame: Packet | None = None
        self.is_anew = False

    def rest(self) -> None:
        """Nobody watched."""

    def advance(self) -> tuple[Packet | None, bool]:
        frame, is_anew = self.frame, self.is_anew
        self.frame, self.is_anew = None, False
        return frame, is_anew

    def move(self, size: int) -> None:
        self.number += 1
        text = Random(self.number).randbytes(size // 2).hex()  # it stays large when it is packed
        told = {"number": self.number, "was": self._text[-300:], "text": text}
        self._text = text
        self.frame = Packet(sse.encode("update", told), is_frame=True)

    def is_resync_due(self, _: bool) -> bool:
        due, self.is_due = self.is_due, False
        return due

    def snapshot(self, role: str) -> Packet:
        return Packet(sse.encode("snapshot", {"role": role, "number": self.number}))


class Seat:
    """A viewer, and who reads what it is sent."""

    def __init__(self, kind: str, form: int) -> None:
        pass_ = Pass("reveal", None, SimpleNamespace())  # type: ignore[arg-type]
        self.text, self._wire = b"", b""
        self._inflate = zlib.decompressobj(31).decompress if form & GZIP else bytes
        self.viewer: Viewer
        if kind == "held":
            self.viewer = HeldViewer(pass_, form)
        else:
            self._reading, writing = os.pipe()
            os.set_blocking(self._reading, False)
            os.set_blocking(writing, False)
            self.viewer = DetachedViewer(pass_, form)
            self.viewer.fd = writing
        self._take_in(self.viewer.opening(b": here\n\n"))

    def read(self) -> bool:
        """Read what is there; tell whether there was anything."""
        if isinstance(self.viewer, HeldViewer):
            waiting = self.viewer._waiting
            data = b"".join(waiting)
            waiting.clear()
            self._take_in(data)
            return bool(data)
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._reading, 65_536)
        self._wire += data
        assert isinstance(self.viewer, DetachedViewer)
        self.viewer.go_on()
        if not self.viewer.form & CHUNKED:
            self._take_in(self._wire)
            self._wire = b""
        while self._wire:
            size, _, rest = self._wire.partition(b"\r\n")
            if not rest or len(rest) < int(size, 16) + 2:
                break
            self._take_in(rest[: int(size, 16)])
            self._wire = rest[int(size, 16) + 2 :]
        return bool(data)

    def numbers(self) -> list[int]:
        """Return where it stood after each event; a frame goes on from where it stood."""
        found: list[int] = []
        assert self.text.endswith(b"\n\n")
        for event in self.text.decode().split("\n\n")[:-1]:
            if event.startswith(":"):
                continue
            name, data = (line.split(": ", 1)[1] for line in event.split("\n"))
            number = json.loads(data)["number"]
            assert found or name == "snapshot"
            assert name == "snapshot" or number == found[-1] + 1
            found.append(number)
        return found

    def _take_in(self, data: bytes) -> None:
        self.text += self._inflate(data)

    def close(self) -> None:
        if isinstance(self.viewer, DetachedViewer):
            os.close(self._reading)
            os.close(self.viewer.fd)


@pytest.fixture
def broadcaster(monkeypatch: pytest.MonkeyPatch) -> Broadcaster:
    app = Flask("steps")
    app.config["REALTIME_MONITOR_STORE"] = "memory:"
    RealtimeMonitor(app)
    monkeypatch.setattr(Fanout, "_wait_for", lambda *_: None)  # a pipe is not watched
    made: Broadcaster = app.extensions["realtime_monitor"].live.broadcaster
    return made


class Room:
    """Some viewers of one channel, and a clock."""

    def __init__(self, broadcaster: Broadcaster) -> None:
        self.told = Told()
        self.seats: list[Seat] = []
        self._broadcaster = broadcaster
        self._channel = Channel(self.told)  # type: ignore[arg-type]
        self._now_s = 100.0

    def join(self, kind: str, form: int) -> None:
        seat = Seat(kind, form)
        self.seats.append(seat)
        seat.viewer.take(self.told.snapshot("reveal"))
        self._channel.viewers[seat.viewer] = None

    def tick(self, after_s: float = 1.0) -> None:
        self._now_s += after_s
        frame = self._channel.tick()
        to, packet = self._channel.addressed(frame, self._now_s, HEARTBEAT_S)
        self._broadcaster._send(self._channel, to, packet, frame is not None)

    def do(self, name: str, said: Any) -> None:
        if name == "join":
            self.join(*said)
        elif name == "read":
            for seat in self.seats[said : said + 1]:
                seat.read()
        else:
            self.told.is_due, self.told.is_anew = name == "resync", name == "erase"
            if name == "frame":
                self.told.move(said)
            self.tick(HEARTBEAT_S if name == "quiet" else 1.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=10, max_size=60))
def test_whatever_was_skipped_what_arrives_makes_sense(
    broadcaster: Broadcaster, steps: list[tuple[str, Any]]
) -> None:
    room = Room(broadcaster)
    try:
        for name, said in steps:
            room.do(name, said)
        for _ in range(4):  # what waits for room, and then what waits for that
            for seat in room.seats:
                while seat.read():
                    pass
            room.tick()
        for seat in room.seats:
            assert seat.numbers()[-1] == room.told.number
    finally:
        for seat in room.seats:
            seat.close()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, DetachedViewer]]:
    """Yield a viewer's end of a connection, and the viewer."""
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    viewer = DetachedViewer(Pass("reveal", None, SimpleNamespace()), 0)  # type: ignore[arg-type]
    viewer.fd = ours.detach()
    yield theirs, viewer
    theirs.close()


def run_until(condition: Callable[[], object], what: str) -> None:
    """Run gevent's loop until something is so."""

    def is_so() -> object:
        gevent.sleep(0.01)
        return condition()

    wait_until(is_so, what)


def test_who_leaves_is_told_of_until_it_is_served(
    connection: tuple[socket.socket, DetachedViewer],
) -> None:
    theirs, viewer = connection
    gone: list[DetachedViewer] = []
    ready: list[bool] = []
    fanout = Fanout(gone.append, lambda: ready.append(True), lambda: False)
    for _ in range(2):  # before anybody comes, there is nothing to see to
        fanout.look()
        fanout.serve()
        fanout.rest()
    fanout.adopt(viewer)
    theirs.send(b"what a viewer says is of no interest")
    run_until(lambda: ready, "it is heard")
    fanout.serve()
    assert len(fanout) == 1
    theirs.close()
    run_until(lambda: len(ready) > 1, "its end is heard")
    assert gone == []
    fanout.serve()
    assert gone == [viewer]
    fanout.rest()


def test_who_is_sent_away_sees_the_end_though_a_child_has_the_connection_too(
    connection: tuple[socket.socket, DetachedViewer],
) -> None:
    theirs, viewer = connection
    fanout = Fanout(lambda _: None, lambda: None, lambda: False)
    fanout.adopt(viewer)
    copy = os.dup(viewer.fd)  # as a fork makes one
    fanout.take_leave(viewer, Packet(b"bye"))
    fanout.end(viewer)
    theirs.setblocking(False)
    assert (theirs.recv(10), theirs.recv(10)) == (b"bye", b"")
    os.close(copy)
    fanout.rest()


def test_the_loop_itself_asks_while_nobody_looks(
    connection: tuple[socket.socket, DetachedViewer],
) -> None:
    _, viewer = connection
    ready: list[bool] = []
    due = [False]
    fanout = Fanout(lambda _: None, lambda: ready.append(True), lambda: due[0])
    fanout.adopt(viewer)
    fanout.look()
    assert not ready
    due[0] = True
    fanout.look()
    assert len(ready) == 1
    run_until(lambda: len(ready) > 2, "it asks by itself, again and again")
    fanout.end(viewer)
    fanout.rest()
    ready.clear()
    fanout.look()
    assert not ready


def test_a_signal_is_seen_as_it_comes_and_once(
    connection: tuple[socket.socket, DetachedViewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    like = {"__module__": "gunicorn.workers.ggevent", "PIPE": (reading, writing)}
    monkeypatch.setattr(worker, "server_worker", type("Server", (), like))
    _, viewer = connection
    ready: list[bool] = []
    fanout = Fanout(lambda _: None, lambda: ready.append(True), lambda: True)
    fanout.adopt(viewer)
    fanout._timer.stop()  # which would ask a little later
    os.write(writing, bytes([signal.SIGHUP]))
    run_until(lambda: ready, "it is seen")
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)  # else the loop would be woken without end
    fanout.end(viewer)
    fanout.rest()
    os.write(writing, bytes([signal.SIGHUP]))
    seen: list[bool] = []
    another = gevent.get_hub().loop.io(reading, 1)
    another.start(seen.append, True)
    run_until(lambda: seen, "the loop looks whether there is anything")
    another.stop()
    another.close()
    assert len(ready) == 1
    assert os.read(reading, 1) == bytes([signal.SIGHUP])  # left to the server
    for fd in (reading, writing):
        os.close(fd)


def test_an_update_on_its_way_to_many_makes_way_for_what_is_due() -> None:
    crowd = [Seat("detached", 0) for _ in range(100)]
    viewers = [seat.viewer for seat in crowd]
    due = [False]
    fanout = Fanout(lambda _: None, lambda: None, lambda: due[0])
    pace = Pace(slice_s=0)
    try:
        for is_due, told in ((False, 100), (True, 16)):
            due[0] = is_due
            assert fanout.send_to_all(viewers, Packet(sse.encode("update", {})), pace) == []
            assert sum(bool(seat.read()) for seat in crowd) == told
    finally:
        for seat in crowd:
            seat.close()
