"""What the data function of an app's card may read."""

from __future__ import annotations

from typing import Any

from ..picture import Picture

Json = dict[str, Any]


class Reader:
    """The picture, as the viewer at hand may see it.

    For one with the role "view" names, ids and addresses are masked here as everywhere. Lists
    answer ``{"items": [...], "total": n, "as_of": t}``, items in the shapes of the JSON API;
    ``total`` counts those that match ``q``, of which the first ``limit`` are the items.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def stats(self) -> Json:
        """Return the numbers of the whole app."""
        return self._picture.stats()

    def users(self, limit: int = 100, q: str = "") -> Json:
        """Return signed-in users with a session, last seen first."""
        return self._picture.users(limit=limit, q=q)

    def sessions(self, limit: int = 100, q: str = "") -> Json:
        """Return the sessions not yet ended, last seen first."""
        return self._picture.sessions(limit=limit, q=q)

    def session(self, session_id: str) -> Json | None:
        """Return one session with its newest activities, None when there is none."""
        return self._picture.session(session_id)

    def activities(self, limit: int = 100, q: str = "") -> Json:
        """Return the feed, newest first."""
        return self._picture.activities(limit=limit, q=q)

    def endpoints(self, limit: int = 100, q: str = "") -> Json:
        """Return the endpoints, most requests first."""
        return self._picture.endpoints(limit=limit, q=q)

    def in_flight(self, limit: int = 100, q: str = "") -> Json:
        """Return the requests that have not ended, oldest first."""
        return self._picture.in_flight(limit=limit, q=q)

    def workers(self, limit: int = 100, q: str = "") -> Json:
        """Return the workers of this picture, oldest first."""
        return self._picture.workers(limit=limit, q=q)

    def health(self) -> Json:
        """Return whether the monitor itself is well."""
        return self._picture.health()
