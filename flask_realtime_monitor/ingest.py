"""The one guard between the app and us, and the queue behind it.

Recorders hand in raw activities; what is in the queue is scrubbed, shown to ``before_record`` and
folded into the tracker by whoever comes first: the worker's loop, a reader, or the request that
finds the queue full.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from .clock import Clock
from .config import Settings
from .models import Activity, User
from .privacy import MAX_NAME, Exclusion, Redactor, clean, from_wire, mask_ip
from .records import Notice, Record
from .tracker import Tracker

logger = logging.getLogger("flask_realtime_monitor")

F = TypeVar("F", bound=Callable[..., Any])

QUEUE_SIZE = 256
_LONGEST_QUEUE = 20_000
_MASK_CACHE = 50_000
_NOTICES = 10_000


class Raw(NamedTuple):
    """What a recorder saw, as it saw it; nothing of it is kept before it is scrubbed."""

    kind: str
    at_s: float  # monotonic
    address: str
    agent: str
    user: Any  # (id, name) as the app gave them, or None
    method: str | None = None
    path_info: str | None = None
    query_string: str = ""
    endpoint: str | None = None
    rule: str | None = None
    arguments: dict[str, Any] | None = None
    title: Any = None
    status: int | None = None
    duration_s: float | None = None
    error: str | None = None
    name: Any = None
    data: dict[str, Any] | None = None
    has_visitor: bool = True


class Guard:
    """Lets nothing of ours reach the app: counts, logs the first of a kind, goes on.

    With ``is_strict`` (our own tests) it raises instead.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.is_strict = False

    def wrap(self, function: F) -> F:
        """Return the function with every exception of ours kept inside; it then returns None."""
        where = getattr(function, "__name__", "call")

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except BaseException as error:  # whatever it is, the app must not see it
                if is_for_the_app(error):
                    raise
                self.failed(where, error)
                return None

        return guarded  # type: ignore[return-value]  # same parameters, None on failure

    def failed(self, where: str, error: BaseException) -> None:
        """Note a failure; raise it in strict mode."""
        if self.is_strict:
            raise error
        kind = f"{where}: {type(error).__name__}"
        self.failures[kind] += 1
        is_first = self.failures[kind] == 1
        try:
            logger.log(
                logging.WARNING if is_first else logging.DEBUG,
                "%s failed; the request is not affected (further ones of this kind at debug level)",
                kind,
                exc_info=error if is_first else None,
            )
        except Exception:  # a broken log handler is no reason to break a request
            return


def is_for_the_app(error: BaseException) -> bool:
    """Time-outs, kills and exits that arrive while our code runs belong to the app."""
    if isinstance(error, Exception):
        return False
    module = type(error).__module__
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit) or module.startswith(
        ("gevent", "greenlet")
    )


