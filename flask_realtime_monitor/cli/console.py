"""What the commands print: text from outside is shown, and can do nothing to a terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from ..wording import visible

_COLOURS = {"good": "32", "warn": "33", "bad": "31", "dim": "2", "bold": "1"}
_GAP = "  "
_NARROWEST = 6
_DOTS = "..."


class Trouble(click.ClickException):
    """Nothing can be shown, or is as it should be; the text says what to do. Exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(_encodable(visible(message), sys.stderr))


class Cell(NamedTuple):
    """A piece of text, cleaned when it is printed, and the colour it has where there are any."""

    text: str
    colour: str = ""
    is_number: bool = False


def number(text: str) -> Cell:
    """Return a cell that stands at the right."""
    return Cell(text, "", True)


def is_terminal() -> bool:
    """Tell whether somebody looks at what is printed."""
    return sys.stdout.isatty()


def has_colours() -> bool:
    """Tell whether control sequences may be printed at all."""
    term = os.environ.get("TERM", "dumb")
    return is_terminal() and term not in ("", "dumb") and not os.environ.get("NO_COLOR")


def say(*cells: str | Cell, err: bool = False) -> None:
    """Print one line."""
    _print(_GAP.join(_painted(_cell(one)) for one in cells), err)


def dumped(value: Any) -> str:
    """Return a value as JSON in one line of printable ASCII."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("\x7f", "\\u007f")  # the only control character that JSON leaves alone


def say_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    _print(dumped(value), False)


def say_table(head: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> None:
    """Print rows in columns, cut to the terminal's width where there is one."""
    for line in table(head, rows, columns() if is_terminal() else None):
        _print(line, False)


def table(head: Sequence[str], rows: Sequence[Sequence[str | Cell]], most: int | None) -> list[str]:
    """Return the lines of a table, which has at least one row.

    Args:
        head: the names of the columns; empty for none.
        most: the longest line, in columns of the terminal; None: whatever it takes.
    """
    cells = [[Cell(visible(one.text), *one[1:]) for one in map(_cell, row)] for row in rows]
    if head:
        cells.insert(0, [Cell(name, "dim", cells[0][at].is_number) for at, name in enumerate(head)])
    widths = [max(width(row[at].text) for row in cells) for at in range(len(cells[0]))]
    if most is not None:
        _narrow(widths, most - len(_GAP) * (len(widths) - 1))
    lines = []
    for row in cells:
        filled = [_filled(one, size) for one, size in zip(row, widths, strict=True)]
        lines.append(_GAP.join(filled).rstrip())
    return lines


def columns() -> int:
    """Return how wide the terminal is."""
    return shutil.get_terminal_size().columns


def fit(text: str, most: int) -> str:
    """Return text that is at most so many columns wide."""
    if width(text) <= most:
        return text
    kept = ""
    for one in text:
        if width(kept + one) > most - len(_DOTS):
            break
        kept += one
    return kept + _DOTS[: max(0, most)]


def width(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def draw(lines: Sequence[str]) -> None:
    """Print a whole screen over the one before, where the terminal can do that."""
    if not has_colours():
        _print("\n".join(lines), False)
        return
    height = shutil.get_terminal_size().lines
    text = "\x1b[K\n".join(lines[: height - 1])
    click.echo("\x1b[H" + _encodable(text, sys.stdout) + "\x1b[K\x1b[J", nl=False, color=True)


def clear() -> None:
    """Make place for the first screen."""
    if has_colours():
        click.echo("\x1b[2J", nl=False, color=True)


def line(*cells: str | Cell) -> str:
    """Return one line of a screen, at most as wide as the terminal."""
    text = _GAP.join(visible(_cell(one).text) for one in cells)
    return fit(text, columns()) if is_terminal() else text


def bold(text: str) -> str:
    """Return a line that stands out."""
    return _painted(Cell(text, "bold"))


def _print(text: str, err: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    click.echo(_encodable(text, stream), err=err, color=has_colours())


def _encodable(text: str, stream: Any) -> str:
    """Return text that a stream takes, whatever its encoding."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _cell(one: str | Cell) -> Cell:
    return one if isinstance(one, Cell) else Cell(one)


def _painted(cell: Cell) -> str:
    text = visible(cell.text)
    code = _COLOURS.get(cell.colour)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text and has_colours() else text


def _filled(cell: Cell, size: int) -> str:
    text = fit(cell.text, size)
    space = " " * (size - width(text))
    painted = _painted(Cell(text, cell.colour))
    return space + painted if cell.is_number else painted + space


def _narrow(widths: list[int], most: int) -> None:
    """Take from the widest column until all fit."""
    while sum(widths) > most and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


#: What a spreadsheet takes for a formula; full-width signs too.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def csv_cell(value: Any) -> str:
    """Return a value for a cell of CSV: never a formula, never a control character."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = value if isinstance(value, str) else dumped(value)
    is_formula = _FORMULA.match(text.lstrip(" ")) and not _NUMBER.fullmatch(text)
    return _encodable("'" * bool(is_formula) + visible(text), sys.stdout)
