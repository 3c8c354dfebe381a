"""Who has signed out, as a worker that comes later learns of it.

A visitor's sessions after a sign-out have other keys than those before, so all workers must know of
every sign-out. Those who are there are told by notes, which are kept for a while; each writes all
it knows beside its counters, for who comes when the notes are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from . import beats
from .frames import FrameError, decode
from .outbox import SIGNED_OUT
from .stores import Store
from .tracker import Tracker

KIND = "signed out"

#: First key, generation.
Pair = tuple[int, int]


def learn(store: Store, tracker: Tracker) -> list[Pair]:
    """Take over what the others know of sign-outs; return what was news.

    Raises:
        StoreError: they cannot be asked now.
    """
    found: list[Pair] = []
    for _, blob in store.snapshots_of(SIGNED_OUT):
        with suppress(FrameError, TypeError, ValueError):  # the readers count what makes no sense
            found += [(int(one), int(at_ms)) for one, at_ms in decode(blob).head.get("g", ())]
    for _, data in store.notes():
        note = beats.decode(data)
        generation = note.get("at_ms") if note.get("kind") == "out" else note.get("generation")
        with suppress(TypeError, ValueError):
            firsts = note.get("visitor") or 0, note.get("first") or 0
            found += [(int(first), int(generation or 0)) for first in firsts]
    return tracker.learn_sign_outs(found)


def note_of(news: Sequence[Pair]) -> dict[str, Any]:
    """Return what tells the others of sign-outs that only some of them know of.

    Who had seen them may be gone, and with it what it had written.
    """
    return {"kind": KIND, "of": [*news]}


def take(tracker: Tracker, note: Mapping[str, Any]) -> None:
    """Do what such a note says.

    Raises:
        KeyError, TypeError, ValueError: it makes no sense.
    """
    tracker.learn_sign_outs([(int(first), int(at_ms)) for first, at_ms in note["of"]])
