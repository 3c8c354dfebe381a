"""The store of one process: nothing to carry."""

from __future__ import annotations

import secrets
import time

from .base import KEEP_S, Entry, Flush, Flushed, Fold, Load, Missing, Roster, Store


class MemoryStore(Store):
    """Keeps the picture's epoch and salts in this process's memory only.

    There is no other worker: what is flushed goes nowhere, and there is nothing to read.
    """

    def __init__(self, url: str = "memory:", *, worker: str = "", keep_s: float = KEEP_S) -> None:
        super().__init__(url, worker=worker, keep_s=keep_s)
        self._epoch = secrets.token_hex(4)
        self._since_at = time.time()
        self._salts: dict[int, bytes] = {}
        self._secret = secrets.token_bytes(16)
        self._cursor = 0

    def epoch(self) -> str:
        """Return the id made with the process."""
        return self._epoch

    def since_at(self) -> float:
        """Return when this store was made."""
        return self._since_at

    def salt(self, day: int) -> bytes:
        """Return a day's salt; yesterday's is kept, older ones are gone."""
        salt = self._salts.setdefault(day, secrets.token_bytes(16))
        for old in [known for known in self._salts if known < day - 1]:
            self._salts.pop(old, None)
        return salt

    def secret(self) -> bytes:
        """Return the key made with the process."""
        return self._secret

    def flush(self, flush: Flush) -> Flushed:
        """Count the frame."""
        self._cursor += flush.frame is not None
        return Flushed(self._cursor, self._epoch, [], time.time())

    def tell(self, note: bytes) -> None:
        """Do nothing: there is nobody to tell."""

    def notes(self) -> list[tuple[int, bytes]]:
        """Return nothing."""
        return []

    def read_since(self, cursor: int, most: int = 1000) -> list[Entry]:
        """Return nothing."""
        return []

    def load(self) -> Load:
        """Return nothing, and where the log would be."""
        return Load(self._epoch, self._cursor, [], [], [])

    def snapshots_of(self, bucket: int) -> list[tuple[str, bytes]]:
        """Return nothing."""
        return []

    def put(self, name: str, bucket: int, blob: bytes) -> None:
        """Do nothing: nobody is ever gone."""

    def written_as(self, name: str) -> list[tuple[int, bytes]]:
        """Return nothing."""
        return []

    def roster(self) -> Roster:
        """Return nobody."""
        return Roster({}, None, {}, time.time(), self._epoch)

    def retire(self, worker: str, fold: Fold) -> bool:
        """Do nothing: there is no other."""
        return False

    def restore(self, missing: Missing) -> None:
        """Do nothing: nothing is lost."""

    def trim(self, cursor: int) -> None:
        """Do nothing."""

    def leave(self) -> None:
        """Do nothing."""
