"""Activities that a shell or a cron job tells of: one of the workers records them in its place.

Such a process is no worker, and ends soon. It leaves a note in the store that names a worker, and
that one takes the activity for its own, as if it had been told there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import beats
from .identity import Person
from .ingest import Raw
from .privacy import MAX_NAME, clean, kept_id
from .stores import Store, StoreError

Json = dict[str, Any]

KIND = "track"


def give(store: Store, raw: Raw) -> None:
    """Leave an activity to the worker that has begun last, and so is there for longest.

    The moment goes along as it is: all who share a file have one monotonic clock.

    Raises:
        StoreError: the store cannot be used, or no worker lives; nothing is recorded.
    """
    roster = store.roster()
    living: list[tuple[float, str]] = []
    for worker, beat in roster.beats.items():
        told = beats.decode(beat.data)
        if not beats.is_gone(told, roster.now - beat.at):
            living.append((float((told.get("item") or {}).get("started_at", 0)), worker))
    if not living:
        raise StoreError(f"no worker that reports to {store.shown_url} is alive")
    whose = None
    if raw.user is not None:
        id, name = raw.user
        whose = [kept_id(id), None if name is None else clean(name, MAX_NAME)]
    done = {"at_s": raw.at_s, "whose": whose, "name": raw.name, "data": raw.data}
    store.tell(beats.encode({"kind": KIND, "to": max(living)[1], **done}))


def take(note: Mapping[str, Any], worker_id: str, put: Callable[[Raw], None]) -> None:
    """Record what a note hands over, if it is to this worker."""
    if note["to"] != worker_id:
        return
    whose: Person | None = None
    if note["whose"] is not None:
        id, name = note["whose"]
        whose = str(id), None if name is None else str(name)
    name, data = str(note["name"]), dict(note["data"])
    at_s = float(note["at_s"])
    put(Raw("custom", at_s, "", "", whose, name=name, data=data, has_visitor=False))
