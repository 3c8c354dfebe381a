"""What of other workers makes no sense is passed over, and counted."""

from __future__ import annotations

import logging
from typing import Any

from .frames import Frame, FrameError, decode

logger = logging.getLogger("flask_realtime_monitor")


class Refusals:
    """Counts frames that were passed over; ``count`` is how many."""

    def __init__(self) -> None:
        self.count = 0

    def decoded(self, data: bytes) -> Frame | None:
        """Return a frame, None for what is none."""
        return self.guarded(decode, data)  # type: ignore[no-any-return]

    def guarded(self, take: Any, *args: Any) -> Any:
        """Make a call and return what it does, None where it refuses what it was given."""
        try:
            return take(*args)
        except FrameError as error:
            self.count += 1
            if self.count == 1:
                logger.warning("a frame of another worker is passed over: %s", error)
            return None
