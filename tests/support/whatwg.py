"""A second reader of Server-Sent Events: the specification's steps, one by one, forgiving as it is.

Source of the rules: WHATWG HTML, "Parsing an event stream" and "Interpreting an event stream".
Nothing here is shared with the strict reader, so that both can hold each other to account.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple


class Message(NamedTuple):
    """What a browser would dispatch."""

    type: str
    data: str
    last_event_id: str


class EventStream:
    """Takes bytes in pieces of any size; gives messages.

    ``last_event_id`` and ``reconnection_ms`` are what a browser would come back with.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._is_at_start = True
        self._has_just_seen_cr = False
        self._data = ""
        self._type = ""
        self._id = ""
        self.last_event_id = ""
        self.reconnection_ms: int | None = None
        self.comments: list[str] = []

    def feed(self, data: bytes) -> list[Message]:
        """Take in bytes; return the messages that are dispatched now."""
        found: list[Message] = []
        for character in self._decoder.decode(data):
            if self._is_at_start:
                self._is_at_start = False
                if character == "\ufeff":
                    continue
            if character == "\n" and self._has_just_seen_cr:
                self._has_just_seen_cr = False
                continue
            self._has_just_seen_cr = character == "\r"
            if character in "\r\n":
                line, self._line = self._line, ""
                self._interpret(line, found)
            else:
                self._line += character
        return found

    def _interpret(self, line: str, found: list[Message]) -> None:
        if line == "":
            self._dispatch(found)
        elif line[0] == ":":
            self.comments.append(line[1:])
        elif ":" in line:
            colon = line.index(":")
            value = line[colon + 1 :]
            self._process(line[:colon], value[1:] if value[:1] == " " else value)
        else:
            self._process(line, "")

    def _process(self, field: str, value: str) -> None:
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value and all(digit in "0123456789" for digit in value):
            self.reconnection_ms = int(value)

    def _dispatch(self, found: list[Message]) -> None:
        self.last_event_id = self._id
        data, type_ = self._data, self._type
        self._data = self._type = ""
        if data == "":
            return
        found.append(Message(type_ or "message", data.removesuffix("\n"), self.last_event_id))
