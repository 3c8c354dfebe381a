"""What the app's own ``before_record`` hook makes of an activity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

from . import rows
from .clock import Clock
from .guard import Guard
from .models import Activity, User
from .privacy import MAX_NAME, MAX_TEXT, Redactor, clean, kept_id, pack_ip
from .records import Record
from .traffic import UNMATCHED

Hook = Callable[[Activity], Activity | None]


class Edits:
    """Shows activities to the hook and takes its answers.

    Args:
        redactor: what the hook puts in is scrubbed like all else.
        guard: told what the hook raises, and what it should not have returned.
    """

    def __init__(self, clock: Clock, redactor: Redactor, guard: Guard) -> None:
        self._clock = clock
        self._redactor = redactor
        self._guard = guard

    def of(self, record: Record, hook: Hook) -> Record | None:
        """Return what the hook leaves of an activity; None where it drops it, or fails.

        It runs in a context of its own: whoever happens to be at work here, in a request of
        somebody else's perhaps, is nothing it could see.
        """
        activity = self._shown(record)
        try:
            answer: Any = Context().run(hook, activity)
            if answer is None or answer is activity:
                return None if answer is None else record
            return self._merged(record, answer)
        except BaseException as error:  # the app's own hook; what it meant to scrub is not kept
            self._guard.caught("before_record", error)
            return None

    def _shown(self, record: Record) -> Activity:
        is_unmatched = record.kind == "request" and record.endpoint is None
        return Activity(
            kind=record.kind,
            at=self._clock.wall_at(record.at_ms),
            user=None if record.user_id is None else User(record.user_id, record.user_name),
            ip=rows.ip_text(record.ip),
            agent=record.agent,
            method=record.method,
            endpoint=UNMATCHED if is_unmatched else record.endpoint,
            path=record.path,
            title=record.title,
            status=record.status,
            duration_ms=record.duration_ms,
            error=record.error,
            name=record.name,
            data=dict(record.data or {}),
        )

    def _merged(self, record: Record, edited: Activity) -> Record:
        """Return a record with what was edited.

        Raises:
            TypeError: that is nothing one could keep; the text says what to return instead.
        """
        if not isinstance(edited, Activity):
            raise TypeError(f"returned {type(edited).__name__}; return the Activity or None")
        user, data, ip = _user(edited.user), edited.data, record.ip
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(
                f"returned an Activity whose data is {type(data).__name__}; give it a dict or None"
            )
        if edited.ip != rows.ip_text(ip):
            ip = b"" if edited.ip is None else pack_ip(str(edited.ip))
        return record._replace(
            user_id=None if user is None else kept_id(user.id),
            user_name=None if user is None else _text(user.name),
            ip=ip,
            agent=clean(edited.agent or ""),
            method=_text(edited.method),
            endpoint=None if edited.endpoint == UNMATCHED else _text(edited.endpoint),
            # Where the path was edited the rule must not bring the old one back.
            rule=record.rule if edited.path == record.path else None,
            path=_text(edited.path, MAX_TEXT),
            title=_text(edited.title),
            status=status_code(str(edited.status)),
            error=_text(edited.error),
            name=_text(edited.name),
            data=self._redactor.data(data or {}) or None,
        )


def status_code(line: str | None) -> int | None:
    """Return the number of a status line; an app may send one that has none."""
    text = (line or "")[:3]
    return int(text) if text.isascii() and text.isdecimal() else None


def _user(given: Any) -> User | None:
    """Return who an activity was given as its user; as from ``identify``, an id alone will do."""
    if given is None or isinstance(given, User):
        return None if given is None or given.id is None else given
    if type(given) in (str, int):
        return User(given)
    raise TypeError(
        f"returned an Activity whose user is {type(given).__name__}; give it a User, an id or None"
    )


def _text(value: Any, most: int = MAX_NAME) -> str | None:
    return None if value is None else clean(value, most)
