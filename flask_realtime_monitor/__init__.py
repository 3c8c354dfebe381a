"""Who is using a Flask app right now, and what they do, live for its admins."""

from __future__ import annotations

from .config import DEFAULT_EXCLUDE, DEFAULT_REDACT
from .errors import ConfigError
from .extension import RealtimeMonitor
from .models import Activity, User

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_EXCLUDE",
    "DEFAULT_REDACT",
    "Activity",
    "ConfigError",
    "RealtimeMonitor",
    "User",
]