class Ingest:
    """Takes raw activities in and folds them, in order, into the tracker.

    Args:
        before_record: returns the hook to show each activity to, or None.
        wants_notices: tells whether anybody listens to our signals.
    """

    def __init__(
        self,
        settings: Settings,
        tracker: Tracker,
        guard: Guard,
        before_record: Callable[[], Callable[[Activity], Activity | None] | None],
        wants_notices: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._tracker = tracker
        self._clock: Clock = tracker.clock
        self._guard = guard
        self._before_record = before_record
        self._wants_notices = wants_notices
        self._redactor = Redactor(settings.redact, settings.query_string)
        self._exclusion = Exclusion(settings.exclude)
        self._masked: dict[int, str | None] = {}
        self._queue: deque[Raw | None] = deque()
        self._folding = threading.Lock()
        self._folder: int | None = None
        self.notices: deque[Notice] = deque(maxlen=_NOTICES)
        self.dropped = 0

    def put(self, raw: Raw) -> None:
        """Take in one activity; costs an append, and a fold where the queue is full."""
        queue = self._queue
        queue.append(raw)
        if len(queue) >= QUEUE_SIZE:
            self._full()

    def put_excluded(self) -> None:
        """Count one request that is not recorded."""
        self._queue.append(None)

    def hides(self, endpoint: str | None, path: str, agent: str) -> bool:
        """Tell whether a request is excluded by pattern."""
        return self._exclusion.hides(endpoint, path, agent)

    def visitor(self, address: str, agent: str) -> int:
        """Return the id of the visitor behind an address and an agent."""
        return self._tracker.visitors.visitor(address, agent, self._clock.now_at())

    def path_of(self, path: str, rule: str | None, arguments: Mapping[str, Any] | None) -> str:
        """Return a path as it may be shown."""
        return self._redactor.path(from_wire(path), rule, arguments)

    def fold(self, wait_s: float = 2.0) -> None:
        """Fold all that is in the queue; afterwards every earlier ``put`` is in the tracker.

        A hook of the app's that hangs holds the fold up, but a reader for at most ``wait_s``.
        """
        me = threading.get_ident()
        if self._folder == me:
            return  # called from within before_record
        if not self._folding.acquire(timeout=wait_s):
            return
        self._folder = me
        try:
            while self._queue:
                self._fold_batch()
        finally:
            self._folder = None
            self._folding.release()

    def _full(self) -> None:
        if self._before_record() is None:
            self.fold(wait_s=0.05)
        if len(self._queue) > _LONGEST_QUEUE:
            # A hook that hangs must not cost memory without bound.
            self._queue.popleft()
            self.dropped += 1

    def _fold_batch(self) -> None:
        hook = self._before_record()
        records: list[Record] = []
        excluded = 0
        queue = self._queue
        for _ in range(min(len(queue), QUEUE_SIZE)):
            raw = queue.popleft()
            record = None
            if raw is not None:
                try:
                    record = self._scrub(raw, hook)
                except Exception as error:  # one bad activity must not lose the rest
                    self._guard.failed("scrub", error)
                    self.dropped += 1
                    continue
            if record is None:
                excluded += 1
            else:
                records.append(record)
        if records:
            notices = self._tracker.fold(records, notice=self._wants_notices())
            self.notices.extend(notices)
        if excluded:
            self._tracker.exclude(excluded)

    def _scrub(self, raw: Raw, hook: Callable[[Activity], Activity | None] | None) -> Record | None:
        """Return what may be kept of an activity, None when it is excluded."""
        agent = raw.agent
        if not agent.isascii() or len(agent) > 256:
            agent = clean(from_wire(agent))
        path = raw.path_info
        if path is not None:
            path = from_wire(path)
            if raw.kind == "request" and self._exclusion.hides(raw.endpoint, path, agent):
                return None
            path = self._redactor.path(path, raw.rule, raw.arguments)
            if raw.query_string:
                path += self._redactor.query(raw.query_string)
        at_ms = int(raw.at_s * 1000)
        visitor = 0
        ip = None
        if raw.has_visitor:
            visitor = self._tracker.visitors.visitor(
                raw.address, raw.agent, self._clock.wall_at(at_ms)
            )
            ip = self._mask(raw.address)
        user_id = user_name = None
        if raw.user is not None:
            user_id = clean(raw.user[0], MAX_NAME)
            user_name = None if raw.user[1] is None else clean(raw.user[1], MAX_NAME)
        record = Record(
            raw.kind,
            at_ms,
            visitor,
            user_id,
            user_name,
            ip,
            agent,
            raw.method,
            raw.endpoint,
            raw.rule,
            path,
            None if raw.title is None else clean(raw.title, MAX_NAME),
            raw.status,
            None if raw.duration_s is None else raw.duration_s * 1000,
            raw.error,
            None if raw.name is None else clean(raw.name, MAX_NAME),
            None if not raw.data else self._redactor.data(raw.data),
        )
        return record if hook is None else self._shown(record, hook)

    def _mask(self, address: str) -> str | None:
        key = hash(address)
        if key in self._masked:
            return self._masked[key]
        if len(self._masked) >= _MASK_CACHE:
            self._masked.clear()
        masked = self._masked[key] = mask_ip(address, self._settings.ip)
        return masked

    def _shown(self, record: Record, hook: Callable[[Activity], Activity | None]) -> Record | None:
        """Let ``before_record`` edit or drop an activity; what it breaks is recorded unedited."""
        user = None if record.user_id is None else User(record.user_id, record.user_name)
        activity = Activity(
            kind=record.kind,
            at=self._clock.wall_at(record.at_ms),
            user=user,
            ip=record.ip,
            agent=record.agent,
            method=record.method,
            endpoint=record.endpoint,
            path=record.path,
            title=record.title,
            status=record.status,
            duration_ms=record.duration_ms,
            error=record.error,
            name=record.name,
            data=dict(record.data or {}),
        )
        try:
            edited: object = hook(activity)
        except Exception as error:  # the app's own hook; what it meant to scrub is not kept
            self._guard.failed("before_record", error)
            self.dropped += 1
            return None
        if edited is None:
            return None
        if not isinstance(edited, Activity):
            self._guard.failed(
                "before_record",
                TypeError(f"returned {type(edited).__name__}; return the Activity or None"),
            )
            return None
        if edited is activity:
            return record
        return self._merged(record, edited)

    def _merged(self, record: Record, edited: Activity) -> Record:
        def text(value: Any, most: int) -> str | None:
            return None if value is None else clean(value, most)

        ip = record.ip
        if edited.ip != ip:
            ip = None if edited.ip is None else mask_ip(str(edited.ip), "full")
        user = edited.user
        return record._replace(
            user_id=None if user is None else clean(user.id, MAX_NAME),
            user_name=None if user is None else text(user.name, MAX_NAME),
            ip=ip,
            agent=clean(edited.agent),
            endpoint=text(edited.endpoint, MAX_NAME),
            # Where the path was edited the rule must not bring the old one back.
            rule=record.rule if edited.path == record.path else None,
            path=text(edited.path, 256),
            title=text(edited.title, MAX_NAME),
            status=edited.status if isinstance(edited.status, int) else None,
            error=text(edited.error, MAX_NAME),
            name=text(edited.name, MAX_NAME),
            data=self._redactor.data(edited.data) or None,
        )
