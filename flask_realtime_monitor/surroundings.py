"""What a picture cannot know by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .records import InFlight

Json = dict[str, Any]


class Surroundings(NamedTuple):
    """The worker around a picture, as callables."""

    in_flight: Callable[[], list[InFlight]]
    viewers: Callable[[], int]
    worker: Callable[[], Json]
    health: Callable[[], Json]
    events_dropped: Callable[[], int]
    is_whole: Callable[[], bool]
    is_worker: Callable[[], bool]
    fold: Callable[[], None]
    tell: Callable[[], None]
    epoch: Callable[[], str]
    cursor: Callable[[], int]
    #: What tells who makes a request; None where nothing does, or it is not known what.
    identified_by: Callable[[], str | None] = lambda: None
