"""Where a picture's rows come from: this worker's tracker, or the replica of another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from .pauses import Pauses
from .records import FeedItem, Rare
from .tracker import Tracker

Person = tuple[str, str | None]  # id, name


class Source(Protocol):
    """One worker's rows, and what the numbers in them mean.

    Attributes:
        worker_id: whose rows they are.
        host: where that worker runs.
        rows: session key -> packed row; times in it are of the worker's own clock.
        pauses: session key -> pauses in which the session of that row may have ended.
        feed: the newest activities, oldest first; it grows meanwhile, so it is to be read by one
            call that does not wait.
    """

    worker_id: str
    host: str

    @property
    def named(self) -> int:
        """A number that grows whenever somebody known comes to have another name."""

    @property
    def rows(self) -> Mapping[int, bytes]:
        """Session key -> packed row."""

    @property
    def pauses(self) -> Mapping[int, Pauses]:
        """Session key -> pauses in which the session of that row may have ended."""

    @property
    def offset_ms(self) -> int:
        """What is added to a row's time to get ms since the epoch."""

    def user(self, number: int) -> Person | None:
        """Return (id, name) of a user's number, None once it was given back."""

    def user_id(self, number: int) -> str | None:
        """Return the id alone."""

    def agent(self, number: int) -> str:
        """Return the User-Agent of a number."""

    def route(self, number: int) -> tuple[str, str | None]:
        """Return (endpoint, rule) of a number."""

    def path(self, slot: int, seen_ms: int) -> str | None:
        """Return the path that was in a slot at that time (the row's clock), None if it is gone."""

    def rare(self, key: int, ordinal: int) -> Rare | None:
        """Return what few activities have."""

    @property
    def feed(self) -> Sequence[FeedItem]:
        """The newest activities, oldest first."""


class OwnSource:
    """This worker's tracker as a source."""

    def __init__(self, tracker: Tracker, worker_id: str, host: str) -> None:
        self.worker_id = worker_id
        self.host = host
        self._tracker = tracker
        self.rows = tracker.sessions.rows
        self.pauses = tracker.sessions.pauses
        self.user = tracker.sessions.people.user
        self.user_id = tracker.sessions.people.id
        self.agent = tracker.sessions.agents.value
        self.route = tracker.routes.value
        self.path = tracker.paths.path
        self.rare = tracker.rare
        self.feed = tracker.feed
        self.summary = tracker.summary

    @property
    def named(self) -> int:
        """Grows whenever somebody known comes to have another name."""
        return self._tracker.sessions.people.named

    @property
    def offset_ms(self) -> int:
        """What is added to a row's time to get ms since the epoch."""
        return self._tracker.clock.offset_ms
