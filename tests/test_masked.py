"""What the role "view" gets, wherever it looks: what happens, and never whose it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Response, request

from flask_realtime_monitor.errors import MonitorError
from flask_realtime_monitor.peers import Changes, Peers
from flask_realtime_monitor.resumption import StreamPlace, parse
from flask_realtime_monitor.source import OwnSource
from flask_realtime_monitor.timeline import Timeline
from flask_realtime_monitor.visitors import Visitors

from .support.apps import House
from .support.merging import comparable, merged
from .support.records import Bench, Time
from .support.several import Mate, Post

#: Every one of these is in some output of somebody who may see names.
SECRETS = (
    "id-of-sibyl", "Sibyl Secret", "203.0.113.77", "the-path", "near-miss", "asked-for",
    "Her Title", "her-datum", "in-a-hurry",
)  # fmt: skip
LISTS = ("users", "sessions", "activities", "in-flight")
HERE = {"REMOTE_ADDR": "203.0.113.77"}


class Role:
    """Asks as somebody in a role."""

    def __init__(self, house: House, role: str) -> None:
        self._client = house.client
        self._headers = {"X-Role": role}

    def text(self, path: str) -> str:
        answer = self._client.get(f"/monitor/{path}", headers=self._headers)
        assert answer.status_code == 200, path
        return answer.text

    def status(self, path: str) -> int:
        return self._client.get(f"/monitor/{path}", headers=self._headers).status_code

    def api(self, path: str) -> Any:
        return json.loads(self.text(f"api/v1/{path}"))

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api(path)["items"]
        return found


class Seen:
    """A house with Sibyl in it, as two see it."""

    def __init__(self) -> None:
        self.house = house = House(IP="full", QUERY_STRING=("q",))
        house.monitor.authorize(lambda: request.headers.get("X-Role") or False)

        @house.app.get("/order/<name>")
        def order(name: str) -> str:
            house.monitor.annotate("Her Title")
            house.monitor.track("ordered", what="her-datum")
            return name

        @house.app.get("/wait/<name>")
        def wait(name: str) -> Response:
            def pieces() -> Iterator[str]:
                yield name
                yield "and more"

            return Response(pieces())

        sibyl: dict[str, Any] = {
            "user": "id-of-sibyl",
            "name": "Sibyl Secret",
            "environ_overrides": HERE,
        }
        house.visit("/order/the-path?q=asked-for", **sibyl)
        house.visit("/item/the-path", agent="another", **sibyl)
        house.visit("/near-miss", agent="a third", **sibyl)
        house.visit("/near-miss", agent="a guest", environ_overrides=HERE)
        self._open = house.client.get(
            "/wait/in-a-hurry", headers={"User-Agent": "another"}, environ_overrides=HERE
        )
        self.masked, self.revealed = Role(house, "view"), Role(house, "reveal")

    def close(self) -> None:
        """The last request ends."""
        self._open.close()


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.close()


def outputs(role: Role) -> dict[str, str]:
    """Return all there is to get, by its path."""
    names = (*LISTS, "stats", "endpoints", "workers", "health")
    paths = ["", "stream", *(f"api/v1/{name}" for name in names)]
    paths += [f"api/v1/sessions/{one['id']}" for one in role.items("sessions")]
    paths += [f"api/v1/user?id={one['id']}" for one in role.items("users")]
    return {path: role.text(path) for path in paths}


def test_nothing_that_a_masked_viewer_gets_holds_anything_of_a_person(seen: Seen) -> None:
    revealed = "".join(outputs(seen.revealed).values())
    assert [one for one in SECRETS if one not in revealed] == []
    for path, text in outputs(seen.masked).items():
        assert [one for one in SECRETS if one in text] == [], path


def test_a_masked_viewer_is_known_to_the_page_by_the_pseudonym(seen: Seen) -> None:
    (shown,) = seen.masked.items("users")
    for role, me in (("view", shown["id"]), ("reveal", "id-of-sibyl")):
        headers = {"X-Role": role, "X-User": "id-of-sibyl"}
        html = seen.house.client.get("/monitor/", headers=headers).text
        assert f'data-me="{me}"' in html


def test_names_come_from_pseudonyms_that_are_the_same_everywhere(seen: Seen) -> None:
    (user,) = seen.masked.items("users")
    assert re.fullmatch("[0-9a-f]{16}", user["id"])
    assert user["name"] == f"User {user['id'][:4].upper()}"
    shown = {"id": user["id"], "name": user["name"]}
    for name in ("sessions", "activities", "in-flight"):
        found = [one["user"] for one in seen.masked.items(name) if one["user"]]
        assert found
        assert all(one == shown for one in found), name
    assert user["name"] in seen.masked.text("")


def masked_of(item: dict[str, Any], user: dict[str, Any], rule: str | None) -> dict[str, Any]:
    """Return what a masked viewer is to be shown of an item."""
    hidden = {"ip": None, "title": None, "data": {}, "path": rule}
    found = {**item, **{name: value for name, value in hidden.items() if name in item}}
    if found.get("user"):
        found["user"] = {"id": user["id"], "name": user["name"]}
    return found


@pytest.mark.parametrize("name", ["sessions", "activities", "in-flight"])
def test_all_else_is_as_others_see_it(seen: Seen, name: str) -> None:
    rules = {
        "order": "/order/<name>",
        "item": "/item/<name>",
        "wait": "/wait/<name>",
        "(unmatched)": None,
    }
    (user,) = seen.masked.items("users")
    revealed, masked = seen.revealed.items(name), seen.masked.items(name)
    for one in revealed + masked:
        one.pop("age_s", None)
    assert masked == [masked_of(one, user, rules[one["endpoint"]]) for one in revealed]
    assert any(one["path"] for one in masked)


def test_a_story_has_the_same_keys_for_both(seen: Seen) -> None:
    for session in seen.masked.items("sessions"):
        masked = seen.masked.api(f"sessions/{session['id']}")
        revealed = seen.revealed.api(f"sessions/{session['id']}")
        assert set(masked) == set(revealed)
        assert masked["why"] == revealed["why"]
        assert len(masked["activities"]) == len(revealed["activities"])


@pytest.mark.parametrize("secret", SECRETS)
def test_a_masked_viewer_cannot_find_out_by_asking(seen: Seen, secret: str) -> None:
    ways = [f"q={secret}", f"user={secret}", f"path=/item/{secret}", f"path=/{secret}"]
    found = {
        role: {f"{name}?{way}" for name in LISTS for way in ways if role.items(f"{name}?{way}")}
        for role in (seen.masked, seen.revealed)
    }
    whole = {f"in-flight?{way}" for way in ways[1:]}  # it knows no filters
    assert found[seen.masked] <= whole
    assert found[seen.revealed] - whole


def test_a_part_of_a_secret_finds_no_more(seen: Seen) -> None:
    for secret in SECRETS:
        for start in range(len(secret) - 3):
            part = secret[start : start + 4]
            for name in ("users", "sessions", "activities"):
                for item in seen.masked.items(f"{name}?q={part}"):
                    assert part.casefold() in json.dumps(item).casefold()


def test_a_user_is_asked_for_by_the_pseudonym_alone(seen: Seen) -> None:
    (user,) = seen.masked.items("users")
    assert seen.masked.api(f"user?id={user['id']}")["user"] == user
    assert len(seen.masked.items(f"sessions?user={user['id']}")) == 3
    assert seen.masked.items(f"users?user={user['id']}") == [user]
    assert seen.masked.status("api/v1/user?id=id-of-sibyl") == 404
    assert seen.revealed.status(f"api/v1/user?id={user['id']}") == 404
    assert seen.revealed.items(f"sessions?user={user['id']}") == []


def test_another_picture_gives_another_pseudonym(seen: Seen) -> None:
    other = Seen()
    ids = {one.masked.items("users")[0]["id"] for one in (seen, other)}
    other.close()
    assert len(ids) == 2


def test_metrics_are_the_same_for_both(seen: Seen) -> None:
    text = seen.masked.text("metrics")
    assert "requests_total" in text
    assert not any(one in text for one in SECRETS)


def test_who_was_erased_is_gone_from_the_masked_picture(seen: Seen) -> None:
    (user,) = seen.masked.items("users")
    seen.house.monitor.forget("id-of-sibyl")
    assert all(user["id"] not in text for text in outputs(seen.masked).values())


def test_without_the_key_there_is_no_pseudonym() -> None:
    def fail() -> bytes:
        raise MonitorError("the store is down")

    visitors = Visitors(lambda day: b"salt", 60, lambda visitor: False, fail)
    with pytest.raises(MonitorError):
        visitors.masked("ana")


def test_users_seen_at_once_are_in_the_order_of_their_pseudonyms() -> None:
    bench = Bench()
    for visitor in range(1, 30):
        bench.visit(visitor, f"user-{visitor:02}")
    masked = [one["id"] for one in bench.picture.masked.users(1000)["items"]]
    assert masked == sorted(masked)
    assert len(masked) == 29
    assert [one["id"] for one in bench.picture.users(3)["items"]] == [
        f"user-{n:02}" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("is_masked", [False, True])
def test_who_was_erased_is_in_nobody_s_snapshot_whoever_reads_first(is_masked: bool) -> None:
    bench = Bench()
    both = [bench.picture, bench.picture.masked]
    first, second = both[::-1] if is_masked else both
    bench.visit(1, "ana")
    bench.visit(2, "bob")
    assert [len(one.snapshot()["users"]) for one in (first, second)] == [2, 2]
    bench.tracker.forget("ana")
    for one in (first, second, first):
        found = one.snapshot()
        assert [len(found[name]) for name in ("users", "sessions", "activities")] == [1, 1, 1]


class Other(Peers):
    """Another worker, of which everything may be new at once."""

    def __init__(self) -> None:
        self.sources = []
        self.is_new = False

    def begin_with(self, bench: Bench) -> None:
        """Be another picture's worker from now on."""
        self.sources = [OwnSource(bench.tracker, "other", "host")]
        self.is_new = True

    def read(self) -> Changes:
        """Tell, once, that everything is new."""
        is_new, self.is_new = self.is_new, False
        return Changes((), is_new, {})


