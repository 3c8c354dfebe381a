"""The store of one process: nothing to carry."""

from __future__ import annotations

import secrets

from .base import Store


class MemoryStore(Store):
    """Keeps the picture's epoch and salts in this process's memory only."""

    def __init__(self, url: str = "memory:") -> None:
        super().__init__(url)
        self._epoch = secrets.token_hex(4)
        self._salts: dict[int, bytes] = {}

    def epoch(self) -> str:
        """Return the id made with the process."""
        return self._epoch

    def salt(self, day: int) -> bytes:
        """Return a day's salt; yesterday's is kept, older ones are gone."""
        salt = self._salts.setdefault(day, secrets.token_bytes(16))
        for old in [known for known in self._salts if known < day - 1]:
            del self._salts[old]
        return salt
