"""Networks of their own for hosts, each with a cable to this one that a test can pull."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True)


@cache
def _refusal() -> str:
    """Return why no network can be made here, nothing where one can."""
    try:
        _ip("netns", "add", f"frm-try-{os.getpid()}")
        _ip("netns", "del", f"frm-try-{os.getpid()}")
    except OSError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


class Network:
    """A network namespace with one cable; addresses are of a private range.

    Args:
        number: 0 to 63, another one for each network of a test.
    """

    def __init__(self, number: int) -> None:
        if _refusal():
            pytest.skip(f"no networks can be made here: {_refusal()}")
        net = f"10.213.{os.getpid() % 250}"
        self.here, self.there = f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}"
        self._name = f"frm-{os.getpid()}-{number}"
        self._cable = f"frm{os.getpid()}v{number}"
        #: What runs in it.
        self.within = ("ip", "netns", "exec", self._name)
        _ip("netns", "add", self._name)
        try:
            peer = ("peer", "name", "cable", "netns", self._name)
            _ip("link", "add", self._cable, "type", "veth", *peer)
            _ip("addr", "add", f"{self.here}/30", "dev", self._cable)
            _ip("-n", self._name, "addr", "add", f"{self.there}/30", "dev", "cable")
            _ip("-n", self._name, "link", "set", "lo", "up")
            _ip("-n", self._name, "link", "set", "cable", "up")
            self.mend()
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        """Pull the cable: what is sent gets lost, and nobody is told."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        """Plug it in."""
        _ip("link", "set", self._cable, "up")

    def close(self) -> None:
        """Take it away; the cable goes with it."""
        _ip("netns", "del", self._name)


class NetworkTurns:
    """Who may change this machine's network, and who needs it to stay as it is.

    Args:
        folder: one for all processes that run these tests.
    """

    def __init__(self, folder: Path) -> None:
        self._gate, self._network = folder / "network-gate", folder / "network"

    @contextmanager
    def still(self) -> Iterator[None]:
        """Have it stay as it is; any number may at once."""
        with ExitStack() as turn:
            with _held(self._gate, fcntl.LOCK_EX):  # behind whoever waits to change it
                turn.enter_context(_held(self._network, fcntl.LOCK_SH))
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change it, when nobody minds."""
        with _held(self._gate, fcntl.LOCK_EX), _held(self._network, fcntl.LOCK_EX):
            yield


@contextmanager
def _held(path: Path, how: int) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield
