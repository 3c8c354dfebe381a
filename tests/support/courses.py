"""In what circumstances courses of events are tried, and what happens in each."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from hypothesis import strategies as st

from .course import Circumstances, Course, Step
from .file_post import FilePost, clocks_of
from .records import Time

MOST_STEPS = 40
PARTS = 4

_VISITS = {"visit": 8, "fail": 1, "event": 1, "burst": 1}
_LOOKS = {"write": 2, "read": 2, "look": 1, "pass_": 4}
_UNWATCHED = {**_VISITS, **_LOOKS}
_PLAIN = {**_UNWATCHED, "watch": 1, "tick": 2}
_MOVING = {"watch": 4, "tick": 4}
_FULL = {**_PLAIN, "sign_out": 2, "end": 1, "forget": 1, "begin": 1, "finish": 1}
_LIVES = {"join": 1, "kill": 1, "replace": 1, "quit": 1}
_MANY = {"visitors": 5, "users": (None, None, "ana", "bob", "cat")}
_FEW = {"max_sessions": 3}

CIRCUMSTANCES = {
    "people": Circumstances(_FULL),
    "short stories": Circumstances(_FULL, settings={"session_history_size": 5}),
    "viewers": Circumstances({**_PLAIN, **_MOVING, "sign_out": 1, "end": 1, "forget": 1}),
    "viewers, many people": Circumstances({**_PLAIN, **_MOVING}, workers=3, **_MANY),
    "viewers, replaced": Circumstances({**_PLAIN, **_MOVING, **_LIVES, "sign_out": 1}, workers=3),
    "killed": Circumstances({**_FULL, "kill": 3, "join": 2}, workers=3),
    "replaced": Circumstances({**_FULL, "replace": 3, "quit": 3}),
    "replaced, tended": Circumstances(
        {**_PLAIN, "sign_out": 1, "replace": 3, "quit": 3}, is_tended=True
    ),
    "one, tended": Circumstances(
        {**_PLAIN, "join": 2, "begin": 1, "finish": 1}, workers=1, step_s=0.5, is_tended=True
    ),
    "one, tended, replaced": Circumstances(
        {**_FULL, "join": 2, "replace": 1, "quit": 1}, workers=1, step_s=0.5, is_tended=True
    ),
    "erased, not heard yet": Circumstances({**_PLAIN, "forget": 3}, workers=3, is_heard=False),
    "signed out, not heard yet": Circumstances(
        {**_PLAIN, "forget": 1, "sign_out": 2}, workers=3, is_heard=False
    ),
    "all, not heard yet": Circumstances({**_FULL, **_LIVES}, workers=3, is_heard=False),
    "names": Circumstances({**_PLAIN, "forget": 1, "sign_out": 1}, has_names=True),
    "few places": Circumstances({**_PLAIN, "join": 1}, settings=_FEW, **_MANY),
    "few places, begun": Circumstances(
        {**_PLAIN, "begin": 1, "finish": 1, "sign_out": 1}, settings=_FEW, **_MANY
    ),
    "shells": Circumstances({**_PLAIN, "track": 3, "sign_out": 1, "forget": 1}),
    "hosts": Circumstances({**_PLAIN, "jump": 2}, workers=3, has_own_clocks=True),
    "hosts, people": Circumstances({**_FULL, "jump": 2}, workers=3, has_own_clocks=True),
    "hosts, broken": Circumstances(
        {**_UNWATCHED, "jump": 2, "break_": 1, "mend": 2}, workers=3, has_own_clocks=True
    ),
    "midnight": Circumstances({**_PLAIN, "join": 1}, workers=3, to_midnight_s=100.0),
    "midnight, people": Circumstances(
        {**_FULL, "join": 1, "kill": 1}, workers=3, to_midnight_s=100.0
    ),
    "file": Circumstances({**_FULL, "replace": 1, "quit": 1, "join": 1, "kill": 1}, post=FilePost),
    "file, broken": Circumstances(
        {**_PLAIN, "break_": 1, "lose": 1, "mend": 2, "empty": 1}, post=FilePost
    ),
    "file, gone back": Circumstances({**_PLAIN, "keep": 2, "go_back": 2}, post=FilePost),
    "file, gone back, people": Circumstances(
        {**_FULL, "keep": 2, "go_back": 2, "join": 1, "kill": 1}, workers=3, post=FilePost
    ),
}


def steps_in(circumstances: Circumstances) -> st.SearchStrategy[list[Step]]:
    """Return what may happen in some circumstances."""
    weights = circumstances.weights.items()
    step = st.builds(
        Step,
        st.sampled_from([name for name, weight in weights for _ in range(weight)]),
        st.integers(0, 2),
        st.integers(1, circumstances.visitors),
        st.sampled_from(circumstances.users),
        st.integers(0, 11),
    )
    # Of several lists, since one alone is mostly short.
    part = st.lists(step, max_size=MOST_STEPS // PARTS)
    return st.tuples(*[part] * PARTS).map(lambda parts: [*chain.from_iterable(parts)])


def run(circumstances: Circumstances, steps: Iterable[Step]) -> None:
    """Let it happen, and check what is told at the end.

    Raises:
        AssertionError: of two readers, or of a reader and what was done.
    """
    time = Time()
    with clocks_of(time):
        Course(circumstances, time).play(steps)
