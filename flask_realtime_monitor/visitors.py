"""Who is behind a request without asking anybody: keyed hashes of address and agent.

The key is a random salt that lives a day. Nobody who reads an id, even with this source at hand,
can compute it from an address; and yesterday's ids cannot be linked to today's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import NamedTuple

from .errors import MonitorError
from .privacy import pack_ip, visitor_part

_DAY_S = 86_400


class NotReadyError(MonitorError):
    """No id can be made yet: there is no salt."""


class _Day(NamedTuple):
    """What is to be known as a day begins; the salt of the day before, where it was not known."""

    number: int
    salt: bytes
    old_salt: bytes | None
    others: Collection[int]


class Visitors:
    """Gives visitors and sessions their ids.

    Only ``fetch`` asks for salt and secret, which may mean to wait for a server.

    Args:
        salt: returns the salt of a day (days since the epoch); the same in every worker.
        timeout_s: a visitor seen within it under yesterday's salt keeps its id.
        is_known: tells whether a visitor has a session here.
        secret: returns the key of what is no visitor; the same in every worker, for as long as
            the picture lives.
        others: returns the visitors who have a session at any worker; None where there is but one.
    """

    def __init__(
        self,
        salt: Callable[[int], bytes],
        timeout_s: float,
        is_known: Callable[[int], bool],
        secret: Callable[[], bytes] = lambda: secrets.token_bytes(16),
        others: Callable[[], Collection[int]] | None = None,
    ) -> None:
        self._salt = salt
        self._read_secret = secret
        self._timeout_s = timeout_s
        self._is_known = is_known
        self._find_others = others
        self._day = -1
        self._key = b""
        self._old_key: bytes | None = None
        self._others: Collection[int] = ()  # who had a session anywhere as the day began
        self._fetched = _Day(-1, b"", None, ())
        self._secret = b""

    @property
    def is_ready(self) -> bool:
        """Whether there has been a turn."""
        return bool(self._key)

    def visitor(self, address: str, agent: str) -> int:
        """Return the 64-bit id of a visitor, by the salt of the last turn.

        Raises:
            NotReadyError: there was none yet.
        """
        if not self.is_ready:
            raise NotReadyError
        what = visitor_part(pack_ip(address), address) + b"\n"
        what += agent.encode("utf-8", "surrogatepass")
        if self._old_key is not None:
            old = _digest(what, self._old_key)
            if old in self._others or self._is_known(old):
                return old
        return _digest(what, self._key)

    def fetch(self, at: float) -> None:
        """Ask for what the next turn needs, if anything; ``at`` in seconds since the epoch.

        Raises:
            MonitorError: it cannot be had now.
        """
        if not self._secret:
            self._secret = self._read_secret()
        day, second = divmod(at, _DAY_S)
        if day <= max(self._day, self._fetched.number):
            return
        old, others = None, frozenset[int]()
        if self._find_others is not None and second <= self._timeout_s:
            others = frozenset(self._find_others())
            if not self._key:  # who comes after midnight
                old = self._salt(int(day) - 1)
        self._fetched = _Day(int(day), self._salt(int(day)), old, others)

    def turn(self, at: float) -> bool:
        """Change the salt when the day has changed, drop the old one when it may go; tell so.

        Raises:
            NotReadyError: what that takes has not been fetched; nothing has changed.
        """
        day = int(at // _DAY_S)
        if day > self._day:
            fetched = self._fetched
            if fetched.number < day or not self._secret:
                raise NotReadyError
            self._others = fetched.others
            self._old_key = self._key or fetched.old_salt
            self._key, self._day = fetched.salt, fetched.number
            return True
        if self._old_key is not None and at % _DAY_S > self._timeout_s:
            self._old_key, self._others = None, ()
            return True
        return False

    def session_key(self, visitor: int, user_id: str | None, generation: int) -> int:
        """Return the 64-bit id of a visitor's session as a user (or as nobody).

        All of a visitor's have the same low eight bits, and so lie in the same bucket.
        """
        if user_id is None and not generation:
            return visitor
        what = b"%d:%d:" % (visitor, generation)
        if user_id is not None:
            what += b"u" + user_id.encode("utf-8", "replace")
        return _digest(what, self._secret) & ~0xFF | visitor & 0xFF

    def person(self, user_id: str) -> int:
        """Return a 64-bit pseudonym of a user, for counting distinct people."""
        return _digest(b"p" + user_id.encode("utf-8", "replace"), self._secret)

    def masked(self, user_id: str) -> str:
        """Return what stands for a user where their id is not to be seen: 16 hex digits.

        Raises:
            MonitorError: the key cannot be had now. Without it anybody could try out ids.
        """
        if not self._secret:
            self._secret = self._read_secret()
        return f"{_digest(b'm' + user_id.encode('utf-8', 'replace'), self._secret):016x}"


def _digest(what: bytes, key: bytes) -> int:
    return int.from_bytes(blake2b(what, digest_size=8, key=key).digest(), "little")
