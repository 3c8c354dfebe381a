"""The exceptions a developer can meet."""

from __future__ import annotations


class MonitorError(Exception):
    """Base of every exception this package raises on purpose."""


class ConfigError(MonitorError):
    """A setting is wrong; the text says which, what was seen and what to write instead."""
