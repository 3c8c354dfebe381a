"""The picture as a process finds it that is no worker, and why it may find none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from .. import beats
from ..state import Live, current_state
from ..stores import Beat, Roster, StoreError
from .console import Trouble

_PAUSE_S = 0.1
_TURNS = 2  # one to hear a note, one to write what it changes


def find_live() -> Live:
    """Return this app's parts in this process, from which the workers' picture can be read.

    Raises:
        Trouble: there is no picture to read: zeros would be no truth.
    """
    live = current_state().live
    why = why_nothing(live)
    if why is not None:
        raise Trouble(why)
    return live


def why_nothing(live: Live) -> str | None:
    """Return why this process finds no picture, and what to do; None where it does."""
    live.ingest.fold()
    if live.serves:
        return None  # an app's own tests: what this process saw is the picture
    why = why_no_store(live)
    if why is not None:
        return why
    try:
        roster = live.sharing.store.roster()
    except StoreError as error:
        return f"the store cannot be read: {error}"
    if living(roster):
        return None
    return (
        f"no worker reports to {live.sharing.store.shown_url}; start the server, or look whether "
        "it has the same REALTIME_MONITOR_STORE and REALTIME_MONITOR_STORE_PREFIX (a worker "
        "reports from its first request on)"
    )


def why_no_store(live: Live) -> str | None:
    """Return why this process does not know where the workers' picture is."""
    store = live.sharing.store
    if store.reason is not None:
        return store.reason
    if not store.is_shared and live.settings.store == "auto":
        return (
            "no gunicorn that serves this app runs here under this user "
            f"(uid {os.geteuid()}), or it has not answered a request yet; start it, run this "
            "command on its host as its user, or set REALTIME_MONITOR_STORE to what the server "
            "shares with other processes: 'sqlite:////path' or 'redis://host'"
        )
    if not store.is_shared:
        return (
            f"REALTIME_MONITOR_STORE is {store.shown_url!r}, the memory of the server's process, "
            "which no command can read; set 'auto' under gunicorn, else 'sqlite:////path' or "
            "'redis://host'"
        )
    path = file_of(store.shown_url)
    if path is not None and not os.path.lexists(path):
        return (
            f"there is no file {path}: no server has written to it yet; start the server, or set "
            "REALTIME_MONITOR_STORE to the file that it has"
        )
    return None


def file_of(url: str) -> str | None:
    """Return the path that a store's address names, None where it names none."""
    return url.removeprefix("sqlite:///") if url.startswith("sqlite:") else None


def living(roster: Roster) -> dict[str, Beat]:
    """Return the workers that are not gone."""
    return {
        id: beat
        for id, beat in roster.beats.items()
        if not beats.is_gone(beats.decode(beat.data), roster.now - beat.at)
    }


def name_of(beat: Mapping[str, Any]) -> str:
    """Return what a worker is called: where it runs, and its process."""
    return f"{beat.get('host')}:{beat.get('pid')}"


def wait_for_all(live: Live, timeout_s: float) -> tuple[int, list[str]]:
    """Wait until every living worker has heard what was told, and has written what it changed.

    Returns:
        How many have, and the names of those that have not.

    Raises:
        StoreError: the store cannot be read any more.
    """
    ends_s = time.monotonic() + timeout_s
    last = _written_at(live)
    turns = dict.fromkeys(last, 0)
    while True:
        late = [id for id, turn in turns.items() if id in last and turn < _TURNS]
        if not late or time.monotonic() >= ends_s:
            return len(last.keys() & turns) - len(late), [last[id][1] for id in late]
        pause(_PAUSE_S)
        before, last = last, _written_at(live)
        for id in turns:
            turns[id] += id in last and last[id] != before.get(id)


def _written_at(live: Live) -> dict[str, tuple[int, str]]:
    """Return when each living worker has last written, by its own clock, and its name.

    The store tells that by another clock, whose translation varies by a little.
    """
    told = {id: beats.decode(beat.data) for id, beat in living(live.sharing.store.roster()).items()}
    return {id: (int(beat.get("at", 0)), name_of(beat)) for id, beat in told.items()}


def pause(seconds: float) -> None:
    """Let some time pass."""
    threading.Event().wait(seconds)
