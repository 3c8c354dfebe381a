"""What is streamed: the picture as events, tick by tick. It knows no viewer.

Not safe for threads: the broadcaster holds its lock.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from . import delta, sse
from .packet import Packet
from .resumption import StreamPlace, parse
from .ring import Ring

_RIDE_S = 10.0
_MOST_SHOWN = 16  # snapshots, between two rides
_BASE_KEPT_S = 120.0
_MOST_UPDATE_BYTES = 65_536
_ID_AND_NAME_BYTES = 128
_MOST_CAUGHT_UP_BYTES = 131_072
_FORGOT_MARGIN_MS = 3000

Json = dict[str, Any]


class Shown(Protocol):
    """A picture, or as much of it as is shown to some."""

    @property
    def epoch(self) -> str:
        """The id of the picture: it changes when the picture begins anew."""

    @property
    def cursor(self) -> int:
        """How far the picture has been read."""

    def snapshot(self) -> Json:
        """Return what a stream begins with."""

    def resumed(self, place: StreamPlace, base: Json, base_cursor: int) -> Json | None:
        """Return the update from another worker's place to a snapshot, None where it is unknown."""


class Timeline:
    """The moments of a picture that were shown, as bytes.

    Args:
        sight: what is shown of it, as in ``StreamPlace``.
        worker_id: whose ticks these are; part of the events' ids.
        resync_s: after which viewers get a whole snapshot where something has changed; 0: never.
        lines: how many activities are shown.
    """

    def __init__(
        self, picture: Shown, sight: str, worker_id: str, resync_s: float, lines: int = 100
    ) -> None:
        self._picture = picture
        self._sight = sight
        self._worker_id = worker_id
        self._resync_s = resync_s
        self._lines = lines
        self._ring = Ring()
        self._base: Json | None = None
        self._base_s = 0.0
        self._cursor = 0
        self._rode: list[Json] = []  # shown since the clock's values rode along, then first
        self._rode_s = 0.0
        self._forgot_ms = 0
        self._snapshots: dict[str, Packet] = {}  # of this tick, by role
        self._resumed: dict[StreamPlace, Packet | None] = {}  # of this tick
        self._snapshot_s = 0.0
        self._has_changed = False
        #: Somebody was erased, and the next tick begins anew.
        self.is_forgetting = False

    @property
    def as_of(self) -> float:
        """The moment of the last tick, in seconds since the epoch; 0 before the first."""
        return self._base["as_of"] if self._base else 0.0

    def forget(self) -> None:
        """Somebody was erased: nothing that was shown before may be shown again."""
        self.is_forgetting = True

    def rest(self) -> None:
        """Nobody has watched for a while: what was shown long ago is of no use."""
        if time.monotonic() - self._base_s > _BASE_KEPT_S:
            self._base = None

    def advance(self) -> tuple[Packet | None, bool]:
        """Look at the picture; return an update if it has changed, and whether it began anew."""
        before, after = self._base, self._picture.snapshot()
        now_s = self._base_s = time.monotonic()
        self._cursor = self._picture.cursor
        self.is_forgetting |= before is not None and delta.has_lost(before, after, self._lines)
        if before is None or self.is_forgetting:
            self._begin_anew(after, now_s)
            return None, True
        rides = now_s - self._rode_s >= _RIDE_S or len(self._rode) >= _MOST_SHOWN
        changed = delta.update(before, after, self._rode if rides else ())
        if changed is None:
            return None, False
        if rides:
            self._rode.clear()
            self._rode_s = now_s
        self._rode.append(after)
        self._base = after
        self._snapshots.clear()
        self._resumed.clear()
        self._has_changed = True
        return self._framed(changed), False

    def _begin_anew(self, after: Json, now_s: float) -> None:
        self._base, self._rode = after, [after]
        if self.is_forgetting:
            # By the clock of all workers' ticks, which may not be this host's.
            self._forgot_ms = int(after["as_of"] * 1000)
            self.is_forgetting = False
        self._ring.clear(self._next_tick(after))
        self._snapshots.clear()
        self._resumed.clear()
        self._rode_s = self._snapshot_s = now_s

    def _framed(self, changed: Json) -> Packet:
        """Return an update's bytes and keep them; one that is too large becomes several events."""
        tick = self._next_tick(changed)
        whole = sse.encode("update", changed, self._event_id(tick))
        if len(whole) <= _MOST_UPDATE_BYTES:
            frame = Packet(whole, is_frame=True)
            self._ring.add(tick, frame)
            return frame
        parts = delta.parts(changed, _MOST_UPDATE_BYTES - _ID_AND_NAME_BYTES)
        pieces = []
        for number, part in enumerate(parts, 1):
            # Who is cut off between two pieces goes on with the next here. No other worker knows
            # where that is: flagged as if requests were in flight, it gives a snapshot.
            is_last = number == len(parts)
            at = max(tick, self._ring.tick + 1) if is_last else self._ring.tick + 1
            pieces.append(sse.encode("update", part, self._event_id(at, not is_last)))
            self._ring.add(at, Packet(pieces[-1]))
        return Packet(b"".join(pieces), is_frame=True)

    def _next_tick(self, after: Json) -> int:
        return max(self._ring.tick + 1, int(after["as_of"] * 1000))

    def is_resync_due(self, has_frame: bool) -> bool:
        """Tell, once, whether everybody is to have a snapshot now, so that no view can drift."""
        now_s = time.monotonic()
        if not (self._resync_s and self._has_changed):
            return False
        if now_s - self._snapshot_s < self._resync_s:
            return False
        self._snapshot_s = now_s
        self._has_changed = False
        if not has_frame:  # its id is to be another than the last update's
            self._ring.add(self._ring.tick + 1, Packet(b""))
            self._snapshots.clear()
        return True

    def snapshot(self, role: str) -> Packet:
        """Return the last tick as a snapshot event, encoded once a tick and role."""
        encoded = self._snapshots.get(role)
        if encoded is None:
            base = self._base or {}
            payload = {"as_of": base.get("as_of"), "role": role, **base}
            encoded = Packet(sse.encode("snapshot", payload, self._event_id(self._ring.tick)))
            self._snapshots[role] = encoded
        return encoded

    def first(self, role: str, last_event_id: str) -> Packet:
        """Return what a viewer begins with: what it has missed, or else everything."""
        place = parse(last_event_id)
        if place is None or (place.epoch, place.sight) != (self._picture.epoch, self._sight):
            return self.snapshot(role)
        if place.worker == self._worker_id:
            frames = self._ring.after(place.tick)
            if frames is not None:
                return Packet(b"".join(frame.form(0) for frame in frames))
        elif self._forgot_ms < place.tick - _FORGOT_MARGIN_MS:
            return self._from_elsewhere(place) or self.snapshot(role)
        return self.snapshot(role)

    def _from_elsewhere(self, place: StreamPlace) -> Packet | None:
        """Return the update from another worker's place; made once a tick and place."""
        if place not in self._resumed:
            update = self._base and self._picture.resumed(place, self._base, self._cursor)
            id = self._event_id(self._ring.tick)
            packet = Packet(sse.encode("update", update, id)) if update else None
            # It stands for a snapshot, and may be as large.
            is_fit = packet is not None and len(packet) <= _MOST_CAUGHT_UP_BYTES
            self._resumed[place] = packet if is_fit else None
        return self._resumed[place]

    def _event_id(self, tick: int, has_in_flight: bool = False) -> str:
        has_in_flight = has_in_flight or bool(self._base and self._base.get("in_flight"))
        picture, worker_id = self._picture, self._worker_id
        return str(
            StreamPlace(picture.epoch, self._cursor, tick, worker_id, has_in_flight, self._sight)
        )
