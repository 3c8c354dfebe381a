"""Who sees the same: the viewers of a sight, and the timeline that they follow."""

from __future__ import annotations

from math import inf

from . import sse
from .config import Settings
from .packet import Packet
from .picture import Picture
from .timeline import Shown, Timeline
from .totals import Totals
from .viewers import Viewer

#: What each role sees, as in ``StreamPlace``: bytes are made once for all who see the same.
SIGHTS = {"view": "m", "reveal": "", "act": "", "wall": "w"}
HEARTBEAT = Packet(sse.HEARTBEAT)


class Channel:
    """Some viewers and their timeline.

    Attributes:
        behind: those who have skipped something, and are to have a snapshot.
        sent_s: when something was last sent to all, by the monotonic clock.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.viewers: dict[Viewer, None] = {}
        self.behind: dict[Viewer, None] = {}
        self.sent_s = 0.0
        self._last_frame = b""

    def fall_behind(self, viewer: Viewer) -> None:
        """A viewer has skipped something."""
        viewer.is_behind = True
        self.behind[viewer] = None

    def catch_up(self, viewer: Viewer) -> None:
        """A viewer has been given a snapshot."""
        viewer.is_behind = False
        self.behind.pop(viewer, None)

    def tick(self) -> Packet | None:
        """Look at the picture; return a frame if it has changed."""
        if not self.viewers:
            self.timeline.rest()
        frame, is_anew = self.timeline.advance()
        if is_anew:
            self._last_frame = b""  # somebody was erased, maybe
            for viewer in self.viewers:
                self.fall_behind(viewer)
        return frame

    def quiet_until_s(self, heartbeat_s: float) -> float:
        """Return when all who watch are to hear something, if only that the line holds."""
        return self.sent_s + heartbeat_s if self.viewers else inf

    def addressed(
        self, frame: Packet | None, now_s: float, heartbeat_s: float
    ) -> tuple[list[Viewer], Packet | None]:
        """Return who gets something now, and what: None is a snapshot."""
        packet: Packet | None
        if self.timeline.is_resync_due(frame is not None):
            packet = None
        elif frame is not None:
            packet = frame
            packet.after, self._last_frame = self._last_frame, packet.form(0)
        elif now_s >= self.quiet_until_s(heartbeat_s):
            packet = HEARTBEAT
        else:
            return list(self.behind), None
        self.sent_s = now_s
        return list(self.viewers), packet


def channels(picture: Picture, worker_id: str, settings: Settings) -> dict[str, Channel]:
    """Return a channel for each sight; one that nobody watches does nothing."""
    shown: dict[str, Shown] = {"": picture, "m": picture.masked, "w": Totals(picture)}
    more = worker_id, settings.resync_interval, min(100, settings.history_size)
    return {sight: Channel(Timeline(one, sight, *more)) for sight, one in shown.items()}
