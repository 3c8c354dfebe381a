"""What has left the lists lately, for whoever comes back with an older one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

_MOST = 2_000
_MOST_ENDED = 1_000


class Departures:
    """Sessions (keys) and users (ids) that are no longer shown, and since when.

    ``complete_since_ms`` (ms since the epoch) is the moment from which none is missing.
    """

    def __init__(self) -> None:
        self._at_ms: OrderedDict[int | str, int] = OrderedDict()
        self._ended_ms: OrderedDict[int, int] = OrderedDict()
        self.complete_since_ms = 0

    def begin(self, now_ms: int) -> None:
        """Nobody has looked before; what left earlier is not known."""
        self._at_ms.clear()
        self.complete_since_ms = now_ms

    def doubt(self, now_ms: int) -> None:
        """Nobody has looked for a while: some may have come, and left without a trace."""
        self.complete_since_ms = max(self.complete_since_ms, now_ms)

    def note(self, key: int | str, now_ms: int) -> None:
        """Something is not shown any more."""
        self._at_ms[key] = now_ms
        self._at_ms.move_to_end(key)
        if len(self._at_ms) > _MOST:
            _, forgotten_ms = self._at_ms.popitem(last=False)
            self.complete_since_ms = max(self.complete_since_ms, forgotten_ms + 1)

    def since(self, ms: int) -> list[int | str]:
        """Return what has left since a moment."""
        return [key for key, at_ms in self._at_ms.items() if at_ms >= ms]

    def end(self, key: int, ended_ms: int) -> None:
        """A session has ended, and when."""
        self._ended_ms[key] = ended_ms
        if len(self._ended_ms) > _MOST_ENDED:
            self._ended_ms.popitem(last=False)

    def ended_ms(self, key: int) -> int | None:
        """Return when a session ended, None where that is not known."""
        return self._ended_ms.get(key)

    def undo_ends(self, living: Collection[int]) -> None:
        """Some sessions live, again or after all."""
        if len(living) == 1:
            self._ended_ms.pop(next(iter(living)), None)
            return
        for key in [one for one in self._ended_ms if one in living]:
            del self._ended_ms[key]
