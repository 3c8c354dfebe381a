"""Counters of one worker: totals, rates, latencies, and people per minute. Not locked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .histogram import bucket_of
from .interner import Interner

RATE_WINDOW_S = 60
LATENCY_WINDOW_S = 300
HISTORY_MINUTES = 60
_LATENCY_SLOT_S = 15
_LATENCY_SLOTS = LATENCY_WINDOW_S // _LATENCY_SLOT_S
MAX_ENDPOINTS = 1000
UNMATCHED = "(unmatched)"
OTHER_ENDPOINTS = "(other)"
_SMALLEST = 1024  # hashes kept of a minute's people
_HASHES = 2.0**64


class Crowd:
    """How many distinct people a minute saw: the smallest 1,024 of their 64-bit hashes.

    Exact up to 1,024; above that the k-th smallest hash gives the number within about 3 %
    (k minimum values; Bar-Yossef et al., RANDOM 2002). Sets of several workers can be united.
    """

    __slots__ = ("_cut", "hashes")

    def __init__(self) -> None:
        self.hashes: set[int] = set()
        self._cut = 0

    def add(self, value: int) -> None:
        """See one person."""
        if self._cut and value >= self._cut:
            return
        self.hashes.add(value)
        if len(self.hashes) >= 2 * _SMALLEST:
            self.shrink()

    def shrink(self) -> None:
        """Keep only the 1,024 smallest hashes."""
        if len(self.hashes) > _SMALLEST:
            smallest = sorted(self.hashes)[:_SMALLEST]
            self._cut = smallest[-1] + 1
            self.hashes = set(smallest)

    def count(self) -> int:
        """Return how many distinct people were seen."""
        if not self._cut:
            return len(self.hashes)
        return round((len(self.hashes) - 1) * _HASHES / max(self.hashes))


@dataclass(slots=True)
class Minute:
    """What one minute of the clock saw; ``at`` is its start in seconds since the epoch."""

    at: int
    requests: int = 0
    errors: int = 0
    users: Crowd = field(default_factory=Crowd)
    sessions: Crowd = field(default_factory=Crowd)


@dataclass(slots=True)
class EndpointTraffic:
    """Totals of one endpoint since the picture began, and its latencies of the last 5 min."""

    requests: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    timed: int = 0


class Traffic:
    """Adds up requests; every number here is of this worker only."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.excluded = 0
        self.names: Interner[str] = Interner(MAX_ENDPOINTS, OTHER_ENDPOINTS)
        self.endpoints: dict[int, EndpointTraffic] = {}
        self.latency: dict[int, int] = {}
        self.timed = 0
        self.minutes: deque[Minute] = deque(maxlen=HISTORY_MINUTES)
        self.changed_endpoints: set[int] = set()
        self._seconds: deque[list[int]] = deque()  # [second, requests, errors]
        self._slots: deque[tuple[int, dict[int, int]]] = deque()  # (slot, {endpoint|bucket: n})

    def add(
        self,
        now_ms: int,
        at: float,
        endpoint: int,
        duration_ms: float,
        is_error: bool,
        session: int,
        user: int | None,
    ) -> None:
        """Count one request that ended at ``now_ms`` (the rows' clock), ``at`` (the epoch)."""
        self.requests += 1
        self.errors += is_error
        second = now_ms // 1000
        seconds = self._seconds
        if not seconds or seconds[-1][0] != second:
            seconds.append([second, 0, 0])
            self._forget_seconds(second)
        newest = seconds[-1]
        newest[1] += 1
        newest[2] += is_error

        one = self.endpoints.get(endpoint)
        if one is None:
            one = self.endpoints[endpoint] = EndpointTraffic()
        one.requests += 1
        one.errors += is_error
        self.changed_endpoints.add(endpoint)
        bucket = bucket_of(duration_ms)
        slot = second // _LATENCY_SLOT_S
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, {}))
            self._forget_latencies(slot)
        cell = endpoint << 8 | bucket
        cells = self._slots[-1][1]
        cells[cell] = cells.get(cell, 0) + 1
        one.latency[bucket] = one.latency.get(bucket, 0) + 1
        one.timed += 1
        self.latency[bucket] = self.latency.get(bucket, 0) + 1
        self.timed += 1

        minute = self.minute(at)
        minute.requests += 1
        minute.errors += is_error
        minute.sessions.add(session)
        if user is not None:
            minute.users.add(user)

    def minute(self, at: float) -> Minute:
        """Return the minute of a time, starting it if it is new."""
        start = int(at) // 60 * 60
        minutes = self.minutes
        if minutes and minutes[-1].at >= start:
            return minutes[-1]
        if minutes:
            minutes[-1].users.shrink()
            minutes[-1].sessions.shrink()
        minutes.append(Minute(start))
        return minutes[-1]

    def expire(self, now_ms: int) -> None:
        """Forget what has left the windows of rate and latency."""
        second = now_ms // 1000
        self._forget_seconds(second)
        self._forget_latencies(second // _LATENCY_SLOT_S)

    def rates(self, now_ms: int) -> tuple[int, int]:
        """Return requests and errors of the last 60 s."""
        oldest = now_ms // 1000 - RATE_WINDOW_S
        requests = errors = 0
        for second, one, bad in reversed(self._seconds):
            if second <= oldest:
                break
            requests += one
            errors += bad
        return requests, errors

    def history(self, at: float) -> Iterator[Minute]:
        """Yield the last 60 minutes that saw anything, oldest first."""
        oldest = int(at) // 60 * 60 - (HISTORY_MINUTES - 1) * 60
        return (minute for minute in list(self.minutes) if minute.at >= oldest)

    def _forget_seconds(self, second: int) -> None:
        seconds = self._seconds
        while seconds and seconds[0][0] <= second - RATE_WINDOW_S:
            seconds.popleft()

    def _forget_latencies(self, slot: int) -> None:
        slots = self._slots
        while slots and slots[0][0] <= slot - _LATENCY_SLOTS:
            for cell, n in slots.popleft()[1].items():
                endpoint, bucket = cell >> 8, cell & 0xFF
                one = self.endpoints[endpoint]
                _take(one.latency, bucket, n)
                one.timed -= n
                _take(self.latency, bucket, n)
                self.timed -= n
                self.changed_endpoints.add(endpoint)


def _take(counts: dict[int, int], bucket: int, n: int) -> None:
    left = counts[bucket] - n
    if left:
        counts[bucket] = left
    else:
        del counts[bucket]
