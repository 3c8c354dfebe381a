"""Counters of one worker: totals, rates, latencies, and people per minute. Not locked."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any

from .crowd import Crowd
from .interner import Interner

RATE_WINDOW_S = 60
LATENCY_WINDOW_S = 300
HISTORY_MINUTES = 60
LATENCY_SLOT_S = 15
LATENCY_SLOTS = LATENCY_WINDOW_S // LATENCY_SLOT_S
MAX_ENDPOINTS = 1000
UNMATCHED = "(unmatched)"
OTHER_ENDPOINTS = "(other)"


@dataclass(slots=True)
class Minute:
    """What one minute of the clock saw; ``at`` is its start in seconds since the epoch."""

    at: int
    requests: int = 0
    errors: int = 0
    users: Crowd = field(default_factory=Crowd)
    sessions: Crowd = field(default_factory=Crowd)

    def pack(self) -> None:
        """Take little room: it is over."""
        self.users.pack()
        self.sessions.pack()

    def copied(self, before: Minute | None) -> Minute:
        """Return a copy with the same crowds: the one made before, where nothing has changed."""
        if before and before.requests == self.requests and before.errors == self.errors:
            return before
        return Minute(self.at, self.requests, self.errors, self.users, self.sessions)


@dataclass(slots=True)
class EndpointTraffic:
    """Totals of one endpoint since the picture began, and its latencies of the last 5 min."""

    requests: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    timed: int = 0

    def copied(self, before: EndpointTraffic | None) -> EndpointTraffic:
        """Return a copy: the one made before, where nothing has changed since."""
        # With no request more, there can only be fewer that count for the latency.
        if before and before.requests == self.requests and before.timed == self.timed:
            return before
        return EndpointTraffic(self.requests, self.errors, self.latency.copy(), self.timed)


@dataclass(slots=True)
class Summary:
    """What one worker's counters say now; several can be added up.

    Nothing in it changes any more, but for the crowds of the minutes: to count one is a single step
    of the interpreter's, whoever comes meanwhile.
    """

    requests: int
    errors: int
    excluded: int
    recent_requests: int  # of the last 60 s
    recent_errors: int
    latency: dict[int, int]  # bucket -> requests of the last 5 min
    timed: int
    endpoints: dict[str, EndpointTraffic]
    minutes: list[Minute]

    @property
    def counted(self) -> int:
        """How many requests there were, excluded ones too; it never falls for one worker."""
        return self.requests + self.excluded

    def without_totals(self) -> Summary:
        """Return only what is recent."""
        return self.minus(self)

    def negated(self) -> Summary:
        """Return the totals below zero, to be added to others."""
        return Summary(
            -self.requests,
            -self.errors,
            -self.excluded,
            0,
            0,
            {},
            0,
            {
                name: EndpointTraffic(-one.requests, -one.errors)
                for name, one in self.endpoints.items()
            },
            [],
        )

    def minus(self, other: Summary) -> Summary:
        """Return the same with another's totals taken off; what is recent stays."""
        endpoints = {
            name: replace(
                one,
                requests=one.requests - other.endpoints[name].requests,
                errors=one.errors - other.endpoints[name].errors,
            )
            if name in other.endpoints
            else one
            for name, one in self.endpoints.items()
        }
        return replace(
            self,
            requests=self.requests - other.requests,
            errors=self.errors - other.errors,
            excluded=self.excluded - other.excluded,
            endpoints=endpoints,
        )


