"""What of the lists somebody asks for: by a text in any of their values, and by exact values.

What is rendered is what is shown; the rest is told by the index and the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from . import shapes
from .filters import EVERYTHING, Filter
from .index import Index
from .privacy import kept_id
from .rendering import Renderer
from .search import Exact, Search, in_turns
from .source import Source

#: What the index knows of a session as exactly as its item.
_INDEXED = ("user", "who", "state", "session")

Json = dict[str, Any]


class Selection:
    """One question to the lists; good for one reading.

    Args:
        only: the exact values.
        q: a part of any text shown.
    """

    def __init__(
        self,
        only: Filter | None,
        q: str,
        sources: Sequence[Source],
        index: Index,
        render: Renderer,
    ) -> None:
        self._only = only or EVERYTHING
        if self._only.user is not None:
            self._only = replace(self._only, user=kept_id(self._only.user))
        self._needle = q.casefold()
        self._sources = sources
        self._index = index
        self._render = render
        #: Whose id the asked one stands for; items have the one that is shown.
        self._user_id = render.user_id_of(self._only.user)
        key = shapes.key_of(self._only.session or "")
        if key is not None:  # a guest part is found by its own id, too
            self._only = replace(self._only, session=shapes.session_id(index.shown(key)))

    def sessions(self) -> list[int]:
        """Return the keys of the sessions, last seen first."""
        keys: Collection[int] = self._sessions(self._only)
        if self._needle:
            keys = self._search(self._needle).sessions(keys)
        return self._index.sessions.ordered(keys)

    def _sessions(self, only: Filter) -> Collection[int]:
        keys = self._indexed(only)
        if only.without(*_INDEXED):
            keys = self._exact(only).sessions(keys)
        return keys

    def _indexed(self, only: Filter) -> Collection[int]:
        """Return the sessions that the index alone leaves."""
        index = self._index
        keys: Collection[int] = index.sessions.values
        if only.user is not None:
            keys = [] if self._user_id is None else index.keys_of(self._user_id)
        if only.session is not None:
            own = shapes.key_of(only.session)
            keys = [key for key in (own,) if key is not None and key in keys]
        if only.who is not None:
            are_users = only.who == "users"
            keys = [key for key in keys if (index.user_of(key) is not None) is are_users]
        if only.state is not None:
            keys = [key for key in keys if self._is(key, only.state)]
        return keys

    def users(self) -> list[str]:
        """Return the ids of the users, last seen first."""
        index, only = self._index, self._only
        ids: Collection[str] = index.users.values
        if only.of_sessions:
            whose = map(index.user_of, self._sessions(only.of_sessions))
            ids = {user_id for user_id in whose if user_id is not None}
        if only.user is not None:
            ids = [one for one in (self._user_id,) if one is not None and one in ids]
        if only.who == "guests":
            ids = []
        if only.of_users:
            exact = self._exact(only.of_users)
            ids = [user_id for user_id in in_turns(ids) if self._has_user(user_id, exact)]
        if self._needle:
            ids = self._search(self._needle).users(ids, index.keys_of, self._render.user)
        return index.users.ordered(ids)

    def _has_user(self, user_id: str, exact: Exact) -> bool:
        """Tell whether a user's item has the values; that of one session alone shows the same."""
        keys = self._index.keys_of(user_id)
        if len(keys) != 1:
            item = self._render.user(user_id)
            return item is not None and self._only.has_user(item)
        state = self._only.state
        return exact.has(keys[0]) and (state is None or self._is(keys[0], state))

    def _is(self, key: int, state: str) -> bool:
        return self._render.is_active(key) is (state == "active")

    def activities(self, most: int) -> list[Json]:
        """Return the activities among the newest ``most``, newest first."""
        only, needle = self._only, self._needle
        found = []
        for source, line in shapes.newest_first(self._sources, most):
            item = self._render.activity(source, line)
            if only:
                session = None
                key = line[1]
                if key is not None and (only.needs_session or only.session is not None):
                    session = self._living(key)
                if not only.has_activity(item, source.worker_id, source.host, session):
                    continue
            if not needle or shapes.matching(item, needle):
                found.append(item)
        return found

    def _living(self, key: int) -> Json | None:
        """Return the session that a key belongs to, while it is listed."""
        shown = self._index.shown(key)
        return self._render.session(shown) if shown in self._index.sessions else None

    def _search(self, needle: str) -> Search:
        return Search(self._sources, needle, self._index.joined.get, self._render.sight)

    def _exact(self, only: Filter) -> Exact:
        render = self._render
        return Exact(self._sources, only, self._index.joined.get, render.sight, render.parts)
