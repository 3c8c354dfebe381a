"""What the benchmarks of the stream share: the app, its gunicorn, the viewers, what they cost.

The server has one core to itself and everything else the other, where there are two. The viewers
are a small C program, compiled when it is needed.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from flask import Flask
from support import SERVED_PATH, live, watched

HERE = Path(__file__).parent
STREAM = "/monitor/stream"
SESSIONS = 500
STARTS_IN_S = 60.0
MOST_VIEWERS = 12_000
_CORES = sorted(os.sched_getaffinity(0))
_HEADERS = {"Host": "127.0.0.1", "Accept": "text/event-stream", "User-Agent": "bench"}


class Skip(Exception):
    """Something that is needed is not on this machine; the text says what."""


# -- the app -----------------------------------------------------------------------------------


def served() -> Flask:
    """Return the app that gunicorn serves here.

    ``BENCH_SETTINGS`` are the monitor's, as JSON. ``BENCH_CHANGED`` is how many of its
    ``BENCH_SESSIONS`` (500) sessions make a request each second; these are handed to the recorder,
    so that what visitors cost the server is no part of what viewers cost.
    """
    settings = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
    app = watched(**{"max_viewers": MOST_VIEWERS, **settings})
    parts = live(app)
    begun = threading.Event()

    @app.get("/ping")  # excluded by default
    def ping() -> str:
        return "pong"

    @app.get("/healthz")
    def begin() -> str:
        if not begun.is_set():
            begun.set()
            changed = float(os.environ.get("BENCH_CHANGED", "0"))
            threading.Thread(target=_change, args=(parts, changed), daemon=True).start()
        return "well"

    @app.get("/livez")
    def inspect() -> dict[str, Any]:
        began_s = time.perf_counter()
        gc.collect()
        took_ms = (time.perf_counter() - began_s) * 1000
        from greenlet import greenlet

        greenlets = sum(isinstance(one, greenlet) for one in gc.get_objects())
        blocks = sys.getallocatedblocks()
        return {"collect_ms": took_ms, "greenlets": greenlets, "blocks": blocks}

    return app


def _change(parts: Any, changed: float) -> None:
    from bench_reading import visit

    sessions = int(os.environ.get("BENCH_SESSIONS", SESSIONS))
    visit(parts, range(sessions))
    at, next_s = 0, time.monotonic()
    while changed:
        next_s += 1 / changed
        time.sleep(max(0.0, next_s - time.monotonic()))
        visit(parts, (at % sessions,))
        at += 1


# -- processes ---------------------------------------------------------------------------------


def prepare() -> None:
    """Allow as many descriptors as may be; end in order where one is told to end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, leave)
    # Where it may: who else is at work on this machine disturbs less, all servers alike. Some
    # kernels weigh whole terminals first, each by a number of its own.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
        terminal = Path("/proc/self/autogroup")
        before = terminal.read_text().split()[-1]
        terminal.write_text("-19")
        atexit.register(terminal.write_text, before)
    _pin(_CORES[-1])


def most_viewers() -> int:
    """Return how many viewers one process has descriptors for."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200


def start(command: list[str], **more: Any) -> subprocess.Popen[Any]:
    """Start a server on the core that is the servers'."""
    _pin(_CORES[0])
    try:
        return subprocess.Popen(command, **more)
    finally:
        _pin(_CORES[-1])


def _pin(core: int) -> None:
    os.sched_setaffinity(0, {core})


def compiled(name: str, folder: Path) -> str:
    """Return the path of one of the C programs here, compiled.

    Raises:
        Skip: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Skip("no C compiler (cc)")
    path = folder / name
    if not path.exists():
        subprocess.run([compiler, "-O2", "-o", str(path), str(HERE / f"{name}.c")], check=True)
    return str(path)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def until(is_so: Callable[[], bool], within_s: float, each_s: float = 0.02) -> float:
    """Wait until something is so; return the seconds it took, infinity when it took too long."""
    began_s = time.monotonic()
    while not is_so():
        if time.monotonic() - began_s > within_s:
            return float("inf")
        time.sleep(each_s)
    return time.monotonic() - began_s


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the pids of the processes that a process has started."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far, user's and system's.

    The kernel's own sum where it tells it: that in ``stat`` counts in hundredths of a second.
    """
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in tasks) / 1e9
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid: int) -> int:
    """Return the memory of a process that is in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Gunicorn:
    """The app under gunicorn's gevent worker; runs while it is entered.

    Args:
        options: further options of gunicorn.
        changed: how many of the sessions make a request each second.
        sessions: how many there are.
        descriptors: the limit of descriptors, 0 for none of its own.
        app: what it serves, as gunicorn takes it.
        settings: the monitor's.
    """

    stream = STREAM

    def __init__(
        self,
        *options: str,
        changed: float = 0,
        sessions: int = SESSIONS,
        workers: int = 1,
        descriptors: int = 0,
        app: str = "streaming:served()",
        **settings: Any,
    ) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "gunicorn", "--config", "python:streaming_config"]
        command += ["--workers", str(workers), "--bind", f"127.0.0.1:{self.port}"]
        command += ["--worker-connections", str(MOST_VIEWERS + 500), "--backlog", "4096"]
        command += ["--log-level", "error", *options, app]
        if descriptors:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        self._command = command
        self._environ = {
            **os.environ,
            "PYTHONPATH": SERVED_PATH,
            "BENCH_CHANGED": str(changed),
            "BENCH_SESSIONS": str(sessions),
            "BENCH_SETTINGS": json.dumps(settings),
        }
        # A server that restarts finds its code compiled, as an installed package is.
        self._environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Gunicorn:
        self.log = tempfile.TemporaryFile()
        self.process = start(
            self._command, cwd=HERE, env=self._environ, stdout=self.log, stderr=self.log
        )
        try:
            if until(self._answers, STARTS_IN_S) == float("inf"):
                raise SystemExit(f"gunicorn does not serve: {self.said()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        crew = self.crew()
        self.process.send_signal(signal.SIGINT)  # at once, whatever is open
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in crew:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.log.close()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise SystemExit(f"gunicorn has ended: {self.said()}")
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def said(self) -> str:
        """Return the end of what the server has logged."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def crew(self) -> list[int]:
        """Return the pids of the workers."""
        return children(self.process.pid)

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self.crew()[0]

    def get(self, path: str, timeout_s: float = 60) -> tuple[int, bytes]:
        """Ask once, on a connection of its own."""
        return ask(self.port, path, timeout_s)

    def viewers(self) -> int:
        """Return how many viewers the monitor counts."""
        return int(json.loads(self.get("/monitor/api/v1/stats")[1])["viewers"])

    def inspect(self) -> dict[str, Any]:
        """Return the ms of a full garbage collection, how many greenlets there are, and blocks."""
        found: dict[str, Any] = json.loads(self.get("/livez")[1])
        return found


