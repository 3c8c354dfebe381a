"""All sessions of some workers put together at once: what a first read waits for.

As an index does for each session that changes, but written out, in long loops over plain tables.
In between it is somebody else's turn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from .interner import Interner
from .listing import slices
from .rows import brief_of
from .source import Source

#: All parts of one session (but for its guest part): visitor, user id, when first and last seen
#: (ms since the epoch), endpoint. A plain tuple, which the garbage collector need not look into.
Merged = tuple[int, str | None, int, int, int]


class Table(NamedTuple):
    """A source, and what of it does not change from one load to the next."""

    source: Source
    rows: Mapping[int, bytes]
    offset_ms: int
    endpoint_of: dict[int, int]  # a route's number: its endpoint's in the index


class Gathering:
    """Sessions, and what an index knows of them, before guests and users are joined.

    Args:
        endpoints: gives endpoints the index's numbers.
        timeout_ms: how long after its last request a session ends.
    """

    def __init__(self, endpoints: Interner[str], timeout_ms: int) -> None:
        self._endpoints = endpoints
        self._timeout_ms = timeout_ms
        self.merged: dict[int, Merged] = {}
        self.of_visitor: dict[int, tuple[int, ...]] = {}
        self.of_user: dict[str, tuple[int, ...]] = {}
        #: Values of sessions and users by when and where they were last seen (``Recency``).
        self.sessions: dict[int, int] = {}
        self.users: dict[str, int] = {}
        self.anonymous = 0
        #: By the second in which they are to be looked at.
        self.due: dict[int, list[int]] = {}
        #: Keys that are not among the sessions: their time is over, or they went meanwhile.
        self.missed: list[int] = []

    def gather(self, tables: Sequence[Table], busy: Collection[int], now_ms: int) -> None:
        """Put together the rows of some sources.

        Args:
            busy: visitors with a request in flight; their sessions do not end.
        """
        for table in tables:
            self._take(table)
        for key in self.missed:
            self.merged.pop(key, None)
        self._show(busy, now_ms - self._timeout_ms)

    def _take(self, table: Table) -> None:
        """Put one source's rows to what is known of their sessions."""
        merged, number_of = self.merged, self._endpoints.number
        source, table_rows, offset_ms, endpoint_of = table
        people: dict[int, str] = {}
        for key, row in chain.from_iterable(slices(dict(table_rows).items())):
            visitor, first_ms, last, user, route = brief_of(row)
            first_ms += offset_ms
            last_ms = first_ms + last
            user_id = None
            if user:
                user_id = people.get(user)
                if user_id is None:
                    person = source.user(user - 1)
                    if person is None:
                        self.missed.append(key)
                        continue
                    user_id = people[user] = person[0]
            known = merged.get(key)
            if known is not None:
                user_id = known[1] or user_id
                first_ms = min(first_ms, known[2])
                if last_ms <= known[3]:
                    merged[key] = (visitor, user_id, first_ms, known[3], known[4])
                    continue
            endpoint = endpoint_of.get(route, -1)
            if endpoint < 0:
                endpoint = endpoint_of[route] = number_of(source.route(route)[0])
            merged[key] = (visitor, user_id, first_ms, last_ms, endpoint)

    def _show(self, busy: Collection[int], timed_out_ms: int) -> None:
        """Find out of all that was put together what an index shows; take out what has ended."""
        of_visitor, of_user, due = self.of_visitor, self.of_user, self.due
        sessions, newest, after_ms = self.sessions, self.users, self._timeout_ms + 1000
        ended, users = [], 0
        for key, one in chain.from_iterable(slices(self.merged.items())):
            visitor, user_id, _, last_ms, endpoint = one
            if last_ms <= timed_out_ms and visitor not in busy:
                ended.append(key)
                continue
            due_s = (last_ms + after_ms) // 1000
            if due_s in due:
                due[due_s].append(key)
            else:
                due[due_s] = [key]
            value = sessions[key] = last_ms << 16 | endpoint
            if user_id is None:
                continue
            users += 1
            if visitor in of_visitor:
                of_visitor[visitor] += (key,)
            else:
                of_visitor[visitor] = (key,)
            if user_id in of_user:
                of_user[user_id] += (key,)
                newest[user_id] = max(newest[user_id], value)
            else:
                of_user[user_id] = (key,)
                newest[user_id] = value
        for key in ended:
            del self.merged[key]
        self.missed += ended
        self.anonymous = len(sessions) - users
