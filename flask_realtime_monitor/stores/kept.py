"""What all workers of a picture on a server share, and none could make again: salts, the secret."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from .base import StoreError
from .newcomer import Newcomer
from .server import Command, Server

_NAMES = ("log", "cut", "notes", "beats", "gone", "epoch", "since", "secret", "ids")
SALT_S = 172_800
#: How long (s) who finds a server only now leaves it to others to give back what it has lost.
FIRST_S = 3.0


class Kept:
    """Makes what is not there yet, and gives back what the server has lost.

    Args:
        key: makes the name of a key.
        keep_s: how long the server keeps the secret, and all of the picture.
        worker: whose sessions are read as long as it lives; "" for a process that only reads.
        now: returns the server's time.
    """

    def __init__(
        self,
        server: Server,
        key: Callable[..., str],
        keep_s: int,
        worker: str,
        now: Callable[[], float],
    ) -> None:
        self._server = server
        self._key = key
        self._keep_s = keep_s
        self._worker = worker
        self._now = now
        self._salts: dict[int, bytes] = {}
        self._secret: bytes | None = None
        self._newcomer = Newcomer()

    def salt(self, day: int) -> bytes:
        """Return a day's salt, which the server forgets after two days."""
        found = self._shared(self._key("salt", day), self._salts.get(day), SALT_S)
        salts = {**self._salts, day: found}
        self._salts = {one: salt for one, salt in salts.items() if one >= day - 1}
        return found

    def secret(self) -> bytes:
        """Return the key on the server; one that lost everything gets all that is known."""
        if self._secret is not None:
            self._server.send(*self.known())
        self._secret = self._shared(self._key("secret"), self._secret, self._keep_s)
        return self._secret

    def known(self) -> list[Command]:
        """Return the commands that give back what is known, where it is no more."""
        known = [(self._key("salt", day), salt, SALT_S) for day, salt in self._salts.items()]
        if self._secret is not None:
            known.append((self._key("secret"), self._secret, self._keep_s))
        return [("SET", key, made, "EX", keep_s, "NX") for key, made, keep_s in known]

    def renewals(self) -> list[Command]:
        """Return the commands that keep the picture from expiring while somebody lives."""
        renewals = self.known()  # a server that is full may have thrown them away
        renewals += [("EXPIRE", self._key(name), self._keep_s) for name in _NAMES]
        if self._worker:
            renewals.insert(0, ("ZADD", self._key("ids"), self._now(), self._worker))
        return renewals

    def _shared(self, key: str, known: bytes | None, keep_s: int) -> bytes:
        """Return what is kept under a key; where nothing is, what was known, or something new."""
        (found,) = self._server.send(("GET", key))
        if found is None:
            if known is None and self._is_for_others():
                url = self._server.shown_url
                raise StoreError(f"{url} has just come; who was here before writes to it first")
            made = known or secrets.token_bytes(16)
            _, found = self._server.send(("SET", key, made, "EX", keep_s, "NX"), ("GET", key))
        return bytes(found)

    def _is_for_others(self) -> bool:
        """Tell whether others may be about to give back what the server has lost."""
        met_s = self._server.met_s
        if met_s is not None and time.monotonic() < met_s + FIRST_S:
            return True
        return not self._salts and self._newcomer.waits()
