"""Text in columns, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor.cli.console import Cell, csv_cell, dumped, fit, number, table, width

TEXT = st.text(st.characters(), max_size=30)
FORBIDDEN = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))}


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcdef", 5, "ab..."),
        ("日本語の人", 7, "日本..."),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"),
        ("abcdef", 2, ".."),
    ],
)
def test_what_is_too_wide_is_cut(text: str, most: int, cut: str) -> None:
    assert fit(text, most) == cut
    assert width(cut) <= most


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5), st.integers(30, 80))
def test_a_table_holds_no_control_character_and_its_width(
    rows: list[tuple[str, str, str]], most: int
) -> None:
    lines = table(("A", "B", "C"), [[a, Cell(b, "bad"), number(c)] for a, b, c in rows], most)
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert not FORBIDDEN & set(line)
        assert width(line) <= most


@given(st.recursive(TEXT, lambda more: st.lists(more) | st.dictionaries(TEXT, more)))
def test_json_and_csv_hold_no_control_character(value: object) -> None:
    for text in (dumped(value), csv_cell(value)):
        assert not FORBIDDEN & set(text)
        text.encode()
    assert dumped(value).isascii()
