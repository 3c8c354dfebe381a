"""How cursors, entries and rows are written on a Redis or Valkey, and read again."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .base import Beat, Entry

#: The form of a row, when it was written, and up to where snapshots cover the log.
_HEAD = struct.Struct("<BdQ")
_FORM = 1
_SEQUENCE_BITS = 20
_SMALL_BYTES = 65_536


class Row(NamedTuple):
    """A worker's row: its beat, or what was taken over of it."""

    at: float
    covered: int
    data: bytes


def pack_row(row: Row) -> bytes:
    """Return a row as it is written."""
    return _HEAD.pack(_FORM, row.at, row.covered) + row.data


def unpack_row(data: bytes | None) -> Row | None:
    """Read a row; None if it makes no sense, or is of a form that is not known here."""
    if data is None or len(data) < _HEAD.size or data[0] != _FORM:
        return None
    _, at, covered = _HEAD.unpack_from(data)
    return Row(at, covered, data[_HEAD.size :])


def covered_in(written: Iterable[bytes], oldest_at: float) -> list[int]:
    """Return up to where each worker's snapshots cover the log, but for who last wrote before."""
    found = map(unpack_row, written)
    return [row.covered for row in found if row is not None and row.at >= oldest_at]


def pack(commands: Iterable[tuple[Any, ...]]) -> bytes:
    """Return commands as they go over the wire (RESP, arrays of bulk strings)."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            data = part if isinstance(part, bytes) else str(part).encode()
            parts += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join(parts)


def cursor_of(id: bytes) -> int:
    """Return a stream's id as a number of the same order."""
    milliseconds, _, sequence = id.partition(b"-")
    return int(milliseconds) << _SEQUENCE_BITS | int(sequence)


def cursor_at(at: float) -> int:
    """Return the first cursor of a moment of the server's clock."""
    return max(0, int(at * 1000)) << _SEQUENCE_BITS


def id_of(cursor: int) -> str:
    """Return a cursor as the stream's id."""
    return f"{cursor >> _SEQUENCE_BITS}-{cursor & (1 << _SEQUENCE_BITS) - 1}"


def entry_of(row: Any) -> Entry | None:
    """Read an entry of a stream; None if it makes no sense."""
    id, fields = row
    found = dict(zip(fields[::2], fields[1::2], strict=False))
    worker, data, cursor = found.get(b"w"), found.get(b"d"), cursor_of(id)
    if worker is None or data is None:
        return None
    return Entry(cursor, text_of(worker), (cursor >> _SEQUENCE_BITS) / 1000, data)


def text_of(name: bytes) -> str:
    """Return a worker's id as text, whatever it is."""
    return name.decode(errors="replace")


def seconds_of(moment: list[bytes]) -> float:
    """Return the answer to TIME in seconds since the epoch."""
    return int(moment[0]) + int(moment[1]) / 1e6


def next_count(count: int, answer: list[bytes | None]) -> int:
    """Return how many values to ask for after an answer to so many.

    A server far away takes its time for each answer; a large one holds up whoever reads it.
    """
    return 2 * count if sum(map(len, filter(None, answer))) < _SMALL_BYTES else count


def pairs_of(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields and values of a hash."""
    return zip(flat[::2], flat[1::2], strict=True)


def read_beats(flat: list[bytes]) -> tuple[dict[str, Beat], int]:
    """Read the beats; return them, and how many made no sense."""
    found = {text_of(id): unpack_row(written) for id, written in pairs_of(flat)}
    beats = {id: Beat(row.data, row.at) for id, row in found.items() if row}
    return beats, len(found) - len(beats)


def read_gone(flat: list[bytes]) -> tuple[bytes | None, dict[str, Row], int]:
    """Read what is kept of workers that are gone.

    Returns:
        The row of the retired, what was taken over of each, and how much made no sense.
    """
    retired, taken, dropped = None, {}, 0
    for field, written in pairs_of(flat):
        if field == b"retired":
            retired = written
        elif field.startswith(b"t:"):
            row = unpack_row(written)
            dropped += row is None
            if row:
                taken[text_of(field[2:])] = row
    return retired, taken, dropped


def outlived(taken: dict[str, Row], living: set[str], oldest_at: float, most: int) -> list[str]:
    """Return who was gone too long ago, or is one too many; who came back is kept."""
    gone = sorted((row.at, id) for id, row in taken.items() if id not in living)
    first = max(0, len(gone) - most)
    return [id for number, (at, id) in enumerate(gone) if at < oldest_at or number < first]
