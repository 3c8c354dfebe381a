"""This process: its id, what watching costs it, and the pulse of its background loops."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from .clock import Clock
from .histogram import Histogram
from .pulse import Pulse

_WINDOW_S = 10.0
_SIGTERM_S = 5.0  # an app may ignore it, and then this worker goes on


class _Server:
    """What is known of the server in this process."""

    pid = 0
    worker: Any = None  # gunicorn's worker object, as a request's stack has shown it
    sigterm_until_s = 0.0


class Worker:
    """One process that records; made on first use in it, so after every fork.

    ``record_us`` holds what recording cost single requests (thread CPU, sampled).
    """

    def __init__(self, clock: Clock) -> None:
        self.id = secrets.token_hex(4)
        self.pid = os.getpid()
        self.host = socket.gethostname()[:64]
        self.started_at = clock.now_at()
        self.record_us = Histogram()
        self.pulse = Pulse()
        self._clock = clock
        self._cpu_s = 0.0
        self._window = (time.monotonic(), 0.0)
        self._share: float | None = None
        self._rss_bytes: int | None = None
        self._rss_until_s = 0.0

    @contextmanager
    def own_work(self) -> Iterator[None]:
        """Count the thread's CPU within as ours."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._cpu_s += time.thread_time() - began

    def spend(self, seconds: float) -> None:
        """Count seconds of CPU as ours."""
        self._cpu_s += seconds

    def cpu_share(self) -> float | None:
        """Return our own part of one core over the last 10 s, None before that."""
        return self._share

    def turn(self) -> None:
        """Close the window of the CPU share when it is over, and age the histogram."""
        began_s, cpu_s = self._window
        now_s = time.monotonic()
        if now_s - began_s >= _WINDOW_S:
            self._share = (self._cpu_s - cpu_s) / (now_s - began_s)
            self._window = (now_s, self._cpu_s)
            if self.record_us.total > 10_000:
                self.record_us.halve()

    def item(self, **rest: Any) -> dict[str, Any]:
        """Return this worker as the outputs show it (docs/json.md, "Worker")."""
        p50, p99 = self.record_us.read(0.5, 0.99)
        return {
            "id": self.id,
            "host": self.host,
            "pid": self.pid,
            "started_at": self.started_at,
            "last_report_at": self._clock.now_at(),
            "is_reporting": True,
            "rss_bytes": self._rss(),
            "record_us": {"p50": p50, "p99": p99},
            **rest,
        }

    def _rss(self) -> int | None:
        """Return the memory this process holds, asked for once a second."""
        now_s = time.monotonic()
        if now_s >= self._rss_until_s:
            self._rss_bytes, self._rss_until_s = rss_bytes(), now_s + 1
        return self._rss_bytes


def server_worker() -> Any:
    """Return gunicorn's worker object, or None.

    It owns the process's SIGTERM handler; where the app has put its own in place, a request's
    stack has shown it (``meet_server``).
    """
    return _met() or _sigterm_s_owner()


def _met() -> Any:
    return _Server.worker if _Server.pid == os.getpid() else None


def _sigterm_s_owner() -> Any:
    # Asked ten times a second. The function that ``signal`` makes of this one tries an enum first,
    # and catches what that raises for a function: 50 us in a process that has been idle.
    return getattr(getsignal(signal.SIGTERM), "__self__", None)


def meet_server(frame: FrameType | None) -> None:
    """Look for gunicorn's worker object among the callers of a request, once in a process."""
    if _Server.pid == os.getpid():
        return
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("gunicorn.workers."):
            found = frame.f_locals.get("self")
            if hasattr(found, "alive") and hasattr(found, "cfg"):
                _Server.pid, _Server.worker = os.getpid(), found
                return
        frame = frame.f_back


def uwsgi_threads() -> int | None:
    """Return how many threads a process of uWSGI's has; None where that is not told."""
    options = getattr(sys.modules.get("uwsgi"), "opt", {})
    try:
        return int(options["threads"])
    except (KeyError, TypeError, ValueError):
        return None


def serving() -> dict[str, Any]:
    """Return how gunicorn serves here, as far as it matters to streams; empty elsewhere."""
    found = server_worker()
    cfg = getattr(found, "cfg", None)
    if cfg is None:
        return {}
    return {
        "class": type(found).__name__,
        "connections": int(cfg.worker_connections),
        "threads": int(cfg.threads),
        "holds_streams": _holds_streams(found, cfg),
        "is_patched": is_patched(),
    }


def is_patched() -> bool:
    """Tell whether what waits here lets other greenlets of gevent's work."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("threading"))


def hands_connections_over() -> bool:
    """Tell whether streams keep none of the server's connections here, as far as that is known."""
    found = server_worker()
    cfg = getattr(found, "cfg", None)
    is_gevent = cfg is not None and "gevent" in type(found).__module__
    return is_gevent and not _holds_streams(found, cfg)


def _holds_streams(worker: Any, cfg: Any) -> bool:
    """Tell whether a gevent worker's streams keep a connection (web/connection.py)."""
    is_plain = not cfg.is_ssl and getattr(cfg, "protocol", "http") == "http"
    return not is_plain or getattr(worker, "server_class", None) is not None


def is_told_to_stop() -> bool:
    """Tell whether the server has told this process to end."""
    met = _met()
    if met is not None and met.alive is False:
        return True
    owner = _sigterm_s_owner()
    if met is None or met is owner:  # its own handler tells it
        return getattr(owner, "alive", True) is False
    note_signals()
    return time.monotonic() < _Server.sigterm_until_s


def signal_pipe() -> int | None:
    """Return the descriptor of the pipe that tells of signals, None where it is not ours to read.

    gunicorn has Python write the number of each signal into it (``signal.set_wakeup_fd``), and its
    gevent worker never reads it.
    """
    found = server_worker()
    if type(found).__module__ == "gunicorn.workers.ggevent":
        with suppress(AttributeError, IndexError, TypeError):
            return int(found.PIPE[0])
    return None


def note_signals() -> None:
    """Empty that pipe, and note whether SIGTERM has come, whatever the app's handler did of it."""
    pipe = signal_pipe()
    if pipe is not None:
        with suppress(OSError):
            while numbers := os.read(pipe, 4096):
                if signal.SIGTERM in numbers:
                    _Server.sigterm_until_s = time.monotonic() + _SIGTERM_S


def rss_bytes() -> int | None:
    """Return the memory this process holds, None where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
