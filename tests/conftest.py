"""What tests of several folders use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.gunicorn_server import GunicornServer
from tests.support.lines import Line, line_to_each
from tests.support.networks import NetworkTurns
from tests.support.streaming import StreamingServer
from tests.support.valkey import ValkeyServer, binary

# Servers of one app and user find each other's picture: those of tests that run side by side are
# not to be of one app.
os.environ["APP_NAME"] = f"shared-{os.getpid()}"

# How long an example takes is the machine's business, not a test's.
settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

# A shell's background job is started with Ctrl-C ignored, and so would be all it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def network_turns(tmp_path_factory: pytest.TempPathFactory) -> NetworkTurns:
    """Take turns with the tests that other processes of this run are at."""
    folder = tmp_path_factory.getbasetemp()
    return NetworkTurns(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture
def own_valkey() -> Iterator[Callable[..., ValkeyServer]]:
    """A server of the test's own, for what would disturb the others."""
    made: list[ValkeyServer] = []

    def make(*options: str) -> ValkeyServer:
        made.append(ValkeyServer(binary(), *options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def lines_to() -> Iterator[Callable[..., list[Line]]]:
    """Open a line to each worker of some servers; closed at the end."""
    opened: list[Line] = []

    def connect(*servers: GunicornServer) -> list[Line]:
        found = [line for server in servers for line in line_to_each(server)]
        opened.extend(found)
        return found

    yield connect
    for line in opened:
        line.close()


@pytest.fixture
def own() -> Iterator[Callable[..., StreamingServer]]:
    """A server of the test's own, its settings without their prefix."""
    made: list[StreamingServer] = []

    def start(*options: str, **settings: Any) -> StreamingServer:
        made.append(StreamingServer(*options, **settings))
        return made[-1]

    yield start
    for server in made:
        server.close()
