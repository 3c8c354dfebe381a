"""Every store, for the tests that hold for all of them."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flask_realtime_monitor.stores import Store, open_store
from flask_realtime_monitor.stores.redis import RedisStore
from flask_realtime_monitor.stores.sqlite import SQLiteStore
from tests.support.valkey import ValkeyCluster, ValkeyServer, binary, missing, old_binary

#: Opens one more worker's store of the same picture.
Open = Callable[..., Store]


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer(binary())
    yield server
    server.close()


@pytest.fixture(scope="session")
def valkey_url(request: pytest.FixtureRequest) -> str:
    url = os.environ.get("FRM_TEST_REDIS_URL")
    if url:
        return url
    server: ValkeyServer = request.getfixturevalue("valkey")
    return server.url


@pytest.fixture(scope="session")
def old_redis_url() -> Iterator[str]:
    server = ValkeyServer(old_binary())
    yield server.url
    server.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[ValkeyCluster]:
    made = ValkeyCluster(binary())
    yield made
    made.close()


@pytest.fixture
def by_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets stores be opened with one of the two clients, also where the other is installed."""

    def choose(name: str) -> None:
        if find_spec(name) is None:
            missing(f"no client: pip install {name}")
        monkeypatch.setattr("flask_realtime_monitor.stores.server._CLIENTS", (name,))

    return choose


@pytest.fixture(params=["redis", "valkey"])
def each_client(request: pytest.FixtureRequest, by_client: Callable[[str], None]) -> str:
    """Runs a test with each of the two clients."""
    name: str = request.param
    by_client(name)
    return name


@pytest.fixture
def left() -> Iterator[Callable[[Any], Any]]:
    """Closes at the end of the test what it is handed."""
    stores: list[Store] = []

    def leave_later(store: Store) -> Store:
        stores.append(store)
        return store

    yield leave_later
    for store in stores:
        store.leave()


def _opener(name: str, request: pytest.FixtureRequest, folder: Path) -> Open:
    folder.chmod(0o700)
    name, _, client = name.partition(" by ")
    if client:
        request.getfixturevalue("by_client")(client)
    if name == "auto":
        url = f"sqlite:///{folder}/app-1-1.sqlite"
        return lambda worker, **rest: SQLiteStore(
            url, worker=worker, lives_with_master=True, **rest
        )
    if name == "sqlite":
        url = f"sqlite:///{folder}/monitor.sqlite"
    elif name == "cluster":
        cluster: ValkeyCluster = request.getfixturevalue("cluster")
        url = cluster.nodes[0].url.replace("redis:", "redis+cluster:")
    else:
        url = request.getfixturevalue({"valkey": "valkey_url", "old redis": "old_redis_url"}[name])
    prefix = secrets.token_hex(4)
    return lambda worker, **rest: open_store(url, worker=worker, prefix=prefix, **rest)


SHARED = [
    pytest.param("auto"),
    pytest.param("sqlite"),
    pytest.param("valkey by redis", marks=pytest.mark.server),
    pytest.param("valkey by valkey", marks=pytest.mark.server),
    pytest.param("old redis", marks=pytest.mark.server),
    pytest.param("cluster by redis", marks=pytest.mark.server),
    pytest.param("cluster by valkey", marks=pytest.mark.server),
]


@pytest.fixture(params=SHARED)
def open_shared(
    request: pytest.FixtureRequest, tmp_path: Path, left: Callable[[Store], Store]
) -> Open:
    """Opens stores of one picture that begins with the test."""
    opener = _opener(request.param, request, tmp_path)
    return lambda worker="w1", **rest: left(opener(worker, **rest))


@pytest.fixture
def losable(
    open_shared: Open, request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[Open, Callable[[], None]]:
    """Opens stores of one picture likewise, and loses all that they have written."""

    def lose() -> None:
        for one in tmp_path.glob("*.sqlite*"):
            one.unlink()
        store = open_shared("nobody")
        if isinstance(store, RedisStore):
            store.epoch()  # where the keys are, in a cluster
            (keys,) = store._server.send(("KEYS", store._key("*")))
            store._server.send(("DEL", *keys))

    return open_shared, lose


@pytest.fixture
def lapsing(
    open_shared: Open, tmp_path: Path
) -> tuple[Open, Callable[[], None], Callable[[], None]]:
    """Opens stores of one picture likewise, keeps what they have, and goes back to that."""
    kept: dict[bytes, bytes] = {}
    copy = tmp_path / "copy"

    def keep() -> None:
        store = open_shared("nobody")
        if isinstance(store, RedisStore):
            store.epoch()
            (keys,) = store._server.send(("KEYS", store._key("*")))
            blobs = store._server.send(*(("DUMP", key) for key in keys))
            kept.update(zip(keys, blobs, strict=True))
        else:
            _copy(next(tmp_path.glob("*.sqlite")), copy)

    def go_back() -> None:
        store = open_shared("nobody")
        if isinstance(store, RedisStore):
            store.epoch()
            (keys,) = store._server.send(("KEYS", store._key("*")))
            store._server.send(
                ("DEL", *keys), *(("RESTORE", key, 600_000, blob) for key, blob in kept.items())
            )
            store._server.send(("CLIENT", "KILL", "TYPE", "normal"))  # but for its own
        else:
            _copy(copy, next(tmp_path.glob("*.sqlite")))

    return open_shared, keep, go_back


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)
