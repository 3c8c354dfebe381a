"""Why a session is shown as it is: what told who it is, who saw it, when it will end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .config import Settings
from .shapes import Part

Json = dict[str, Any]


def why(
    parts: Sequence[Part],
    identified_by: Callable[[], str | None],
    is_joined: bool,
    is_busy: bool,
    settings: Settings,
) -> Json:
    """Return what ``/sessions/<id>`` has as ``why``.

    Rows do not keep by what rule each request was told; the rule is the one that is in force now.

    Args:
        parts: what each worker knows of the session, at least one.
        identified_by: returns what tells who makes a request: "identify", "flask_login" or None.
        is_joined: whether a guest's history is part of it.
        is_busy: whether a request is in flight, so that it does not end.
    """
    workers: dict[str, Json] = {}
    for part in parts:
        source = part.source
        seen = workers.setdefault(
            source.worker_id,
            {"id": source.worker_id, "host": source.host, "requests": 0, "last_seen_at": 0.0},
        )
        seen["requests"] += part.head.requests
        seen["last_seen_at"] = max(seen["last_seen_at"], part.last_ms / 1000)
    first = min(parts, key=lambda part: (part.first_ms, part.source.worker_id))
    last_ms = max(part.last_ms for part in parts)
    is_user = any(part.head.user for part in parts)
    return {
        "rule": identified_by() if is_user else "visitor",
        "joined": is_joined,
        "workers": sorted(workers.values(), key=lambda one: (-one["last_seen_at"], one["id"])),
        "first_by": first.source.worker_id,
        "ends_at": None if is_busy else (last_ms + int(settings.session_timeout * 1000)) / 1000,
        "ip_kept": settings.ip,
    }