class Batch:
    """Requests of one second, counted on their way into the tracker.

    Args:
        second: of the rows' clock, in which they ended.
        at: the same moment in seconds since the epoch.
    """

    __slots__ = (
        "at",
        "back",
        "cells",
        "endpoint_errors",
        "second",
        "sessions",
        "users",
    )

    def __init__(self, second: int, at: float) -> None:
        self.second = second
        self.at = at
        self.cells: dict[int, int] = {}  # endpoint << 8 | bucket of the duration: requests
        self.endpoint_errors: dict[int, int] = {}
        #: Hashes of those seen; once counted, of those who may be among their minute's smallest.
        self.sessions: set[int] = set()
        self.users: set[int] = set()
        #: Of sessions that are one with others by now: they count once in their minute.
        self.back: set[int] = set()

    def take_back(self, session: int) -> None:
        """Count a session no longer that may have been seen, in this second or before."""
        self.sessions.discard(session)
        self.back.add(session)

    def fail(self, endpoint: int) -> None:
        """Count an error of an endpoint."""
        self.endpoint_errors[endpoint] = self.endpoint_errors.get(endpoint, 0) + 1


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
        self.minutes: deque[Minute] = deque(maxlen=HISTORY_MINUTES)  # oldest first
        #: The one that was counted in last.
        self.latest: Minute | None = None
        #: Batches since somebody last took note; None: nobody does.
        self.fresh: list[Batch] | None = None
        self._seconds: deque[list[int]] = deque()  # [second, requests, errors]
        self._slots: deque[tuple[int, dict[int, int]]] = deque()  # (slot, {endpoint|bucket: n})
        #: Grows after everything that changes what is counted, but for what is excluded.
        self.moves = 0
        #: The last summary, by moves, excluded and second.
        self._summed: tuple[tuple[int, int, int], Summary | None] = (-1, -1, -1), None
        #: What is in it: copies, those of what has not changed since the same objects.
        self._copied: dict[int, EndpointTraffic] = {}
        self._minutes_copied: dict[int, Minute] = {}

    def add(self, batch: Batch) -> None:
        """Count the requests of a batch; all of them ended in one second."""
        if not batch.cells:
            return
        if self.fresh is not None:
            self.fresh.append(batch)
        second = batch.second
        requests, errors = sum(batch.cells.values()), sum(batch.endpoint_errors.values())
        self.requests += requests
        self.errors += errors
        in_second, slot_cells = self._second(second), self._slot(second // LATENCY_SLOT_S)
        in_second[1] += requests
        in_second[2] += errors
        total, endpoints = self.latency, self.endpoints
        for cell, n in batch.cells.items():
            slot_cells[cell] = slot_cells.get(cell, 0) + n
            bucket, endpoint = cell & 0xFF, cell >> 8
            one = endpoints.get(endpoint)
            if one is None:
                one = endpoints[endpoint] = EndpointTraffic()
            one.requests += n
            one.timed += n
            one.latency[bucket] = one.latency.get(bucket, 0) + n
            total[bucket] = total.get(bucket, 0) + n
        self.timed += requests
        for endpoint, n in batch.endpoint_errors.items():
            endpoints[endpoint].errors += n

        minute = self.minute(batch.at)
        minute.requests += requests
        minute.errors += errors
        if batch.back:
            minute.sessions.take_back(batch.back)
        batch.sessions = set(minute.sessions.update(batch.sessions))
        batch.users = set(minute.users.update(batch.users))
        self.moves += 1

    def _second(self, second: int) -> list[int]:
        """Return the counts of a second, starting them if it is new."""
        seconds = self._seconds
        place = _place_of(seconds, second)
        if place and seconds[place - 1][0] == second:
            return seconds[place - 1]
        made = [second, 0, 0]
        seconds.insert(place, made)
        self._forget_seconds(second)
        return made

    def _slot(self, slot: int) -> dict[int, int]:
        """Return the latencies of a slot, starting them if it is new."""
        slots = self._slots
        place = _place_of(slots, slot)
        if place and slots[place - 1][0] == slot:
            return slots[place - 1][1]
        made: dict[int, int] = {}
        slots.insert(place, (slot, made))
        self._forget_latencies(slot)
        return made

    def minute(self, at: float) -> Minute:
        """Return the minute of a time, starting it if it is new."""
        start = int(at) // 60 * 60
        if self.latest is None or self.latest.at != start:
            if self.latest is not None:
                self.latest.pack()
            self.latest = self._minute(start)
        return self.latest

    def _minute(self, start: int) -> Minute:
        minutes = self.minutes
        place = len(minutes)
        while place and minutes[place - 1].at > start:  # the clock went back
            place -= 1
        if place and minutes[place - 1].at == start:
            return minutes[place - 1]
        made = Minute(start)
        if len(minutes) == HISTORY_MINUTES:
            minutes.popleft()
            place = max(0, place - 1)
        minutes.insert(place, made)
        return made

    def expire(self, now_ms: int) -> None:
        """Forget what has left the windows of rate and latency."""
        second = now_ms // 1000
        self._forget_seconds(second)
        self._forget_latencies(second // LATENCY_SLOT_S)

    def summary(self, now_ms: int) -> Summary:
        """Return all counters as they are now; nothing of it is to be changed.

        The same object for as long as nothing has changed.
        """
        mark = self.moves, self.excluded, now_ms // 1000
        before, known = self._summed
        if known is None or before[:2] != mark[:2]:
            known = self._sum(*self.rates(now_ms))
        elif before != mark:
            rates = self.rates(now_ms)
            if rates != (known.recent_requests, known.recent_errors):
                known = self._sum(*rates)
        self._summed = mark, known
        return known

    def _sum(self, recent_requests: int, recent_errors: int) -> Summary:
        name, before, minutes = self.names.value, self._copied, self._minutes_copied
        self._copied = {
            number: one.copied(before.get(number)) for number, one in self.endpoints.items()
        }
        self._minutes_copied = {one.at: one.copied(minutes.get(one.at)) for one in self.minutes}
        return Summary(
            self.requests,
            self.errors,
            self.excluded,
            recent_requests,
            recent_errors,
            self.latency.copy(),
            self.timed,
            {name(number): one for number, one in self._copied.items()},
            list(self._minutes_copied.values()),
        )

    def report(self, batches: list[Batch] | None) -> dict[str, Any]:
        """Return, as plain JSON data, what some batches have changed; all there is for None.

        Every number is absolute, so that a report may be read twice, or after a later one of the
        same moment: ``t`` totals, ``e`` endpoints, ``s`` seconds, ``l`` latencies by slot and
        cell, ``m`` minutes with the hashes of those seen, which are to be united: of a busy minute
        only those that may be among the smallest; ``b`` of sessions in them, how often they were
        taken back and came again.
        """
        seconds = minutes = None
        cells: dict[int, set[int]] | None = None  # by slot
        touched: Collection[int] = self.endpoints
        if batches is not None:
            seconds = {one.second for one in batches}
            cells = {one.second // LATENCY_SLOT_S: set() for one in batches}
            for one in batches:
                cells[one.second // LATENCY_SLOT_S].update(one.cells)
            touched = {cell >> 8 for some in cells.values() for cell in some}
            minutes = {
                int(one.at) // 60 * 60: (set[int](), set[int](), set[int]()) for one in batches
            }
            for one in batches:
                users, sessions, back = minutes[int(one.at) // 60 * 60]
                users |= one.users
                sessions |= one.sessions
                back |= one.back
        return {
            "t": [self.requests, self.errors, self.excluded],
            "e": [
                [number, self.names.value(number), one.requests, one.errors]
                for number in touched
                for one in (self.endpoints[number],)
            ],
            "s": [one for one in self._seconds if seconds is None or one[0] in seconds],
            "l": [
                [
                    slot,
                    [
                        part
                        for cell in (counts if cells is None else cells[slot])
                        for part in (cell, counts.get(cell, 0))
                    ],
                ]
                for slot, counts in self._slots
                if cells is None or slot in cells
            ],
            "m": [
                [
                    one.at,
                    one.requests,
                    one.errors,
                    list(one.users.among(one.users.hashes if seen is None else seen[0])),
                    list(one.sessions.among(one.sessions.hashes if seen is None else seen[1])),
                ]
                for one in self.minutes
                if minutes is None or one.at in minutes
                for seen in (None if minutes is None else minutes[one.at],)
            ],
            "b": [
                [one.at, [part for turn in one.sessions.turns_of(seen) for part in turn]]
                for one in self.minutes
                if one.sessions.turns and (minutes is None or one.at in minutes)
                for seen in (None if minutes is None else minutes[one.at][1] | minutes[one.at][2],)
            ],
        }

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

    def _forget_seconds(self, second: int) -> None:
        seconds = self._seconds
        while seconds and seconds[0][0] <= second - RATE_WINDOW_S:
            seconds.popleft()

    def _forget_latencies(self, slot: int) -> None:
        slots = self._slots
        while slots and slots[0][0] <= slot - LATENCY_SLOTS:
            for cell, n in slots.popleft()[1].items():
                endpoint, bucket = cell >> 8, cell & 0xFF
                one = self.endpoints[endpoint]
                take_off(one.latency, bucket, n)
                one.timed -= n
                take_off(self.latency, bucket, n)
                self.timed -= n
            self.moves += 1


def _place_of(entries: deque[Any], at: int) -> int:
    """Return the place behind all entries, which begin with their time, of up to a time.

    It is at the end, or near: requests that end at the same time come in any order.
    """
    place = len(entries)
    while place and entries[place - 1][0] > at:
        place -= 1
    return place


def are_same(before: dict[str, Summary], after: dict[str, Summary]) -> bool:
    """Tell whether the counters of some workers are the very same objects."""
    return before.keys() == after.keys() and all(map(is_, before.values(), after.values()))


def take_off(counts: dict[int, int], bucket: int, n: int) -> None:
    """Take some requests off a bucket; an empty one goes."""
    left = counts.get(bucket, 0) - n
    if left:
        counts[bucket] = left
    else:
        del counts[bucket]
