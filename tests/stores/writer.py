"""Writes to a file as fast as it can until it is killed: python -m tests.stores.writer URL ID."""

from __future__ import annotations

import sys

from flask_realtime_monitor.stores import Flush, StoreError, open_store

if __name__ == "__main__":
    url, worker = sys.argv[1:]
    store = open_store(url, worker=worker)
    number = 0
    while True:
        number += 1
        data = b"%d" % number
        try:
            store.flush(Flush(data * 9_000, [(number % 256, data * 20_000)], data))
        except StoreError:
            continue
        print(number, flush=True)
