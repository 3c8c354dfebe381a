"""For tests: make the monitor's faults loud, or make it fail everywhere."""

from __future__ import annotations

from typing import Any, NoReturn

from flask import Flask

from .state import EXTENSION, State


class BrokenError(Exception):
    """What every call raises after ``break_everything``."""


def strict(app: Flask, value: bool = True) -> None:
    """Let the guard raise what it would otherwise keep from the app."""
    _state(app).guard.is_strict = value


def break_everything(app: Flask) -> None:
    """Make every public method of the monitor's parts raise, to prove that the app never cares."""
    live = _state(app).live
    for part in (
        live.ingest,
        live.tracker,
        live.tracker.sessions,
        live.tracker.visitors,
        live.tracker.traffic,
        live.requests,
        live.logins,
        live.picture,
        live.broadcaster,
        live.worker,
        live.clock,
        live.sharing.store,
    ):
        for name in dir(part):
            if not name.startswith("_") and callable(getattr(part, name)):
                setattr(part, name, _broken)


def _broken(*_: Any, **__: Any) -> NoReturn:
    raise BrokenError("broken on purpose")


def _state(app: Flask) -> State:
    state: State = app.extensions[EXTENSION]
    return state
