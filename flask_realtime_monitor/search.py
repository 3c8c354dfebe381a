"""Finds the sessions that hold a text, or exact values, without rendering those that do not.

A session matches where its rendered item would (``shapes.matching``, or as a ``Filter`` asks). What
many sessions share, such as an agent or a path, is looked at once; an address and an id only where
the text could be a part of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from . import agents, rows, shapes
from .filters import Filter
from .rows import HEAD
from .shapes import Part
from .sights import Sight
from .source import Person, Source

K = TypeVar("K")

_SLICE = 500
_IN_ADDRESSES = frozenset("0123456789abcdef.:")
_IN_IDS = frozenset("0123456789abcdef")


class Newest(NamedTuple):
    """The newest part of a session, and whose session it is."""

    view: _View
    key: int
    row: bytes
    head: tuple[int, ...]
    person: Person | None


class Search:
    """One search over the sessions of all workers.

    Args:
        sources: the workers' rows.
        needle: the text, casefolded.
        guest_key: returns the key of a session's guest part.
        sight: how much is shown; nothing else is found.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        needle: str,
        guest_key: Callable[[int], int | None],
        sight: Sight,
    ) -> None:
        self._needle = needle
        self._guest_key = guest_key
        self._sight = sight
        self._views = [_View(source, needle, sight) for source in sources]
        self._people: dict[Person | None, bool] = {}
        self._may_be_id = _IN_IDS.issuperset(needle)
        self._may_be_address = not sight.is_masked and _IN_ADDRESSES.issuperset(needle)

    def sessions(self, keys: Iterable[int]) -> list[int]:
        """Return those of some sessions whose items hold the text."""
        return [key for key in in_turns(keys) if self._has_session(key)]

    def users(
        self,
        user_ids: Iterable[str],
        keys_of: Callable[[str], Sequence[int]],
        item_of: Callable[[str], Any],
    ) -> list[str]:
        """Return those of some users whose items hold the text.

        Args:
            keys_of: returns a user's sessions.
            item_of: renders a user, where only the item itself can tell.
        """
        found = []
        for user_id in in_turns(user_ids):
            has_it = self._has_user(user_id, keys_of(user_id))
            if has_it is None:
                item = item_of(user_id)
                has_it = item is not None and shapes.matching(item, self._needle)
            if has_it:
                found.append(user_id)
        return found

    def _has_session(self, key: int) -> bool:
        """Tell whether a session's item holds the text."""
        found = self._newest(key)
        if found is None:
            return False
        view, _, row, head, person = found
        return bool(
            view.has_itself
            or (self._may_be_id and self._needle in shapes.session_id(key))
            or self._has_person(person)
            or view.has_agent(head[7])
            or (self._may_be_address and self._needle in (rows.ip_of(row, head[8]) or ""))
            or view.has_place(found.key, row, head, with_title=True)
        )

    def _has_user(self, user_id: str, keys: Sequence[int]) -> bool | None:
        """Tell whether a user's item holds the text; None where only the item itself can tell."""
        if len(keys) != 1:
            return None
        found = self._newest(keys[0])
        if found is None or found.person is None:
            return False
        return self._has_person((user_id, found.person[1])) or found.view.has_place(
            found.key, found.row, found.head, with_title=False
        )

    def _newest(self, key: int) -> Newest | None:
        """Return what ``shapes.session`` makes an item of, None where there is no row."""
        guest_key = self._guest_key(key)
        keys = (key,) if guest_key is None else (key, guest_key)
        newest: tuple[_View, int, bytes, tuple[int, ...]] | None = None
        newest_rank = (-1, False, "")
        person: Person | None = None
        person_rank = (-2, "")
        for view in self._views:
            for one in keys:
                row = view.rows.get(one)
                if row is None:
                    continue
                head = HEAD.unpack_from(row)
                last_ms = view.offset_ms + head[1] + head[2]
                rank = last_ms, one == key, view.worker_id
                if newest is None or rank > newest_rank:
                    newest, newest_rank = (view, one, row, head), rank
                if head[5]:
                    whose = view.source.user(head[5] - 1)
                    if whose is not None:
                        known = last_ms if whose[1] is not None else -1, view.worker_id
                        if known > person_rank:
                            person, person_rank = whose, known
        return None if newest is None else Newest(*newest, person)

    def _has_person(self, person: Person | None) -> bool:
        found = self._people.get(person)
        if found is None:
            shown = self._sight.person(person)
            found = self._people[person] = shown is not None and _any(self._needle, shown)
        return found


