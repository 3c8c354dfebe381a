"""gunicorn's settings in the benchmarks of the stream: gevent patches before the app is there."""

import time
from typing import Any

from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
control_socket_disable = True


def pre_request(worker: Any, _request: object) -> None:
    """Say when a worker begins the request that is its last by ``max_requests``."""
    if worker.nr + 1 == worker.max_requests:
        print(f"last request at {time.time():.6f}", flush=True)
