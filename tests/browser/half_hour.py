"""The site with a clock that may be behind, so that visits can lie in the past.

It wants gunicorn's ``--timeout 0``: the master would take a worker of the past for a hanging one.
"""

from __future__ import annotations

import os
import time

behind_s = float(os.environ.get("BEHIND_S", "0"))
_time, _monotonic = time.time, time.monotonic
time.time = lambda: _time() - behind_s
time.monotonic = lambda: _monotonic() - behind_s

# The package must find the clock set.
from .site import app, monitor  # noqa: E402


@app.post("/pass/<int:seconds>")
@monitor.exempt
def let_pass(seconds: int) -> str:
    global behind_s  # noqa: PLW0603 (the clock looks there)
    behind_s = max(0.0, behind_s - seconds)
    return str(behind_s)
