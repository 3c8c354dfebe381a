"""Whatever happens at several workers, in whatever order: all tell the same, and what was done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .support.course import Step
from .support.courses import CIRCUMSTANCES, run, steps_in

#: What once went wrong: in which circumstances, and how it came to it.
WENT_WRONG = {
    "told twice to who came after a sign-out that was heard late": (
        "signed out, not heard yet",
        [
            Step("visit"),
            Step("visit"),
            Step("sign_out"),
            Step("burst", worker=1),
            Step("pass_", number=7),
        ],
    ),
    "missed by who went on elsewhere: a guest's, told late, of whom is a user by now": (
        "all, not heard yet",
        [
            *[Step("visit"), Step("visit"), Step("visit", user="ana"), Step("visit", worker=1)],
            *[Step("visit")] * 5,
            *[Step("watch"), Step("watch", worker=1)],
        ],
    ),
    "pushed out of its row, with no snapshot that tells it yet": (
        "file",
        [Step("visit"), Step("pass_", number=10), Step("burst")],
    ),
    "pushed out of its row, and of what a snapshot told of it": (
        "file",
        [
            *[Step("visit")] * 4,
            Step("write"),
            *[Step("visit")] * 4,
            Step("pass_"),
            Step("pass_"),
            Step("pass_", number=5),
            *[Step("visit")] * 4,
            Step("pass_", number=1),
            Step("pass_", number=7),
            Step("burst"),
        ],
    ),
    "erased by a key that it had only from a sign-out told in the same frame": (
        "all, not heard yet",
        [
            Step("sign_out", visitor=2),
            Step("replace"),
            Step("visit", visitor=2),
            Step("visit", visitor=2, user="ana"),
            Step("forget"),
            Step("quit"),
            Step("visit", visitor=2),
        ],
    ),
    "told twice by a frame of before its session ended": (
        "people",
        [Step("begin"), Step("visit"), Step("look"), Step("finish"), Step("end")],
    ),
    "told of the user who had the number before": (
        "viewers, many people",
        [
            *[Step("visit"), Step("visit", user="bob"), Step("visit"), Step("visit")],
            *[Step("pass_", number=number) for number in (1, 11, 4)],
            Step("look"),
            *[Step("pass_", number=number) for number in (11, 0)],
            *[Step("visit", visitor=5, user="ana"), Step("pass_")],
        ],
    ),
    "shown by two keys to who watched as a sign-out was heard": (
        "signed out, not heard yet",
        [Step("watch", visitor=2), Step("sign_out", worker=1), Step("visit"), Step("tick")],
    ),
    "left in the view of who went on where it had been a part": (
        "people",
        [
            Step("watch", worker=1),
            Step("visit", user="ana"),
            Step("visit"),
            Step("visit", worker=1, user="bob"),
            *[Step("read"), Step("pass_"), Step("sign_out"), Step("watch")],
        ],
    ),
    "joined only with the second look after an outage": (
        "file, broken",
        [
            *[Step("watch"), Step("visit", visitor=2, user="bob"), Step("pass_", number=6)],
            *[Step("break_"), Step("visit", worker=1, visitor=2), Step("pass_", number=5)],
        ],
    ),
    "joined by what a worker had told that let go of it for want of room": (
        "few places, begun",
        [
            *[Step("visit", worker=1, visitor=5, user="cat"), Step("pass_", number=4)],
            *[Step("visit", visitor=5, user="cat"), Step("pass_", number=3)],
            *[Step("visit", user="cat"), Step("visit"), Step("look"), Step("visit", visitor=5)],
        ],
    ),
    "gone with who came beside the one whose part it is": (
        "killed",
        [
            *[Step("visit"), Step("pass_"), Step("visit", user="bob"), Step("pass_", number=6)],
            *[Step("visit", user="ana"), Step("end")],
        ],
    ),
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
@settings(max_examples=6, derandomize=True)
@given(st.data())
def test_all_tell_the_same_and_what_was_done(name: str, data: st.DataObject) -> None:
    circumstances = CIRCUMSTANCES[name]
    run(circumstances, data.draw(steps_in(circumstances)))


@pytest.mark.parametrize("what", WENT_WRONG)
def test_what_once_went_wrong_does_not(what: str) -> None:
    name, steps = WENT_WRONG[what]
    run(CIRCUMSTANCES[name], steps)
