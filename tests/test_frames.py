"""What workers write for each other, and what becomes of other bytes."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor.frames import PACKERS, Frame, FrameError, decode, encode, join

ROWS = {1: b"one", 2**64 - 1: b"", 3: b"x" * 1000}


def test_a_frame_comes_back() -> None:
    head = {"q": 1, "a": [[0, "Zürich \N{SNOWMAN}"]]}
    assert decode(encode(head, ROWS)) == Frame(head, ROWS)


ALIKE = st.integers(0, 4).flatmap(
    lambda size: st.dictionaries(st.integers(0, 9), st.binary(min_size=size, max_size=size))
)


@given(ALIKE, st.dictionaries(st.integers(5, 14), st.binary(max_size=4), max_size=2), st.data())
def test_rows_come_back_alike_or_not_and_none_of_them_twice(
    alike: dict[int, bytes], more: dict[int, bytes], chosen: st.DataObject
) -> None:
    rows = list({**alike, **more}.items())
    assert list(decode(encode({"q": 1}, dict(rows))).rows.items()) == rows
    if rows:
        again = encode({}, dict([chosen.draw(st.sampled_from(rows))]))[len(encode({})) :]
        with pytest.raises(FrameError):
            decode(encode({"q": 1}, dict(rows)) + again)


def test_a_head_may_have_what_only_a_later_release_knows() -> None:
    assert decode(encode({"q": 1, "hats": [1]})).head["hats"] == [1]


def test_rows_that_were_packed_by_their_size_are_the_same_frame() -> None:
    packed = [PACKERS[len(row)](key, len(row), row + b"older") for key, row in ROWS.items()]
    assert join({"q": 1}, packed) == encode({"q": 1}, ROWS)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data)


@given(st.binary(max_size=60))
def test_other_bytes_behind_a_good_beginning_are_a_frame_or_refused(data: bytes) -> None:
    try:
        found = decode(encode({"q": 1}) + data)
    except FrameError:
        return
    assert encode(*found) == encode({"q": 1}) + data


def test_what_is_cut_off_is_refused_or_ends_between_rows() -> None:
    whole = encode({"q": 1}, ROWS)
    good = [size for size in range(len(whole)) if is_frame(whole[:size])]
    assert len(good) == len(ROWS), "only behind the head and each row but the last"


def is_frame(data: bytes) -> bool:
    try:
        decode(data)
    except FrameError:
        return False
    return True


@pytest.mark.parametrize("head", [[], 1, None, "text"])
def test_a_head_that_is_no_object_is_refused(head: object) -> None:
    text = json.dumps(head).encode()
    with pytest.raises(FrameError):
        decode(struct.pack("<2sBI", b"RM", 1, len(text)) + text)


def test_a_head_that_is_nested_too_deep_is_refused() -> None:
    text = b"[" * 100_000
    with pytest.raises(FrameError):
        decode(struct.pack("<2sBI", b"RM", 1, len(text)) + text)


def test_a_frame_of_another_version_is_refused() -> None:
    data = bytearray(encode({"q": 1}))
    data[2] = 2
    with pytest.raises(FrameError, match="version 1"):
        decode(bytes(data))


def test_a_session_that_comes_twice_is_refused() -> None:
    twice = encode({"q": 1}, {1: b"one"}) + encode({"q": 1}, {1: b"two"})[-13:]
    with pytest.raises(FrameError, match="twice"):
        decode(twice)
