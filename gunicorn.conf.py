"""How gunicorn serves the example shop: `gunicorn example_app:app` reads this file by itself."""

from gevent import monkey

# Before anything else is imported, so that every lock and socket made from here on is gevent's,
# with --preload too: a lock of the other kind would stop a whole worker.
monkey.patch_all()

import os  # noqa: E402
import secrets  # noqa: E402
import signal  # noqa: E402

# Only this machine; a proxy in front of it speaks to the world.
bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"

# A greenlet per connection: an open dashboard or a slow page keeps nobody else waiting.
worker_class = "gevent"

# Two cores at work, and a shop that is open while one worker starts again. They share one picture,
# by a file that the monitor makes by itself, so the dashboard says the same whoever answers.
workers = 2

# Every open connection takes one of these; when they are all taken, nobody is served. The
# monitor's streams take none of them, unless TLS ends in the worker: then at most half.
worker_connections = 2000

# How long a stopping worker waits for pages being sent. The monitor ends its own streams at once.
graceful_timeout = 10

# The dashboard shows every request; a line for each would bury the warnings.
accesslog = None

# gunicorn 25 and newer open a control socket at a path that all servers of one user share.
control_socket_disable = True

# One key for all workers and all reloads, a new one at each start, none in any file.
os.environ.setdefault("SECRET_KEY", secrets.token_hex(32))


def post_fork(server: object, worker: object) -> None:
    """Leave Ctrl-C to the master, which tells its workers: told twice, they print a traceback.

    Blocked first: a worker that still starts would take gunicorn's handler for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def post_worker_init(worker: object) -> None:
    """Ignore it from now on, rather than hand the block down to what the app starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
