"""The last half hour, minute by minute; ``static/chart.js`` says the same in the browser."""

from __future__ import annotations

from typing import Any

MINUTES = 30
_NUMBERS = ("requests", "errors", "active_users", "active_sessions")


def last_minutes(stats: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the last thirty minutes of the history, oldest first.

    Those before the picture began have None for every number: there is no data.
    """
    return [
        one if one["at"] + 60 > stats["since_at"] else {"at": one["at"], **dict.fromkeys(_NUMBERS)}
        for one in stats["history"][-MINUTES:]
    ]
