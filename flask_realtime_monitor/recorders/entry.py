"""One request on its way, as the recorder follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..identity import Person
from ..privacy import MAX_NAME, clean
from ..records import InFlight

if TYPE_CHECKING:
    from .requests import RequestRecorder


class Extras:
    """What few requests have."""

    signed_in: Person | None = None
    signed_out: Person | None = None
    is_asked: bool = False  # who it is, at a sign-out that nobody's sign-in has followed
    title: Any = None
    error: str | None = None
    id: str | None = None  # while in flight, once somebody has asked
    shown: InFlight | None = None
    kept: Callable[[Any], Any] | None = None  # who else wants Flask's contexts

    def __init__(self) -> None:
        self.events: list[tuple[Any, Any, Any]] = []  # name, user, data


class Entry:
    """One request from its first moment in our wrapper to its last byte."""

    __slots__ = (
        "_extras",
        "cost_s",
        "environ",
        "is_streamed",
        "recorder",
        "request",
        "respond",
        "started_s",
        "status",
        "user",
    )

    def __init__(
        self,
        recorder: RequestRecorder,
        environ: dict[str, Any],
        respond: Callable[..., Any],
        now_s: float,
    ) -> None:
        self.recorder = recorder
        self.environ = environ
        self.respond = respond
        self.started_s = now_s
        self.request: Any = None  # the real request object, once Flask has finished with it
        self.user: Person | None = None
        self.status: str | None = None  # the line that was really sent
        self.is_streamed = True
        self.cost_s = 0.0  # of our own work, where this request is measured
        self._extras: Extras | None = None

    @property
    def extras(self) -> Extras:
        """What few requests have, made when asked for."""
        if self._extras is None:
            self._extras = Extras()
        return self._extras

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """Note the status that is really sent, and pass it on."""
        self.status = status
        if exc_info is None:
            return self.respond(status, headers)
        return self.respond(status, headers, exc_info)

    def keep(self, context: Any) -> None:
        """Flask shows its contexts a last time: look, if ``request_finished`` did not come."""
        if self._extras is not None and self._extras.kept is not None:
            self._extras.kept(context)
        if self.request is None:
            self.recorder.look_late(self)

    def fail(self, error: BaseException) -> None:
        """Note the first exception of the request."""
        if self.extras.error is None:
            self.extras.error = clean(type(error).__name__, MAX_NAME)
