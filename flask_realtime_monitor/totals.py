"""What the wall shows: the numbers of ``stats``, and nothing that names anybody or any place."""

from __future__ import annotations

from typing import Any

from .picture import Picture
from .resumption import StreamPlace

Json = dict[str, Any]

#: Named one by one, so that what ``stats`` may come to tell some day stays away from the wall.
NUMBERS = (
    "as_of",
    "since_at",
    "excluded",
    "active_users",
    "active_sessions",
    "anonymous_sessions",
    "total_sessions",
    "requests_total",
    "errors_total",
    "requests_per_s",
    "errors_per_s",
    "latency_ms",
    "in_flight",
    "viewers",
    "dropped",
    "history",
    "coverage",
)


class Totals:
    """A picture of which only the totals are seen; a ``timeline.Shown``."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    @property
    def epoch(self) -> str:
        """The id of the picture."""
        return self._picture.epoch

    @property
    def cursor(self) -> int:
        """How far the picture has been read."""
        return self._picture.cursor

    def snapshot(self) -> Json:
        """Return ``as_of`` and ``stats``."""
        stats = self._picture.stats()
        numbers = {name: _numbers(stats[name]) for name in NUMBERS}
        return {"as_of": stats["as_of"], "stats": numbers}

    def resumed(self, place: StreamPlace, base: Json, base_cursor: int) -> Json | None:
        """Return nothing: a snapshot of the totals is as small as an update."""
        return None


def _numbers(value: Any) -> Any:
    """Return a value without its texts."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items() if not isinstance(one, str)}
    if isinstance(value, list):
        return [_numbers(one) for one in value if not isinstance(one, str)]
    return value
