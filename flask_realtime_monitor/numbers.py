"""What every number of the stats and the endpoints means (docs/json.md)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from operator import is_
from typing import Any

from .crowd import united
from .histogram import percentiles
from .index import Index
from .peers import Coverage
from .traffic import HISTORY_MINUTES, RATE_WINDOW_S, EndpointTraffic, Minute, Summary

Json = dict[str, Any]


class Counted:
    """What follows from the workers' counters, kept for as long as they stay the same.

    All of it is shared by whoever asks: nobody changes it.
    """

    def __init__(self) -> None:
        self._of: Sequence[Summary] = ()
        self._minute = -1
        self._traffic: Json = {}
        self._moved: Hashable = None
        self._endpoints: list[Json] | None = None
        self._history = History()

    def traffic(self, summaries: Sequence[Summary], now_at: float) -> Json:
        """Return ``traffic`` of these; a summary that has not changed is the same object."""
        minute = int(now_at) // 60
        self._see(summaries)
        if minute != self._minute:
            self._traffic = traffic(summaries, self._history.until(summaries, now_at))
            self._minute = minute
        return self._traffic

    def endpoints(
        self,
        summaries: Sequence[Summary],
        index: Index,
        moved: Hashable,
        idle_busy: Sequence[int] = (),
    ) -> list[Json]:
        """Return ``endpoints`` of these; ``moved`` differs whenever the index may."""
        self._see(summaries)
        moved = moved, *idle_busy
        if self._endpoints is None or moved != self._moved:
            self._endpoints, self._moved = endpoints(summaries, index, idle_busy), moved
        return self._endpoints

    def _see(self, summaries: Sequence[Summary]) -> None:
        if len(summaries) != len(self._of) or not all(map(is_, summaries, self._of)):
            self._of, self._minute, self._endpoints = list(summaries), -1, None


def people(index: Index, idle_busy: Sequence[int]) -> Json:
    """Return how many users and sessions there are.

    Args:
        idle_busy: sessions that a request in flight alone keeps active.
    """
    return {
        "active_users": index.users.active + len(_idle_users(index, idle_busy)),
        "active_sessions": index.sessions.active + len(idle_busy),
        "anonymous_sessions": index.anonymous,
        "total_sessions": len(index.sessions),
    }


def _idle_users(index: Index, idle_busy: Sequence[int]) -> set[str]:
    """Return the users whom requests in flight alone keep active."""
    whose = {index.user_of(key) for key in idle_busy}
    return {user for user in whose if user is not None and not index.users.is_active(user)}


class History:
    """The last 60 minutes; those of which nothing has changed stay the same objects."""

    def __init__(self) -> None:
        self._newest = 0
        #: By when it begins.
        self._minutes: dict[int, Json] = {}
        #: What those with anybody in them were made of.
        self._seals: dict[int, list[tuple[Any, ...]]] = {}

    def until(self, summaries: Sequence[Summary], now_at: float) -> list[Json]:
        """Return the 60 minutes up to now, those without anything as zeros.

        Args:
            now_at: in seconds since the epoch.
        """
        newest = int(now_at) // 60 * 60
        if newest != self._newest:
            known, span = self._minutes, range(newest - (HISTORY_MINUTES - 1) * 60, newest + 1, 60)
            self._minutes = {at: known.get(at) or _minute(at, ()) for at in span}
            self._newest = newest
        parts: dict[int, list[Minute]] = {}
        for summary in summaries:
            for minute in summary.minutes:
                if minute.at in self._minutes:
                    parts.setdefault(minute.at, []).append(minute)
        before, seals = self._seals, {at: [*map(_seal, of)] for at, of in parts.items()}
        if seals != before:
            for at in seals.keys() | before.keys() & self._minutes.keys():
                if seals.get(at) != before.get(at):
                    self._minutes[at] = _minute(at, parts.get(at, ()))
            self._seals = seals  # last: should a time-out of the app's cut this short, it is due
        return list(self._minutes.values())


def _seal(minute: Minute) -> tuple[Any, ...]:
    """Return what differs whenever a minute may count otherwise."""
    changes = minute.users.changes, minute.sessions.changes
    return minute, minute.requests, minute.errors, *changes


def traffic(summaries: Sequence[Summary], history: list[Json]) -> Json:
    """Return what the workers counted, added up."""
    requests = sum(one.recent_requests for one in summaries)
    errors = sum(one.recent_errors for one in summaries)
    return {
        "excluded": sum(one.excluded for one in summaries),
        "requests_total": sum(one.requests for one in summaries),
        "errors_total": sum(one.errors for one in summaries),
        "requests_per_s": round(requests / RATE_WINDOW_S, 3),
        "errors_per_s": round(errors / RATE_WINDOW_S, 3),
        "latency_ms": _latency([(one.latency, one.timed) for one in summaries]),
        "history": history,
    }


def monitor(workers: Sequence[Json], own: Sequence[Json], by_others: Mapping[str, int]) -> Json:
    """Return what the workers serve and have thrown away, added up.

    Args:
        workers: those that are not gone.
        own: this one, if it is one.
        by_others: what all others have thrown away, whatever has become of them.
    """
    return {
        "viewers": sum(one.get("viewers", 0) for one in workers),
        "dropped": {
            name: by_others.get(name, 0) + sum(one.get("dropped", {}).get(name, 0) for one in own)
            for name in ("sessions", "activities", "events")
        },
    }


def coverage(others: Coverage, own_host: str | None, is_whole: bool) -> Json:
    """Return who has reported.

    Args:
        own_host: where this process runs, if it is a worker.
        is_whole: whether all of this one is in the picture.
    """
    own = int(own_host is not None)
    return {
        "workers": own + others.workers,
        "workers_reporting": own + others.reporting,
        "hosts": len(others.hosts | {own_host} if own_host is not None else others.hosts),
        "oldest_report_s": others.oldest_report_s,
        "complete": is_whole
        and others.is_readable
        and others.is_whole
        and not others.lacks_until_at
        and others.workers == others.reporting,
    }


def unshared(stats: Json) -> Json:
    """Return numbers of which nothing is kept: whoever gets them may change them."""
    return {
        **stats,
        "latency_ms": {**stats["latency_ms"]},
        "dropped": {**stats["dropped"]},
        "history": [{**minute} for minute in stats["history"]],
    }


def endpoints(
    summaries: Sequence[Summary], index: Index, idle_busy: Sequence[int] = ()
) -> list[Json]:
    """Return the endpoints, most requests first, then by name; ``idle_busy`` as of ``people``."""
    merged: dict[str, list[EndpointTraffic]] = {}
    for summary in summaries:
        for name, one in summary.endpoints.items():
            merged.setdefault(name, []).append(one)
    number = index.endpoints.number
    users, sessions = index.users.active_at, index.sessions.active_at
    if idle_busy:
        users = index.users.active_with(_idle_users(index, idle_busy))
        sessions = index.sessions.active_with(idle_busy)
    found: list[Json] = [
        {
            "endpoint": name,
            "requests": sum(one.requests for one in parts),
            "errors": sum(one.errors for one in parts),
            "active_users": users.get(number(name), 0),
            "active_sessions": sessions.get(number(name), 0),
            "latency_ms": _latency([(one.latency, one.timed) for one in parts]),
        }
        for name, parts in merged.items()
    ]
    return sorted(found, key=_most_requests)


def _most_requests(item: Json) -> tuple[int, str]:
    return -item["requests"], item["endpoint"]


def _minute(at: int, parts: Sequence[Minute]) -> Json:
    if not parts:
        return {"at": at, "requests": 0, "errors": 0, "active_users": 0, "active_sessions": 0}
    return {
        "at": at,
        "requests": sum(one.requests for one in parts),
        "errors": sum(one.errors for one in parts),
        "active_users": united(one.users for one in parts),
        "active_sessions": united(one.sessions for one in parts),
    }


def _latency(parts: Sequence[tuple[dict[int, int], int]]) -> Json:
    """Return the percentiles of several (bucket -> requests, how many in all)."""
    counts, total = parts[0] if parts else ({}, 0)
    if len(parts) > 1:
        counts = dict(counts)
        for more, n in parts[1:]:
            total += n
            for bucket, count in more.items():
                counts[bucket] = counts.get(bucket, 0) + count
    p50, p95, p99 = percentiles(counts, total, (0.5, 0.95, 0.99))
    return {"p50": p50, "p95": p95, "p99": p99}
