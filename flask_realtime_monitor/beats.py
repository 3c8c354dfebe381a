"""The small row by which a worker says that it lives, what it is doing, and what it has counted.

``{"host", "boot", "pid", "born", "at", "o", "item", "serving", "totals", "whole", "in_flight",
"in_flight_rules"}``: where it runs, when it was written, how its rows' clock relates to that, the
worker of docs/json.md, how it serves, its totals since it began, the epoch of the picture that has
all of it, its requests in flight and their routes' rules. What the gone have left is in a row of
its own (``estate.py``).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from .processes import boot_id, born_at
from .stores import Beat, Roster
from .traffic import HISTORY_MINUTES, EndpointTraffic, Summary

Json = dict[str, Any]

#: How long another host's worker may say nothing until it does not count as reporting. Whoever asks
#: is told so within 5 s: what is left is for how old a reader's roster is, and for the asking.
SILENT_S = 4.5
#: And until it counts as gone, which is told within 30 s.
GONE_S = 29.0
_JUMP_MS = 2_000
_HISTORY_S = 60.0 * (HISTORY_MINUTES + 1)
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(beat: Mapping[str, Any]) -> bytes:
    """Return a beat as bytes."""
    return _to_json(beat).encode("ascii")


def decode(data: bytes | None) -> Json:
    """Return a beat, an empty one for what makes no sense."""
    try:
        beat = json.loads(data or b"{}")
    except ValueError:
        return {}
    return beat if isinstance(beat, dict) else {}


def offset_ms(written: Mapping[str, Any], at: float | None, known_ms: int) -> int:
    """Return what is added to the times of another host's rows to get ms since the epoch.

    Its wall clock is believed, but where it is over 2 s away from the time of arrival by the
    store's.

    Args:
        written: a frame's head, or a beat; it has that worker's clocks.
        at: when that was written, by the store's clock.
        known_ms: what was found before.
    """
    try:
        found_ms, at_ms = int(written["o"]), int(written["at"])
    except (KeyError, TypeError, ValueError):
        return known_ms
    if at is None:
        return found_ms
    arrived_ms = round(at * 1000) - at_ms
    if abs(arrived_ms - found_ms) <= _JUMP_MS:
        return found_ms
    return known_ms if abs(arrived_ms - known_ms) <= _JUMP_MS else arrived_ms


def totals_of(summary: Summary, dropped: Mapping[str, int]) -> Json:
    """Return a worker's totals: what must never fall, whatever becomes of the worker."""
    return {
        "requests": summary.requests,
        "errors": summary.errors,
        "excluded": summary.excluded,
        "dropped": dict(dropped),
        "endpoints": {name: [one.requests, one.errors] for name, one in summary.endpoints.items()},
    }


def summary_of(totals: Mapping[str, Any]) -> Summary:
    """Return totals as counters that have nothing recent in them."""
    endpoints = {
        str(name): EndpointTraffic(int(pair[0]), int(pair[1]))
        for name, pair in (totals.get("endpoints") or {}).items()
    }
    return Summary(
        int(totals.get("requests", 0)),
        int(totals.get("errors", 0)),
        int(totals.get("excluded", 0)),
        0,
        0,
        {},
        0,
        endpoints,
        [],
    )


def strange(
    told: Mapping[str, Json], known: Mapping[str, Summary], epoch: str | None
) -> dict[str, Json]:
    """Return the beats of those whose rows are not known, or not yet all that the beat counts.

    Args:
        told: all beats.
        known: the counters of the others.
        epoch: the picture's.
    """
    return {
        worker: beat
        for worker, beat in told.items()
        if worker not in known
        or (
            not is_whole(beat, epoch)
            and known[worker].counted < summary_of(beat.get("totals") or {}).counted
        )
    }


