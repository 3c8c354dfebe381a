"""Viewers of workers that share a picture, and what these stream to them, with no server around."""

from __future__ import annotations

from typing import Any

from flask_realtime_monitor.packet import Packet
from flask_realtime_monitor.timeline import Timeline

from .merging import comparable, merged
from .several import Mate
from .sse import Parser

Json = dict[str, Any]


class Watcher:
    """Who watches: goes on with what it has at whichever worker it comes to."""

    def __init__(self) -> None:
        self.held: Json = {}
        self.last_id = ""
        self.at: Watched | None = None
        self._parser = Parser()

    def come_to(self, mate: Watched) -> None:
        """Leave where it is, and begin to watch there."""
        self.leave()
        self.at, self._parser = mate, Parser()
        mate.admit(self)

    def leave(self) -> None:
        """Watch nowhere."""
        if self.at is not None:
            self.at.watchers.remove(self)
        self.at = None

    def take(self, packet: Packet) -> None:
        """Merge what was sent."""
        for event in self._parser.feed(packet.form(0)):
            self.held = event.data if event.event == "snapshot" else merged(self.held, event.data)
            self.last_id = event.id or self.last_id


class Watched(Mate):
    """A worker with its streams, as its broadcaster has them tick."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.watchers: list[Watcher] = []
        #: How many of its requests the store has; None where it lost what it had.
        self.told: int | None = 0
        self._timeline = Timeline(self.picture, "", self.name, 0.0)

    def _item(self) -> Json:
        return {**super()._item(), "is_reporting": True}

    def tell(self) -> None:
        """Write, before what it saw is shown."""
        if self.flusher.trouble is None:
            self.flush(is_beat=False)

    def flush(self, is_beat: bool = True) -> None:
        """Write until there is no more to write, and take note of how much is written."""
        while self.flusher.flush(is_beat):
            pass
        if self.flusher.trouble is None:
            self.told = self.tracker.summary().requests

    def forget(self, user_id: str) -> None:
        """Erase a person."""
        super().forget(user_id)
        self._timeline.forget()
        self.tell()

    def _take_note(self, note: Json) -> None:
        super()._take_note(note)
        if note["kind"] == "forget":
            self._timeline.forget()

    def tick(self) -> None:
        """Send what has changed to all who watch."""
        if not self.watchers:
            self._timeline.rest()
        update, is_anew = self._timeline.advance()
        packet = self._timeline.snapshot("act") if is_anew else update
        for watcher in self.watchers if packet else ():
            watcher.take(packet)

    def admit(self, watcher: Watcher) -> None:
        """Take in a viewer, and send what it has missed."""
        if not self.watchers:
            self.tick()
        self.watchers.append(watcher)
        if not self._timeline.is_forgetting:  # else it gets the new beginning, with all others
            watcher.take(self._timeline.first("act", watcher.last_id))

    def shown(self) -> Json:
        """Return what is streamed to who comes now."""
        (event,) = Parser().feed(self._timeline.snapshot("act").form(0))
        return event.data


def views(watcher: Watcher) -> tuple[Json, Json]:
    """Return what a viewer has, and what is shown where it watches; but for what is not sent twice.

    A line keeps the name that its user had as it was sent.
    """
    assert watcher.at is not None
    found = []
    for snapshot in (watcher.held, watcher.at.shown()):
        view = comparable(snapshot)
        for line in view["activities"]:
            line["user"] = line["user"] and line["user"]["id"]
        found.append(view)
    return found[0], found[1]
