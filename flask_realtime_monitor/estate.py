"""What workers that are gone have left: their totals, added once, and kept when the store is lost.

The row of the retired is ``{"totals", "id", "folds", "of", "restored", "lost_at"}``: their totals;
which row it is, a new store's own or the one that was given back to it; how many workers have been
folded into it; the epoch of the store to which it was given back, and how many had been by then;
when somebody gone last reported whose rows a store has lost.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from .beats import decode, encode, is_whole, totals_in, totals_of
from .stores import Beat, Roster, Store
from .traffic import Summary

Json = dict[str, Any]

#: Who has not looked for so long (s) may know of workers of whom all others have forgotten that
#: they were added already.
_MOST_UNSEEN_S = 60.0
#: What is of no use of a beat once its worker is gone.
_PASSING = frozenset({"in_flight", "in_flight_count", "in_flight_rules", "serving"})


def fold(
    beat: bytes, retired: bytes | None, taken: bytes | None, epoch: str | None = None
) -> bytes:
    """Return the row of the retired with a gone worker's totals added.

    Args:
        taken: what was taken over from that same worker before, when it was gone only seemingly.
        epoch: the picture's; a worker that had not written all of itself to it leaves a gap.
    """
    row, last = decode(retired), decode(beat)
    totals = _added(row.get("totals") or {}, last.get("totals") or {}, 1)
    if taken is not None:
        totals = _added(totals, totals_in(taken), -1)
    lost_at = 0.0 if is_whole(last, epoch) else _last_at(last)
    return encode(
        {
            **row,
            "totals": totals,
            "id": row.get("id") or secrets.token_hex(4),
            "folds": _folds(row) + 1,
            "lost_at": max(lost_at, lost_at_in(row)),
        }
    )


def lost_at_in(row: Mapping[str, Any]) -> float:
    """Return when a gone worker last reported whose rows were lost; 0 where none was.

    Args:
        row: that of the retired, decoded.
    """
    return float(row.get("lost_at") or 0.0)


def lacks_until_at(lost_at: float, timeout_s: float, now_at: float) -> float:
    """Return when the last session would have ended whose rows were lost; 0 if it would have.

    Args:
        lost_at: as ``lost_at_in``.
        timeout_s: without a request, until a session ends.
        now_at: s since the epoch.
    """
    ends_at = lost_at + timeout_s
    return ends_at if lost_at and ends_at > now_at else 0.0


class Witness:
    """Looks who there is and was, and gives back to the store what it has lost of that.

    Every worker is one, and so is who reads: so what is known of the gone outlives the store for
    as long as one of them does. Several may do it at once, each as much as it knows.

    Args:
        store: where to look.
        newest: returns a worker's counters where they may be newer than its beat.
    """

    def __init__(
        self, store: Store, newest: Callable[[str], Summary | None] = lambda worker: None
    ) -> None:
        self._store = store
        self._newest = newest
        self._known: Roster | None = None
        self._looked_s = 0.0

    def look(self) -> Roster:
        """Return who there is and was.

        Raises:
            StoreError: the store cannot be used.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s > _MOST_UNSEEN_S:
            self._known = None
        self._looked_s = now_s
        roster = self._store.roster()
        known = self._known
        if known is not None and has_lost(known, roster):
            beats = {worker: self._told(worker, beat) for worker, beat in known.beats.items()}
            lost = partial(missing, known._replace(beats=beats))
            self._store.restore(lost)
            before, roster = roster, self._store.roster()
            if roster.epoch != before.epoch or lost(roster) is not None:
                return roster  # lost once more: it is given back with the next look
        self._known = roster
        return roster

    def _told(self, worker: str, beat: Beat) -> Beat:
        newest = self._newest(worker)
        if newest is None or newest.counted <= _counted(beat.data):
            return beat
        found = decode(beat.data)
        totals = totals_of(newest, totals_in(beat.data).get("dropped") or {})
        return beat._replace(data=encode({**found, "totals": totals}))


def has_lost(known: Roster, now: Roster) -> bool:
    """Tell whether a store has less now of who there is and was than it had told before."""
    if known.epoch != now.epoch or known.beats.keys() - now.beats.keys() - now.taken.keys():
        return True
    return known.retired != now.retired and _counted(now.retired) < _counted(known.retired)


