"""The commands of ``flask monitor``, each a reader of the picture that all outputs share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import click
from flask.cli import AppGroup

from .. import wording
from ..state import Live, current_state
from ..stores import StoreError
from . import doctor as examination
from . import export as exports
from . import screen
from .console import Cell, Trouble, clear, draw, has_colours, is_terminal, say, say_json, say_table
from .reading import find_live, pause, wait_for_all, why_no_store, why_nothing

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

_ALL = 1_000_000
_PAUSE_S = 0.5
_FORGET_S = 10.0
#: How long (s) a command that goes on lets a server be away, which may only be reloading.
_AWAY_S = 10.0

monitor = AppGroup(
    "monitor", short_help="Who uses this app, live.", context_settings={"max_content_width": 100}
)
monitor.help = """Show who uses this app, and what they do.

The numbers are those of the workers that serve the app: of the gunicorn that runs here under this
user, or of the file or Redis that REALTIME_MONITOR_STORE names. Exit code 1 where there are none.
"""


def _limit(default: int) -> Callable[[F], F]:
    return click.option(
        "--limit",
        "-n",
        type=click.IntRange(1, _ALL),
        default=default,
        show_default=default != _ALL,
        help="How many to show at most.",
    )


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_search = click.option("-q", "--q", "q", default="", help="Only what has this text in it.")
_interval = click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)


@monitor.command()
@_as_json
def stats(as_json: bool) -> None:
    """Show the numbers of the whole app."""
    found = find_live().picture.stats()
    if as_json:
        say_json(found)
    else:
        say_table((), screen.stats_rows(found))


@monitor.command()
@click.option("--all", "is_all", is_flag=True, help="Also who is not active any more.")
@_limit(100)
@_search
@_as_json
def who(is_all: bool, limit: int, q: str, as_json: bool) -> None:
    """List the people who are signed in, then the guests."""
    picture = find_live().picture
    users, sessions = picture.users(_ALL, q), picture.sessions(_ALL, q)
    here = [one for one in users["items"] if is_all or one["is_active"]]
    guests = [
        one for one in sessions["items"] if one["user"] is None and (is_all or one["is_active"])
    ]
    now_at = users["as_of"]
    if as_json:
        say_json(
            {"items": here[:limit], "total": len(here), "guests": guests[:limit], "as_of": now_at}
        )
        return
    if here:
        say_table(screen.USERS, [screen.user_row(one, now_at) for one in here[:limit]])
        say()
    if guests:
        say_table(screen.SESSIONS, [screen.session_row(one, now_at) for one in guests[:limit]])
        say()
    say(f"signed in {len(here)}", f"guests {len(guests)}" + ("" if is_all else "  (active)"))


@monitor.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@_limit(20)
@_search
@_as_json
def tail(follow: bool, limit: int, q: str, as_json: bool) -> None:
    """Print the newest activities, the newest last."""
    live = find_live()
    found = live.picture.activities(limit, q)["items"]
    _say_feed(found, as_json)
    if follow:
        _until_stopped(lambda: _follow(live, found, q, as_json))


def _follow(live: Live, shown: list[Json], q: str, as_json: bool) -> None:
    """Print what comes."""
    size = live.settings.history_size
    feed = live.picture.activities(size, q)["items"]
    # What was there before and not asked for is not new either.
    known = deque([one["id"] for one in shown] + [one["id"] for one in feed], 4 * size)
    shown_ids = {one["id"] for one in shown}
    newest_at = shown[0]["at"] if shown else 0.0
    _say_feed(
        [one for one in feed if one["at"] > newest_at and one["id"] not in shown_ids], as_json
    )
    away = _Absence(live)
    while True:
        pause(_PAUSE_S)
        feed = live.picture.activities(size, q)["items"]
        old = set(known)
        new = [one for one in feed if one["id"] not in old]
        if feed and old and len(new) == size:
            say("more happened than the feed keeps: some is not shown", err=True)
        _say_feed(new, as_json)
        known.extend(one["id"] for one in new)
        away.look()


def _say_feed(newest_first: list[Json], as_json: bool) -> None:
    for one in reversed(newest_first):
        if as_json:
            say_json(one)
        else:
            at, who, what, status, took, page = screen.activity_row(one)
            who = f"{who:<16}" if isinstance(who, str) else who
            say(Cell(str(at), "dim"), who, f"{what:<6}", status, took, page)


@monitor.command()
@click.argument("kind", type=click.Choice(list(exports.COLUMNS)), default="activities")
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    default="ndjson",
    show_default=True,
    help="One line of JSON each, or a table.",
)
@click.option("--csv", "as_csv", is_flag=True, help="The same as --format csv.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format ndjson.")
@_limit(_ALL)
@_search
def export(kind: str, form: str, as_csv: bool, as_json: bool, limit: int, q: str) -> None:
    """Print a whole list, for other programs.

    Cells of CSV that a spreadsheet would take for a formula begin with an apostrophe.
    """
    is_csv = as_csv or (form == "csv" and not as_json)
    picture = find_live().picture
    items = getattr(picture, kind.replace("-", "_"))(limit, q)["items"]
    if is_csv:
        exports.write_csv(kind, items)
    else:
        exports.write_lines(items)


@monitor.command()
@click.argument("user")
@_as_json
def forget(user: str, as_json: bool) -> None:
    """Erase a person by their id: sessions, activities and names, in all workers.

    It returns when every worker has done so; exit code 1 where one has not answered.
    """
    live = current_state().live
    live.ingest.fold()
    why = None if live.serves else why_no_store(live)
    if why is not None:
        raise Trouble(f"nothing was erased: {why}")
    try:
        live.forget(user)
        done, late = (1, list[str]()) if live.serves else wait_for_all(live, _FORGET_S)
    except StoreError as error:
        raise Trouble(f"the store cannot be used: {error}") from error
    if as_json:
        say_json({"user": user, "workers": done, "late": late})
    else:
        workers = "1 worker has" if done == 1 else f"{done} workers have"
        none = "no worker is there; whoever starts with this store shows nothing of"
        say(f"{workers} erased {user!r}" if done or late else f"{none} {user!r}")
    if late:
        raise Trouble(
            f"{len(late)} did not answer within {_FORGET_S:.0f} s and will erase {user!r} as soon "
            f"as they do: {', '.join(late[:10])}"
        )


@monitor.command(name="wait-idle")
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="So long nobody may have done anything.",
)
@click.option(
    "--max-inflight",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="So many requests may be in flight.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="Give up after so many seconds.",
)
@_as_json
def wait_idle(seconds: float, max_inflight: int, timeout: float, as_json: bool) -> None:
    """Wait until nobody would be cut off: flask monitor wait-idle && restart.

    Exit code 0 as soon as no request is in flight and nobody was active for --seconds; 1 where
    that did not come within --timeout, or cannot be known.
    """
    live = find_live()
    ends_s = time.monotonic() + timeout
    while True:
        busy = _business(live, seconds, max_inflight)
        is_over = time.monotonic() >= ends_s
        if as_json and (is_over or not busy):
            say_json({"is_idle": not busy, "because": busy})
        if not busy:
            if not as_json:
                say("idle")
            return
        if is_over:
            raise Trouble(f"not idle after {timeout:g} s: {'; '.join(busy)}")
        pause(min(_PAUSE_S, max(0.05, ends_s - time.monotonic())))


def _business(live: Live, seconds: float, max_inflight: int) -> list[str]:
    """Return what speaks against a restart now."""
    why = why_nothing(live)
    if why is not None:
        return [why]
    found = live.picture.snapshot(1)
    stats = found["stats"]
    busy = []
    if not stats["coverage"]["complete"]:
        busy.append("not every worker reports, so what they do is not known")
    if stats["in_flight"] > max_inflight:
        one = next(iter(live.picture.in_flight(1)["items"]), None)
        what = f", the oldest {one['method']} {one['path']}" if one else ""
        busy.append(f"{stats['in_flight']} in flight{what}")
    for one in found["sessions"]:
        age_s = max(0.0, found["as_of"] - one["last_seen_at"])
        if age_s < seconds:
            busy.append(f"{wording.person(one['user'], one['id'])} was active {age_s:.1f} s ago")
    return busy


@monitor.command()
@click.option("--once", is_flag=True, help="Print one screen; so it is too where nobody looks.")
@_interval
@_as_json
def top(once: bool, interval: float, as_json: bool) -> None:
    """Show who is here and what happens, until Ctrl-C."""
    state, live = current_state()
    find_live()
    title = f"{state.app.name}: flask monitor top"
    if once or not is_terminal():
        _draw(live, title, as_json)
        return
    _until_stopped(lambda: _keep_drawing(live, title, interval, as_json))


def _keep_drawing(live: Live, title: str, interval: float, as_json: bool) -> None:
    away = _Absence(live)
    if not as_json:
        clear()
    while True:
        _draw(live, title, as_json)
        pause(interval)
        away.look()
        if not as_json and not has_colours():
            say()


def _draw(live: Live, title: str, as_json: bool) -> None:
    picture = live.picture.snapshot(100)
    if as_json:
        say_json(picture)
    else:
        draw(screen.frame(title, picture))


@monitor.command()
@click.option("--url", help="The app's address as its users know it: asks through the proxy.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    help="A header for --url that the gate says yes to, such as 'Cookie: session=...'.",
)
@_as_json
def doctor(url: str | None, headers: tuple[str, ...], as_json: bool) -> None:
    """Examine the deployment; each finding says what to do, exit code 1 on a fault."""
    findings = examination.examine(*current_state(), url, headers)
    is_well = not any(one.mark == "fault" for one in findings)
    if as_json:
        say_json({"ok": is_well, "checks": [one._asdict() for one in findings]})
    else:
        colours = {"ok": "good", "warn": "warn", "fault": "bad"}
        for one in findings:
            say(Cell(f"{one.mark:<5}", colours[one.mark]), f"{one.name:<8}", one.text)
    if not is_well:
        raise SystemExit(1)


class _Absence:
    """Ends a command that goes on, when its server has been away for a while."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._since_s: float | None = None

    def look(self) -> None:
        """Look whether anybody is there.

        Raises:
            Trouble: nobody has been for too long.
        """
        why = why_nothing(self._live)
        if why is None:
            self._since_s = None
            return
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s > _AWAY_S:
            raise Trouble(why)


def _until_stopped(work: Callable[[], None]) -> None:
    try:
        work()
    except KeyboardInterrupt:
        say()
