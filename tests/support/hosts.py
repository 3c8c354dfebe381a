"""A gunicorn that runs as if on another host: own name, processes, boot and clocks."""

from __future__ import annotations

import os
import secrets
import signal
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .gunicorn_server import GunicornServer, is_alive
from .networks import Network
from .valkey import missing
from .waiting import DEADLINE_S, wait_until

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_BEGIN = f'mount --bind "$1" {_BOOT_ID} && hostname "$2" && shift 2 && exec "$@"'


def unshared(monotonic_s: int = 0) -> list[str]:
    """Return the command that gives what follows namespaces of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    clocks = ["--time", "--monotonic", str(monotonic_s), "--boottime", str(monotonic_s)]
    kinds = ["--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *user, *clocks, *kinds]


@cache
def _refusal() -> str:
    with tempfile.NamedTemporaryFile() as boot:
        command = [*unshared(), "sh", "-c", _BEGIN, "sh", boot.name, "name", "true"]
        try:
            tried = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
    return "" if tried.returncode == 0 else tried.stderr or "refused"


class Host(GunicornServer):
    """A gunicorn master in namespaces of its own, which tell it another boot id and host name.

    Its monotonic clock is days away from everybody else's, and its wall clock can be set.

    Args:
        name: of the host.
        ahead_s: what its wall clock is ahead.
        network: where it is; in this one by default.
    """

    def __init__(
        self,
        name: str,
        *options: str,
        ahead_s: float = 0.0,
        days_up: int = 9,
        network: Network | None = None,
        **environ: str,
    ) -> None:
        if _refusal():
            missing(f"no namespaces here: {_refusal()}")
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="frm-host-")
        boot, self._clock = Path(self._folder.name, "boot"), Path(self._folder.name, "clock")
        boot.write_text(f"{secrets.token_hex(16)}\n")
        self.set_clock(ahead_s)
        begin = ["sh", "-c", _BEGIN, "sh", str(boot), name]
        super().__init__(
            "tests.apps.clocked:served()",
            *options,
            within=(
                *(network.within if network else ()),
                *unshared(days_up * 86_400),
                *begin,
            ),
            address=network.there if network else "127.0.0.1",
            CLOCK=str(self._clock),
            **environ,
        )

    def set_clock(self, ahead_s: float) -> None:
        """Set the wall clock of its processes, also of those that run."""
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("<d", ahead_s))

    def _master(self) -> int:
        """Return the pid of gunicorn's master, as it is outside."""
        assert self.process is not None
        (pid,) = self.children(self.process.pid) or (0,)
        return pid

    def _outer(self) -> list[int]:
        return self.children(self._master()) if self._master() else []

    def workers(self) -> list[int]:
        """Return the pids of the workers, as they are inside."""
        found = []
        for pid in self._outer():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:"):
                    found.append(int(line.split()[-1]))
        return found

    def freeze(self) -> None:
        """Stop every process of it."""
        for pid in (self._master(), *self._outer()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for pid in (*self._outer(), self._master()):
            os.kill(pid, signal.SIGCONT)

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; ``SIGKILL`` ends all of its processes at once, as if the power went."""
        if self.process is None:
            return
        inside = [self._master(), *self._outer()]
        if inside[0]:
            os.kill(inside[0], kind)
        self.process.wait(DEADLINE_S)
        self.process = None
        wait_until(lambda: not any(is_alive(pid) for pid in inside), "its processes are gone")

    def close(self) -> None:
        """Stop it for good."""
        if self.process is not None and self._master():
            self.thaw()
        super().close()
        self._folder.cleanup()