class Exact(Search):
    """As a search, for exact values: what a filter asks of a session's newest part and errors.

    Args:
        parts_of: returns what there is of a session, and nothing of one that ended before.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        only: Filter,
        guest_key: Callable[[int], int | None],
        sight: Sight,
        parts_of: Callable[[int], Sequence[Part]],
    ) -> None:
        super().__init__(sources, "", guest_key, sight)
        self._only = only
        self._parts_of = parts_of
        self._is_placed = only.endpoint is not None or only.path is not None

    def has(self, key: int) -> bool:
        """Tell whether a session has the values."""
        return self._has_session(key)

    def _has_session(self, key: int) -> bool:
        found = self._newest(key)
        if found is None:
            return False
        only, view = self._only, found.view
        if self._is_placed:
            endpoint, path, _, _ = view.last_place(found.row, found.head)
            if not (only.endpoint in (None, endpoint) and only.path in (None, path)):
                return False
        return (
            only.worker in (None, view.worker_id)
            and only.host in (None, view.source.host)
            and view.is_agent(found.head[7], only)
            and (only.status is None or self._has_errors(key))
        )

    def _has_errors(self, key: int) -> bool:
        keys = (key, self._guest_key(key))
        found = (view.rows.get(one) for view in self._views for one in keys if one is not None)
        may_have = any(row is not None and HEAD.unpack_from(row)[4] for row in found)
        return may_have and any(part.head.errors for part in self._parts_of(key))


class _View:
    """One source, and which of its numbers' meanings hold the text."""

    def __init__(self, source: Source, needle: str, sight: Sight) -> None:
        self.source = source
        self._is_masked = sight.is_masked
        self.rows = source.rows
        self.offset_ms = source.offset_ms
        self.worker_id = source.worker_id
        self.has_itself = _any(needle, (source.worker_id, source.host))
        self._needle = needle
        self._agents: dict[int, bool] = {}
        self._exact_agents: dict[int, bool] = {}
        self._texts: dict[str | None, bool] = {None: False}

    def has_agent(self, number: int) -> bool:
        """Tell whether what is told of an agent holds the text."""
        found = self._agents.get(number)
        if found is None:
            told = agents.describe(self.source.agent(number))
            found = self._agents[number] = shapes.matching(told, self._needle)
        return found

    def is_agent(self, number: int, only: Filter) -> bool:
        """Tell whether what is told of an agent is what a filter asks for."""
        found = self._exact_agents.get(number)
        if found is None:
            told = agents.describe(self.source.agent(number))
            found = self._exact_agents[number] = only.has_agent(told)
        return found

    def has_place(self, key: int, row: bytes, head: tuple[int, ...], with_title: bool) -> bool:
        """Tell whether endpoint, path or title of a row's last request hold the text."""
        endpoint, path, code, ordinal = self.last_place(row, head)
        if self._has(endpoint) or self._has(path):
            return True
        if not with_title or self._is_masked or not code & rows.RARE:
            return False
        rare = self.source.rare(key, ordinal)
        return rare is not None and self._has(rare.title)

    def last_place(
        self, row: bytes, head: tuple[int, ...]
    ) -> tuple[str | None, str | None, int, int]:
        """Return endpoint and path, as shown, of a row's last request, its code and ordinal."""
        endpoint, path, rule, code, ordinal = shapes.last_place(self.source, row, head)
        return endpoint, rule if self._is_masked else path, code, ordinal

    def _has(self, text: str | None) -> bool:
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = text is not None and self._needle in text.casefold()
        return found


def in_turns(keys: Iterable[K]) -> Iterator[K]:
    """Yield the keys there are now; between some and the next it is somebody else's turn."""
    for number, key in enumerate(list(keys)):
        if number % _SLICE == _SLICE - 1:
            time.sleep(0)  # somebody else's turn
        yield key


def _any(needle: str, texts: Iterable[str | None]) -> bool:
    return any(text is not None and needle in text.casefold() for text in texts)
