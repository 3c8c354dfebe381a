"""The plain values that travel between the parts: users and activities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request: what an ``identify`` hook returns.

    Args:
        id: the application's own key of the person; kept as text.
        name: what the dashboard shows, or None.
    """

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing that happened, as ``before_record`` sees it, before anything is kept.

    Edit it with ``dataclasses.replace``. ``ip`` is already masked, ``path`` already redacted.
    ``user`` may be given as an id alone, and ``data`` as None. ``kind``, ``at`` (seconds since the
    epoch) and ``duration_ms`` are facts: what is written there is not looked at.
    """

    kind: str
    at: float
    user: User | None = None
    ip: str | None = None
    agent: str = ""
    method: str | None = None
    endpoint: str | None = None
    path: str | None = None
    title: str | None = None
    status: int | None = None
    duration_ms: float | None = None
    error: str | None = None
    name: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
