"""A real gunicorn in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from .client import Client
from .ports import free_port
from .waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[2]


class GunicornServer(Client):
    """Serves ``module:app`` on a free port; it can be stopped and started again there.

    Args:
        app: what gunicorn loads, such as ``tests.apps.lifecycle:app``.
        options: further command line options of gunicorn.
        within: a command that runs what follows it somewhere else.
        address: where it listens.
        environ: further environment variables.
    """

    def __init__(
        self,
        app: str,
        *options: str,
        worker: str = "gevent",
        within: tuple[str, ...] = (),
        address: str = "127.0.0.1",
        **environ: str,
    ) -> None:
        self.port = free_port()
        #: How many workers it is told to run.
        self.worker_count = int(dict(pairwise(options)).get("--workers", 1))
        self.address = address
        self.url = f"http://{address}:{self.port}"
        config = ["--config", "python:tests.support.gevent_config"] if worker == "gevent" else []
        self._command = [
            *within,
            sys.executable,
            "-m",
            "gunicorn",
            *config,
            "--worker-class",
            worker,
        ]
        self._command += ["--bind", f"{address}:{self.port}", "--graceful-timeout", "3"]
        self._command += [*options, app]
        self._environ = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environ, stdout=self._log, stderr=self._log
        )
        wait_until(self._answers, f"gunicorn answers: {self.log()}")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        try:
            self.ask("/monitor/no-such-page")
        except OSError:
            return False
        return True

    def workers(self) -> list[int]:
        """Return the pids of the workers."""
        assert self.process is not None
        return self.children(self.process.pid)

    @staticmethod
    def children(pid: int) -> list[int]:
        """Return the pids of the processes that a process has started."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def holder(self, port: int) -> int | None:
        """Return the pid of the worker that holds a connection from a local port."""
        inodes = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            own, other = (int(fields[n].rpartition(":")[2], 16) for n in (1, 2))
            if (own, other) == (self.port, port):
                inodes.add(f"socket:[{fields[9]}]")
        for pid in self.workers():
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                        return pid
        return None

    def log(self) -> str:
        """Return what the server has said so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server; nothing of it is left."""
        if self.process is None:
            return
        workers = self.workers()
        self.process.send_signal(kind)
        self.process.wait(DEADLINE_S)
        self.process = None
        wait_until(lambda: not any(is_alive(pid) for pid in workers), "the workers are gone")

    def close(self) -> None:
        """Stop the server for good: at once, for nobody looks at how it ends."""
        self.stop(signal.SIGQUIT)
        self._log.close()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