def ask(port: int, path: str, timeout_s: float = 60) -> tuple[int, bytes]:
    """Make one request; return status and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close", "User-Agent": "bench"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


# -- who asks ----------------------------------------------------------------------------------


class Viewers:
    """The load: viewers in one process of its own, which is told what to do."""

    def __init__(self, folder: Path, port: int, path: str, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in {**_HEADERS, **named}.items()]
        request = folder / f"request-{port}-{len(named)}"
        request.write_text("\r\n".join((f"GET {path} HTTP/1.1", *lines, "", "")))
        self._process = subprocess.Popen(
            [compiled("viewers", folder), str(port), str(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Viewers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def say(self, command: str) -> dict[str, Any]:
        """Say a command, and return the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def byes(self) -> list[float]:
        """Return when each ``bye`` was read, in order (seconds since the epoch)."""
        found: list[float] = self.say("byes")["at"]
        return found

    def open(self, n: int, rcvbuf: int = 0, within_s: float = 120) -> dict[str, Any]:
        """Open ``n`` more viewers, and wait until each knows where it is."""
        return self.say(f"open {n} {rcvbuf} {round(within_s * 1000)}")

    def watch(self, seconds: float, at_end: Callable[[], object] | None = None) -> dict[str, Any]:
        """Count what they get for a while."""
        began_s = time.time()
        self.say(f"window {began_s:.6f} {began_s + seconds:.6f}")
        time.sleep(max(0.0, began_s + seconds - time.time()))
        if at_end is not None:
            at_end()
        time.sleep(1.0)  # what was sent at the end is still on its way
        return self.say("report")


class Reply(NamedTuple):
    """An ordinary request's; times are monotonic."""

    at_s: float
    ms: float
    is_answered: bool


class Asker:
    """Makes ordinary requests now and then, in a thread of its own.

    Args:
        per_s: about how many a second, at irregular moments.
        keeps: whether on one connection, or on one of its own each.
        timeout_s: after which a request has failed.
    """

    def __init__(
        self, port: int, per_s: float = 20, keeps: bool = True, timeout_s: float = 60
    ) -> None:
        self.replies: list[Reply] = []
        self._port, self._per_s, self._keeps, self._timeout_s = port, per_s, keeps, timeout_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def since(self, from_s: float, to_s: float = float("inf")) -> list[Reply]:
        """Return the replies to what was asked within a time, in order."""
        return [one for one in self.replies if from_s <= one.at_s < to_s]

    def _run(self) -> None:
        # Of this thread alone, where it may: the viewers' work shares its core and would be told as
        # the server's slowness.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        connection = HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        chance = random.Random(7)
        while not self._is_over.wait(chance.uniform(0.5, 1.5) / self._per_s):
            began_s = time.monotonic()
            try:
                if self._keeps:
                    connection.request("GET", "/ping", headers={"User-Agent": "bench"})
                    answer = connection.getresponse()
                    answer.read()
                    is_answered = answer.status == 200
                else:
                    is_answered = ask(self._port, "/ping", self._timeout_s)[0] == 200
            except (OSError, HTTPException):
                connection.close()
                is_answered = False
            took_ms = (time.monotonic() - began_s) * 1000
            self.replies.append(Reply(began_s, took_ms, is_answered))
        connection.close()


@contextmanager
def workshop() -> Iterator[Path]:
    """Yield a folder for what is compiled and written; away afterwards."""
    with tempfile.TemporaryDirectory(prefix="frm-bench-") as folder:
        yield Path(folder)
