"""What is watched: each recorder turns something of Flask's into activities.

A recorder is handed callables; it never sees a store or the tracker.
"""

from __future__ import annotations

from .entry import Entry
from .logins import LoginRecorder, connect_logins
from .requests import RequestRecorder

__all__ = ["Entry", "LoginRecorder", "RequestRecorder", "connect_logins"]