def summaries(
    roster: Roster, strange: Mapping[str, Json], known: Mapping[str, Summary], me: str
) -> list[Summary]:
    """Return all other workers' counters, and what those that are gone have left.

    Args:
        strange: the beats, decoded, of those whose rows do not tell what they counted.
        known: the counters of the others.
        me: the worker that asks.
    """
    alive = set(roster.beats)
    found = []
    for worker, recent in known.items():
        if worker in roster.taken and recent.counted >= _summary_in(roster.taken[worker]).counted:
            # Its beat may have come in the moment in which it was taken for gone, and be lost
            # until the next; its rows are as new as what was taken over from it, or newer.
            alive.add(worker)
        # The totals of one that is gone are among the retired; what was recent still is.
        is_told = worker in alive and worker not in strange
        found.append(recent if is_told else recent.without_totals())
    found += (summary_of(beat.get("totals") or {}) for beat in strange.values())
    found.append(_summary_in(roster.retired))
    # Who was only frozen is back with all it counted, and what was taken for it is too much.
    found += (
        _summary_in(taken).negated()
        for worker, taken in roster.taken.items()
        if worker in alive or worker == me
    )
    return found


def dropped(roster: Roster, told: Mapping[str, Json], me: str) -> dict[str, int]:
    """Return what all other workers have thrown away, and those that are gone.

    Args:
        told: the beats of the others, decoded.
        me: the worker that asks.
    """
    found = Counter(_dropped_in(roster.retired))
    for beat in told.values():
        found.update((beat.get("totals") or {}).get("dropped") or {})
    for worker, taken in roster.taken.items():
        if worker in told or worker == me:  # as in the summaries
            found.subtract(_dropped_in(taken))
    return found


@lru_cache(maxsize=16)  # it is looked at each time somebody looks who is there, and hardly changes
def _dropped_in(data: bytes | None) -> Mapping[str, int]:
    return totals_in(data).get("dropped") or {}


def busy_in(others: Iterable[tuple[str, Json, Beat]]) -> set[int]:
    """Return the visitors with a request in flight by the beats of some workers."""
    return {
        int(fields[1]) for _, beat, _ in others for fields in beat.get("in_flight", ()) if fields
    }


def overdue(
    gone_s: dict[str, float], absent: Collection[str], now_s: float, keep_s: float
) -> dict[str, bool]:
    """Return who has been absent for longer, and whether none of their minutes is shown either.

    Args:
        gone_s: since when each is; brought up to date.
        absent: who is, now.
        keep_s: how long their sessions are kept.
    """
    for worker in gone_s.keys() - absent:
        del gone_s[worker]
    since_s = {worker: now_s - gone_s.setdefault(worker, now_s) for worker in absent}
    return {worker: for_s > _HISTORY_S for worker, for_s in since_s.items() if for_s > keep_s}


def totals_in(data: bytes | None) -> Json:
    """Return the totals in a beat, or in the row of the retired."""
    totals = decode(data).get("totals")
    return totals if isinstance(totals, dict) else {}


def _summary_in(data: bytes | None) -> Summary:
    return summary_of(totals_in(data))


# -- the living and the dead ---------------------------------------------------------------------


@cache
def machine() -> str:
    """Return what processes that can see each other have in common: the boot, the pid namespace."""
    boot = boot_id()
    try:
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}" if boot else ""
    except OSError:
        return ""


def is_whole(beat: Mapping[str, Any], epoch: str | None) -> bool:
    """Tell whether a picture has all of a worker: a store that lost it is written anew in parts.

    Args:
        epoch: the picture's, None where it has not been read yet.
    """
    whole = beat.get("whole")
    return whole is None or whole == epoch or (epoch is None and whole != "")


def is_gone(beat: Mapping[str, Any], age_s: float) -> bool:
    """Tell whether a worker is no more: at once on this machine, within 30 s on another."""
    boot = beat.get("boot")
    if boot and boot == machine():
        with suppress(OSError):
            return born_at(int(beat.get("pid", 0))) != beat.get("born")
    return age_s > GONE_S
