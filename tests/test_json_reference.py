"""docs/json.md: every field of every answer stands there, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask_login import LoginManager, UserMixin, login_user, logout_user

from flask_realtime_monitor import delta

from .support.apps import House
from .support.sse import Event, Parser
from .support.waiting import elsewhere

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "json.md").read_text()
WALL_TOKEN = "a-wall-for-nobody-but-us"
PREFIX = "flask_realtime_monitor_"
#: What JSON has for a value of each kind.
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("time", "s", "ms", "µs", "per s"), (int, float)),
    **dict.fromkeys(("count", "bytes"), (int,)),
    **{"text": (str,), "true/false": (bool,), "list": (list,), "object": (dict,)},
    "null": (type(None),),
}

Row = list[str]
Fields = dict[str, str]  # what kind of value each has


def tables(heading: str) -> list[list[Row]]:
    """Return the rows of the tables below a heading, without their heads."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert found, heading
    return [
        [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines.splitlines()[2:]]
        for lines in found
    ]


def fields(heading: str, number: int = 0) -> Fields:
    """Return the fields in one of these tables."""
    told = tables(heading)[number]
    return {name: row[1] for row in told for name in re.findall(r"`([^`]+)`", row[0])}


def flat(value: Any, told: Fields, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value's fields as the tables name them; what those call list or object is whole."""
    if told.get(name) not in ("list", "object"):
        if isinstance(value, dict):
            for key, one in value.items():
                yield from flat(one, told, f"{name}.{key}" if name else key)
            return
        if isinstance(value, list):
            for one in value:
                yield from flat(one, told, f"{name}[]")
            return
    if value is not None or not any(one.startswith(f"{name}.") for one in told):
        yield name, value


def hold(told: Fields, *answers: Any) -> None:
    """Hold answers to a table: together they have its fields, each of the kind it says."""
    assert answers
    found = [one for answer in answers for one in flat(answer, told)]
    assert {name for name, _ in found} == set(told)
    for name, value in found:
        kinds = [kind for word in told[name].split(" or ") for kind in KINDS[word]]
        assert type(value) in kinds, f"{name} is {told[name]}, and was {value!r}"


class Lively(House):
    """An app in which everything has happened that the answers tell of.

    Attributes:
        flying: the requests in flight, as seen during one.
        before: a snapshot of the picture before some of it.
    """

    def __init__(self, store: str) -> None:
        super().__init__(is_open=None, STORE=store, WALL_TOKEN=WALL_TOKEN)
        self.monitor.authorize(lambda: "act")
        self.monitor.on_end_session(lambda session: None)
        LoginManager(self.app).user_loader(lambda name: None)
        self.flying: list[dict[str, Any]] = []
        self._pages()
        self.visit("/fail", agent="a guest")
        self.visit("/no-such-page", agent="a guest")
        self.before = self.picture.snapshot()
        self.visit("/in-and-out", agent="dan's")
        for path in ("/item/1", "/looks", "/titled"):
            self.visit(path, "ana", "Ana", agent="Mozilla/5.0 (X11; Linux) Firefox/130.0")
        self.visit("/looks", "bob")
        self.monitor.track("stocked", user="cleo", tea="Sencha")
        self.visit("/titled", "ben", "Ben", agent="ben's")
        self.picture.stats()  # all of it is told now

    def _pages(self) -> None:
        @self.app.get("/titled")
        def titled() -> str:
            self.monitor.annotate("Order 123")
            self.monitor.track("bought", tea="Sencha")
            return "titled"

        @self.app.get("/looks")
        def looks() -> str:
            self.flying += elsewhere(lambda: self.get("in-flight").json["items"])
            return "looked"

        @self.app.get("/in-and-out")
        def in_and_out() -> str:
            user = UserMixin()
            user.id = "dan"
            login_user(user)
            logout_user()
            return "out"

    def items(self, name: str) -> list[Any]:
        """Return what is in a list of the API, all of it."""
        found: list[Any] = self.get(f"{name}?limit=1000").json["items"]
        return found

    def events(self, path: str = "stream") -> list[Event]:
        """Return the events of a stream, which this server has bounded."""
        return Parser().feed(self.client.get(f"/monitor/{path}").data)


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lively]:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o700)
    made = Lively(f"sqlite:///{folder}/monitor.sqlite")
    yield made
    made.app.extensions["realtime_monitor"].live.sharing.store.leave()


def test_the_stats(lively: Lively) -> None:
    hold(fields("Stats"), lively.get("stats").json)


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        *(("User", "users"), ("Session", "sessions"), ("Activity", "activities")),
        *(("Endpoint", "endpoints"), ("Worker", "workers")),
    ],
)
def test_the_lists_and_their_items(lively: Lively, heading: str, name: str) -> None:
    hold(fields("Lists"), lively.get(name).json)
    hold(fields(heading), *lively.items(name))


def test_every_kind_of_activity_was_there(lively: Lively) -> None:
    (kinds,) = [row[2] for row in tables("Activity")[0] if row[0] == "`kind`"]
    told = set(re.findall(r"`(\w+)`", kinds))
    assert {one["kind"] for one in lively.items("activities")} == told


