"""By what right somebody watches, asked again and again while they do."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf

_DEADLINE_S = 5.0
_PATIENCE_S = 0.5
_MOST_ASKERS = 32
_REFUSED = "unauthorized"
_MOST_SIGN_OUTS = 2_000


class Credential:
    """What a viewer's request showed to the gate; viewers that showed the same share one.

    Args:
        key: all of it, packed.
        ask: asks the gate about it again; returns why its streams are to end, None while the gate
            still says the same.
    """

    __slots__ = ("ask", "began_s", "ended_by", "is_waiting", "key", "viewers")

    def __init__(self, key: bytes, ask: Callable[[bytes], str | None]) -> None:
        self.key = key
        self.ask = ask
        self.viewers = 0
        self.is_waiting = False  # to be asked about: a slow gate is not asked twice for that
        self.began_s: float | None = None  # when the gate was asked that has not answered yet
        self.ended_by: str | None = None  # the reason of ``bye``


class Credentials:
    """Asks the gate again about every credential that somebody watches with.

    Once an interval and credential, spread over the interval, in threads of their own with a
    deadline: a gate may block or hang, and whoever publishes must not.

    Args:
        interval_s: between two questions.
        refused: called with a credential that the gate has refused, has not answered about, or
            gives another role.
        failed: called with what the gate raised.
    """

    def __init__(
        self,
        interval_s: float,
        refused: Callable[[Credential], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._interval_s = interval_s
        self._refused = refused
        self._failed = failed
        self._known: dict[bytes, Credential] = {}
        self._due: list[tuple[float, int, Credential]] = []
        self._number = count()
        self._waiting: deque[tuple[float, Credential]] = deque()
        self._asked: dict[Credential, None] = {}
        self._askers = 0
        self._lock = threading.Lock()

    def shared(self, key: bytes, ask: Callable[[bytes], str | None]) -> Credential:
        """Return the credential of this key, so that equal ones are one."""
        return self._known.get(key) or Credential(key, ask)

    def admit(self, credential: Credential) -> None:
        """One more watches with it."""
        credential.viewers += 1
        if credential.viewers == 1:
            self._known[credential.key] = credential
            first_s = self._interval_s * random.uniform(0.5, 1.0)
            self._plan(credential, time.monotonic() + first_s)

    def release(self, credential: Credential) -> None:
        """One less watches with it."""
        credential.viewers -= 1
        if not credential.viewers and self._known.get(credential.key) is credential:
            del self._known[credential.key]

    def turn(self, now_s: float) -> None:
        """Ask about those that are due, and give up those whose gate hangs; it does not wait."""
        while self._due and self._due[0][0] <= now_s:
            due_s, _, credential = heapq.heappop(self._due)
            if credential.viewers and credential.ended_by is None:
                if not credential.is_waiting:
                    credential.is_waiting = True
                    self._waiting.append((now_s, credential))
                self._plan(credential, max(due_s, now_s - self._interval_s) + self._interval_s)
        for credential in list(self._asked):
            if now_s - (credential.began_s or now_s) > _DEADLINE_S:
                if self._asked.pop(credential, False) is False:
                    continue  # it has answered just now
                self._count(-1)  # it hangs; others take over
                self._refuse(credential, _REFUSED)
        if self._waiting and self._askers < _MOST_ASKERS:
            is_late = now_s - self._waiting[0][0] > _PATIENCE_S
            if not self._askers or is_late:
                self._count(1)
                threading.Thread(
                    target=self._work, name="realtime-monitor-gate", daemon=True
                ).start()

    def _count(self, change: int) -> None:
        with self._lock:
            self._askers += change

    def _plan(self, credential: Credential, at_s: float) -> None:
        heapq.heappush(self._due, (at_s, next(self._number), credential))

    def _work(self) -> None:
        """Ask about one after the other until nobody waits, or one of them has hung."""
        while True:
            try:
                _, credential = self._waiting.popleft()
            except IndexError:
                self._count(-1)
                return
            credential.is_waiting = False
            if not credential.viewers or credential in self._asked:
                continue
            credential.began_s = time.monotonic()
            self._asked[credential] = None
            reason = self._ask(credential)
            if self._asked.pop(credential, False) is False:
                return  # given up meanwhile
            credential.began_s = None
            if reason is not None:
                self._refuse(credential, reason)

    def _ask(self, credential: Credential) -> str | None:
        try:
            return credential.ask(credential.key)
        except BaseException as error:  # a gate that cannot be asked says no
            self._failed("reauthorize", error)
            return _REFUSED

    def _refuse(self, credential: Credential, reason: str) -> None:
        credential.ended_by = reason
        if self._known.get(credential.key) is credential:
            del self._known[credential.key]
        self._refused(credential)


class SignOuts:
    """Who has signed out lately: what a request showed that began before that is worth nothing."""

    def __init__(self) -> None:
        self._at_s: dict[str, float] = {}  # user id -> when (monotonic)

    def note(self, user_id: str) -> None:
        """A user signs out."""
        self._at_s.pop(user_id, None)
        self._at_s[user_id] = time.monotonic()
        if len(self._at_s) > _MOST_SIGN_OUTS:
            for oldest in list(self._at_s)[: _MOST_SIGN_OUTS // 2]:
                self._at_s.pop(oldest, None)

    def was_since(self, user_id: str, since_s: float) -> bool:
        """Tell whether a user has signed out since a moment (monotonic)."""
        return self._at_s.get(user_id, -inf) >= since_s
