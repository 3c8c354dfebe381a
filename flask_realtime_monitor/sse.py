"""Server-Sent Events on the wire: one encoder, so that no tracked text can break the framing.

Format: WHATWG HTML, "Server-sent events", section "Interpreting an event stream".
"""

from __future__ import annotations

import json
from typing import Any

CONTENT_TYPE = "text/event-stream"
EVENTS = frozenset({"snapshot", "update", "bye"})
HEARTBEAT = b": \n\n"
_MAX_ID_BYTES = 64
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(event: str, payload: Any, id: str | None = None) -> bytes:
    """Return one event as bytes: id, event, data, and the empty line that ends it.

    The data is one line of ASCII JSON, so it holds no raw line end of any kind.

    Raises:
        ValueError: the event's name is not one of ours, the id is not printable ASCII of at
            most 64 bytes, or the payload holds a number JSON does not know (NaN, infinity).
    """
    if event not in EVENTS:
        raise ValueError(f"unknown event {event!r}; known: {', '.join(sorted(EVENTS))}")
    head = ""
    if id is not None:
        if not (id.isascii() and id.isprintable() and 0 < len(id) <= _MAX_ID_BYTES):
            raise ValueError(f"an event id is 1 to {_MAX_ID_BYTES} printable ASCII bytes: {id!r}")
        head = f"id: {id}\n"
    data = _to_json(payload)
    return f"{head}event: {event}\ndata: {data}\n\n".encode("ascii")


def retry(milliseconds: int) -> bytes:
    """Return the field that tells a browser how long to wait before it comes back."""
    return b"retry: %d\n\n" % milliseconds
