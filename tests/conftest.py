"""What tests of several folders use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.valkey import ValkeyServer, binary


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
