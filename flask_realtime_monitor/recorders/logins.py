"""Records sign-ins and sign-outs by Flask-Login's signals, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from ..guard import Guard
from ..identity import Person
from .entry import Entry


class LoginRecorder:
    """Receivers of ``user_logged_in`` and ``user_logged_out``; the request's end tells of them.

    Args:
        current: returns the entry of the request at hand.
        identify: returns who makes it. A request that signs out asks here, since at its end the
            person is gone: so that the request and the sign-out are still theirs.
    """

    def __init__(
        self,
        guard: Guard,
        current: Callable[[], Entry | None],
        identify: Callable[[], Person | None],
    ) -> None:
        self._current = current
        self._identify = identify
        self.signed_in = guard.wrap(self._signed_in)
        self.signed_out = guard.wrap(self._signed_out)

    def _signed_in(self, user: Any) -> None:
        entry = self._current()
        if entry is not None:
            entry.extras.signed_in = (user.get_id(), None)
            entry.extras.is_asked = False  # it is somebody else's now

    def _signed_out(self, user: Any) -> None:
        entry = self._current()
        if entry is not None and user is not None and user.is_authenticated:
            entry.extras.signed_out = self._identify() or (user.get_id(), None)
            entry.extras.is_asked = True


def connect_logins(
    app: Flask, signed_in: Callable[..., None], signed_out: Callable[..., None]
) -> None:
    """Connect two receivers to Flask-Login's signals, if it is installed; the caller keeps them."""
    try:
        from flask_login import user_logged_in, user_logged_out
    except ImportError:
        return
    user_logged_in.connect(signed_in, app)
    user_logged_out.connect(signed_out, app)
