"""The bytes of a packet in each form, and frames that follow each other."""

from __future__ import annotations

import zlib
from itertools import product

import pytest

from flask_realtime_monitor.departures import Departures
from flask_realtime_monitor.packet import (
    CHUNKED,
    GZIP,
    GZIP_HEAD,
    IN_STEP,
    Packet,
    chunk,
    deflated,
)
from flask_realtime_monitor.ring import Ring

SHORT, LONG = b": \n\n", b"data: " + b"once upon a time " * 300 + b"\n\n"


def unchunked(data: bytes) -> tuple[bytes, bool]:
    """Return a chunked body's bytes, and whether its last chunk was there."""
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        found, end, data = found + data[:count], data[count : count + 2], data[count + 2 :]
        assert end == b"\r\n"
        if not count:
            assert not data
            return found, True
    return found, False


@pytest.mark.parametrize("plain", [SHORT, LONG])
@pytest.mark.parametrize("is_last", [False, True])
def test_every_form_says_the_same(plain: bytes, is_last: bool) -> None:
    packet = Packet(plain, is_last)
    assert packet.form(0) == plain
    assert unchunked(packet.form(CHUNKED)) == (plain, is_last)
    assert zlib.decompressobj(31).decompress(GZIP_HEAD + packet.form(GZIP)) == plain
    assert unchunked(packet.form(CHUNKED | GZIP)) == (packet.form(GZIP), is_last)


@pytest.mark.parametrize("skipped", list(product([False, True], repeat=3)))
def test_gzip_pieces_follow_each_other_in_any_choice(skipped: tuple[bool, ...]) -> None:
    pieces = [LONG + b"1", SHORT, LONG + b"2"]
    heard = [piece for piece, is_skipped in zip(pieces, skipped, strict=True) if not is_skipped]
    reader = zlib.decompressobj(31)
    found = reader.decompress(GZIP_HEAD)
    for piece in heard:
        now = reader.decompress(deflated(piece))
        assert now == piece  # all of it, at once
        found += now
    assert found == b"".join(heard)


@pytest.mark.parametrize("is_last", [False, True])
def test_who_is_in_step_gets_less(is_last: bool) -> None:
    before, now = LONG + bytes(range(256)) * 2, LONG + bytes(range(256)) * 2 + b"once more"
    packet = Packet(now, is_last)
    packet.after = before
    short = packet.form(GZIP | IN_STEP)
    assert len(short) < len(packet.form(GZIP)) / 3
    reader = zlib.decompressobj(31)
    assert reader.decompress(GZIP_HEAD + deflated(before) + short) == before + now
    assert unchunked(packet.form(CHUNKED | GZIP | IN_STEP)) == (short, is_last)
    assert packet.form(IN_STEP) == now
    assert Packet(now, is_last).form(GZIP | IN_STEP) == packet.form(GZIP)


def test_what_repeats_itself_gets_short() -> None:
    assert len(Packet(LONG).form(GZIP)) < len(LONG) / 10


def test_nothing_is_no_chunk() -> None:
    assert chunk(b"") == b""


def test_a_ring_gives_what_follows_a_tick_or_nothing() -> None:
    ring = Ring()
    ring.clear(10)
    frames = {tick: Packet(b"%d" % tick) for tick in (11, 15, 16)}
    for tick, frame in frames.items():
        ring.add(tick, frame)
    assert ring.after(16) == []
    assert ring.after(15) == [frames[16]]
    assert ring.after(10) == list(frames.values())
    assert ring.after(12) is None  # no frame was ever that
    assert ring.after(9) is None
    assert ring.after(99) is None
    ring.clear(20)
    assert ring.after(16) is None


def test_a_ring_is_bounded_by_number_and_size() -> None:
    ring = Ring()
    for tick in range(1, 200):
        ring.add(tick, Packet(b"x"))
    assert ring.after(1) is None
    assert len(ring.after(190) or []) == 9
    for tick in range(200, 230):
        ring.add(tick, Packet(b"x" * 500_000))
    assert ring.after(210) is None
    assert len(ring.after(227) or []) == 2


def test_departures_know_how_far_back_they_are_complete() -> None:
    departures = Departures()
    departures.begin(1000)
    departures.note(1, 2000)
    departures.note("ann", 3000)
    assert departures.since(1000) == [1, "ann"]
    assert departures.since(2500) == ["ann"]
    departures.note(1, 4000)
    assert departures.since(2500) == ["ann", 1]
    assert departures.complete_since_ms == 1000
    for number in range(5000):
        departures.note(number + 10, 5000 + number)
    assert departures.complete_since_ms > 5000
