"""``flask monitor ...``: the picture in a terminal, for scripts, and an examination of it all."""

from .commands import monitor

__all__ = ["monitor"]
