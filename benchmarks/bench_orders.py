"""In how many courses of events two readers tell different things: in none.

Workers of one picture, in one process and on a clock that is moved by hand, live through what
happens to them in any order: visits, sign-outs, erasures, deaths, replacements, a store that is
away, empty or gone back. At the end each must tell what one tells who comes then, and what was
done. ``make test`` tries a few such courses of each kind, always the same; here they are new ones.
"""

from __future__ import annotations

import logging
import time
import traceback

from hypothesis import HealthCheck, given, settings
from support import aims, heading, options, table

from tests.support.course import Step
from tests.support.courses import CIRCUMSTANCES, MOST_STEPS, run, steps_in

COURSES = 200


def main() -> None:
    logging.getLogger("flask_realtime_monitor").setLevel(logging.ERROR)  # stores are to fail here
    courses = COURSES // 20 if options(__doc__).quick else COURSES
    heading(f"{courses} courses of up to {MOST_STEPS} steps in each of some circumstances")
    found = [(name, *tried(name, courses)) for name in CIRCUMSTANCES]
    table(
        ("circumstances", "steps", "s"), [(one, f"{of:,}", f"{s:.0f}") for one, of, s, _ in found]
    )
    for name, *_, trouble in found:
        if trouble:
            print(f"\n{name}:\n{trouble}")
    aims([("circumstances with a difference", sum(bool(one[-1]) for one in found), 0, "")])


def tried(name: str, courses: int) -> tuple[int, float, str]:
    """Return how many steps were taken, how long (s) they took, and what went wrong."""
    circumstances, taken, began_s = CIRCUMSTANCES[name], 0, time.monotonic()

    @settings(
        max_examples=courses,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(steps_in(circumstances))
    def attempt(steps: list[Step]) -> None:
        nonlocal taken
        taken += len(steps)
        run(circumstances, steps)

    trouble = ""
    try:
        attempt()
    except Exception as error:  # of whatever kind: what came before it is told with it
        trouble = "".join(traceback.format_exception(error))
    return taken, time.monotonic() - began_s, trouble


if __name__ == "__main__":
    main()
