"""Keys in the order they were last seen, with the active ones and their endpoints counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator


class Recency:
    """Keys in the order they were last seen, the active ones apart; counts per endpoint kept.

    A value holds the time (ms) and, in its low 16 bits, the endpoint of the last request.
    """

    def __init__(self) -> None:
        self.active: OrderedDict[int, int] = OrderedDict()
        self.idle: OrderedDict[int, int] = OrderedDict()
        self.active_at: dict[int, int] = {}

    def put(self, key: int, last_ms: int, endpoint: int, cutoff_ms: int) -> None:
        """Note when and where a key was last seen; active if after ``cutoff_ms``."""
        self.drop(key)
        value = last_ms << 16 | endpoint
        if last_ms > cutoff_ms:
            self.active[key] = value
            self.active_at[endpoint] = self.active_at.get(endpoint, 0) + 1
        else:
            self.idle[key] = value

    def drop(self, key: int) -> None:
        """Take a key out, if it is there."""
        value = self.active.pop(key, None)
        if value is None:
            self.idle.pop(key, None)
        else:
            self.active_at[value & 0xFFFF] -= 1

    def __contains__(self, key: int) -> bool:
        return key in self.active or key in self.idle

    def __len__(self) -> int:
        return len(self.active) + len(self.idle)

    def value(self, key: int) -> int | None:
        """Return a key's time and endpoint, packed as they are held."""
        value = self.active.get(key)
        return self.idle.get(key) if value is None else value

    def settle(self, cutoff_ms: int) -> list[int]:
        """Move to idle what was not seen since ``cutoff_ms``; return it."""
        moved = []
        active = self.active
        while active:
            key = next(iter(active))
            value = active[key]
            if value >> 16 > cutoff_ms:
                break
            del active[key]
            self.active_at[value & 0xFFFF] -= 1
            self.idle[key] = value
            moved.append(key)
        return moved

    def newest(self) -> Iterator[tuple[int, int]]:
        """Yield (key, last_ms), last seen first."""
        for table in (self.active, self.idle):
            for key in reversed(table):
                yield key, table[key] >> 16
