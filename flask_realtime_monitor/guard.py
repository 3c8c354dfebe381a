"""The one guard between the app and us."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

logger = logging.getLogger("flask_realtime_monitor")

#: How the names of our own threads begin.
THREADS = "realtime-monitor"

F = TypeVar("F", bound=Callable[..., Any])


class Guard:
    """Lets nothing of ours reach the app: counts, logs the first of a kind, goes on.

    With ``is_strict`` (our own tests) it raises instead.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.is_strict = False

    def wrap(self, function: F) -> F:
        """Return the function with every exception of ours kept inside; it then returns None."""
        where = getattr(function, "__name__", "call")

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except BaseException as error:  # whatever it is, the app must not see it
                self.caught(where, error)
                return None

        return guarded  # type: ignore[return-value]  # same parameters, None on failure

    def caught(self, where: str, error: BaseException) -> None:
        """Note what was caught around code of ours; raise again what belongs to the app."""
        if is_for_the_app(error):
            raise error
        self.failed(where, error)

    def failed(self, where: str, error: BaseException) -> None:
        """Note a failure; raise it in strict mode."""
        if self.is_strict:
            raise error
        kind = f"{where}: {type(error).__name__}"
        self.failures[kind] += 1
        is_first = self.failures[kind] == 1
        try:
            logger.log(
                logging.WARNING if is_first else logging.DEBUG,
                "%s failed; the request is not affected (further ones of this kind at debug level)",
                kind,
                exc_info=error if is_first else None,
            )
        except Exception:  # a broken log handler is no reason to break a request
            return


def is_for_the_app(error: BaseException) -> bool:
    """Time-outs, kills and exits that arrive while our code runs belong to the app.

    In a thread of our own only its kill does: whatever else a hook raises there must not end it.
    """
    if isinstance(error, Exception):
        return False
    module = type(error).__module__
    if threading.current_thread().name.startswith(THREADS):
        return module.startswith("greenlet")
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit) or module.startswith(
        ("gevent", "greenlet")
    )
