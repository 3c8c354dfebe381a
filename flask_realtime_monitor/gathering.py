"""What the rows of many sessions tell, found out at once.

Both a first read, of all there is, and a tick, of what has changed, go this way: in loops over a
few hundred rows each, which call nothing that is written in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import compress
from operator import attrgetter, itemgetter
from typing import NamedTuple

from .feed import Line
from .interner import Interner
from .listing import pairs, slices
from .peers import Seen
from .rows import OTHER_KIND, briefs_of
from .source import Source

#: So few that Python's garbage collector, which comes after 700 new objects, does not.
_SLICE = 300
_key = itemgetter(1)  # of a line
_NUMBERS = 10_000  # are looked through quickly


class Endpoints(dict[int, int]):
    """The index's numbers of endpoints, by a source's numbers of routes."""

    def __init__(self, number: Callable[[str], int], source: Source) -> None:
        self._number = number
        self._source = source

    def __missing__(self, route: int) -> int:
        found = self[route] = self._number(self._source.route(route)[0])
        return found


class Numbers(dict[str, int]):
    """The index's numbers of endpoints, by name."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number

    def __missing__(self, endpoint: str) -> int:
        found = self[endpoint] = self._number(endpoint)
        return found


class Table(NamedTuple):
    """A source, and what of it does not change from one load to the next.

    Where a session was last seen by several in the same moment, the last of the tables counts; they
    are in the order of the workers' ids, which is the same for all who read.
    """

    source: Source
    rows: Mapping[int, bytes]
    offset_ms: int
    endpoint_of: Endpoints
    number_of: Numbers

    @classmethod
    def of(cls, sources: Iterable[Source], endpoints: Interner[str]) -> list[Table]:
        """Return the tables of some sources, in their order."""
        number = endpoints.number
        return [
            cls(one, one.rows, one.offset_ms, Endpoints(number, one), Numbers(number))
            for one in sorted(sources, key=attrgetter("worker_id"))
        ]


class Gathering:
    """Some sessions, each of all its rows, before guests and users are joined.

    Numbers and texts alone, in plain dicts: of these the garbage collector keeps away.
    """

    def __init__(self) -> None:
        #: When and where each was last seen (``Recency``).
        self.values: dict[int, int] = {}
        #: Whose it is, of those that are a user's.
        self.users: dict[int, str] = {}
        #: When and where each user was last seen.
        self.newest: dict[str, int] = {}
        #: The visitor, of those whose key is not the visitor's own.
        self.visitors: dict[int, int] = {}
        #: Keys that are to be looked at one by one: they ended, or went while this looked.
        self.missed: set[int] = set()
        #: Users of whom more than one session, or row, was last seen in the same moment.
        self.ties: set[str] = set()

    def rank(self, key: int) -> tuple[int, int]:
        """Return a session's place in the order in which they were last seen; none comes first."""
        return self.values.get(key, -1) >> 16, key

    def gather(self, table: Table) -> None:
        """Put all that a source has to what is known of its sessions."""
        # Two lists made at once: in somebody else's turn the table may change.
        for keys, rows in pairs(list(table.rows), list(table.rows.values()), _SLICE):
            self._take(table, keys, rows)

    def gather_some(self, table: Table, keys: Iterable[int]) -> None:
        """Put what a source has of some sessions to what is known of them."""
        if not table.rows:
            return
        for part in slices(keys, _SLICE):
            rows = list(map(table.rows.get, part))
            there = [row is not None for row in rows]
            if any(there):
                self._take(table, list(compress(part, there)), list(compress(rows, there)))  # type: ignore[arg-type]  # no None

    def _take(self, table: Table, keys: Iterable[int], rows: Sequence[bytes]) -> None:
        source, _, offset_ms, endpoint_of, _ = table
        find, values, users = source.user_id, self.values, self.users
        visitors, newest = self.visitors, self.newest
        for key, (visitor, base_ms, last, number, route, _) in zip(
            keys, briefs_of(rows), strict=True
        ):
            moment = base_ms + offset_ms + last << 16 | endpoint_of[route]
            known = values.setdefault(key, moment)
            if known is not moment and known >> 16 <= moment >> 16:  # another source has it too
                values[key] = moment
            if visitor != key:
                visitors[key] = visitor
            if number:
                user_id = find(number - 1)
                if user_id is None:  # somebody who went while this looked
                    self.missed.add(key)
                    continue
                users[key] = user_id
                known = newest.setdefault(user_id, moment)
                if known is not moment and known >> 16 <= moment >> 16:
                    newest[user_id] = moment
                    if known >> 16 == moment >> 16:
                        self.ties.add(user_id)

    def leave_out(self, timed_out_ms: int) -> None:
        """Let go, as missed, of all that has ended by itself."""
        ended = (timed_out_ms << 16) + 0xFFFF
        for keys, values in pairs(self.values, self.values.values(), _NUMBERS):
            self.missed.update(compress(keys, map(ended.__ge__, values)))
        gone = {self.users[key] for key in self.missed if key in self.users}
        for key in self.missed:
            for table in (self.values, self.users, self.visitors):
                table.pop(key, None)
        for user_id in gone:
            del self.newest[user_id]
        self.ties |= gone
        for key, user_id in self.users.items() if gone else ():
            if user_id in gone:  # there is another session of the same user
                self.newest[user_id] = max(self.values[key], self.newest.get(user_id, 0))


