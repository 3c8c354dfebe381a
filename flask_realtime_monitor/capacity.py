"""How many streams a worker takes, all together."""

from __future__ import annotations

from .fanout import most_descriptors, raise_descriptors
from .worker import hands_connections_over, server_worker, uwsgi_threads


class Capacity:
    """The limit of a worker, which depends on how its streams are carried.

    Args:
        max_viewers: what was set; 0 derives it from what the server has.
    """

    def __init__(self, max_viewers: int) -> None:
        self._max_viewers = max_viewers
        self._is_detached: bool | None = None  # as the last stream was

    def take(self, is_detached: bool) -> None:
        """A stream has got a place: from now on there is use for all descriptors there may be."""
        self._is_detached = is_detached
        raise_descriptors()

    def limit(self, is_detached: bool | None = None) -> int:
        """Return how many streams there may be.

        Args:
            is_detached: whether they need a descriptor only, or a connection or thread of the
                server's, too; None for as the last was, or will be by what is known of the server.
        """
        if is_detached is None:
            is_detached = self._is_detached
        if is_detached is None:
            is_detached = hands_connections_over()
        if not self._max_viewers:
            return derived_limit(is_detached)
        room, _ = _room(is_detached)
        # Whatever was set, the app is to be left some of what it is asked by.
        most = most_descriptors() if room is None else min(room, most_descriptors())
        return min(self._max_viewers, max(1, most * 3 // 4))


def derived_limit(is_detached: bool) -> int:
    """Return how many streams leave the server enough for the app.

    Detached ones half of the descriptor limit. Others half of a gevent worker's connections, a
    quarter of a threaded worker's threads, at least 1; 100 where the server does not tell.
    """
    room, part = _room(is_detached)
    return 100 if room is None else max(1, room // part)


def _room(is_detached: bool) -> tuple[int | None, int]:
    """Return how many streams would take all there is, and which part of that they may take.

    None where the server does not tell.
    """
    if is_detached:
        return most_descriptors(), 2
    worker = server_worker()
    config = getattr(worker, "cfg", None)
    if config is None:
        return uwsgi_threads(), 4
    if "gevent" in type(worker).__module__:
        return int(config.worker_connections), 2
    return int(config.threads), 4
