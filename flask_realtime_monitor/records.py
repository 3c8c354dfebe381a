"""What travels between the parts: activities on their way in, and what is told of them."""

from __future__ import annotations

from typing import Any, NamedTuple

#: The name of the custom activity that is the last of a session an admin ended.
ENDED = "session ended"
#: The kind of a sign-out that is left out of the record: it takes effect, and is seen nowhere.
UNRECORDED_LOGOUT = "unrecorded logout"
#: Of so many activities of a worker what few have is kept, there and at whoever hears of it.
MAX_RARE = 20_000


class Record(NamedTuple):
    """One activity on its way into the tracker, scrubbed and complete.

    ``ip`` is packed as rows keep it: 0, 4, 6 or 16 bytes.
    """

    kind: str
    at_ms: int
    visitor: int
    user_id: str | None
    user_name: str | None
    ip: bytes
    agent: str
    method: str | None
    endpoint: str | None
    rule: str | None
    path: str | None
    title: str | None
    status: int | None
    duration_ms: float | None
    error: str | None
    name: str | None
    data: dict[str, Any] | None

    def is_of(self, user_id: str) -> bool:
        """Tell whether it is somebody's, or tells of them as who ended a session."""
        return self.user_id == user_id or (
            self.name == ENDED and self.data is not None and self.data.get("by") == user_id
        )


class Rare(NamedTuple):
    """What few activities have, kept beside the rows."""

    kind: str
    title: str | None
    error: str | None
    name: str | None
    data: dict[str, Any] | None


class FeedItem(NamedTuple):
    """One line of the feed; ``number`` grows by one with each."""

    number: int
    key: int | None
    ordinal: int
    record: Record


class Notice(NamedTuple):
    """Something a signal will tell: "activity", "started" or "ended".

    A session is told of with all that its row alone does not say, since both may be gone by then.
    """

    what: str
    key: int | None
    row: bytes | None
    item: FeedItem | None
    guest: bytes | None = None
    person: tuple[str, str | None] | None = None


class InFlight(NamedTuple):
    """A request that has not ended, as the recorder knows it."""

    id: str
    visitor: int
    method: str | None
    endpoint: str | None
    path: str | None
    started_ms: int
    is_recorded: bool
    rule: str | None = None