def missing(known: Roster, now: Roster) -> Roster | None:
    """Return what is to be written for a store to have again what it had told before.

    Whoever was known to live is told by its last beat until it writes another, or is found gone.

    Args:
        now: what the store has: what it lost may have been given back by others already.

    Returns:
        The beats, what was taken and the row of the retired that are others now; None for nothing.
    """
    is_lost = known.epoch != now.epoch
    retired = None if known.retired is None else _united(known, now)
    taken = {} if retired is None else _more(known.taken, now.taken)
    has_taken = {**now.taken, **taken}
    beats = {
        worker: beat._replace(data=_bare(beat.data, is_lost))
        for worker, beat in known.beats.items()
        if _counted(beat.data)
        > max(_counted(has_taken.get(worker)), _counted(_data(now.beats.get(worker))))
    }
    # A last beat that somebody gave back who had not seen that there was a later one.
    beats |= {
        worker: beat._replace(data=_bare(has_taken[worker], is_lost))
        for worker, beat in now.beats.items()
        if worker not in beats and _counted(beat.data) < _counted(has_taken.get(worker))
    }
    if retired is None and not beats:
        return None
    bare = {worker: _bare(data, False) for worker, data in taken.items()}
    return Roster(beats, retired, bare, now.now, now.epoch)


def _united(known: Roster, now: Roster) -> bytes | None:
    """Return the row of the retired with all that is known; None where the store has it."""
    theirs, ours = decode(known.retired), decode(now.retired)
    folds, folds_more = _folds(theirs), _folds(theirs)
    totals = _added(ours.get("totals") or {}, {}, 1)
    if now.retired is not None and theirs.get("id") == ours.get("id"):
        # It was given back already, or never lost. Who had seen more of it brings the rest.
        has = int(ours.get("restored") or 0) if ours.get("of") == now.epoch else _folds(ours)
        if folds <= has:
            return None
        folds_more -= has
        for worker, data in _more(known.taken, now.taken).items():
            totals = _added(totals, totals_in(data), 1)
            totals = _added(totals, totals_in(now.taken.get(worker)), -1)
    else:
        totals = _added(totals, theirs.get("totals") or {}, 1)
        for worker in known.taken.keys() & now.taken.keys():
            both = known.taken[worker], now.taken[worker]
            totals = _added(totals, totals_in(min(both, key=_counted)), -1)
    lost_at = max(lost_at_in(theirs), lost_at_in(ours))
    if known.epoch != now.epoch:
        gone = (data for worker, data in known.taken.items() if worker not in known.beats)
        lost_at = max(lost_at, *(map(_last_at, map(decode, gone))), 0.0)
    return encode(
        {
            "totals": totals,
            "id": theirs.get("id"),
            "folds": _folds(ours) + folds_more,
            "of": now.epoch,
            "restored": folds,
            "lost_at": lost_at,
        }
    )


def _more(known: Mapping[str, bytes], now: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what was taken of those of whom the store does not have it, or has less."""
    return {
        worker: data
        for worker, data in known.items()
        if worker not in now or _counted(data) > _counted(now[worker])
    }


def _bare(data: bytes, is_lost: bool) -> bytes:
    """Return a beat as it is given back: without what passes, and whether its rows are lost."""
    beat = {name: value for name, value in decode(data).items() if name not in _PASSING}
    return encode({**beat, "whole": ""} if is_lost else beat)


def _last_at(beat: Json) -> float:
    """Return when a worker last reported that had sessions (s since the epoch); 0 if it had none.

    By its own clock.
    """
    has_sessions = (beat.get("item") or {}).get("sessions", 1)
    return (int(beat.get("at", 0)) + int(beat.get("o", 0))) / 1000 if has_sessions else 0.0


def _data(beat: Beat | None) -> bytes | None:
    return None if beat is None else beat.data


def _counted(data: bytes | None) -> int:
    """Return how many requests a beat or the row of the retired tells of; it never falls."""
    totals = totals_in(data)
    return int(totals.get("requests", 0)) + int(totals.get("excluded", 0))


def _folds(row: Mapping[str, Any]) -> int:
    return int(row.get("folds") or 0)


def _added(to: Mapping[str, Any], more: Mapping[str, Any], sign: int) -> Json:
    dropped = dict(to.get("dropped") or {})
    for name, n in (more.get("dropped") or {}).items():
        dropped[name] = dropped.get(name, 0) + sign * n
    endpoints = dict(to.get("endpoints") or {})
    for name, (requests, errors) in (more.get("endpoints") or {}).items():
        before = endpoints.get(name, (0, 0))
        endpoints[name] = [before[0] + sign * requests, before[1] + sign * errors]
    return {
        **{
            name: to.get(name, 0) + sign * more.get(name, 0)
            for name in ("requests", "errors", "excluded")
        },
        "dropped": dropped,
        "endpoints": endpoints,
    }