class Sightings:
    """Where and when some known sessions were seen again, and by whom; no more than that.

    Args:
        signed_out: visitors who signed out; whose session is whose takes more than a look.
    """

    def __init__(self, signed_out: Collection[int]) -> None:
        self.sessions: dict[int, int] = {}  # as ``Gathering.values``
        self.users: dict[int, str] = {}  # as there
        #: Keys that more than a look is to be taken at.
        self.others: set[int] = set()
        self._signed_out = signed_out

    def look(
        self,
        tables: Iterable[Table],
        changed: Collection[int],
        seen: Seen,
        known: Mapping[int, int],
    ) -> None:
        """Look at some sessions.

        Args:
            changed: of these at the rows.
            seen: what others did once more; what the rows tell by now too.
            known: as ``sessions``, what was known before.
        """
        left = dict.fromkeys(changed)
        for table in tables if seen else ():
            self._take(table, seen.get(table.source, ()), known, left)
        for key in left:
            self.sessions.pop(key, None)
            self.users.pop(key, None)
        for table in tables if left else ():
            self._gather(table, left)
        self.others.update(key for key in left if key not in known or key not in self.sessions)

    def _take(
        self, table: Table, seen: Sequence[Line], known: Mapping[int, int], left: dict[int, None]
    ) -> None:
        """Put what some sessions did to what is known of them; add those that ask for more."""
        sessions, users, signed_out = self.sessions, self.users, self._signed_out
        offset_ms, number_of = table.offset_ms, table.number_of
        # What is known lies all over the memory; a loop in C has several on their way at once.
        before = list(map(known.get, list(map(_key, seen))))
        for line, value in zip(seen, before, strict=True):
            at_ms, key, _, visitor, whose, (endpoint, _), _, _, code, _ = line
            last_ms = at_ms + offset_ms
            if value is None or value >> 16 >= last_ms or code >= OTHER_KIND:
                left[key] = None
                continue
            if visitor != key:
                if whose is None or visitor in signed_out:
                    left[key] = None
                    continue
                users[key] = whose[0]
            moment = last_ms << 16 | number_of[endpoint]
            if sessions.setdefault(key, moment) >> 16 <= last_ms:  # another source has it too
                sessions[key] = moment

    def _gather(self, table: Table, keys: Iterable[int]) -> None:
        """Put what a source has of some sessions to what is known of them."""
        source, rows_of, offset_ms, endpoint_of, _ = table
        sessions, users, others = self.sessions, self.users, self.others
        signed_out, find = self._signed_out, source.user_id
        for part in slices(keys, _SLICE) if rows_of else ():
            found = list(map(rows_of.get, part))
            there = [row is not None for row in found]
            briefs = briefs_of(list(compress(found, there)))  # type: ignore[arg-type]  # no None
            for key, (visitor, base_ms, last, number, route, _) in zip(
                compress(part, there), briefs, strict=True
            ):
                moment = base_ms + offset_ms + last << 16 | endpoint_of[route]
                if sessions.setdefault(key, moment) >> 16 <= moment >> 16:
                    sessions[key] = moment  # another source has it too
                if visitor == key:
                    continue
                user_id = find(number - 1) if number else None
                if user_id is None or visitor in signed_out:  # a guest of before a sign-out
                    others.add(key)
                else:
                    users[key] = user_id