def test_requests_in_flight(lively: Lively) -> None:
    hold(fields("Lists"), lively.get("in-flight").json)
    hold(fields("Request in flight"), *lively.flying)


def test_a_user_with_sessions_and_activities(lively: Lively) -> None:
    hold(fields("User", 1), lively.get("user?id=ana").json)


def test_a_session_with_activities_and_reasons(lively: Lively) -> None:
    more = fields("Session", 1)
    for item in lively.items("sessions"):
        whole = lively.get(f"sessions/{item['id']}").json
        assert whole.keys() >= item.keys()
        hold(more, {name: one for name, one in whole.items() if name not in item})


def test_a_session_that_is_ended(lively: Lively) -> None:
    (ben,) = lively.get("sessions?user=ben").json["items"]
    page = lively.client.get("/monitor/").text
    (token,) = re.findall(r'data-token="([^"]*)"', page)
    headers = {"Sec-Fetch-Site": "same-origin", "X-Monitor-Token": token}
    answer = lively.client.post(f"/monitor/api/v1/sessions/{ben['id']}/end", headers=headers)
    hold(fields("Errors", 2), answer.json)
    hold(fields("Session", 2), lively.get(f"sessions/{ben['id']}").json)


def test_the_health(lively: Lively) -> None:
    told = fields("Health")
    hold(told, lively.get("health").json)
    (names,) = [row[2] for row in tables("Health")[0] if row[0] == "`limits[].name`"]
    assert [one["name"] for one in lively.get("health").json["limits"]] == names.split(", ")


def test_errors(lively: Lively) -> None:
    wanted = {
        400: lively.get("sessions?limit=ten"),
        403: House(is_open=False).get("stats"),
        404: House(is_open=None).get("stats"),
        405: lively.client.post("/monitor/api/v1/stats"),
    }
    statuses = {int(row[0]) for row in tables("Errors")[1]}
    for status, answer in wanted.items():
        assert answer.status_code == status
        assert status in statuses
        hold(fields("Errors"), answer.json)


def test_the_stream_s_snapshot_and_its_end(lively: Lively) -> None:
    snapshot, bye = lively.events()
    assert (snapshot.event, bye.event) == ("snapshot", "bye")
    hold(fields("The stream"), snapshot.data)
    hold(fields("The stream", 2), bye.data)
    source = (ROOT / "flask_realtime_monitor" / "broadcaster.py").read_text()
    reasons = {name for row in tables("The stream")[3] for name in re.findall(r"`(\w+)`", row[0])}
    assert reasons == set(re.findall(r'_bye\(\s*"(\w+)"', source))


def test_the_stream_s_update(lively: Lively) -> None:
    told = fields("The stream", 1)
    assert set(told) == {"as_of", "stats", "activities", "removed", *delta.LISTS}
    update = delta.update(lively.before, lively.picture.snapshot())
    assert update is not None
    assert {*update, "in_flight", "removed"} == set(told)
    hold({name: kind for name, kind in told.items() if name in update}, update)


def test_the_wall_has_the_same_stats_and_nothing_else(lively: Lively) -> None:
    snapshot, bye = lively.events(f"wall/{WALL_TOKEN}/stream")
    assert snapshot.data.keys() == {"as_of", "role", "stats"}
    assert snapshot.data["role"] == "wall"
    hold(fields("Stats"), snapshot.data["stats"])
    hold(fields("The stream", 2), bye.data)


def test_masked_viewers_see_these_fields_otherwise_and_no_others(lively: Lively) -> None:
    different: set[str] = set()
    for name, item, masked in sights(lively):
        names = names_of(item, masked)
        of_user = {"id": "user.id", "name": "user.name"} if name == "users" else {}
        different |= {of_user.get(one, one) for one in names}
    told = tables("What masked viewers see")[0]
    assert different == {re.findall(r"`([^`]+)`", row[0])[0] for row in told}


def sights(lively: Lively) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield (list's name, an item, the same as masked viewers see it)."""
    picture = lively.picture
    for name in ("users", "sessions", "activities", "endpoints"):
        key = delta.LISTS.get(name, "id")
        masked = {one[key]: one for one in getattr(picture.masked, name)(limit=1000)["items"]}
        for item in getattr(picture, name)(limit=1000)["items"]:
            shown = picture.masked.shown_id(item[key]) if name == "users" else item[key]
            yield name, item, masked[shown]


def names_of(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Return the names of what differs, custom data as a whole."""
    told = {"data": "object"}
    before, after = dict(flat(one, told)), dict(flat(other, told))
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_the_metrics_with_their_types_and_labels(lively: Lively) -> None:
    text = lively.client.get("/monitor/metrics").text
    types = dict(re.findall(rf"^# TYPE {PREFIX}(\w+) (\w+)$", text, re.MULTILINE))
    samples = re.findall(rf"^{PREFIX}(\w+)(?:{{(.*)}})? [^ ]+$", text, re.MULTILINE)
    found = {name: (types[name], set(re.findall(r'(\w+)="', labels))) for name, labels in samples}
    told = {
        row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2])))
        for row in tables("Metrics")[0]
    }
    assert found == told
