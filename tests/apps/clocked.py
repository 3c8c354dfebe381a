"""The shared app on a host whose wall clock the test sets, and how long a host may be silent."""

from __future__ import annotations

import mmap
import os
import struct
import time

from flask import Flask

_real = time.time
with open(os.environ["CLOCK"], "rb") as _file:
    _ahead = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)


def _set_time() -> float:
    (ahead_s,) = struct.unpack_from("<d", _ahead)
    return _real() + float(ahead_s)


time.time = _set_time

# The package must find the clock set.
from flask_realtime_monitor import beats  # noqa: E402

from .shared import served as _served  # noqa: E402

beats.SILENT_S = float(os.environ.get("SILENT_S", beats.SILENT_S))
beats.GONE_S = float(os.environ.get("GONE_S", beats.GONE_S))


def served() -> Flask:
    """Return the app as a server loads it."""
    return _served()
