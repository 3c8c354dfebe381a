"""Whether a server still has what this worker wrote to it last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TypeVar

from . import wire
from .server import Ended, Server

_MOST_LOOKS = 3

T = TypeVar("T")


class Lapse:
    """Notices a server that has gone back to what it once was.

    One that is started again has what it had saved, and a replica that takes another's place what
    it had been sent: the picture is the same, and writes that were acknowledged are not in it.
    Either begins with connections that end, so it costs a question only after such an end.

    Args:
        key: makes the name of a key.
        worker: whose beat is looked for.
    """

    def __init__(self, server: Server, key: Callable[..., str], worker: str) -> None:
        self._server = server
        self._keys = (key("beats"), key("gone"), key("epoch"))
        self._worker = worker
        self._written: tuple[str, float] = "", -inf
        self._ends = 0

    def note(self, epoch: str, at: float) -> None:
        """Note when, by the beat that was written then, and in which picture a write arrived."""
        self._written = epoch, at

    @property
    def ends(self) -> int:
        """How many connections had ended when it looked last."""
        return self._ends

    def watched(self, write: Callable[[], T], begin_another: Callable[[], object]) -> T:
        """Make a write, and before that begin another picture where this one has gone back.

        Args:
            write: raises ``Ended`` where a connection has ended since the last look.
        """
        for _ in range(_MOST_LOOKS):
            ends = self._server.ends  # should one end from here on, it is looked once more
            if ends != self._ends:
                if self._has_gone_back():
                    begin_another()
                self._ends = ends
            with suppress(Ended):
                return write()
        raise Ended(f"{self._server.shown_url} closes every connection")

    def _has_gone_back(self) -> bool:
        """Tell whether the server is in the same picture and has forgotten something of it."""
        epoch, at = self._written
        beats, gone, its_epoch = self._keys
        beat, taken, found = self._server.send(
            ("HGET", beats, self._worker), ("HGET", gone, f"t:{self._worker}"), ("GET", its_epoch)
        )
        rows = [wire.unpack_row(one) for one in (beat, taken)]
        last_at = max((row.at for row in rows if row), default=-inf)
        return found == epoch.encode() and last_at < at
