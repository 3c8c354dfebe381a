"""Who is here: users with their sessions below them, and guests."""

from __future__ import annotations

from typing import Any

from ..picture import Picture
from .base import FIRST_ROWS, Card


def data(picture: Picture) -> dict[str, Any]:
    """Return the newest sessions, those of one user together, and how many there are in all."""
    found = picture.sessions(limit=FIRST_ROWS)
    people: dict[str, dict[str, Any]] = {}
    for session in found["items"]:
        user = session["user"]
        key = f"guest {session['id']}" if user is None else f"user {user['id']}"
        person = people.setdefault(key, {"user": user, "sessions": []})
        person["sessions"].append(session)
    return {
        "people": list(people.values()),
        "shown": len(found["items"]),
        "total": found["total"],
        "as_of": found["as_of"],
        "since_at": picture.since_at,
        "coverage": picture.stats()["coverage"],
    }


CARD = Card("people", "People", data)
