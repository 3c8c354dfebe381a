"""The app of streaming.py, each request in one of two threads: python -m tests.apps.pooled PORT."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from .streaming import app


class Pooled(WSGIServer):
    """A server that has few threads."""

    pool = ThreadPoolExecutor(2)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.answer, request, client_address)

    def answer(self, request: Any, client_address: Any) -> None:
        self.finish_request(request, client_address)
        self.shutdown_request(request)


def threaded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Say that there are some, which wsgiref's own server never has."""
    return app(environ | {"wsgi.multithread": True}, start_response)


with make_server("127.0.0.1", int(sys.argv[1]), threaded, Pooled) as server:
    server.serve_forever()
