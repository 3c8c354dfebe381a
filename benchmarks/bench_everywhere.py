"""How soon other workers tell what happened at one: requests, a sign-in, a sign-out, an erasure.

Four workers of one gunicorn share the file that "auto" chooses, then a Valkey; then two gunicorns
with two workers each are two hosts, on one Valkey. Something is done at one worker, the next time
at another, and those where it was not done are asked, each on a connection of its own, again and
again until each of them tells it: a worker that is asked itself writes at once. Of the requests all
have to be told, exactly. A viewer of a third worker reads its
stream until a request is there. At first nobody has asked for anything for a while: then the
workers' loops turn seldom.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

# The servers, and the lines to their workers, are the tests'.
sys.path.append(str(Path(__file__).parents[1]))

from bench_hosts import lines_to, two_hosts
from places import Server
from support import aims, heading, options, table

from tests.support.gunicorn_server import GunicornServer
from tests.support.lines import ADMIN, Line
from tests.support.sights import agree, told, visit

ROUNDS = 20
REQUESTS, PEOPLE = 400, 50
PAUSE_S = 0.01
#: So long nobody asks for anything, in one of so many rounds.
REST_S, RESTED = 3.5, 4
LONGEST_S = 30.0
#: What happens, and the seconds within which all are to tell it.
AIMS = {
    "400 requests of 50 users: all, exactly": 1.0,
    "a guest who signs in elsewhere: one row": 1.0,
    "a sign-out": 1.0,
    "an erasure": 2.0,
    "a request, in a viewer's stream": 1.5,
    "a request, of workers at rest": 1.0,
    "an erasure, of workers at rest": 2.0,
}

Took = dict[str, list[float]]


def main() -> None:
    rounds = 3 if options(__doc__).quick else ROUNDS
    heading(f"How soon all workers tell what happened at one, {rounds} times")
    found: dict[str, Took] = {}
    folder = tempfile.TemporaryDirectory(prefix="frm-bench-")
    with folder, Server(Path(folder.name)) as store:
        found["auto"] = of_one_host("auto", rounds)
        found["Valkey"] = of_one_host(store.url, rounds)
        with two_hosts(f"{store.url.removesuffix('/0')}/1", {}) as hosts:
            found["two hosts"] = measured(hosts, rounds)
    rows = [
        (f"{where}: {what}", f"{median(one):.2f}", f"{max(one):.2f}")
        for where, took in found.items()
        for what, one in took.items()
    ]
    table(("seconds until the others tell it", "median", "most"), rows)
    aims(
        [
            (f"{where}: {what}", max(took[what]), aim, "s")
            for where, took in found.items()
            for what, aim in AIMS.items()
        ]
    )


def of_one_host(url: str, rounds: int) -> Took:
    """Measure the four workers of one gunicorn."""
    options = ("--workers", "4", "--keep-alive", "300")
    with closing(GunicornServer("tests.apps.shared:served()", *options, STORE=url)) as server:
        return measured([server], rounds)


def measured(servers: tuple[GunicornServer, ...] | list[GunicornServer], rounds: int) -> Took:
    """Let it all happen, each time at other workers."""
    took: Took = {what: [] for what in AIMS}
    calls = dict(zip(AIMS, (requests, sign_in, sign_out, erasure), strict=False))
    at_rest = dict(zip(list(AIMS)[-2:], (request_at_rest, erasure_at_rest), strict=True))
    with lines_to(*servers) as lines, lines_to(*servers) as spare:
        agree(lines)
        for number in range(-(-rounds // RESTED)):
            for what, call in at_rest.items():
                took[what].append(call(turned(lines, number), number))
        stream = Stream(spare[-1])
        for number in range(rounds):
            turn = turned(lines, number)
            for what, call in calls.items():
                took[what].append(call(turn, number))
            turn[0].get(f"/page/streamed-{number}", agent="streamed")
            took["a request, in a viewer's stream"].append(stream.until(f"/page/streamed-{number}"))
    return took


def turned(lines: list[Line], number: int) -> list[Line]:
    """Return the lines, another one first each time."""
    at = number % len(lines)
    return lines[at:] + lines[:at]


def requests(lines: list[Line], number: int) -> float:
    """Spread requests over all workers but one; return the seconds until that one tells all."""
    due = agree(lines)["requests_total"] + REQUESTS
    visit(lines[1:], REQUESTS, PEOPLE)

    def is_told(line: Line) -> bool:
        found = told(line)
        return bool(found["requests_total"] == due and found["active_users"] >= PEOPLE)

    return until_all(lines[:1], is_told)


def sign_in(lines: list[Line], number: int) -> float:
    """Let a guest of one worker sign in at the next."""
    here, there = lines[:2]
    for _ in range(3):
        here.get("/page/guest", agent=f"browser {number}")
    there.get(f"/in/visitor-{number}", agent=f"browser {number}")

    def is_one(line: Line) -> bool:
        found = line.api(f"sessions?user=visitor-{number}")["items"]
        return [one["requests"] for one in found] == [4]

    return until_all(lines[2:], is_one)


def sign_out(lines: list[Line], number: int) -> float:
    """Let who has just signed in sign out again, at the same worker."""
    there, *others = lines[1:]
    there.get("/out", agent=f"browser {number}")
    return until_all(others, lambda line: not line.api(f"users?user=visitor-{number}")["total"])


def request_at_rest(lines: list[Line], number: int) -> float:
    """Let a worker have one request after none for a while."""
    time.sleep(REST_S)
    path = f"/page/rested-{number}"
    lines[0].get(path, agent="rested")
    return until_all(lines[1:], lambda line: line.api(f"activities?path={path}")["total"])


def erasure_at_rest(lines: list[Line], number: int) -> float:
    """Erase somebody of whom no worker has heard for a while."""
    return erasure(lines, number, REST_S, "away")


def erasure(lines: list[Line], number: int, rest_s: float = 0.0, named: str = "erased") -> float:
    """Erase somebody whom all workers have seen."""
    name = f"{named}-{number}"
    for line in lines:
        line.get("/page/erased", agent="erased", X_User=name)
    until_all(lines, lambda line: line.api(f"users?user={name}")["total"])
    time.sleep(rest_s)
    lines[0].get(f"/forget?name={name}", agent="who erases")

    def is_gone(line: Line) -> bool:
        lists = "users", "sessions", "activities"
        return not any(name in str(line.api(f"{one}?limit=1000")) for one in lists)

    return until_all(lines[1:], is_gone)


def until_all(lines: list[Line], is_so: Callable[[Line], object]) -> float:
    """Return the seconds until it was so at each; infinite where it never is."""
    began_s, left = time.monotonic(), lines
    while left := [line for line in left if not is_so(line)]:
        if time.monotonic() - began_s > LONGEST_S:
            return float("inf")
        time.sleep(PAUSE_S)
    return time.monotonic() - began_s


class Stream:
    """A viewer of the worker at the other end of a line."""

    def __init__(self, line: Line) -> None:
        connection = line._connection
        connection.request("GET", "/monitor/stream", headers=ADMIN)
        self._answer = connection.getresponse()

    def until(self, text: str) -> float:
        """Return the seconds until something is in what comes."""
        began_s, came = time.monotonic(), b""
        while text.encode() not in came:
            came += (part := self._answer.read1(65_536))
            if not part or time.monotonic() - began_s > LONGEST_S:
                return float("inf")
        return time.monotonic() - began_s


if __name__ == "__main__":
    main()