@pytest.mark.parametrize("is_masked", [False, True])
def test_a_new_picture_is_new_to_all_whoever_reads_first(is_masked: bool) -> None:
    other = Other()
    picture = Bench().new_picture(lambda: other)
    both = [picture, picture.masked]
    first, second = both[::-1] if is_masked else both
    for endpoint in ("before", "after"):
        bench = Bench()
        bench.visit(1, "ana", endpoint=endpoint)
        other.begin_with(bench)
        for one in (first, second):
            found = one.snapshot()
            shown = [item["endpoint"] for item in found["sessions"] + found["activities"]]
            assert shown == [endpoint, endpoint]


def test_an_id_of_another_sight_brings_a_snapshot_even_of_the_same_moment() -> None:
    bench = Bench()
    bench.visit(1, "ana")
    timeline = Timeline(bench.picture.masked, "m", "abc", 0)
    timeline.advance()
    whole = timeline.snapshot("view")
    (id,) = re.findall("^id: (.*)$", whole.form(0).decode(), re.MULTILINE)
    mine = parse(id)
    assert mine is not None
    assert mine.sight == "m"
    assert len(timeline.first("view", id)) == 0  # nothing was missed
    for sight in ("", "w"):
        assert timeline.first("view", str(mine._replace(sight=sight))) is whole


