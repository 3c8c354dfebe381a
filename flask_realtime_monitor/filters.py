"""Exact filters of the lists: which items somebody asks for, by the values that items show.

They look at nothing but rendered items, so a viewer who is shown less can find no more by them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

Json = dict[str, Any]

_CLOSED = {
    "state": ("active", "idle"),
    "who": ("users", "guests"),
    "kind": ("request", "login", "logout", "custom"),
}
_STATUS = re.compile(r"[1-5](xx|[0-9][0-9])")
_FEED_ONLY = frozenset({"kind"})


@dataclass(frozen=True, slots=True)
class Filter:
    """What an item must have, all of it; None is anything.

    Attributes:
        user: a user's id; ``session``: a session's; ``worker``: a worker's.
        state: "active" or "idle"; ``who``: "users" or "guests".
        status: "2xx" to "5xx", or a number; "5xx" is every error, also one whose answer had another
            status or none; of people "5xx" alone, those with errors.
        kind: an activity's.
    """

    user: str | None = None
    endpoint: str | None = None
    path: str | None = None
    host: str | None = None
    worker: str | None = None
    browser: str | None = None
    os: str | None = None
    device: str | None = None
    state: str | None = None
    who: str | None = None
    status: str | None = None
    kind: str | None = None
    session: str | None = None

    def __bool__(self) -> bool:
        return self != EVERYTHING

    @property
    def of_sessions(self) -> Filter:
        """What only the sessions of a user can tell."""
        return Filter(
            host=self.host,
            worker=self.worker,
            browser=self.browser,
            os=self.os,
            device=self.device,
            session=self.session,
        )

    @property
    def of_users(self) -> Filter:
        """What a user tells of all their sessions together, and of the newest."""
        return Filter(endpoint=self.endpoint, path=self.path, state=self.state, status=self.status)

    def without(self, *names: str) -> Filter:
        """Return the filter with less to ask for."""
        return replace(self, **dict.fromkeys(names))

    def has_user(self, item: Json) -> bool:
        """Tell whether a user is asked for, ``of_sessions`` left out."""
        return (
            self._has_person(item)
            and self._has_place(item)
            and self._has_state(item)
            and self._has_errors(item)
        )

    def has_activity(self, item: Json, worker: str, host: str, session: Json | None) -> bool:
        """Tell whether an activity is asked for.

        Args:
            worker: who recorded it, on which host.
            session: the one it belongs to, None where there is none any more.
        """
        return (
            self._has_person(item["user"])
            and self._has_place(item)
            and _is(self.worker, worker)
            and _is(self.host, host)
            and _is(self.kind, item["kind"])
            and self._has_status(item)
            and (
                self.session is None
                or self.session == item["session"]
                or (session is not None and self.session == session["id"])
            )
            and (
                not self.needs_session
                or (
                    session is not None
                    and self.has_agent(session["agent"])
                    and self._has_state(session)
                )
            )
        )

    @property
    def needs_session(self) -> bool:
        """Whether an activity's session tells what the activity itself does not."""
        return any(one is not None for one in (self.browser, self.os, self.device, self.state))

    def _has_person(self, user: Json | None) -> bool:
        if self.who is not None and (self.who == "users") != (user is not None):
            return False
        return self.user is None or (user is not None and user["id"] == self.user)

    def _has_place(self, item: Json) -> bool:
        return _is(self.endpoint, item["endpoint"]) and _is(self.path, item["path"])

    def has_agent(self, agent: Json) -> bool:
        """Tell whether an agent, as told by an item, is asked for."""
        return (
            _is(self.browser, agent["browser"])
            and _is(self.os, agent["os"])
            and _is(self.device, agent["device"])
        )

    def _has_state(self, item: Json) -> bool:
        return self.state is None or (self.state == "active") is item["is_active"]

    def _has_errors(self, item: Json) -> bool:
        return self.status is None or item["errors"] > 0

    def _has_status(self, item: Json) -> bool:
        if self.status is None or (self.status == "5xx" and item["error"] is not None):
            return True
        if item["status"] is None:
            return False
        if self.status.endswith("xx"):
            return bool(item["status"] // 100 == int(self.status[0]))
        return str(item["status"]) == self.status


EVERYTHING = Filter()
_NAMES = tuple(one.name for one in fields(Filter))


def read(arguments: Mapping[str, str], is_feed: bool) -> Filter:
    """Return the filter in a query's parameters; one that is empty is none.

    Args:
        is_feed: whether activities are asked for, not people.

    Raises:
        ValueError: a value is none of those there are; the text says which there are.
    """
    names = [name for name in _NAMES if is_feed or name not in _FEED_ONLY]
    wanted = {name: value for name in names if (value := arguments.get(name))}
    for name, known in _CLOSED.items():
        if name in wanted and wanted[name] not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}")
    status = wanted.get("status")
    if status is not None and not _STATUS.fullmatch(status):
        raise ValueError("status is a class such as 4xx, or a number such as 404")
    if status not in (None, "5xx") and not is_feed:
        raise ValueError(
            "of people only status=5xx is known: who had errors; others are activities'"
        )
    return Filter(**wanted)


def _is(wanted: str | None, value: Any) -> bool:
    return wanted is None or wanted == value
