"""What every store offers."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Store(ABC):
    """Carries what must be the same in all workers of one picture.

    Args:
        url: the store's address; ``shown_url`` is the same without its password.
    """

    #: Whether other processes can read what this one writes.
    is_shared = False

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def shown_url(self) -> str:
        """The address as outputs may show it."""
        return self.url

    @abstractmethod
    def epoch(self) -> str:
        """Return the id of the picture: it changes when the picture begins anew."""

    @abstractmethod
    def salt(self, day: int) -> bytes:
        """Return the salt of a day (days since the epoch): 16 random bytes, made when missing."""

    def lag_s(self) -> float | None:
        """Return how old the newest row read from others is; None where nothing is shared."""
        return None
