"""How the workers' pictures reach each other; chosen by ``REALTIME_MONITOR_STORE``."""

from __future__ import annotations

from .base import Store
from .memory import MemoryStore

__all__ = ["MemoryStore", "Store", "open_store"]


def open_store(url: str) -> Store:
    """Return the store of a URL; the URL was checked with the other settings.

    "auto" is the memory store as long as no shared one is built.
    """
    return MemoryStore("memory:" if url == "auto" else url)
