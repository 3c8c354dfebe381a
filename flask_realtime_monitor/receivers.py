"""Tells the app's receivers of our signals what has happened, in order and in the background."""

from __future__ import annotations

from collections import deque
from threading import Thread
from typing import Any

from flask import Flask

from . import signals
from .guard import Guard
from .models import User
from .picture import Picture
from .records import Notice
from .shapes import copied

_LAST_S = 0.5  # for what is left when the process ends
_MOST_LEFT = 10_000


class Receivers:
    """Who listens to the signals of one app.

    What a receiver raises is noted, and no more; one that waits keeps the next waiting, and nobody
    else: neither who publishes the stream, nor who ends a process.

    Args:
        notices: what is to be told of activities and sessions; others append to it.
        picture: what they are told from.
    """

    def __init__(self, app: Flask, notices: deque[Notice], picture: Picture, guard: Guard) -> None:
        self._app = app
        self._notices = notices
        self._picture = picture
        self._guard = guard
        #: (user, role) of viewers who have gone.
        self._left: deque[tuple[User | None, str]] = deque(maxlen=_MOST_LEFT)

    def viewer_opened(self, user: User | None, role: str) -> None:
        """Tell at once that somebody has opened a page or a stream: it is within their request."""
        self._send_viewer(signals.viewer_connected, user, role)

    def viewer_left(self, user: User | None, role: str) -> None:
        """A viewer has gone; to be told of soon."""
        if signals.viewer_disconnected.receivers:
            self._left.append((user, role))

    def tell(self) -> None:
        """Tell all there is to tell."""
        while self._notices:
            notice = self._notices.popleft()
            try:
                self._tell(notice)
            except BaseException as error:  # a receiver of the app's
                self._guard.caught("signal receiver", error)
        while self._left:
            self._send_viewer(signals.viewer_disconnected, *self._left.popleft())

    def tell_last(self) -> None:
        """Tell what is left, the process ends; whoever takes long is not waited for."""
        if self._left:
            last = Thread(target=self.tell, name="realtime-monitor-receivers", daemon=True)
            last.start()
            last.join(_LAST_S)

    def _tell(self, notice: Notice) -> None:
        # Copies, since what they are made of is kept, and shown to many.
        if notice.item is not None:
            if signals.activity_recorded.receivers:
                activity = copied(self._picture.describe_activity(notice.item))
                signals.activity_recorded.send(self._app, activity=activity)
            return
        signal = signals.session_started if notice.what == "started" else signals.session_ended
        if signal.receivers:
            signal.send(self._app, session=copied(self._picture.describe(notice)))

    def _send_viewer(self, signal: Any, user: User | None, role: str) -> None:
        try:
            shown = None if user is None else {"id": user.id, "name": user.name}
            signal.send(self._app, user=shown, role=role)
        except BaseException as error:  # a receiver of the app's
            self._guard.caught("signal receiver", error)
