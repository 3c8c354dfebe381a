"""Who may watch: the app's ``authorize`` gate, asked the same way for every route."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hmac import compare_digest
from inspect import isasyncgenfunction, iscoroutine, iscoroutinefunction
from typing import Any, NamedTuple

from .errors import ConfigError

logger = logging.getLogger("flask_realtime_monitor")

Authorize = Callable[[], Any]

#: The role of whoever has the wall's address: no gate gives it, and it sees totals alone.
WALL = "wall"
#: The roles that see names.
REVEALING = ("reveal", "act")
_ROLES = ("view", *REVEALING)
_YES = 'return True (or "view", "reveal" or "act") to let somebody watch'


class Verdict(NamedTuple):
    """What the gate said: a role, or the status and reason of a refusal."""

    role: str | None
    status: int = 200
    reason: str = ""


def checked_gate(gate: Any) -> Authorize:
    """Return a gate that can be asked.

    Raises:
        ConfigError: it is no callable, or it is an ``async def``, whose answer is never False.
    """
    if not callable(gate):
        raise ConfigError(
            f"authorize must be a function without arguments, not {type(gate).__name__}; "
            f"write @monitor.authorize above it, or authorize=may_watch; {_YES}"
        )
    call = getattr(gate, "__call__", None)  # noqa: B004  (an object's own async __call__)
    if iscoroutinefunction(gate) or isasyncgenfunction(gate) or iscoroutinefunction(call):
        raise ConfigError(
            "authorize is an async def: what it returns is a coroutine, never a yes or a no; "
            "write a plain def"
        )
    return gate  # type: ignore[no-any-return]


class Access:
    """Asks the gate; only an exact yes opens it.

    Args:
        gate: returns the app's gate, or None where none is set.
        metrics_token: the bearer token that opens the metrics alone.
        wall_token: the last part of the address that opens the wall alone.
    """

    def __init__(
        self,
        gate: Callable[[], Authorize | None],
        metrics_token: str | None,
        wall_token: str | None = None,
    ) -> None:
        self._gate = gate
        self._metrics_token = None if metrics_token is None else metrics_token.encode()
        self._wall_token = None if wall_token is None else wall_token.encode()
        self._told: set[str] = set()

    def ask(self) -> Verdict:
        """Ask the gate about the request at hand. It never raises."""
        gate = self._gate()
        if gate is None:
            self._tell(
                "no gate",
                "nobody may watch until a gate is set: write @monitor.authorize above a function "
                "that returns True for those who may",
            )
            return Verdict(
                None,
                404,
                "no gate is set; write @monitor.authorize above a function that returns True "
                "for those who may watch",
            )
        try:
            answer = gate()
        except Exception as error:  # the app's own code; a gate that fails is a gate that says no
            kind = type(error).__name__
            self._tell(kind, f"the authorize gate raised {kind}: refused; {_YES}", error)
            return Verdict(None, 403, f"the authorize gate raised {kind}; see the log")
        if answer is True or (type(answer) is int and answer == 1):
            return Verdict("reveal")
        if type(answer) is str and answer in _ROLES:
            return Verdict(answer)
        if answer is None or answer is False:
            said = f"the authorize gate returned {answer} ({type(answer).__name__})"
            self._tell(str(answer), f"{said}: refused; {_YES}")
            return Verdict(None, 403, f"{said}; {_YES}")
        return self._odd(answer)

    def opens_metrics(self, header: str | None) -> bool:
        """Tell whether an Authorization header holds the token that opens the metrics."""
        if self._metrics_token is None or not header:
            return False
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return False
        # A header is bytes decoded as latin-1 (PEP 3333): back to what the client sent.
        sent = token.strip().encode("latin-1", "replace")
        return compare_digest(sent, self._metrics_token)

    def opens_wall(self, token: str) -> bool:
        """Tell whether this is the token that opens the wall."""
        if self._wall_token is None:
            return False
        return compare_digest(token.encode("utf-8", "surrogatepass"), self._wall_token)

    def _odd(self, answer: Any) -> Verdict:
        if iscoroutine(answer):
            answer.close()  # it will never be awaited, and Python would warn of that
        kind = type(answer).__name__
        self._tell(kind, f"the authorize gate returned {kind}: refused; {_YES}")
        return Verdict(None, 403, f"the authorize gate returned {kind}; {_YES}")

    def _tell(self, kind: str, text: str, error: Exception | None = None) -> None:
        """Log the first of a kind."""
        if kind not in self._told and len(self._told) < 100:
            self._told.add(kind)
            logger.warning("%s", text, exc_info=error)
