"""How often the background loops of a process turn: seldom while nothing happens in it.

An idle process is cold: each time it wakes costs more than what it then does, and an app may have
many workers that nobody uses. So where nothing has happened for a while each loop rests longer,
until a request begins.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakMethod

#: How long (s) a loop rests in a process in which nothing happens: what another worker tells all,
#: a session's end say, is done everywhere within a second.
QUIET_S = 0.75
_AWAKE_S = 2.0  # after the last that happened


class Pulse:
    """Tells the loops of a process how long to rest.

    Attributes:
        is_quiet: whether the loops rest for long; whoever brings them something calls ``quicken``.
    """

    def __init__(self) -> None:
        self.is_quiet = False
        self._until_s = time.monotonic() + _AWAKE_S
        self._loops: list[_Loop] = []

    def start_loop(self, turn: Callable[[], float], name: str, first_s: float) -> threading.Thread:
        """Call a bound method again and again, until its object is gone.

        The loop holds the object only weakly, so an app that nobody uses any more can go. Thread
        and lock are looked up now: greenlets once gevent has patched.

        Args:
            turn: returns how long (s) the loop is to rest at least.
            first_s: how long it rests before the first turn.
        """
        loop = _Loop(self, WeakMethod(turn))
        self._loops.append(loop)
        thread = threading.Thread(target=loop.run, args=(first_s,), name=name, daemon=True)
        thread.start()
        return thread

    def quicken(self) -> None:
        """Something happens: let the loops turn as often as they want to."""
        self._until_s = time.monotonic() + _AWAKE_S
        self.is_quiet = False
        for loop in self._loops:
            loop.wake()

    def feel(self, is_busy: Callable[[], bool]) -> None:
        """Look whether anything has happened of late; called by one of the loops, each turn.

        Args:
            is_busy: tells whether anything has happened since the last turn, or goes on.
        """
        now_s = time.monotonic()
        if not is_busy():
            if now_s < self._until_s:
                return
            self.is_quiet = True
            if not is_busy():  # once more: what happened in between woke nobody
                return
        self._until_s = now_s + _AWAKE_S
        self.is_quiet = False


class _Loop:
    """One loop. It rests on a lock that it holds itself, until somebody lets go of that or in time.

    Not on an event: a request wakes it, and a signal's handler of the app's may raise within any
    function written in Python, in ``Event.set`` with a lock taken for good. Nor does it sleep: a
    test of the app's may replace ``time.sleep``.
    """

    def __init__(self, pulse: Pulse, find: WeakMethod[Callable[[], float]]) -> None:
        self._pulse = pulse
        self._find = find
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """End a long rest."""
        with suppress(RuntimeError):  # somebody else has just done so
            self._lock.release()

    def run(self, rest_s: float) -> None:
        """Rest and turn, in a thread of its own."""
        pid = os.getpid()
        while True:
            self._rest(rest_s)
            turn = self._find()
            if turn is None or os.getpid() != pid:  # gevent's greenlets go on in a fork
                return
            rest_s = turn()
            del turn

    def _rest(self, rest_s: float) -> None:
        rest = self._lock.acquire
        if not self._lock.locked():
            rest()  # woken while it was at work
        if self._pulse.is_quiet and not rest(timeout=max(rest_s, QUIET_S)):
            return
        # Whoever woke it is at work still, and what that brings comes a little later.
        rest(timeout=rest_s)