def test_an_erasure_is_dated_by_the_clock_of_the_events_not_of_the_host() -> None:
    bench = Bench()  # whose clock is years behind the machine's
    bench.visit(1, "ana")
    timeline = Timeline(bench.picture, "", "abc", 0)
    timeline.advance()
    timeline.forget()
    timeline.advance()
    place = StreamPlace("epoch", 0, int(timeline.as_of * 1000) + 4_000, "fee", False)
    asked: list[StreamPlace] = []
    timeline._from_elsewhere = asked.append  # type: ignore[assignment]
    timeline.first("reveal", str(place._replace(tick=place.tick - 2_000)))  # may have the erased
    assert asked == []
    timeline.first("reveal", str(place))
    assert asked == [place]


def test_going_on_at_another_worker_names_nobody_who_has_left() -> None:
    time = Time()
    post, settings = Post(time), Bench(session_timeout=60, active_window=60).settings
    here, there = (Mate(name, post, settings, time) for name in ("aaaa", "bbbb"))
    for mate in (here, there):
        mate.flush()
    there.picture.masked.snapshot()  # somebody watches there
    here.visit(1, "leaves", user_name="Lea Leaves", path="/seen/1", rule="/seen/<n>")
    here.visit(2, "stays", user_name="Sten Stays", path="/seen/2", rule="/seen/<n>")
    here.flush()
    time.pass_(5)
    there.picture.masked.snapshot()
    held = here.picture.masked.snapshot()
    tick = int(held["as_of"] * 1000)
    place = StreamPlace(here.picture.epoch, here.picture.cursor, tick, "aaaa", False, "m")
    time.pass_(50)
    here.visit(2, "stays", user_name="Sten Stays", path="/seen/3", rule="/seen/<n>")
    here.flush()
    there.picture.masked.snapshot()
    time.pass_(10)
    here.tracker.expire()
    here.flush()
    base = there.picture.masked.snapshot()
    update = there.picture.masked.resumed(place, base, there.picture.cursor)
    assert update is not None
    gone = here.tracker.visitors.masked("leaves")
    assert gone in update["removed"]["users"]
    assert gone in {one["id"] for one in held["users"]}
    found, wanted = comparable(merged(held, update)), comparable(base)
    for one in (found, wanted):
        del one["workers"]  # a mate tells less of itself than others do
    assert found == wanted
    assert not re.search("leaves|stays|seen/[0-9]", json.dumps([held, update]), re.IGNORECASE)
