"""Who makes this request: the app's own hook, else Flask-Login, without touching either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from flask import Flask, g
from flask.globals import request_ctx
from werkzeug.local import LocalProxy

from .models import User
from .privacy import MAX_NAME, clean, kept_id

Identify = Callable[[], Any]
Person = tuple[Any, Any]  # (id, name) as the app gave them


class Hooks(Protocol):
    """Where the app's own hook hangs."""

    identify: Identify | None


class Identity:
    """Tells who makes the request at hand. Call it at the request's end, inside the request.

    Args:
        app: the Flask app; its ``login_manager`` says whether Flask-Login is at work.
        hooks: where the app's own hook is, or None.
        failed: told what the hook raised.
    """

    def __init__(
        self, app: Flask, hooks: Hooks, failed: Callable[[str, BaseException], None]
    ) -> None:
        self._app = app
        self._hooks = hooks
        self._failed = failed

    def __call__(self) -> Person | None:
        """Return (id, name) or None for a visitor without a user, and where the hook fails."""
        try:
            hook = self._hooks.identify
            if hook is not None:
                return person_of(hook())
            if getattr(self._app, "login_manager", None) is not None:
                return self._of_flask_login()
        except Exception as error:  # the app's own hook; the visitor is then shown as a guest
            self._failed("identify", error)
        return None

    def rule(self) -> str | None:
        """Return what is asked: "identify", "flask_login", or None where there is neither."""
        if self._hooks.identify is not None:
            return "identify"
        return None if getattr(self._app, "login_manager", None) is None else "flask_login"

    def _of_flask_login(self) -> Person | None:
        """Peek: what the app loaded by itself, else the id in the session; never the loader."""
        user = g.get("_login_user")
        if user is not None:
            return person_of(user.get_id()) if user.is_authenticated else None
        session = _session()
        user_id = None if session is None else session.get("_user_id")
        return person_of(user_id)


def person_of(who: Any) -> Person | None:
    """Return (id, name) for what an ``identify`` hook returned."""
    if type(who) is LocalProxy:
        who = who._get_current_object()
    if who is None or who is False:  # "is signed in, and who": False is nobody's id
        return None
    user_id, name = (who.id, who.name) if isinstance(who, User) else (who, None)
    # What is no text yet becomes one while the request it may look at is still there.
    if not _is_plain(user_id):
        user_id = kept_id(user_id)
    if not _is_plain(name):
        name = clean(name, MAX_NAME)
    # An empty text is what is left of a guest in many a session.
    return None if user_id is None or user_id == "" else (user_id, name)


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, int)


def _session() -> Any:
    # Flask 3.1.3 marks a session as accessed when it is read through the public attribute.
    context: Any = request_ctx._get_current_object()  # type: ignore[attr-defined]
    try:
        return context._session
    except AttributeError:
        return context.session
