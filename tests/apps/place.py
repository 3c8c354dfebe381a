"""Tells where "auto" lies in this worker: gunicorn tests.apps.place:app."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from flask_realtime_monitor.stores import Store, StoreError, open_store

_STORES: dict[int, Store] = {}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the worker's pid, and what its store says."""
    pid = os.getpid()
    store = _STORES.setdefault(pid, open_store("auto", worker=str(pid), app_name="place"))
    try:
        told = {"pid": pid, "url": store.shown_url, "reason": store.reason, "epoch": store.epoch()}
    except StoreError as error:
        told = {"pid": pid, "url": store.shown_url, "error": str(error)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
