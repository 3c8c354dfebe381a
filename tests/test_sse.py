from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import sse

from .support.sse import Parser, StreamError

TEXTS = st.text(alphabet=st.characters(codec=None), max_size=20)


@given(st.dictionaries(TEXTS, TEXTS, max_size=5), st.integers(1, 9))
def test_any_text_comes_back_whatever_pieces_it_travels_in(
    payload: dict[str, str], size: int
) -> None:
    whole = {"as_of": 1.0, **{f"k{name}": value for name, value in payload.items()}}
    data = sse.encode("update", whole, "e-1.2") + sse.HEARTBEAT
    parser = Parser()
    events = [
        event
        for start in range(0, len(data), size)
        for event in parser.feed(data[start : start + size])
    ]
    assert [(one.event, one.id) for one in events] == [("update", "e-1.2")]
    assert events[0].data == json.loads(json.dumps(whole))
    assert parser.comments == 1


@pytest.mark.parametrize("event", ["message", "update\nid: 1", "", "Snapshot"])
def test_an_unknown_name_is_refused(event: str) -> None:
    with pytest.raises(ValueError, match="unknown event"):
        sse.encode(event, {})


@pytest.mark.parametrize("id", ["", "a\nb", "é", "x" * 65, "a\0b", "\r"])
def test_an_id_that_breaks_the_framing_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        sse.encode("update", {}, id)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        sse.encode("update", {"x": value})


def test_retry_is_a_field_of_its_own() -> None:
    parser = Parser()
    assert parser.feed(sse.retry(1500)) == []
    assert parser.retry_ms == 1500


WRONG: list[Any] = [
    b"data: {}\r\n\r\n",
    b"\xef\xbb\xbfdata: {}\n\n",
    b"event: update\ndata: {}\ndata: {}\n\n",
    b"event: update\ndata: {}\n\n",
    b"event: update\ndata: [NaN]\n\n",
    b'id: \xc3\xa9\nevent: update\ndata: {"as_of":1}\n\n',
    b'event: update\ndata: {"as_of":1}\n\n',
    b'id: 1\nevent: bye\ndata: {"as_of":1}\n\n',
    b'event: update\nid: 1\ndata: {"as_of":1}\n\n',
    b'id: 1\nevent: open\ndata: {"as_of":1}\n\n',
    b'id: e-1.2\nevent: update\ndata: {"as_of":1}\n\n' * 2,
    b": ann was here\n\n",
    b"retry: 1s\n\n",
    b"colour: red\n\n",
    b"event: update\n\n",
]


@pytest.mark.parametrize("data", WRONG)
def test_the_tests_own_parser_is_strict(data: bytes) -> None:
    with pytest.raises((StreamError, ValueError)):
        Parser().feed(data)
