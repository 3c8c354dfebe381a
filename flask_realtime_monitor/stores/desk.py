"""The one thread of a process in which a server's sockets are used."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

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
        future: Future[T] = Future()
        try:
            if not clerk.take(future, work):
                return work()
            return future.result(self._patience_s)
        except TimeoutError:
            if future.cancel() or not future.done():
                raise self._late() from None
            return future.result()  # came just now, or is a TimeoutError itself
        finally:
            # Also when the wait was cut short, by a time-out of the app's around its call of ours.
            future.cancel()
            del future  # it holds what is raised, which holds this frame

    def _late(self) -> StoreError:
        return StoreError(f"{self._name} does not answer in time ({self._patience_s:g} s)")


class _Clerk:
    """The thread of one process and what it has to do."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.Lock()  # of whether it works; held for no job
        self._is_working = False
        self._bell = threading.Event()
        self.ident: int | None = None
        #: When the job at hand began (monotonic).
        self.began_s: float | None = None

    def take(self, future: Future[T], work: Callable[[], T]) -> bool:
        """Queue a job; False where no thread can be had: the interpreter is about to end."""
        with self._lock:
            self._jobs.append((future, work))
            if not self._is_working:
                self._is_working = True
                try:
                    threading.Thread(
                        target=self._work, name="realtime-monitor-store", daemon=True
                    ).start()
                except RuntimeError:
                    self._is_working = False
                    self._jobs.pop()
                    return False
        self._bell.set()
        return True

    def _work(self) -> None:
        self.ident = threading.get_ident()
        try:
            while self._bell.wait(_IDLE_S) or not self._may_rest():
                self._bell.clear()
                while self._jobs:
                    self._do(*self._jobs.popleft())
        except BaseException:  # somebody ends it, and it does end; the next job begins another
            self._rest()

    def _may_rest(self) -> bool:
        with self._lock:
            return not self._jobs and self._rest()

    def _rest(self) -> bool:
        self.ident, self._is_working = None, False
        return True

    def _do(self, future: Future[T], work: Callable[[], T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self.began_s = time.monotonic()
        try:
            found = work()
        except Exception as error:
            future.set_exception(error)
        except BaseException:
            future.set_exception(StoreError("the store's thread was ended"))
            raise
        else:
            future.set_result(found)
        finally:
            self.began_s = None
            del future  # as above
