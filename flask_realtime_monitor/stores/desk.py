"""The one thread of a process in which a server's sockets are used."""

from __future__ import annotations

import os
import threading
import time
from _queue import Empty, SimpleQueue  # queue's own waits for greenlets once gevent has patched
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from .base import StoreError

T = TypeVar("T")

#: A thread that has had nothing to do for so long (s) ends; the next job begins another.
_IDLE_S = 5.0


class Desk:
    """Does what it is handed, one job after the other, in a background thread.

    Made on the first job in a process, so after every fork; a greenlet once gevent has patched.
    Whoever hands in a job waits for it, within bounds: a job that has not begun by then never does,
    and what comes of one that has is dropped.

    Args:
        name: of the server, for people.
        patience_s: how long a caller waits, and how long one job may hold up all others.
    """

    def __init__(self, name: str, patience_s: float) -> None:
        self._name = name
        self._patience_s = patience_s
        self._clerks: dict[int, _Clerk] = {}

    def do(self, work: Callable[[], T]) -> T:
        """Do one job; return what it returns, or raise what it raises.

        Raises:
            StoreError: it is not done within our patience, or the job at hand has not been.
        """
        pid = os.getpid()
        clerk = self._clerks.get(pid)
        if clerk is None:
            # A parent's may hold its lock for ever, and its thread is not here.
            clerk = self._clerks.setdefault(pid, _Clerk())
        if clerk.ident == threading.get_ident():
            return work()  # a job within a job
        began_s = clerk.began_s
        if began_s is not None and time.monotonic() - began_s > self._patience_s:
            raise self._late()
        job = _Job(work)
        try:
            if not clerk.take(job):
                return work()
            if not job.await_end(self._patience_s):
                raise self._late()
            return job.result()
        finally:
            # Also when the wait was cut short, by a time-out of the app's around its call of ours.
            job.is_wanted = False

    def _late(self) -> StoreError:
        return StoreError(f"{self._name} does not answer in time ({self._patience_s:g} s)")


class _Job(Generic[T]):
    """Something to be done for one who waits.

    With a ``Future`` handing over costs over half as much again, and a reading call that finds
    nothing new is little more than this.

    Attributes:
        is_done_elsewhere: whether another thread of the system does it than waits. One that gevent
            lends out never wakes from a patched lock that the app's own lets go (gevent before
            26.5), so it waits as if nothing was patched.
    """

    __slots__ = ("_ends", "_error", "_found", "_told", "_work", "is_done_elsewhere", "is_wanted")

    def __init__(self, work: Callable[[], T]) -> None:
        #: Whether somebody still waits.
        self.is_wanted = True
        self._work = work
        self._found: T | None = None
        self._error: Exception | None = None
        self.is_done_elsewhere = False
        self._told: SimpleQueue[None] = SimpleQueue()  # filled when it is done
        self._ends = threading.Lock()  # held until it is done
        self._ends.acquire()

    def run(self) -> None:
        """Do it."""
        try:
            self._found = self._work()
        except Exception as error:
            self._error = error
        except BaseException:
            self._error = StoreError("the store's thread was ended")
            raise
        finally:
            if self.is_done_elsewhere:
                self._told.put(None)
            else:
                self._ends.release()

    def await_end(self, patience_s: float) -> bool:
        """Wait until it is done; False when that takes too long."""
        if not self.is_done_elsewhere:
            return self._ends.acquire(timeout=patience_s)
        try:
            self._told.get(timeout=patience_s)
        except Empty:
            return False
        return True

    def result(self) -> T:
        """Return what came of it, or raise that, once."""
        error, self._error = self._error, None
        if error is None:
            return cast(T, self._found)
        try:
            raise error
        finally:
            del error  # it holds this frame


class _Clerk:
    """The thread of one process and what it has to do."""

    def __init__(self) -> None:
        self._jobs: deque[_Job[Any]] = deque()
        self._lock = threading.Lock()  # of whether it works; held for no job
        self._is_working = False
        self._bell = threading.Event()
        #: Of the thread of the system that it is, or is a greenlet of.
        self._native_id: int | None = None
        self.ident: int | None = None
        #: When the job at hand began (monotonic).
        self.began_s: float | None = None

    def take(self, job: _Job[Any]) -> bool:
        """Queue a job; False where no thread can be had: the interpreter is about to end."""
        with self._lock:
            if not self._is_working:
                thread = threading.Thread(
                    target=self._work, name="realtime-monitor-store", daemon=True
                )
                self._is_working = True
                try:
                    thread.start()
                except RuntimeError:
                    self._is_working = False
                    return False
                self._native_id = thread.native_id
            job.is_done_elsewhere = self._native_id != threading.get_native_id()
            self._jobs.append(job)
        self._bell.set()
        return True

    def _work(self) -> None:
        self.ident = threading.get_ident()
        try:
            while self._bell.wait(_IDLE_S) or not self._may_rest():
                self._bell.clear()
                while self._jobs:
                    self._do(self._jobs.popleft())
        except BaseException:  # somebody ends it, and it does end; the next job begins another
            self._rest()

    def _may_rest(self) -> bool:
        with self._lock:
            return not self._jobs and self._rest()

    def _rest(self) -> bool:
        self.ident, self._is_working = None, False
        return True

    def _do(self, job: _Job[Any]) -> None:
        if not job.is_wanted:
            return
        self.began_s = time.monotonic()
        try:
            job.run()
        finally:
            self.began_s = None
