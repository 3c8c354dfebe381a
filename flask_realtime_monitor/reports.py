"""Counters of another worker, put together from what it reports. Not locked."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from .traffic import (
    HISTORY_MINUTES,
    LATENCY_SLOT_S,
    LATENCY_SLOTS,
    RATE_WINDOW_S,
    EndpointTraffic,
    Minute,
    Summary,
    take_off,
)


class ReportedTraffic:
    """Another worker's counters, put together from its reports."""

    def __init__(self) -> None:
        self._totals = (0, 0, 0)
        self._names: dict[int, str] = {}
        self._endpoints: dict[int, EndpointTraffic] = {}
        self._latency: dict[int, int] = {}
        self._timed = 0
        self._seconds: dict[int, tuple[int, int]] = {}
        self._slots: dict[int, dict[int, int]] = {}
        self._minutes: dict[int, Minute] = {}
        self._summary: Summary | None = None
        self._summed_s = -1

    def take(self, report: Mapping[str, Any]) -> None:
        """Take in a report.

        Raises:
            ValueError, TypeError, KeyError, OverflowError: it is none.
        """
        self._summary = None
        requests, errors, excluded = report["t"]
        self._totals = (
            max(self._totals[0], int(requests)),
            max(self._totals[1], int(errors)),
            max(self._totals[2], int(excluded)),
        )
        for number, name, requests, errors in report["e"]:
            self._names[number] = str(name)
            one = self._endpoints.setdefault(number, EndpointTraffic())
            one.requests = max(one.requests, int(requests))
            one.errors = max(one.errors, int(errors))
        for second, requests, errors in report["s"]:
            before = self._seconds.get(second, (0, 0))
            self._seconds[second] = max(before[0], int(requests)), max(before[1], int(errors))
        for slot, cells in report["l"]:
            counts = self._slots.setdefault(slot, {})
            for cell, n in zip(cells[::2], cells[1::2], strict=True):
                more = int(n) - counts.get(cell, 0)
                if more > 0:
                    counts[cell] = int(n)
                    self._count(cell, more)
        turns = {at: zip(pairs[::2], pairs[1::2], strict=True) for at, pairs in report.get("b", ())}
        for at, requests, errors, users, sessions in report["m"]:
            if at not in self._minutes:
                for past in self._minutes.values():
                    past.pack()
            minute = self._minutes.setdefault(at, Minute(int(at)))
            minute.requests = max(minute.requests, int(requests))
            minute.errors = max(minute.errors, int(errors))
            minute.users.update(array("Q", users))
            back = {int(one): int(n) for one, n in turns.get(at, ())}
            minute.sessions.hear(array("Q", sessions), back)

    def summary(self, now_ms: int) -> Summary:
        """Return the counters at a moment of the worker's own clock.

        The same object for as long as nothing has changed.
        """
        now_s = now_ms // 1000
        if self._summary is None or self._summed_s != now_s:
            if self._forget(now_s) or self._summary is None:
                self._summary = self._sum()
            self._summed_s = now_s
        return self._summary

    def _forget(self, now_s: int) -> bool:
        """Let go what is too old by now; tell whether there was anything."""
        seconds = [one for one in self._seconds if one <= now_s - RATE_WINDOW_S]
        slots = [s for s in self._slots if s <= now_s // LATENCY_SLOT_S - LATENCY_SLOTS]
        for second in seconds:
            del self._seconds[second]
        for slot in slots:
            for cell, n in self._slots.pop(slot).items():
                self._count(cell, -n)
        for at in sorted(self._minutes)[:-HISTORY_MINUTES]:
            del self._minutes[at]
        return bool(seconds or slots)

    def _count(self, cell: int, n: int) -> None:
        """Add to, or take from, the latencies of an endpoint and of all."""
        bucket, one = cell & 0xFF, self._endpoints.setdefault(cell >> 8, EndpointTraffic())
        take_off(one.latency, bucket, -n)
        one.timed += n
        take_off(self._latency, bucket, -n)
        self._timed += n

    def _sum(self) -> Summary:
        return Summary(
            *self._totals,
            sum(requests for requests, _ in self._seconds.values()),
            sum(errors for _, errors in self._seconds.values()),
            self._latency,
            self._timed,
            {
                self._names[number]: one
                for number, one in self._endpoints.items()
                if number in self._names
            },
            [self._minutes[at] for at in sorted(self._minutes)],
        )
