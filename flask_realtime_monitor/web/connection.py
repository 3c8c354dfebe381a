"""How a server's connection can carry a stream, found out at run time, and how it becomes ours.

Detached: gunicorn's gevent worker over plain HTTP/1. We take the descriptor out of its socket and
leave a dead one there. For gunicorn the client has left: it finishes its own bookkeeping (access
log, ``close()``, ``post_request``) and knows nothing of the stream from then on, so that none of
its connections is taken and a worker that stops has nothing to wait for.

Held: a thread or greenlet of the server's iterates the stream (TLS in the worker, other servers).

Bounded: no stream, where it would keep the app from answering, or where a middleware keeps it back.
"""

from __future__ import annotations

import errno
import logging
import sys
from enum import Enum
from types import FrameType
from typing import Any

from ..fanout import prepare
from ..packet import CHUNKED, GZIP
from ..worker import is_patched, server_worker

logger = logging.getLogger("flask_realtime_monitor")

_SOCKET = "gunicorn.socket"
_POOLS = ("concurrent.futures.thread", "cheroot.workers.threadpool")


class Way(Enum):
    """How a stream is carried."""

    DETACHED = "detached"
    HELD = "held"
    BOUNDED = "bounded"


def way(environ: dict[str, Any]) -> Way:
    """Return how a stream can be carried on this request's connection."""
    if reason := _why_bounded(environ):
        _warn_once(reason)
        return Way.BOUNDED
    return Way.DETACHED if _is_detachable(environ) else Way.HELD


def form(environ: dict[str, Any]) -> int:
    """Return how what we write ourselves has to be framed: in chunks from HTTP/1.1 on."""
    return CHUNKED if environ["SERVER_PROTOCOL"] == "HTTP/1.1" else 0


def servers_answer(frame: FrameType | None) -> Any:
    """Return gunicorn's own answer to the request whose stack this is; None where there is none."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("gunicorn.workers."):
            found = frame.f_locals.get("resp")
            if hasattr(found, "headers_sent") and hasattr(found, "chunked"):
                return found
        frame = frame.f_back
    return None


def is_under_way(answer: Any, form: int) -> bool:
    """Tell whether the first piece of a stream has gone out as we mean it, once it was taken.

    A middleware may collect a body until it is whole, or change it: then there is no stream. That
    is known of gunicorn alone.
    """
    if answer is None:
        return True
    codings = [value for name, value in answer.headers if name.lower() == "content-encoding"]
    is_so = (
        answer.headers_sent
        and codings == (["gzip"] if form & GZIP else [])
        and (answer.chunked or not form & CHUNKED)
    )
    if not is_so:
        _warn_once("a middleware keeps answers back until they are whole, or changes them")
    return bool(is_so)


def detach(environ: dict[str, Any]) -> int:
    """Take the descriptor of a request's connection, and leave a dead socket in its place."""
    connection = environ[_SOCKET]
    prepare(connection)
    fd: int = connection.detach()
    connection._sock = _Dead()
    return fd


def bound(environ: dict[str, Any]) -> None:
    """Bound what the kernel keeps for a connection that the server writes to, where it is known.

    Nobody else notices there that a viewer takes nothing any more, or has vanished.
    """
    if _SOCKET in environ:
        prepare(environ[_SOCKET])


class _Dead:
    """What is left for the server: writing to it says that the client has gone."""

    def __bool__(self) -> bool:
        return False  # closing it is nothing to gevent

    def __getattr__(self, name: str) -> Any:
        return _gone


def _gone(*_: Any) -> None:
    raise BrokenPipeError(errno.EPIPE, "the connection was handed over")


def _is_detachable(environ: dict[str, Any]) -> bool:
    connection = environ.get(_SOCKET)
    kind = type(connection)
    config = getattr(server_worker(), "cfg", None)
    return (
        (kind.__module__, kind.__qualname__) == ("gevent._socket3", "socket")  # TLS has its own
        and hasattr(kind, "detach")
        and hasattr(connection, "_sock")
        and environ.get("SERVER_PROTOCOL") in ("HTTP/1.0", "HTTP/1.1")
        and getattr(config, "protocol", "http") == "http"
    )


def _why_bounded(environ: dict[str, Any]) -> str:
    """Return why a stream would block the app; empty where it would not."""
    if reason := _why_one_by_one(environ):
        return reason
    # Not by SERVER_SOFTWARE: waitress puts there what its setting ``ident`` says.
    if getattr(environ.get("wsgi.file_wrapper"), "__module__", "") == "waitress.buffers":
        return "each stream would take one of waitress's few threads"
    if "gthread" in type(server_worker()).__module__:
        return "each stream would take one of the gthread worker's few threads"
    if "mod_wsgi.version" in environ or _is_in_pool(sys._getframe()):
        return "each stream would take one of this server's few threads"
    return ""


def _why_one_by_one(environ: dict[str, Any]) -> str:
    """Return why a request would wait for a stream's end; empty where it would not."""
    if "gunicorn.http2.send_trailers" in environ:
        return "gunicorn answers the requests of one HTTP/2 connection one after the other"
    # gevent's own server says that it has no threads, which is true: it has greenlets.
    if type(environ.get("wsgi.input")).__module__ == "gevent.pywsgi":
        return "" if is_patched() else "gevent has not patched this process (monkey.patch_all)"
    return "" if environ.get("wsgi.multithread") else "this server answers one request at a time"


def _is_in_pool(frame: FrameType | None) -> bool:
    """Tell whether a request is served by a thread of a pool.

    So do cheroot, hypercorn, and all that make an ASGI app of a WSGI one: asgiref with one thread.
    """
    while frame is not None:
        if frame.f_globals.get("__name__") in _POOLS:
            return True
        frame = frame.f_back
    return False


_told: set[str] = set()


def _warn_once(reason: str) -> None:
    if reason not in _told:
        _told.add(reason)
        logger.warning(
            "no stream here: %s; the dashboard asks every 10 s instead (gunicorn's gevent worker "
            "streams)",
            reason,
        )
