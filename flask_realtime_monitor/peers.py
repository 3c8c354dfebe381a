"""What a picture knows of the other workers of its app; here, of a worker that is alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

from .feed import Line
from .records import InFlight
from .source import Source
from .traffic import Summary

Json = dict[str, Any]
#: What was done, by whose rows tell it.
Seen = Mapping[Source, Sequence[Line]]


class There(NamedTuple):
    """A request in flight and where; ``started_ms`` in ms since the epoch."""

    request: InFlight
    started_ms: int
    worker_id: str
    host: str


class Changes(NamedTuple):
    """What others have written since the last look.

    ``seen`` has what was done in sessions of which nothing else is told; ``keys`` are the others.
    """

    keys: Collection[int]
    is_new_picture: bool  # everything has to be looked at again
    seen: Seen


def keys_in(seen: Seen) -> set[int]:
    """Return the keys of the sessions that did something."""
    return {line[1] for lines in seen.values() for line in lines}


class Since(NamedTuple):
    """What the log tells since some cursor, up to ``cursor``, of all workers.

    ``keys`` are the sessions that have changed; ``gone_workers`` those that went in the last day.
    """

    keys: set[int]
    cursor: int
    gone_workers: list[str]


class Coverage(NamedTuple):
    """Who else has reported."""

    workers: int
    reporting: int
    hosts: frozenset[str]
    oldest_report_s: float
    silent: tuple[str, ...] = ()
    is_readable: bool = True  # whether the others can be asked at all
    is_whole: bool = True  # whether all has been written anew, since the store lost it
    lacks_until_at: float = 0.0  # until when sessions are missing that nobody could write anew


def in_flight_at(worker_id: str, beat: Json, offset_ms: int) -> Iterator[There]:
    """Yield the requests that a worker's beat says are in flight there.

    Args:
        offset_ms: what is added to the worker's times to get ms since the epoch.
    """
    rules = chain(beat.get("in_flight_rules", ()), repeat(None))  # older releases tell none
    for fields, rule in zip(beat.get("in_flight", ()), rules, strict=False):
        id, visitor, method, endpoint, path, started_ms = fields
        request = InFlight(id, visitor, method, endpoint, path, started_ms, True, rule)
        yield There(request, started_ms + offset_ms, worker_id, str(beat.get("host", "")))


def busy_since(in_flight: Iterable[There]) -> dict[int, int]:
    """Return which visitors have requests in flight, and since when (ms since the epoch)."""
    since_ms: dict[int, int] = {}
    for there in in_flight:
        visitor, started_ms = there.request.visitor, there.started_ms
        since_ms[visitor] = min(started_ms, since_ms.get(visitor, started_ms))
    return since_ms


class Counts(NamedTuple):
    """What a session had somewhere: requests, errors, when it began (ms since the epoch)."""

    requests: int
    errors: int
    begun_ms: int

    def plus(self, requests: int, errors: int, begun_ms: int) -> Counts:
        """Return these and those together."""
        begun_ms = min(self.begun_ms, begun_ms)
        return Counts(self.requests + requests, self.errors + errors, begun_ms)


class Peers:
    """The other workers of one picture. This one knows of none."""

    #: Their rows.
    sources: Sequence[Source] = ()
    #: Grows whenever what is known of them may have changed, but for what is read.
    looks = 0

    def read(self) -> Changes:
        """Take in what they have written since."""
        return Changes((), False, {})

    def look(self) -> None:
        """See who is there now, and nothing of what they do."""

    def changed_since(self, cursor: int) -> Since | None:
        """Return what has changed since a cursor, None where that cannot be told."""
        return None

    def legacy_of(self, key: int, first_ms: int) -> Counts | None:
        """Return what a session had at workers that are gone for long, None for nothing.

        Args:
            first_ms: when it began, by the rows there are.
        """
        return None

    def rest(self) -> None:
        """Let everything go: nobody reads."""

    def since_at(self) -> float | None:
        """Return when the picture began, None where that is when this process did."""
        return None

    def summaries(self) -> Sequence[Summary]:
        """Return their counters, and what those that are gone have left."""
        return ()

    def in_flight(self) -> Sequence[There]:
        """Return their requests in flight."""
        return ()

    def in_flight_count(self) -> int:
        """Return how many requests they have in flight."""
        return 0

    def workers(self) -> Sequence[Json]:
        """Return them as the API shows them."""
        return ()

    def dropped(self) -> Mapping[str, int]:
        """Return what they have thrown away, and those that are gone."""
        return {}

    def coverage(self) -> Coverage:
        """Return who has reported."""
        return Coverage(0, 0, frozenset(), 0.0)
