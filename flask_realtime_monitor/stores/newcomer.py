"""Who makes what all workers of a picture share, where its store has none."""

from __future__ import annotations

import time

from .place import has_elders

#: How long (s) who comes later leaves it to the others to give back what a store has lost: these
#: may find out only as they write the next time, or try once more.
OTHERS_S = 2.0


class Newcomer:
    """This process, while it knows nothing of what was before it."""

    def __init__(self) -> None:
        self._missed_s: float | None = None  # since when (monotonic) there was nothing

    def waits(self) -> bool:
        """Tell, where a store has nothing, whether others may be about to give it back."""
        if not has_elders():
            return False
        now_s = time.monotonic()
        if self._missed_s is None:
            self._missed_s = now_s
        return now_s < self._missed_s + OTHERS_S
