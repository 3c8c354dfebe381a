"""What the numbers in another worker's rows mean, as its snapshots and frames tell."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from .frames import Head
from .records import MAX_RARE, Rare
from .source import Person

UNKNOWN = ("(other)", None)
NO_PATH = (inf, "")


class Meanings:
    """One worker's agents, routes, users, paths, and what few of its activities have.

    Attributes:
        routes: number -> (endpoint, rule).
        ids: number of a user -> id; ``names`` likewise, of those who have a name. Tables of texts
            alone, which the garbage collector need not look into.
        paths: slot -> when the path moved in, and the path.
        rare: session key and ordinal -> what that activity has.
        named: grows whenever the number of a user comes to mean another, or another name.
    """

    def __init__(self) -> None:
        self._agents: dict[int, str] = {}
        self.routes: dict[int, tuple[str, str | None]] = {}
        self.ids: dict[int, str] = {}
        self.names: dict[int, str] = {}
        self.paths: dict[int, tuple[int, str]] = {}
        self.rare: dict[tuple[int, int], Rare] = {}
        self.named = 0

    def user(self, number: int) -> Person | None:
        """Return (id, name) of a user's number, None once it was given back."""
        user_id = self.ids.get(number)
        return None if user_id is None else (user_id, self.names.get(number))

    def agent(self, number: int) -> str:
        """Return the User-Agent of a number."""
        return self._agents.get(number, "")

    def route(self, number: int) -> tuple[str, str | None]:
        """Return (endpoint, rule) of a number."""
        return self.routes.get(number, UNKNOWN)

    def path(self, slot: int, seen_ms: int) -> str | None:
        """Return the path that was in a slot at that time, None if it is gone."""
        born_ms, path = self.paths.get(slot, NO_PATH)
        return None if seen_ms < born_ms else path

    def rare_of(self, key: int, ordinal: int) -> Rare | None:
        """Return what few activities have."""
        return self.rare.get((key, ordinal))

    def take(self, head: Head, skip: Collection[int]) -> None:
        """Take in what a head tells, but for buckets that are known newer."""
        for number, agent in head.get("a", ()):
            self._agents[number] = str(agent)
        for number, (endpoint, rule) in head.get("r", ()):
            self.routes[number] = (str(endpoint), rule)
        self.name_users([one for one in head.get("u", ()) if one[0] & 0xFF not in skip])
        for slot, born_ms, path in head.get("p", ()):
            if slot & 0xFF not in skip:
                self.paths[slot] = (born_ms, str(path))
        for key, ordinal, kind, title, error, name, data in head.get("rare", ()):
            self.rare[key, ordinal] = Rare(kind, title, error, name, data)
        while len(self.rare) > MAX_RARE:
            del self.rare[next(iter(self.rare))]

    def name_users(self, users: list[tuple[int, str | None, str | None]]) -> None:
        """Note whose some numbers are, with an id of None nobody's."""
        ids = {number: str(user_id) for number, user_id, _ in users if user_id is not None}
        names = {number: str(name) for number, _, name in users if name is not None}
        known = ids.keys() & self.ids.keys()
        self.named += sum(self.user(n) != (ids[n], names.get(n)) for n in known)
        for table, told in ((self.ids, ids), (self.names, names)):
            if len(told) != len(users):
                for number, _, _ in users:
                    table.pop(number, None)
            table.update(told)

    def forget_sessions(self, keys: Collection[int]) -> None:
        """Drop what few activities of some sessions have."""
        for pair in [pair for pair in self.rare if pair[0] in keys]:
            del self.rare[pair]
