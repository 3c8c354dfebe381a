"""How the workers' pictures reach each other; chosen by ``REALTIME_MONITOR_STORE``."""

from __future__ import annotations

from ..config import STORE_SCHEMES
from ..errors import ConfigError
from .base import (
    KEEP_S,
    LASTING,
    SESSION_BUCKETS,
    TAIL,
    Beat,
    Entry,
    Flush,
    Flushed,
    Gap,
    Load,
    Roster,
    Store,
    StoreError,
)
from .memory import MemoryStore

__all__ = [
    "LASTING",
    "SESSION_BUCKETS",
    "TAIL",
    "Beat",
    "Entry",
    "Flush",
    "Flushed",
    "Gap",
    "Load",
    "MemoryStore",
    "Roster",
    "Store",
    "StoreError",
    "numbered",
    "open_store",
]

_SIBLINGS = range(1, 10)


def open_store(
    url: str,
    *,
    worker: str = "",
    app_name: str = "",
    prefix: str = "",
    keep_s: float = KEEP_S,
) -> Store:
    """Return the store of a URL, made in the process that uses it; nothing is opened yet.

    Args:
        url: "auto", "memory:", "sqlite:////path", or the address of a Redis or Valkey.
        worker: this worker's id; without one "auto" shares nothing.
        app_name: tells the files of "auto", and the keys on a server, of several apps apart.
        prefix: what is used for that in place of the app's name.
        keep_s: how long what is not rewritten is kept.

    Raises:
        ConfigError: the URL names no store, or its client is not installed.
    """
    scheme = url.partition(":")[0]
    if url == "auto":
        return _open_auto(app_name, prefix, worker, keep_s)
    if scheme == "memory":
        return MemoryStore(url, worker=worker, keep_s=keep_s)
    if scheme == "sqlite":
        from .sqlite import SQLiteStore

        return SQLiteStore(url, worker=worker, keep_s=keep_s)
    if scheme in STORE_SCHEMES:
        from .redis import RedisStore

        prefix = prefix or f"realtime-monitor:{app_name}"
        return RedisStore(url, worker=worker, keep_s=keep_s, prefix=prefix)
    raise ConfigError(
        f"REALTIME_MONITOR_STORE: unknown store {scheme[:20]!r}; known: auto, memory, sqlite, "
        f"{', '.join(STORE_SCHEMES)}"
    )


def numbered(app_name: str, number: int) -> str:
    """Return what the so manieth app of a name is called in a process that makes several."""
    return app_name if number < 2 else f"{app_name} {number}"


def _open_auto(app_name: str, prefix: str, worker: str, keep_s: float) -> Store:
    from .place import Place, find_place
    from .sqlite import SQLiteStore

    place = Place("memory:")
    if worker and prefix:
        place = find_place(prefix)
    elif worker:
        first = app_name.partition(" ")[0]
        place = find_place(app_name, [numbered(first, number) for number in _SIBLINGS])
    store: Store
    if place.url == "memory:":
        store = MemoryStore(worker=worker, keep_s=keep_s)
    else:
        store = SQLiteStore(place.url, worker=worker, keep_s=keep_s, lives_with_master=True)
    store.reason, store.is_guest = place.reason, place.is_guest
    return store
