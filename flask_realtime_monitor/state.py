"""The box of parts of one app: what is set once, and the live parts of each process."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple
from weakref import ref

from flask import Flask, current_app

from . import endings, handover, health, signals, worker
from .access import REVEALING, Access, Authorize
from .broadcaster import Broadcaster
from .cards import CARDS, Deck
from .clock import Clock
from .config import Settings
from .guard import Guard
from .identity import Identify, Identity, Person
from .ingest import Ingest, Raw
from .models import Activity, User
from .picture import Picture
from .privacy import MAX_NAME, clean, kept_id
from .receivers import Receivers
from .recorders import LoginRecorder, RequestRecorder
from .records import ENDED, MAX_RARE
from .sessions import MAX_AGENTS
from .sharing import Sharing, store_for
from .stores import StoreError, numbered
from .surroundings import Surroundings
from .tokens import Tokens
from .tracker import MAX_PATHS, MAX_ROUTES, Tracker
from .traffic import MAX_ENDPOINTS
from .viewers import Viewer
from .visitors import Visitors

EXTENSION = "realtime_monitor"
ENTRY_KEY = "flask_realtime_monitor.entry"
_MOST_EXPIRED = 500
_BEAT_S = 0.1


class Hooks:
    """What the developer hangs in; one set for all apps of one RealtimeMonitor."""

    def __init__(self) -> None:
        self.authorize: Authorize | None = None
        self.identify: Identify | None = None
        self.before_record: Callable[[Activity], Activity | None] | None = None
        self.on_end_session: Callable[[dict[str, Any]], Any] | None = None
        self.enabled = True
        self.cards = Deck({card.stem for card in CARDS})


#: How many apps of a name are watched: in every worker they are made in the same order.
_named: Counter[str] = Counter()


class State:
    """One app's settings, hooks and gate, and the live parts of this process.

    Nothing is opened before first use in a process: a server may fork in between.
    """

    def __init__(self, app: Flask, settings: Settings, hooks: Hooks) -> None:
        self.app = app
        self.settings = settings
        self.hooks = hooks
        self.guard = Guard()
        self.access = Access(lambda: hooks.authorize, settings.metrics_token, settings.wall_token)
        self.identity = Identity(app, hooks, self.guard.failed)
        self.is_one_of_many = False
        _named[app.import_name] += settings.enabled
        #: Tells the app from others of its process: those of one factory have one import name.
        self.name = numbered(app.import_name, _named[app.import_name])
        self.lives: dict[int, Live] = {}
        #: What Flask's signals call.
        self.receivers: list[Callable[..., None]] = []

    @cached_property
    def logger(self) -> logging.Logger:
        """The child of the app's logger that tells who watches, and who ends a session.

        It is on at INFO, which the app's own is not, unless the app has set a level. Not made
        before it is used: by then the app has set its logging up.
        """
        found = self.app.logger.getChild(EXTENSION)
        if found.level == logging.NOTSET:
            found.setLevel(logging.INFO)
        return found

    @property
    def live(self) -> Live:
        """The parts of this process, made on first use."""
        pid = os.getpid()
        live = self.lives.get(pid)
        return live if live is not None else self._open(pid)

    def _open(self, pid: int) -> Live:
        made = Live(self)
        live = self.lives.setdefault(pid, made)
        if live is made:
            for other in [known for known in self.lives if known != pid]:
                del self.lives[other]  # a parent's: its locks may be held for ever
            live.start()
        return live


class Live:
    """The parts of one app in one process."""

    def __init__(self, state: State) -> None:
        settings, guard = state.settings, state.guard
        self.state = state
        self.settings = settings
        clock = self.clock = Clock()
        self.worker = worker.Worker(clock)
        store = store_for(settings, self.worker.id, state.name, state.app)
        self.tracker = Tracker(
            settings,
            clock,
            Visitors(
                lambda day: self.sharing.salt(day),  # noqa: PLW0108 (made below)
                settings.session_timeout,
                self._knows_visitor,
                lambda: self.sharing.store.secret(),  # noqa: PLW0108
                lambda: self.sharing.visitors(),  # noqa: PLW0108
            ),
        )
        self.ingest = Ingest(
            settings,
            self.tracker,
            guard,
            lambda: state.hooks.before_record,
            self._is_heard,
            self.worker.pulse,
        )
        self.requests = RequestRecorder(
            state.app,
            ENTRY_KEY,
            self.ingest,
            guard,
            state.identity,
            state.hooks,
            self.worker.record_us.add,
            self.worker.id,
        )
        self.logins = LoginRecorder(guard, self.requests.current, state.identity)
        self.sharing = Sharing(
            settings,
            store,
            self.tracker,
            self.worker,
            guard,
            self._worker_item,
            self.requests.in_flight,
            self.ingest.fold,
            self._hear,
            lambda: {**worker.serving(), "most_viewers": self.broadcaster.limit()},
        )
        self.picture = Picture(
            settings,
            self.tracker,
            self.worker.id,
            self.worker.host,
            Surroundings(
                in_flight=self.requests.in_flight,
                viewers=lambda: self.broadcaster.viewers,
                worker=self._worker_item,
                health=self._health,
                events_dropped=lambda: self.broadcaster.events_dropped,
                is_whole=self._is_whole,
                is_worker=lambda: self.sharing.is_worker,
                fold=self.ingest.fold,
                tell=self.sharing.tell,
                epoch=self.sharing.epoch,
                cursor=self.sharing.cursor,
                identified_by=state.identity.rule,
            ),
            lambda: self.sharing.peers,
        )
        self.broadcaster = Broadcaster(
            settings, self.picture, self.worker, guard, self._tell_viewer
        )
        self.ingest.left = self.broadcaster.sign_out
        self.receivers = Receivers(state.app, self.ingest.notices, self.picture, guard)
        self.tokens = Tokens(lambda: self.sharing.store.secret(), clock.now_at)  # noqa: PLW0108
        #: Sessions for whose end the app's hook runs now, each with who has begun it.
        self.being_ended: dict[str, object] = {}
        self._beating = threading.Lock()
        self._seen = 0, 0  # how much, as the loop looked last

    def start(self) -> None:
        """Begin the background loop."""
        self.worker.pulse.start_loop(self.beat, "realtime-monitor", _BEAT_S)
        # The broadcaster's own comes later, and so is called before it.
        atexit.register(_at_exit, ref(self), os.getpid())

    def beat(self) -> float:
        """Do what is done off the request path; return how soon (s) to do it again."""
        if not self._beating.acquire(blocking=False):
            return _BEAT_S
        try:
            with self.worker.own_work():
                self._beat()
        except Exception as error:  # the loop must go on
            self.state.guard.failed("beat", error)
        finally:
            self._beating.release()
        return _BEAT_S

    def _beat(self) -> None:
        self.broadcaster.look()
        self.ingest.fold()
        if self.tracker.feed_number or self.tracker.traffic.excluded:
            self.sharing.begin()
        self.clock.follow()
        busy = {one.visitor for one in self.requests.in_flight()}
        notices, is_more_due = self.tracker.expire(busy, _MOST_EXPIRED)
        self.ingest.notices.extend(notices)
        self.worker.turn()
        self.picture.rest()
        self.receivers.tell()
        self.worker.pulse.feel(lambda: is_more_due or self._is_busy())

    def _is_busy(self) -> bool:
        """Whether anything has happened since this was asked last, or goes on."""
        seen, self._seen = self._seen, (self.tracker.feed_number, self.tracker.traffic.excluded)
        return bool(
            self._seen != seen
            or self.ingest.queue
            or self.requests.in_flight()
            or self.broadcaster.viewers
            or not self.sharing.is_settled
        )

    def _tell_viewer(self, what: str, viewer: Viewer) -> None:
        if what == "connected":
            self.viewer_opened("stream", viewer.pass_.user, viewer.pass_.role)
        else:
            self.receivers.viewer_left(viewer.pass_.user, viewer.pass_.role)

    def viewer_opened(self, what: str, user: User | None, role: str) -> None:
        """Tell who has opened a page or a stream, and log whoever sees names there."""
        if role in REVEALING:
            name = "somebody unknown" if user is None else f"user {user.id!r}"
            self.state.logger.info("%s opened the %s (%s)", name, what, role)
        self.receivers.viewer_opened(user, role)

    # -- calls of the extension ----------------------------------------------------------------

    def track(self, name: Any, user: Person | None, data: dict[str, Any]) -> None:
        """Record a custom activity, of the request at hand where there is one."""
        # As text now: a list that changes, or a text that looks at the request, is another later.
        name, data = clean(name, MAX_NAME), self.ingest.plain(data)
        entry = self.requests.current()
        if entry is not None:
            self.requests.track(entry, name, user, data)
            return
        now_s = self.clock.monotonic()
        raw = Raw("custom", now_s, "", "", user, name=name, data=data, has_visitor=False)
        if self.sharing.store.is_guest and not self.state.app.testing:
            handover.give(self.sharing.store, raw)
            return
        self.ingest.put(raw)
        self.sharing.write_at_exit()

    def end_session(self, session: dict[str, Any], by: User | None) -> float:
        """End a listed session in every worker; return when, in seconds since the epoch.

        The feed gets a last line of the session, and the log one of who ended it.
        """
        whose = session["user"]
        self.state.logger.warning(
            "%s ended session %s of %s",
            "somebody unknown" if by is None else f"user {by.id!r}",
            session["id"],
            "a guest" if whose is None else f"user {whose['id']!r}",
        )
        ending = self.picture.ending(session["id"])
        if ending is None:  # it has timed out, or was erased, while the app's hook ran
            return self.picture.ended_at(session["id"]) or self.clock.now_at()
        data = {} if by is None else {"by": by.id, **({"name": by.name} if by.name else {})}
        now_s = self.clock.monotonic()
        raw = Raw("custom", now_s, "", "", ending.person, name=ENDED, data=data, has_visitor=False)
        note = endings.end(self.tracker, ending, self.ingest.record_of(raw))
        self.sharing.announce(note)
        ended_at: float = note["at_ms"] / 1000
        return ended_at

    def forget(self, user_id: str | int) -> int:
        """Erase a person; return how many sessions of this worker's went.

        Raises:
            StoreError: this process is no worker, and the store, by which it would tell those
                that are, cannot be used.
        """
        user_id = kept_id(user_id)
        self.ingest.fold()
        keys = self.picture.keys_of(user_id)  # a guest part may be another worker's
        if self.serves:
            self.sharing.begin()  # the others are to be told
        elif self.sharing.store.is_shared:
            self.sharing.tell_all({"kind": "forget", "user": user_id, "keys": [*keys]})
            return 0
        elif self.sharing.store.reason is not None:
            raise StoreError(f"no worker was told to forget: {self.sharing.store.reason}")
        gone = self.tracker.forget(user_id, keys)
        self.broadcaster.forget()
        self.sharing.tell()  # at once: a worker may be killed
        return gone

    @property
    def serves(self) -> bool:
        """Whether this process serves requests, or counts for another reason as a worker.

        A shell, a cron job and the command line do not: they only read, and tell.
        """
        tracker = self.tracker
        return bool(
            (self.sharing.is_worker and self.sharing.store.is_shared)
            or tracker.feed_number
            or tracker.traffic.excluded
            or self.requests.current()
        )

    def picture_for(self, role: str) -> Picture:
        """Return as much of the picture as a role is shown; one that is not known sees no names."""
        return self.picture if role in REVEALING else self.picture.masked

    def viewer(self) -> User | None:
        """Return who makes the request at hand, as a viewer."""
        person = self.state.identity()
        if person is None:
            return None
        return User(kept_id(person[0]), None if person[1] is None else clean(person[1]))

    # -- what the parts ask of each other ------------------------------------------------------

    def _knows_visitor(self, visitor: int) -> bool:
        return self.tracker.sessions.knows_visitor(visitor)

    def _is_heard(self) -> bool:
        """Whether anybody wants to know what happens."""
        return bool(
            self.broadcaster.viewers
            or signals.activity_recorded.receivers
            or signals.session_started.receivers
            or signals.session_ended.receivers
        )

    def _is_shared(self) -> bool:
        """Whether this picture is that of all workers."""
        return self.sharing.store.is_shared or not self.state.is_one_of_many

    def _is_whole(self) -> bool:
        """Whether all that this worker saw is in the picture, and the picture that of all."""
        return self._is_shared() and self.sharing.is_heard() and not self.ingest.waits

    def _hear(self, note: dict[str, Any]) -> None:
        """Do what another worker's note means for the streams."""
        if note["kind"] == handover.KIND:
            handover.take(note, self.worker.id, self.ingest.put)
        elif note["kind"] == "forget":
            self.broadcaster.forget()
        elif note.get("user") is not None:
            self.broadcaster.sign_out(str(note["user"]))

    def _worker_item(self) -> dict[str, Any]:
        p50, p99 = self.tracker.lock_wait_us.read(0.5, 0.99)
        return self.worker.item(
            sessions=len(self.tracker.sessions),
            viewers=self.broadcaster.viewers,
            lock_wait_us={"p50": p50, "p99": p99},
            dropped=self._dropped(),
            errors=self.state.guard.failures.total(),
        )

    def _dropped(self) -> dict[str, int]:
        tracker = self.tracker
        return {
            "sessions": tracker.sessions.dropped,
            "activities": tracker.dropped_activities + self.ingest.dropped,
            "events": self.broadcaster.events_dropped,
            "paths": tracker.paths.replaced,
            "routes": tracker.routes.dropped,
            "endpoints": tracker.traffic.names.dropped,
            "agents": tracker.sessions.agents.dropped,
        }

    def _health(self) -> dict[str, Any]:
        tracker = self.tracker
        uses = (
            ("sessions", len(tracker.sessions), self.settings.max_sessions),
            ("viewers", self.broadcaster.viewers, self.broadcaster.limit()),
            ("activities", len(tracker.feed), self.settings.history_size),
            ("paths", len(tracker.paths), MAX_PATHS),
            ("routes", len(tracker.routes), MAX_ROUTES),
            ("endpoints", len(tracker.traffic.names), MAX_ENDPOINTS),
            ("agents", len(tracker.sessions.agents), MAX_AGENTS),
            ("details", tracker.rare_count, MAX_RARE),
        )
        return health.report(
            health.Vitals(
                memory_bytes=health.size_bytes(tracker),
                sessions=len(tracker.sessions),
                lock_wait_p99_us=tracker.lock_wait_us.read(0.99)[0],
                cpu_share=self.worker.cpu_share(),
                is_one_of_many=not self._is_shared(),
                errors=self.state.guard.failures.total(),
                limits=[{"name": n, "used": used, "limit": limit} for n, used, limit in uses],
                store_url=self.sharing.store.shown_url,
                store_lag_s=self.sharing.lag_s(),
                sharing=self.sharing.problems(),
                waiting=len(self.ingest.queue) if self.ingest.waits else 0,
            )
        )


def _at_exit(find: ref[Live], pid: int) -> None:
    live = find()
    if live is not None and os.getpid() == pid:
        live.receivers.tell_last()


class _Current(NamedTuple):
    state: State
    live: Live


def current_state() -> _Current:
    """Return the state of the app at hand and its live parts; for views."""
    state: State = current_app.extensions[EXTENSION]
    return _Current(state, state.live)
