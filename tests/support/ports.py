"""Ports for the servers of tests that run side by side."""

from __future__ import annotations

import os
import random
import socket
from itertools import cycle

# Below those that the system gives to connections (from 32,768 on), and for each process of the
# tests some of its own: between finding a port free and listening there, nobody else takes it.
# Above 10,080, the last port that browsers refuse to open (https://fetch.spec.whatwg.org/#bad-port).
_FIRST, _EACH, _PROCESSES = 10_100, 1_400, 16
_number = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or 0)
_begin = _FIRST + _EACH * (_number % _PROCESSES)
_offset = random.SystemRandom().randrange(_EACH)  # two runs at a time begin elsewhere
_ports = cycle(_begin + (_offset + n) % _EACH for n in range(_EACH))


def free_port() -> int:
    """Return a port on which nobody listens."""
    while True:
        port = next(_ports)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
