"""Records for the tracker, and a clock that stands still until it is moved."""

from __future__ import annotations

from typing import Any

from flask_realtime_monitor.clock import Clock
from flask_realtime_monitor.config import Settings
from flask_realtime_monitor.peers import Peers
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.records import InFlight, Record
from flask_realtime_monitor.surroundings import Surroundings
from flask_realtime_monitor.tracker import Tracker


class Time:
    """Both clocks of a process; ``pass_`` moves them on."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def pass_(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds

    def clock(self) -> Clock:
        """Return a clock that reads this time."""
        return Clock(lambda: self.now_s + 1e9, lambda: self.now_s)


class Bench:
    """A tracker and a picture on a clock of their own."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.time = Time()
        self.tracker = Tracker(self.settings, self.time.clock())
        self.in_flight: list[InFlight] = []
        self.picture = self.new_picture()

    def new_picture(self, peers: Peers | None = None) -> Picture:
        """Return a picture that has seen nothing yet."""
        around = Surroundings(
            in_flight=lambda: self.in_flight,
            viewers=lambda: 0,
            worker=lambda: {
                "id": "worker",
                "dropped": {"sessions": self.tracker.sessions.dropped},
            },
            health=dict,
            events_dropped=lambda: 0,
            is_whole=lambda: True,
            is_worker=lambda: True,
            fold=lambda: None,
            tell=lambda: None,
            epoch=lambda: "epoch",
            cursor=lambda: self.tracker.feed_number,
        )
        return Picture(self.settings, self.tracker, "worker", "host", around, peers)

    def record(self, visitor: int = 1, user: str | None = None, **fields: Any) -> Record:
        """Return a request at the present moment."""
        return record_at(self.time, visitor, user, **fields)

    def visit(self, visitor: int = 1, user: str | None = None, **fields: Any) -> None:
        """Fold one request."""
        self.tracker.fold([self.record(visitor, user, **fields)])

    def sessions(self) -> list[dict[str, Any]]:
        """Return all sessions."""
        items: list[dict[str, Any]] = self.picture.sessions(1000)["items"]
        return items


def record_at(time: Time, visitor: int = 1, user: str | None = None, **fields: Any) -> Record:
    """Return a request at the present moment of a time."""
    whole: dict[str, Any] = {
        "kind": "request",
        "at_ms": int(time.now_s * 1000),
        "visitor": visitor,
        "user_id": user,
        "user_name": None,
        "ip": bytes((10, 0, 0, 0)),
        "agent": "agent",
        "method": "GET",
        "endpoint": "home",
        "rule": "/",
        "path": "/",
        "title": None,
        "status": 200,
        "duration_ms": 1.0,
        "error": None,
        "name": None,
        "data": None,
    }
    return Record(**{**whole, **fields})
