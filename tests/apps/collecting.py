"""The app of streaming.py with what other apps do to all their answers; COLLECT says what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue

from .streaming import app

Environ = dict[str, Any]


def whole(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hand an answer on when all of it is there."""
    return [b"".join(inner(environ, start_response))]


def late(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
    """Hand each piece on when the next one is there."""
    before = b""
    for piece in inner(environ, start_response):
        if before:
            yield before
        before = piece
    yield before


def changed(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say of an answer that is not packed yet that it is, in a way of its own."""

    def respond(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        packed = {"Content-Encoding": "of-its-own", **dict(headers)}
        return start_response(status, list(packed.items()), *rest)

    return inner(environ, respond)


def copied(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Keep the environ as the server gave it."""
    return inner(dict(environ), start_response)


def tagged(answer: Response) -> Response:
    answer.add_etag()
    return answer.make_conditional(request)  # type: ignore[return-value]


def measured(answer: Response) -> Response:
    answer.headers["Content-Length"] = str(len(answer.get_data()))
    return answer


def packed(answer: Response) -> Response:
    answer.set_data(answer.get_data()[::-1])
    answer.headers["Content-Encoding"] = "reversed"
    return answer


def closed(_: Response) -> ResponseReturnValue:
    return app.response_class("we are closed", 503)


def renamed(answer: Response) -> Response:
    answer.status = "503 We Are Closed"
    answer.set_data("we are closed")
    return answer


kind = globals()[os.environ["COLLECT"]]
inner = app.wsgi_app
if kind in (whole, late, changed, copied):
    app.wsgi_app = kind  # type: ignore[method-assign]
else:
    app.after_request(kind)
