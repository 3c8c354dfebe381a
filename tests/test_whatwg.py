"""The second parser is held to cases as the platform's own tests have them."""

from __future__ import annotations

import pytest

from .support.whatwg import EventStream, Message

CASES: dict[str, tuple[bytes, list[tuple[str, str, str]]]] = {
    "bom": (b"\xef\xbb\xbfdata: 1\n\n", [("message", "1", "")]),
    "bom-2": (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [("message", "2", "")]),
    "comments": (b"data: 1\n:\0\n:\r\ndata: 2\n: x\ndata: 3\n\n", [("message", "1\n2\n3", "")]),
    "data-before-final-empty-line": (
        b"retry: 600000\ndata: 1\n\nid: x\ndata: 2",
        [("message", "1", "")],
    ),
    "field-data": (
        b"data:\n\ndata\ndata\n\ndata: x\n\n",
        [("message", "", ""), ("message", "\n", ""), ("message", "x", "")],
    ),
    "field-event": (b"event: a\ndata: x\n\ndata: y\n\n", [("a", "x", ""), ("message", "y", "")]),
    "field-event-empty": (b"event:\ndata: x\n\n", [("message", "x", "")]),
    "field-id": (b"id: 1\ndata: x\n\ndata: y\n\n", [("message", "x", "1"), ("message", "y", "1")]),
    "field-id-2": (
        b"id: 1\ndata: x\n\nid\ndata: y\n\n",
        [("message", "x", "1"), ("message", "y", "")],
    ),
    "field-id-null": (b"id: 1\0\ndata: x\n\n", [("message", "x", "")]),
    "field-parsing": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\rdata:4\n\n",
        [("message", "\0\n 2\n1\n4", "")],
    ),
    "field-unknown": (b"data:x\n data:y\nunknown: 1\njust text\n\n", [("message", "x", "")]),
    "leading-space": (b"data:\ttest\rdata:  two\n\n", [("message", "\ttest\n two", "")]),
    "newlines": (b"data: 1\r\ndata: 2\rdata: 3\ndata: 4\r\n\r\n", [("message", "1\n2\n3\n4", "")]),
    "no-data": (b"event: x\nid: 7\n\ndata: y\n\n", [("message", "y", "7")]),
    "null-character": (b"data: \0\n\n", [("message", "\0", "")]),
    "utf-8": (
        b"data: \xe4\xbd\xa0\xff\xf0\x9f\x98\x80\n\n",
        [("message", "\u4f60\ufffd\U0001f600", "")],
    ),
    "other-line-ends": (
        "data: a\u2028b\u2029c\x85d\ve\ff\n\n".encode(),
        [("message", "a\u2028b\u2029c\x85d\ve\ff", "")],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", CASES)
def test_it_reads_as_the_specification_says(name: str, size: int) -> None:
    data, expected = CASES[name]
    stream = EventStream()
    found = [one for at in range(0, len(data), size) for one in stream.feed(data[at : at + size])]
    assert found == [Message(*one) for one in expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"3000", 3000),
        (b"1x", None),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        ("\u0661".encode(), None),
    ],
)
def test_only_digits_are_a_time_to_wait(value: bytes, expected: int | None) -> None:
    stream = EventStream()
    stream.feed(b"retry: " + value + b"\n\n")
    assert stream.reconnection_ms == expected
