"""RealtimeMonitor: what a developer writes. It builds the parts and connects them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial, update_wrapper
from inspect import iscoroutinefunction, ismethod
from os import getpid
from typing import Any, TypeVar, cast
from weakref import WeakSet

from flask import (
    Flask,
    current_app,
    got_request_exception,
    has_app_context,
    request_finished,
)
from flask import request as flask_request

from . import config
from .access import Authorize, checked_gate
from .cards import Card
from .cli import monitor as commands
from .errors import ConfigError
from .identity import Identify, Person, person_of
from .models import Activity, User
from .privacy import MAX_NAME, clean
from .recorders import connect_logins
from .shapes import copied
from .sharing import store_for
from .state import ENTRY_KEY, EXTENSION, Hooks, Live, State
from .web import NAME, blueprint, rules
from .web.answers import with_own_headers
from .web.forgery import exempt
from .web.html import compiled

logger = logging.getLogger("flask_realtime_monitor")

BeforeRecord = Callable[[Activity], Activity | None]
EndSession = Callable[[dict[str, Any]], Any]
F = TypeVar("F", bound=Callable[..., Any])
Json = dict[str, Any]
_UNNAMED: Any = object()


class RealtimeMonitor:
    """Shows an app's admins, live, who is using the app and what they do.

    ``RealtimeMonitor(app)`` or ``init_app``; nobody may watch until a gate is set::

        monitor = RealtimeMonitor(app)

        @monitor.authorize
        def may_watch():
            return current_user.is_authenticated and current_user.is_admin

    Args:
        app: the Flask app, or None to call ``init_app`` later.
        authorize: who may watch; runs inside a request, only an exact True (or 1, "reveal",
            "act") says yes.
        identify: returns who makes the request: a User, an id, or None for nobody.
        before_record: may edit (``dataclasses.replace``) or drop (None) each activity.
        on_end_session: signs the person of a session out; set, an "act" viewer may end sessions.
        cards: cards of the app's own, as for ``add_card``.

    Raises:
        ConfigError: a hook or a setting is wrong; the text says what to write instead.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        authorize: Authorize | None = None,
        identify: Identify | None = None,
        before_record: BeforeRecord | None = None,
        on_end_session: EndSession | None = None,
        cards: Iterable[Card] = (),
    ) -> None:
        self._hooks = Hooks()
        # What a factory makes may go again: in an app's own tests it makes one after the other.
        self._apps: WeakSet[Flask] = WeakSet()
        self._given = app
        if authorize is not None:
            self.authorize(authorize)
        if identify is not None:
            self.identify(identify)
        if before_record is not None:
            self.before_record(before_record)
        if on_end_session is not None:
            self.on_end_session(on_end_session)
        for card in cards:
            self.add_card(card)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Connect the monitor to an app. It opens nothing: a server may still fork.

        Raises:
            ConfigError: the app has a monitor already or has served a request, or a setting is
                wrong.
        """
        if not isinstance(app, Flask):
            raise ConfigError(f"init_app takes the Flask app, not {type(app).__name__}")
        if EXTENSION in app.extensions:
            raise ConfigError(
                "this app has a monitor already; call init_app once, or write "
                "RealtimeMonitor() without the app and init_app(app) in the factory"
            )
        if app._got_first_request:
            raise ConfigError(
                "init_app came after the app's first request; call it where the app is made, "
                "beside the other extensions"
            )
        settings = config.load(app.config)
        store_for(settings, "", app.import_name)  # a missing client shows now, not at a request
        if settings.enabled:
            _check_prefix(app, settings.url_prefix)
        state = State(app, settings, self._hooks)
        if settings.enabled:
            app.register_blueprint(blueprint(settings.url_prefix))
            exempt(app, NAME)
            _connect(app, state)
            _add_commands(app)
        app.extensions[EXTENSION] = state
        self._apps.add(app)

    # -- hooks ---------------------------------------------------------------------------------

    def authorize(self, gate: F) -> F:
        """Set the gate; a decorator."""
        self._hooks.authorize = checked_gate(gate)
        return gate

    def identify(self, hook: F) -> F:
        """Set who makes a request; a decorator."""
        self._hooks.identify = _checked(hook, "identify", "a User, an id or None")
        return hook

    def before_record(self, hook: F) -> F:
        """Set what edits or drops an activity before it is kept; a decorator.

        The hook runs in the background, in order, without the request: it reads the activity only.
        It returns the activity, one edited by ``dataclasses.replace`` (all but ``kind``, ``at`` and
        ``duration_ms``), or None, which leaves it out. Where it raises, the activity is left out,
        too. Either way it counts as excluded, and a sign-out ends its session all the same.
        """
        self._hooks.before_record = _checked(hook, "before_record", "the Activity or None")
        return hook

    def on_end_session(self, hook: F) -> F:
        """Set what signs a person out, and let viewers with the role "act" end sessions.

        A decorator. The hook gets the session as ``get_session`` gives it, runs once, inside the
        viewer's request, and what it returns is not looked at. Where it raises, nothing has ended.
        """
        self._hooks.on_end_session = _checked(hook, "on_end_session", "looked at")
        return hook

    def exempt(self, view: F) -> F:
        """Leave a view out: its requests are only counted as excluded; a decorator.

        For a function or a class-based view, which is then left out with all that inherit from it.
        Who signs out in it is signed out all the same: the session ends.
        """
        if not callable(view):
            raise ConfigError("exempt is a decorator for a view function or a view class")
        if ismethod(view):  # it has no attributes of its own
            view = cast(F, update_wrapper(partial(view), view))
        view._realtime_monitor_exempt = True  # type: ignore[attr-defined]
        return view

    def add_card(self, card: Card) -> None:
        """Add a card of the app's own to the dashboard, of every app of this monitor.

        It stands above the workers and the health, in the order of adding; docs/cards.md tells how
        one is written.

        Raises:
            ConfigError: the card is wrong, or an app has served a request already.
        """
        if any(app._got_first_request for app in self._apps):
            raise ConfigError(
                "add_card came after the app's first request; call it where the monitor is made, "
                "or write RealtimeMonitor(cards=[...])"
            )
        self._hooks.cards.add(card, compiled)

    @property
    def enabled(self) -> bool:
        """Whether this process records; may be switched at any time."""
        return self._hooks.enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._hooks.enabled = bool(value)

    # -- recording by hand ---------------------------------------------------------------------

    def track(
        self, name: str = _UNNAMED, /, *, user: User | str | int | None = None, **data: Any
    ) -> None:
        """Record a custom activity of the current visitor, or of ``user``.

        Args:
            name: what happened, such as "report exported". Written as ``name=...`` it is this, too,
                unless another stands before it: then it is one of the data.
            user: whose activity it is; outside a request nobody is known otherwise.
            data: a few plain values; those with a secret's name are never kept.

        Raises:
            TypeError: there is no name.
        """
        if name is _UNNAMED:
            if "name" not in data:
                raise TypeError("track() takes the name of what happened; none was given")
            name = data.pop("name")
        state = self._state()
        if self._hooks.enabled and state.settings.enabled:
            state.guard.wrap(_track)(state, name, user, data)

    def annotate(self, text: str) -> None:
        """Give the current request a human title, such as "Order 123"."""
        state = self._state()
        if self._hooks.enabled and state.settings.enabled:
            state.guard.wrap(_annotate)(state, text)

    # -- reading; what is returned is the caller's, who may change it ----------------------------

    def get_stats(self) -> Json:
        """Return the numbers of the whole app."""
        return self._live().picture.stats()

    def get_active_users(self, limit: int = 100) -> list[Json]:
        """Return the signed-in users who are active, last seen first."""
        return [copied(one) for one in self._live().picture.active_users(max(0, limit))]

    def get_active_sessions(self, limit: int = 100) -> list[Json]:
        """Return the sessions that are active, last seen first."""
        return [copied(one) for one in self._live().picture.active_sessions(max(0, limit))]

    def get_activities(self, limit: int = 100) -> list[Json]:
        """Return the newest activities, newest first."""
        return [copied(one) for one in self._live().picture.activities(max(0, limit))["items"]]

    def get_session(self, session_id: str) -> Json | None:
        """Return one session with its newest activities, None when there is none."""
        found: Json | None = copied(self._live().picture.session(str(session_id)))
        return found

    def forget(self, user_id: str | int) -> None:
        """Erase a person, in all workers: sessions, activities, names.

        Raises:
            MonitorError: in a shell, cron job or the like: the workers could not be told.
            TypeError: it is None, and nobody is erased: not even who is called "None".
        """
        if user_id is None:
            raise TypeError("forget() takes the id of a user, not None")
        self._live().forget(user_id)

    # -- finding the app -----------------------------------------------------------------------

    def _live(self) -> Live:
        return self._state().live

    def _state(self) -> State:
        if has_app_context() and EXTENSION in current_app.extensions:
            state: State = current_app.extensions[EXTENSION]
            if state.app in self._apps:
                return state
        apps = list(self._apps)
        if len(apps) == 1:
            only: State = apps[0].extensions[EXTENSION]
            return only
        if not apps:
            raise RuntimeError("this monitor has no app yet; call init_app(app) first")
        raise RuntimeError(
            "this monitor has several apps and none of them is current; call it inside a request "
            "or with app.app_context()"
        )


def _connect(app: Flask, state: State) -> None:
    """Wrap the app and connect Flask's signals; every receiver asks for this process's parts."""
    app.wsgi_app = _wrapped(app.wsgi_app, state)  # type: ignore[method-assign]
    guard = state.guard
    current_request = flask_request._get_current_object  # type: ignore[attr-defined]

    def finished(_: Flask, response: Any, **__: Any) -> None:
        try:
            request = current_request()
            entry = request.environ.get(ENTRY_KEY)
            # Another app's, if it has called this one as a middleware of its own.
            if entry is not None and entry.recorder.app is app:
                entry.recorder.look(entry, request, response)
        except BaseException as error:  # the app must not see it
            guard.caught("look", error)

    def excepted(_: Flask, exception: BaseException, **__: Any) -> None:
        entry = state.live.requests.current()
        if entry is not None:
            entry.fail(exception)

    def signed_in(_: Flask, user: Any = None, **__: Any) -> None:
        state.live.logins.signed_in(user)

    def signed_out(_: Flask, user: Any = None, **__: Any) -> None:
        state.live.logins.signed_out(user)

    # Held by the app alone: a signal that holds a receiver holds the app behind it, for ever.
    wrap = guard.wrap
    state.receivers = [finished, wrap(excepted), wrap(signed_in), wrap(signed_out)]
    request_finished.connect(state.receivers[0], app)
    got_request_exception.connect(state.receivers[1], app)
    connect_logins(app, *state.receivers[2:])


def _add_commands(app: Flask) -> None:
    """Add ``flask monitor ...``, under another name where the app has one of its own."""
    name = commands.name if commands.name not in app.cli.commands else "realtime-monitor"
    app.cli.add_command(commands, name)


def _wrapped(inner: Callable[..., Iterable[bytes]], state: State) -> Callable[..., Iterable[bytes]]:
    """Return the app's WSGI callable, followed from its first moment to its last byte."""
    hooks, guard, lives = state.hooks, state.guard, state.lives

    def monitored(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not hooks.enabled:
            return inner(environ, with_own_headers(environ, start_response))
        try:
            live = lives.get(getpid()) or _first(state)
            requests = live.requests
            entry = requests.begin(environ, start_response)
        except BaseException as error:  # whatever fails here, the request goes on without us
            guard.caught("begin", error)
            return inner(environ, with_own_headers(environ, start_response))
        try:
            body = inner(environ, entry.start_response)
        except BaseException as error:
            guard.wrap(requests.crashed)(entry, error)
            raise
        try:
            return requests.answered(entry, body)
        except BaseException as error:  # a body of an unheard-of kind must still be sent
            requests.end(entry)
            guard.caught("answered", error)
            return body

    return monitored


def _first(state: State) -> Live:
    """Return the parts of this process at its first request, when all of the app's rules are there.

    What follows init_app cannot be refused any more.
    """
    live, prefix = state.live, state.settings.url_prefix
    found = rules.of_the_app(state.app, prefix, f"{NAME}.")
    if found:
        logger.warning(
            "the app has rules of its own under REALTIME_MONITOR_URL_PREFIX (%r): %s; where such a "
            "path is the monitor's too, only one of the two answers; set another prefix, such as "
            "'/realtime'",
            prefix,
            ", ".join(f"{rule.rule} ({rule.endpoint})" for rule in found),
        )
    return live


def _track(state: State, name: Any, user: Any, data: Json) -> None:
    person: Person | None = person_of(user)
    state.live.track(name, person, data)


def _annotate(state: State, text: Any) -> None:
    entry = state.live.requests.current()
    if entry is not None:
        entry.extras.title = None if text is None else clean(text, MAX_NAME)


def _checked(hook: Any, name: str, answer: str) -> Any:
    if not callable(hook):
        raise ConfigError(
            f"{name} must be a function, not {type(hook).__name__}; write @monitor.{name} above it"
        )
    if iscoroutinefunction(hook):
        raise ConfigError(
            f"{name} is an async def: what it returns is a coroutine, never {answer}; "
            f"write a plain def"
        )
    return hook


def _check_prefix(app: Flask, prefix: str) -> None:
    for rule in rules.of_the_app(app, prefix, f"{NAME}."):
        raise ConfigError(
            f"REALTIME_MONITOR_URL_PREFIX is {prefix!r}, but the app has a rule of its own "
            f"there ({rule.rule}); set another prefix, such as '/realtime'"
        )
