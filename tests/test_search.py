"""A search finds what the rendered items hold; a first read knows what a long reader knows."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flask_realtime_monitor.peers import Changes, Peers
from flask_realtime_monitor.shapes import matching
from flask_realtime_monitor.source import OwnSource
from flask_realtime_monitor.tracker import Tracker

from .support.records import Bench

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Safari/605.1.15",
    "curl/8",
)
NEEDLES = (
    "a", "1", "10.0", "::", "2001:db8", "f", "firefox", "phone", "curl", "user1", "Name 2", "ITEM",
    "item", "order", "/order/3", "home", "worker", "other", "elsewhere", "nobody has this",
    "straße",
)  # fmt: skip


class Crowd(Bench):
    """Visitors whose requests go now to this worker, now to another."""

    def __init__(self, seed: int) -> None:
        super().__init__(session_history_size=5)
        self.chance = random.Random(seed)
        self.other = Tracker(self.settings, self.time.clock(), self.tracker.visitors)
        self.picture = self.with_other()

    def with_other(self) -> Any:
        """Return a picture of both workers that has read nothing yet."""
        other = Other(self.other)
        return self.new_picture(lambda: other)

    def move(self, requests: int, longest_s: float = 40) -> None:
        """Let some requests come."""
        chance = self.chance
        for _ in range(requests):
            self.time.pass_(chance.choice((0, 0.5, 1, longest_s)))
            visitor = chance.randrange(1, 40)
            user = f"user{visitor}" if chance.random() < 0.4 else None
            if visitor < 6 and user:
                user = f"user{chance.randrange(6)}"
            number = chance.randrange(5)
            kind = chance.choice(("request", "request", "request", "custom"))
            record = self.record(
                visitor * 0x0101_0101_0101_0101,
                user,
                kind=kind,
                user_name=f"Name {visitor}" if user and visitor % 2 else None,
                ip=chance.choice((b"", bytes((10, 0, visitor, 0)), b"\x20\x01\x0d\xb8\0\0")),
                agent=AGENTS[visitor % 3],
                endpoint=chance.choice(("home", "order", None)),
                rule=chance.choice(("/", "/order/<int:n>", None)),
                path=chance.choice((f"/order/{number}", "/", None)),
                title=chance.choice((None, None, f"Item {number}", "Straße")),
                name="clicked" if kind == "custom" else None,
            )
            chance.choice((self.tracker, self.other)).fold([record])


class Other(Peers):
    """The other worker."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.sources = [OwnSource(tracker, "other-worker", "elsewhere")]
        tracker.watch()

    def read(self) -> Changes:
        """Return what has changed in it."""
        return Changes(list(self._tracker.changes().sessions), False, {})


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_search_finds_what_the_rendered_items_hold(seed: int, is_masked: bool) -> None:
    crowd = Crowd(seed)
    picture = crowd.picture.masked if is_masked else crowd.picture
    for _ in range(3):
        crowd.move(150)
        for call in (picture.sessions, picture.users, picture.activities):
            items = call(1000)["items"]
            for needle in NEEDLES:
                wanted = [one for one in items if matching(one, needle.casefold())]
                page = call(3, needle)
                assert (page["items"], page["total"]) == (wanted[:3], len(wanted)), needle
            for item in items[:5]:
                assert call(1000, item["id"][:9])["items"]
                whose = item.get("user")
                assert whose is None or item in call(1000, whose["name"] or whose["id"])["items"]


@pytest.mark.parametrize("seed", range(8))
def test_a_first_read_shows_what_one_shows_that_read_all_along(seed: int) -> None:
    crowd = Crowd(seed)
    for _ in range(6):
        crowd.picture.stats()
        crowd.move(60, longest_s=3)
        along, fresh = crowd.picture.snapshot(1000), crowd.with_other().snapshot(1000)
        for name in ("sessions", "users"):
            assert along[name] == fresh[name]
        crowd.picture = crowd.with_other()
        people = ("active_users", "active_sessions", "anonymous_sessions", "total_sessions")
        assert [along["stats"][one] for one in people] == [fresh["stats"][one] for one in people]
        assert along["endpoints"] == fresh["endpoints"]


def test_a_snapshot_in_which_nothing_has_moved_has_the_same_lists() -> None:
    crowd = Crowd(1)
    crowd.move(50)
    before, again = crowd.picture.snapshot(), crowd.picture.snapshot()
    assert all(again[name] is before[name] for name in ("sessions", "users", "activities"))
    crowd.visit(7)
    assert crowd.picture.snapshot()["sessions"] is not before["sessions"]
    crowd.time.pass_(crowd.settings.active_window + 1)
    assert not any(one["is_active"] for one in crowd.picture.snapshot()["sessions"])
