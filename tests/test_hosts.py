"""One picture over two hosts: two gunicorns that share nothing but a Valkey."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Any

import pytest

from .support.hosts import Host
from .support.lines import Line
from .support.networks import Network, NetworkTurns
from .support.relay import Relay
from .support.sights import agree, coverage, tell_everything_alike, told
from .support.sights import visit as visit_each
from .support.valkey import ValkeyServer
from .support.waiting import wait_until

pytestmark = pytest.mark.server
#: In place of 5 and 30 s, so that a test need not take a minute.
PATIENCE = {"SILENT_S": "1.5", "GONE_S": "4"}
Serve = Callable[..., Host]
Connect = Callable[..., list[Line]]
visit = partial(visit_each, one_fails_in=10)


@pytest.fixture
def networks(network_turns: NetworkTurns) -> Iterator[list[Network]]:
    """Two networks beside this one."""
    with network_turns.changing(), ExitStack() as taken_away:
        made = []
        for number in range(2):
            made.append(Network(number))
            taken_away.callback(made[-1].close)
        yield made


@pytest.fixture
def valkey(own_valkey: Callable[..., ValkeyServer], request: pytest.FixtureRequest) -> ValkeyServer:
    if "networks" not in request.fixturenames:
        return own_valkey()
    reached = [network.here for network in request.getfixturevalue("networks")]
    return own_valkey(f"bind 127.0.0.1 {' '.join(reached)}", "protected-mode no")


@pytest.fixture
def serve(valkey: ValkeyServer) -> Iterator[Serve]:
    """Start a host with two workers; stopped at the end."""
    started: list[Host] = []

    def start(
        name: str,
        port: int = valkey.port,
        ahead_s: float = 0.0,
        network: Network | None = None,
        **environ: str,
    ) -> Host:
        url = f"valkey://{network.here if network else '127.0.0.1'}:{port}/0"
        options = ("--keep-alive", "60", "--workers", "2")
        up = 10 + 10 * len(started)
        more = {"STORE": url, **PATIENCE, **environ}
        started.append(Host(name, *options, ahead_s=ahead_s, days_up=up, network=network, **more))
        return started[-1]

    yield start
    for host in started:
        host.close()


@pytest.fixture
def relay(valkey: ValkeyServer) -> Iterator[Relay]:
    made = Relay(valkey.port)
    yield made
    made.close()


def all_are_covered(lines: list[Line]) -> None:
    for line in lines:
        wait_until(lambda line=line: coverage(line) == (4, 4, 2, True), "all are covered")  # type: ignore[misc]


def never_falls(line: Line, until: Callable[[], bool], what: str) -> None:
    """Wait for something, and look at the totals all the while."""
    seen = told(line)

    def look() -> bool:
        nonlocal seen
        now = told(line)
        for name in ("requests_total", "errors_total", "total_sessions"):
            assert now[name] >= seen[name], f"{name} fell from {seen[name]} to {now[name]}"
        seen = now
        return until()

    wait_until(look, what)


def test_every_worker_of_both_hosts_tells_the_same(serve: Serve, lines_to: Connect) -> None:
    lines = lines_to(serve("one"), serve("two"))
    before = agree(lines)
    visit(lines, 200, 20)
    agree(
        lines,
        requests_total=before["requests_total"] + 200,
        errors_total=20,
        active_users=20,
    )
    all_are_covered(lines)
    first = tell_everything_alike(lines)
    assert sum(one[0] for one in first.sessions.values()) == before["requests_total"] + 200
    workers = lines[0].api("workers")["items"]
    assert sorted(one["host"] for one in workers) == ["one", "one", "two", "two"]


def test_hosts_of_two_networks_tell_the_same_and_a_pulled_cable_is_noticed(
    networks: list[Network], serve: Serve, lines_to: Connect
) -> None:
    one, two = serve("one", network=networks[0]), serve("two", network=networks[1])
    here, there = lines_to(one), lines_to(two)
    lines = [*here, *there]
    visit(lines, 100)
    whole = agree(lines, active_users=5)
    all_are_covered(lines)
    networks[1].cut()
    never_falls(here[0], lambda: coverage(here[0]) == (4, 2, 2, False), "the host is silent")
    visit(here, 20)
    never_falls(here[0], lambda: coverage(here[0]) == (2, 2, 1, True), "it is gone")
    networks[1].mend()
    visit(there, 20)
    agree(
        lines,
        requests_total=whole["requests_total"] + 40,
        errors_total=whole["errors_total"] + 4,
        total_sessions=whole["total_sessions"],
    )
    all_are_covered(lines)
    tell_everything_alike(lines)


def test_a_host_without_power_is_named_then_gone_and_loses_nothing(
    serve: Serve, lines_to: Connect
) -> None:
    one, two = serve("one"), serve("two")
    lines = lines_to(one, two)
    visit(lines, 60)
    whole = agree(lines, active_users=5)
    wait_until(lambda: coverage(lines[0]) == (4, 4, 2, True), "all are covered")
    workers = lines[0].api("workers")["items"]
    killed = [w["id"] for w in workers if w["host"] == "two"]
    names = [f"two:{w['pid']}" for w in workers if w["host"] == "two"]
    two.stop(signal.SIGKILL)
    rest = lines[:2]

    def is_silent() -> bool:
        return coverage(rest[0]) == (4, 2, 2, False)

    never_falls(rest[0], is_silent, "the host is silent")
    problems = str(rest[0].api("health")["problems"])
    assert all(name in problems for name in names)
    silent = [w["id"] for w in rest[0].api("workers")["items"] if not w["is_reporting"]]
    assert sorted(silent) == sorted(killed)
    assert told(rest[0]) == whole

    for line in rest:
        never_falls(line, lambda line=line: coverage(line) == (2, 2, 1, True), "it is gone")  # type: ignore[misc]
        assert told(line) == whole
    two.start()
    back = lines_to(two)
    found = agree([*rest, *back])
    visit([*rest, *back], 40)
    agree(
        [*rest, *back],
        requests_total=found["requests_total"] + 40,
        errors_total=whole["errors_total"] + 4,
        active_users=5,
    )
    tell_everything_alike([*rest, *back])


def test_a_host_that_was_frozen_comes_back_and_is_counted_once(
    serve: Serve, lines_to: Connect
) -> None:
    one, two = serve("one"), serve("two")
    lines = lines_to(one, two)
    visit(lines, 60)
    before = agree(lines, active_users=5)
    two.freeze()
    rest = lines[:2]
    never_falls(rest[0], lambda: coverage(rest[0])[3] is False, "the frozen host is missed")
    never_falls(rest[0], lambda: coverage(rest[0]) == (2, 2, 1, True), "it counts as gone")
    visit(rest, 20)
    agree(rest, requests_total=before["requests_total"] + 20)
    two.thaw()
    never_falls(rest[0], lambda: coverage(rest[0]) == (4, 4, 2, True), "it is back")
    agree(lines, requests_total=before["requests_total"] + 20)
    visit(lines, 40)
    agree(lines, requests_total=before["requests_total"] + 60, errors_total=12, active_users=5)
    tell_everything_alike(lines)


def test_a_parted_host_goes_on_and_both_are_equal_after_it_healed(
    serve: Serve, lines_to: Connect, relay: Relay
) -> None:
    lines = lines_to(serve("one"), serve("two", relay.port))
    visit(lines, 60)
    before = agree(lines, active_users=5)
    here, there = lines[:2], lines[2:]
    relay.cut()
    never_falls(here[0], lambda: coverage(here[0])[3] is False, "this side misses the other")
    never_falls(there[0], lambda: coverage(there[0])[3] is False, "the other side misses this")
    visit(here, 20)
    visit(there, 30)
    never_falls(here[0], lambda: coverage(here[0]) == (2, 2, 1, True), "it counts as gone")
    agree(here, requests_total=before["requests_total"] + 20)
    assert told(there[0])["requests_total"] >= before["requests_total"]
    assert "cannot be used" in str(there[0].api("health")["problems"])
    relay.mend()
    for line in (here[0], there[0]):
        never_falls(line, lambda line=line: coverage(line) == (4, 4, 2, True), "it healed")  # type: ignore[misc]
    agree(lines, requests_total=before["requests_total"] + 50, errors_total=11, active_users=5)
    tell_everything_alike(lines)


def test_a_guest_who_signs_in_at_the_other_host_stays_one_row(
    serve: Serve, lines_to: Connect
) -> None:
    lines = lines_to(serve("one"), serve("two"))
    here, there = lines[0], lines[2]
    for _ in range(3):
        here.get("/page/before", agent="browser")
    there.get("/in/ana", agent="browser")
    there.get("/page/after", agent="browser")

    def story(line: Line) -> Any:
        found = [one for one in line.api("sessions")["items"] if one["user"]]
        return found[0] if len(found) == 1 and found[0]["requests"] == 5 else None

    for line in lines:
        session = wait_until(lambda line=line: story(line), "guest and user are one")  # type: ignore[misc]
        acts = line.api(f"sessions/{session['id']}")["activities"]
        assert [one["path"] for one in acts if one["kind"] == "request"] == [
            *("/page/after", "/in/ana"),
            *["/page/before"] * 3,
        ]
    here.share_cookie(there)
    here.get("/page/here", agent="browser")
    there.get("/out", agent="browser")
    for line in lines:
        wait_until(lambda line=line: line.api("users")["total"] == 0, "ana has left")  # type: ignore[misc]
    here.get("/page/anew", agent="browser", Cookie="")
    for line in lines:
        anew = wait_until(
            lambda line=line: [  # type: ignore[misc]
                one for one in line.api("sessions")["items"] if one["path"] == "/page/anew"
            ],
            "the visitor begins anew",
        )
        assert anew[0]["requests"] == 1


def test_who_is_forgotten_at_one_host_is_nowhere(serve: Serve, lines_to: Connect) -> None:
    lines = lines_to(serve("one"), serve("two"))
    for line in lines:
        line.get("/page/x", agent="browser", X_User="ana-the-secret")
    for line in lines:
        wait_until(
            lambda line=line: (
                line.api("users")["items"][:1]  # type: ignore[misc]
                and line.api("users")["items"][0]["requests"] == 4
            ),
            "ana is known",
        )
    lines[0].get("/forget?name=ana-the-secret")
    for line in lines:
        for name in ("users", "sessions", "activities"):
            wait_until(
                lambda line=line, name=name: "ana-the-secret" not in str(line.api(name)),  # type: ignore[misc]
                f"nothing of hers is in {name}",
            )


@pytest.mark.parametrize("ahead_s", [300.0, -300.0], ids=["ahead", "behind"])
def test_clocks_that_differ_or_jump_end_nothing_and_make_no_age_negative(
    serve: Serve, lines_to: Connect, ahead_s: float
) -> None:
    one, two = serve("one"), serve("two", ahead_s=ahead_s)
    lines = lines_to(one, two)
    before = agree(lines)
    visit(lines, 40)
    visit(lines[2:], 20, people=7)
    total = before["requests_total"] + 60
    whole = agree(lines, requests_total=total, active_users=7)

    def check() -> None:
        for line in lines:
            as_of = line.api("stats")["as_of"]
            for session in line.api("sessions?limit=1000")["items"]:
                assert session["last_seen_at"] <= as_of + 2
                assert session["last_seen_at"] > as_of - 60
                assert session["first_seen_at"] <= session["last_seen_at"]
                assert session["is_active"]

    check()
    asking = Thread(
        target=lines[2].get, args=("/slow",), kwargs={"agent": "agent 0", "X_User": "user-0"}
    )
    asking.start()
    waiting = wait_until(
        lambda: [i for i in lines[0].api("in-flight")["items"] if i["path"] == "/slow"],
        "the slow request is listed",
    )
    assert 0 <= waiting[0]["age_s"] < 20
    asking.join()
    for jump_s in (3600.0, -3600.0):
        two.set_clock(ahead_s + jump_s)
        for line in lines:
            assert told(line)["total_sessions"] == whole["total_sessions"]
        visit(lines, 20)
        total += 20
        agree(lines, requests_total=total + 1, total_sessions=whole["total_sessions"])
        check()
    agree(lines, active_users=7, active_sessions=whole["active_sessions"])
