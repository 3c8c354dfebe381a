"""What this process shares with the other workers of its picture: the store, and who uses it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from math import ceil
from typing import Any
from weakref import WeakValueDictionary, ref

from . import beats, endings, legacy, signouts
from .clock import Clock
from .config import Settings
from .flusher import GRACE_S, Flusher
from .guard import Guard, logger
from .living import visitors_in
from .peers import Peers
from .processes import born_at
from .records import InFlight
from .replicas import Replicas
from .stores import MemoryStore, Store, StoreError, open_store
from .tracker import Tracker
from .worker import Worker, is_told_to_stop

Json = dict[str, Any]

_MOST_IN_FLIGHT = 200
_HURRY_S = 0.05  # between two writes once the worker is told to stop
_TOO_EARLY_S = 0.01
_SERVES_S = 5.0
_LEARN_S = 5.0
_LISTEN_S = 1.0


#: The files of "auto" that are used, by pid and URL, and the apps they are of.
_used: WeakValueDictionary[tuple[int, str], Any] = WeakValueDictionary()


def store_for(settings: Settings, worker_id: str, app_name: str, app: Any = None) -> Store:
    """Return the store of an app, for this process; it opens nothing yet.

    Args:
        app: of those of one name or prefix in one process only the first gets what their workers
            share: each has people who may watch it alone.
    """
    store = open_store(
        settings.store,
        worker=worker_id,
        app_name=app_name,
        prefix=settings.store_prefix or "",
        keep_s=settings.session_timeout + GRACE_S + legacy.KEEP_S,
    )
    if app is None or settings.store != "auto" or not store.is_shared or store.is_guest:
        return store
    if _used.setdefault((os.getpid(), store.shown_url), app) is app:
        return store
    alone = open_store("memory:", worker=worker_id)
    alone.reason = (
        f"another app named {settings.store_prefix or app_name!r} serves in this process, and the "
        "workers' file is its; set a REALTIME_MONITOR_STORE_PREFIX of its own for each"
    )
    logger.warning("%s", alone.reason)
    return alone


class Sharing:
    """Keeps the store up to date once this process serves requests, and reads it for the picture.

    Args:
        item: returns this worker as the API shows it.
        in_flight: returns its requests in flight.
        fold: brings the tracker up to date.
        told: called with what another worker tells all: a sign-out, an erasure.
        serving: returns how this process serves, for who examines the deployment.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        tracker: Tracker,
        worker: Worker,
        guard: Guard,
        item: Callable[[], Json],
        in_flight: Callable[[], list[InFlight]],
        fold: Callable[[], None],
        told: Callable[[Json], None],
        serving: Callable[[], Json],
    ) -> None:
        self._settings = settings
        self.store = store
        self._tracker = tracker
        self._clock: Clock = tracker.clock
        self._worker = worker
        self._guard = guard
        self._item = item
        self._in_flight = in_flight
        self._fold = fold
        self._told = told
        self._serving = serving
        self._serves: Json = {}
        self._serves_until_s = 0.0
        self._flusher: Flusher | None = None
        self._is_more = False  # to write at once
        self._learned_s: float | None = None  # when it last learned of sign-outs
        self._listens_s = 0.0  # when it next does, where it only reads
        self._heard: set[bytes] = set()
        self._born = born_at(worker.pid)
        self._began = threading.Lock()
        self._ends_at_exit = False
        self._epoch = worker.id
        self._replicas: Replicas | None = None
        if store.is_shared:
            self._replicas = Replicas(settings, self._clock, store, worker.id)
            if not store.is_guest:
                tracker.notes = []
        self.peers: Peers = self._replicas or Peers()

    @property
    def is_worker(self) -> bool:
        """Whether this process is one of the workers: one that only reads is none."""
        return not self.store.is_shared or self._flusher is not None

    def epoch(self) -> str:
        """Return the id of the picture; the last one known while the store cannot tell."""
        read = None if self._replicas is None else self._replicas.epoch
        if read is not None:
            self._epoch = read
        elif self._replicas is None:
            self._epoch = self.store.epoch()
        return self._epoch

    def cursor(self) -> int:
        """Return how far the picture has been read."""
        return self._tracker.feed_number if self._replicas is None else self._replicas.cursor

    def lag_s(self) -> float | None:
        """Return how old what the others know of this worker is; None where nothing is shared."""
        return None if self._flusher is None else round(self._flusher.lag_s, 3)

    def is_heard(self) -> bool:
        """Tell whether the others know what this worker saw, but for the newest."""
        return self._flusher is None or self._flusher.lag_s <= beats.SILENT_S

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be written."""
        return self._flusher is None or self._flusher.is_settled

    def problems(self) -> list[str]:
        """Return what is wrong with the sharing, in plain words."""
        found = []
        if self.store.reason is not None:
            found.append(self.store.reason)
        trouble = self._flusher.trouble if self._flusher is not None else None
        if trouble is None and self._replicas is not None:
            trouble = self._replicas.trouble
        if trouble is not None:
            found.append(f"the store cannot be used: {trouble}; other workers' part may be missing")
        coverage = self.peers.coverage()
        silent = coverage.silent
        if not coverage.is_whole:
            found.append("the store has lost what it had; the workers write it anew")
        if coverage.lacks_until_at:
            minutes = ceil((coverage.lacks_until_at - self._clock.now_at()) / 60)
            found.append(
                "the store was lost, and with it the sessions of workers that are gone; the totals "
                f"are kept, and the last of these sessions would have ended in {minutes} min"
            )
        if silent:
            workers = "1 worker does" if len(silent) == 1 else f"{len(silent)} workers do"
            found.append(f"{workers} not report: {', '.join(silent[:5])}")
        if self._replicas is not None and self._replicas.refused:
            found.append(f"{self._replicas.refused} frames of other workers made no sense")
        if self.store.dropped:
            found.append(f"{self.store.dropped} rows of the store made no sense")
        return found

    def salt(self, day: int) -> bytes:
        """Return the salt of a day; before the first session has a key, learn who signed out.

        Raises:
            StoreError: the store cannot be used.
        """
        if self._learned_s is None:
            self._learn()
        return self.store.salt(day)

    def visitors(self) -> Collection[int]:
        """Return the visitors who have a session at any worker.

        Raises:
            StoreError: the store cannot be used.
        """
        is_one_of_them = self.store.is_shared and not self.store.is_guest
        return visitors_in(self.store.load()) if is_one_of_them else ()

    def _learn(self) -> None:
        signouts.learn(self.store, self._tracker)
        self._learned_s = time.monotonic()

    def begin(self) -> None:
        """This process serves requests: tell the others what it sees, from now on."""
        if not self.is_worker:
            with self._began:
                self._begin()

    def _begin(self) -> None:
        if self.is_worker:
            return  # another thread was first
        if self.store.is_guest:
            self._stay_alone()
            return
        self._flusher = Flusher(
            self._settings,
            self._tracker,
            self.store,
            self._guard,
            self._beat,
            self._take_note,
            self._hear,
            self._fold,
        )
        self._worker.pulse.start_loop(
            self._flush, "realtime-monitor-flush", self._settings.flush_interval
        )
        self.write_at_exit()

    def _stay_alone(self) -> None:
        """Part from the servers that this process could only read: it serves requests itself.

        ``flask run`` or an app's tests beside a living gunicorn count their own, and only theirs.
        """
        self.store.leave()
        self.store = MemoryStore(worker=self._worker.id)
        self._replicas = None
        self.peers = Peers()

    def _flush(self) -> float:
        """Write, unless a reading call has just written; return how long (s) to wait then."""
        interval_s = self._settings.flush_interval
        if self._flusher is None:
            return interval_s
        early_s = interval_s - self._flusher.idle_s
        if early_s > _TOO_EARLY_S and not (self._is_more or is_told_to_stop()):
            return early_s
        with self._worker.own_work():
            self._is_more = self._flusher.flush()
        if not (self._is_more or is_told_to_stop()):
            return interval_s
        self._worker.pulse.quicken()
        return _HURRY_S

    def tell(self) -> None:
        """Write what has changed, before it is shown here.

        Else a total would fall for who asks this worker and then another.
        """
        if self._tracker.feed_number or self._tracker.traffic.excluded:
            self.begin()
        if self._flusher is None:
            # Nobody tells a process that only reads.
            if self._learned_s is None or time.monotonic() - self._learned_s > _LEARN_S:
                with suppress(StoreError):  # who reads finds out as well
                    self._learn()
            self._listen()
        elif self._flusher.trouble is None:
            with self._worker.own_work():
                self._flusher.flush(is_beat=False)

    def _listen(self) -> None:
        """Hear, once a second, what the workers tell each other; they do so as they write."""
        now_s = time.monotonic()
        if self._replicas is None or now_s < self._listens_s:
            return
        self._listens_s = now_s + _LISTEN_S
        with suppress(StoreError):
            notes = [note for _, note in self.store.notes()]
            for note in notes:
                if note not in self._heard:
                    self._hear(beats.decode(note))
            self._heard = set(notes)

    def tell_all(self, note: Json) -> None:
        """Hand a note to all workers, from a process that is none and does not become one.

        Raises:
            StoreError: the store cannot be used; nobody was told.
        """
        now_ms = round(self.store.roster().now * 1000)  # this host's clock may be off
        told = {**note, "at_ms": now_ms}
        self.store.tell(beats.encode(told))
        self._hear(told)

    def write_at_exit(self) -> None:
        """Write what a process has recorded that may be over before its loop turns."""
        if self.store.is_shared and not self._ends_at_exit:
            self._ends_at_exit = True
            atexit.register(_at_exit, ref(self), os.getpid())

    def announce(self, note: Json) -> None:
        """Tell all workers at once what this one has done already."""
        with self._tracker.lock:
            if self._tracker.notes is not None:
                self._tracker.notes.append(note)
        self._hear(note)
        self.tell()

    def last(self) -> None:
        """Write all there is: the process ends."""
        if self._flusher is None:  # it is over before anybody could look whether it serves
            self._fold()
            if self._tracker.feed_number:
                self.begin()
        if self._flusher is not None:
            self._flusher.last()

    def _beat(self) -> Json:
        flying = self._in_flight()
        return {
            "host": self._worker.host,
            "boot": beats.machine(),
            "pid": self._worker.pid,
            "born": self._born,
            "at": self._clock.now_ms(),
            "o": self._clock.offset_ms,
            "item": self._item(),
            "serving": self._served(),
            "in_flight_count": len(flying),
            "in_flight": [one[:6] for one in flying[:_MOST_IN_FLIGHT]],
            "in_flight_rules": [one.rule for one in flying[:_MOST_IN_FLIGHT]],
        }

    def _served(self) -> Json:
        """Return how this process serves; it hardly changes, so it is asked for now and then."""
        now_s = time.monotonic()
        if now_s >= self._serves_until_s:
            self._serves, self._serves_until_s = self._serving(), now_s + _SERVES_S
        return self._serves

    def _hear(self, note: Json) -> None:
        """What this worker tells all is also true of what it knows of the others."""
        if self._replicas is not None:
            self._replicas.take_note(note)

    def _take_note(self, note: Json) -> None:
        self._worker.pulse.quicken()  # what comes of it is to be told as well
        try:
            if note.get("kind") == endings.KIND:
                endings.take(self._tracker, note)
            elif note.get("kind") == signouts.KIND:
                signouts.take(self._tracker, note)
            else:
                self._tracker.take_note(note)
            self._hear(note)
            self._told(note)
        except (KeyError, TypeError, ValueError) as error:
            self._guard.failed("note", error)


def _at_exit(find: ref[Sharing], pid: int) -> None:
    sharing = find()
    if sharing is not None and os.getpid() == pid:
        sharing.last()
