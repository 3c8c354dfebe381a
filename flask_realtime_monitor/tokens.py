"""Proofs that a page of ours was handed to whoever sends one back."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest, digest

_DAY_S = 86_400


class Tokens:
    """Makes a viewer's token and knows it again, in any worker, today and tomorrow.

    Args:
        secret: returns the picture's own key; the same in every worker.
        now_at: returns the present moment in seconds since the epoch.
    """

    def __init__(self, secret: Callable[[], bytes], now_at: Callable[[], float]) -> None:
        self._secret = secret
        self._now_at = now_at

    def make(self, user_id: str | None) -> str:
        """Return the token of a viewer, None for one without a user.

        Raises:
            MonitorError: the key cannot be had now; so of ``fits``.
        """
        return self._of(user_id, self._today())

    def fits(self, token: str, user_id: str | None) -> bool:
        """Tell whether a token was made for this viewer, today or yesterday."""
        sent = token.encode("utf-8", "surrogatepass")
        today = self._today()
        return any(
            compare_digest(sent, self._of(user_id, day).encode()) for day in (today, today - 1)
        )

    def _today(self) -> int:
        return int(self._now_at() // _DAY_S)

    def _of(self, user_id: str | None, day: int) -> str:
        whose = b"nobody" if user_id is None else b"user " + user_id.encode("utf-8", "replace")
        return digest(self._secret(), b"page %d %s" % (day, whose), "sha256").hex()
