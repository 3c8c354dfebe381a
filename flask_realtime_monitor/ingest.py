"""The queue between the app and the tracker, and what becomes of an activity on its way.

Recorders hand in raw activities; what is in the queue is scrubbed, shown to ``before_record`` and
folded into the tracker by whoever comes first: the worker's loop, a reader, or the request that
finds the queue full. That request never waits for a store: without the day's salt, which the others
fetch, what is in the queue stays there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from .clock import Clock
from .config import Settings
from .edits import Edits, Hook, status_code
from .errors import MonitorError
from .guard import Guard
from .privacy import (
    MAX_NAME,
    MAX_TEXT,
    Exclusion,
    Redactor,
    clean,
    from_wire,
    kept_id,
    masked,
    pack_ip,
)
from .pulse import Pulse
from .records import UNRECORDED_LOGOUT, Notice, Record
from .tracker import Tracker
from .traffic import UNMATCHED
from .visitors import NotReadyError

K = TypeVar("K")
V = TypeVar("V")

QUEUE_SIZE = 256
_LONGEST_QUEUE = 20_000
_CACHED = 8_192
_NOTICES = 10_000


class Raw(NamedTuple):
    """What a recorder saw, as it saw it; nothing of it is kept before it is scrubbed."""

    kind: str
    at_s: float  # monotonic
    address: str | None
    agent: str
    user: Any  # (id, name) as the app gave them, or None
    method: str | None = None
    path_info: str | None = None
    query_string: str = ""
    endpoint: str | None = None
    rule: str | None = None
    arguments: dict[str, Any] | None = None
    title: Any = None
    status: str | None = None  # the line as it was sent
    duration_s: float | None = None
    error: str | None = None
    name: Any = None
    data: dict[str, Any] | None = None
    has_visitor: bool = True


class _Who(NamedTuple):
    """What an address and an agent come to."""

    visitor: int
    ip: bytes
    agent: str
    is_hidden: bool


class _Route(NamedTuple):
    """What an endpoint and its rule come to."""

    is_hidden: bool
    hides_secrets: bool


class _Scrubbed(NamedTuple):
    """What may be kept of some activities, and how many are excluded."""

    records: list[Record]
    excluded: int
    interruption: BaseException | None = None  # a time-out of the app's, say, in a hook


class Ingest:
    """Takes raw activities in and folds them, in order, into the tracker.

    Args:
        before_record: returns the hook to show each activity to, or None.
        wants_notices: tells whether anybody listens to our signals.
        pulse: that of the loop which folds.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: Tracker,
        guard: Guard,
        before_record: Callable[[], Hook | None],
        wants_notices: Callable[[], bool],
        pulse: Pulse,
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._clock: Clock = tracker.clock
        self._guard = guard
        self._before_record = before_record
        self._wants_notices = wants_notices
        self.pulse = pulse
        self._redactor = Redactor(settings.redact, settings.query_string)
        self._exclusion = Exclusion(settings.exclude, settings.url_prefix)
        self._edits = Edits(self._clock, self._redactor, guard)
        #: Tells whether the view of an endpoint is never recorded.
        self.is_exempt: Callable[[str], bool] = lambda _: False
        #: Returns the app's rules; a path that fits none may be near one with a secret.
        self.rules: Callable[[], list[str]] = list
        # Keyed by Python's own hash of address and agent, so that no full address is kept.
        self._who: dict[int, _Who] = {}
        self._routes: dict[tuple[str | None, str | None], _Route] = {}
        self._paths: dict[str, str | None] = {}  # as it came: as it is kept
        self._statuses: dict[str | None, int | None] = {None: None}
        self.queue: deque[Raw | None] = deque()
        #: Whether what is in the queue waits for a salt that cannot be had.
        self.waits = False
        self._folding = threading.RLock()  # it knows who holds it
        self._folder: int | None = None
        self.notices: deque[Notice] = deque(maxlen=_NOTICES)
        #: Called with the id of a user who has signed out.
        self.left: Callable[[str], None] = lambda _: None
        self.dropped = 0

    def put(self, raw: Raw) -> None:
        """Take in one activity; costs an append, and a fold where the queue is full."""
        self.queue.append(raw)
        if len(self.queue) >= QUEUE_SIZE:
            self.full()
        if self.pulse.is_quiet:
            self.pulse.quicken()

    def put_excluded(self) -> None:
        """Count one request that is not recorded."""
        self.queue.append(None)

    def record_of(self, raw: Raw) -> Record | None:
        """Return what may be kept of one activity that is not put in the queue.

        None where nothing may, and while no visitor can be told apart.
        """
        if not self._tracker.visitors.is_ready:
            return None
        found = self._scrubbed(deque([raw]), 1, self._before_record())
        if found.interruption is not None:
            raise found.interruption
        return found.records[0] if found.records else None

    def leaves_out(
        self, environ: Mapping[str, Any], endpoint: str | None, rule: str | None
    ) -> bool:
        """Tell whether a request is not recorded; what a fold has worked out is looked up."""
        agent, path = environ.get("HTTP_USER_AGENT", ""), environ.get("PATH_INFO", "")
        name = agent[:MAX_TEXT]
        found: _Route | _Who | None = self._routes.get((endpoint, rule))
        if (found or self._learn(endpoint, rule)).is_hidden:
            return True
        found = self._who.get(hash((environ.get("REMOTE_ADDR"), agent)))
        if found.is_hidden if found else name and self._exclusion.hides_name(from_wire(name)):
            return True
        return path not in self._paths and self._exclusion.hides_path(from_wire(path), rule)

    def plain(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return custom data as it may be kept."""
        return self._redactor.data(data)

    def visitor(self, address: str, agent: str) -> int:
        """Return the id of the visitor behind an address and an agent; 0 while none can be made.

        It may wait for a store: for readers and the worker's loops, never for a request on its way.
        """
        visitors, now_at = self._tracker.visitors, self._clock.now_at()
        try:
            if not visitors.is_ready:  # no request has ended yet
                visitors.fetch(now_at)
                visitors.turn(now_at)
            return visitors.visitor(address, agent)
        except MonitorError:
            return 0

    def path_of(self, path: str, rule: str | None, arguments: Mapping[str, Any] | None) -> str:
        """Return a path as it may be shown."""
        if rule is None:
            self._redactor.learn(self.rules)
        return self._redactor.path(from_wire(path), rule, arguments)

    def fold(self, wait_s: float = 2.0, *, may_ask: bool = True) -> None:
        """Fold all that is in the queue; afterwards every earlier ``put`` is in the tracker.

        A hook of the app's that hangs holds the fold up, but a reader for at most ``wait_s``.

        Args:
            may_ask: whether a salt that is missing may be asked of the store, which may hang.
        """
        if not self.queue and self._folder is None:
            return  # by far the most who read come just after the loop
        me = threading.get_ident()
        if self._folder == me:
            return  # called from within before_record
        if may_ask and self.queue:
            # Before the lock is taken: who only makes room shall not wait for a store.
            with suppress(MonitorError):
                self._tracker.visitors.fetch(self._clock.now_at())
        try:
            if self._folding.acquire(timeout=wait_s):
                self._folder = me
                while self.queue:
                    self._fold_batch()
                self.waits = False
        except NotReadyError:
            self.waits = True
        finally:
            # A time-out by a signal may have come before it was known that the lock was had.
            if self._folder == me:
                self._folder = None
            try:  # noqa: SIM105 (suppress is a call, after which a signal may come first)
                self._folding.release()
            except RuntimeError:  # it was not had
                pass

    def full(self) -> None:
        """Make room in the queue."""
        if self._before_record() is None:
            self.fold(wait_s=0.05, may_ask=False)
        if len(self.queue) > _LONGEST_QUEUE:
            # A hook that hangs must not cost memory without bound.
            self.queue.popleft()
            self.dropped += 1

    def _fold_batch(self) -> None:
        hook = self._before_record()
        queue = self.queue
        count = min(len(queue), QUEUE_SIZE)
        # The salt is looked at once a batch: what ended just before midnight may get today's.
        if self._tracker.visitors.turn(self._clock.now_at()):
            self._who.clear()
        found = self._scrubbed(queue, count, hook)
        try:
            if found.records:
                notices = self._tracker.fold(found.records, notice=self._wants_notices())
                self.notices.extend(notices)
        finally:  # one that fails is told of when the others are in
            if found.excluded:
                self._tracker.exclude(found.excluded)
            while self._tracker.left:
                self.left(self._tracker.left.popleft())
        if found.interruption is not None:
            raise found.interruption

    def _scrubbed(  # noqa: PLR0912
        self,
        queue: deque[Raw | None],
        count: int,
        hook: Hook | None,
    ) -> _Scrubbed:
        """Take some activities out of a queue; return what may be kept of them.

        Every request comes through this loop; what repeats is looked up instead of worked out.
        """
        records: list[Record] = []
        excluded = 0
        known, routes, paths, statuses = self._who, self._routes, self._paths, self._statuses
        take = queue.popleft
        for _ in range(count):
            raw = take()
            if raw is None:
                excluded += 1
                continue
            (kind, at_s, address, agent, user, method, path, query, endpoint, rule, arguments,
             title, status, duration_s, error, name, data, has_visitor) = raw  # fmt: skip
            try:
                key = hash((address, agent))
                who = known.get(key) or self._meet(key, address or "", agent)
                route = routes.get((endpoint, rule)) or self._learn(endpoint, rule)
                kept = None
                if path is not None:
                    kept = "" if route.hides_secrets else paths.get(path, "")
                    if kept == "":
                        kept = self._read(path, rule, arguments)
                if kind == "request" and (kept is None or who.is_hidden or route.is_hidden):
                    excluded += 1
                    continue
                if path is not None:
                    if kept is None:
                        kept = self.path_of(path, rule, arguments)
                    if query:
                        kept += self._redactor.query(query)
                user_id = user_name = None
                if user is not None:
                    user_id, user_name = user
                    if type(user_id) is not str or len(user_id) > MAX_NAME or not user_id.isascii():
                        user_id = kept_id(user_id)
                    if user_name is not None:
                        user_name = clean(user_name, MAX_NAME)
                if status not in statuses:
                    _keep(statuses, status, status_code(status))
                # The class called with its fields would cost twice as much.
                record = _new_record(
                    Record,
                    (
                        kind,
                        int(at_s * 1000),
                        who.visitor if has_visitor else 0,
                        user_id,
                        user_name,
                        who.ip,
                        who.agent,
                        method,
                        endpoint,
                        rule,
                        kept,
                        title if title is None else clean(title, MAX_NAME),
                        statuses[status],
                        duration_s if duration_s is None else duration_s * 1000,
                        error,
                        name if name is None else clean(name, MAX_NAME),
                        self._redactor.data(data) if data else None,
                    ),
                )
                if hook is None or kind == UNRECORDED_LOGOUT:
                    records.append(record)
                elif not self._put_edited(record, hook, records):
                    excluded += 1
            except Exception as error_of_ours:  # one bad activity must not lose the rest
                self._guard.failed("scrub", error_of_ours)
                self.dropped += 1
            except BaseException as interruption:  # the rest stays where it is, for the next
                return _Scrubbed(records, excluded + 1, interruption)
        return _Scrubbed(records, excluded)

    def _put_edited(self, record: Record, hook: Hook, records: list[Record]) -> bool:
        """Add what the hook leaves of an activity; tell whether that is anything to be seen."""
        edited = None
        try:
            edited = self._edits.of(record, hook)
        finally:  # an exit in the hook is no reason to miss a sign-out either
            if edited is not None:
                records.append(edited)
            elif record.kind == "logout":
                records.append(record._replace(kind=UNRECORDED_LOGOUT))
        return edited is not None

    def _meet(self, key: int, address: str, agent: str) -> _Who:
        """Work out, and keep for a while, who is behind an address and an agent."""
        ip = masked(pack_ip(address), self._settings.ip)
        visitor = self._tracker.visitors.visitor(address, agent)
        text = agent
        if not agent.isascii() or len(agent) > MAX_TEXT:
            text = clean(from_wire(agent))
        who = _Who(visitor, ip, text, bool(text) and self._exclusion.hides_name(text))
        _keep(self._who, key, who)
        return who

    def _learn(self, endpoint: str | None, rule: str | None) -> _Route:
        is_hidden = self._exclusion.hides_name(endpoint or UNMATCHED) or (
            endpoint is not None and self.is_exempt(endpoint)
        )
        route = _Route(is_hidden, rule is not None and self._redactor.hides_in(rule))
        _keep(self._routes, (endpoint, rule), route)
        return route

    def _read(self, path: str, rule: str | None, arguments: Mapping[str, Any] | None) -> str | None:
        """Return a path as it is kept, None for one that is excluded.

        One that hides nothing is remembered for the next time.
        """
        text = from_wire(path)
        if self._exclusion.hides_path(text, rule):
            return None
        if rule is None:
            self._redactor.learn(self.rules)
        kept = self._redactor.path(text, rule, arguments)
        if kept == text:
            _keep(self._paths, path, kept)
        return kept


_new_record = tuple.__new__


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    """Put a value into a cache that is begun anew when it is full."""
    if len(cache) >= _CACHED:
        cache.clear()
    cache[key] = value
