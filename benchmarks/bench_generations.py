"""What is lost while workers come and go: nothing.

Four gunicorn workers, each of which ends after 100 requests, share the file that "auto" takes.
Visitors make requests at a steady rate for a minute, while an admin asks whoever answers for the
numbers.
"""

from __future__ import annotations

import json
import time
from itertools import pairwise

from bench_outage import VISITORS, Admin, Crowd, gunicorn
from support import aims, heading, options, share, table

WORKERS = 4
EACH = 100


def main() -> None:
    seconds = 10.0 if options(__doc__).quick else 60.0
    heading(f"{WORKERS} workers that end after {EACH} requests each, for {seconds:g} s")
    with gunicorn("auto", "--max-requests", str(EACH), workers=WORKERS) as port:
        crowd, admin = [Crowd(port) for _ in range(VISITORS)], Admin(port)
        time.sleep(seconds)
        for one in crowd:
            one.stop()
        visits = [visit for one in crowd for visit in one.visits]
        settled = admin.first(time.monotonic(), lambda sight: sight.requests >= len(visits))
        time.sleep(2)  # in which nothing may be added
        admin.stop()
        workers = json.loads(admin.get("/monitor/api/v1/workers")[1])["items"]
    took = sorted(visit.ms for visit in visits)
    head = ("requests", "generations", "p50 ms", "p99 ms", "longest ms")
    figures = (share(took, 0.5), share(took, 0.99), took[-1])
    generations = len(visits) // EACH
    row = (f"{len(visits):,}", str(generations), *(f"{one:.1f}" for one in figures))
    table(head, [row])
    totals = [sight.requests for sight in admin.sights]
    aims(
        (
            ("requests that failed", sum(not one.is_answered for one in visits), 0, ""),
            ("requests lost", max(0, len(visits) - settled.requests), 0, ""),
            ("requests told twice", max(0, totals[-1] - len(visits)), 0, ""),
            ("falls of the total", sum(b < a for a, b in pairwise(totals)), 0, ""),
            ("workers told at the end", len(workers), WORKERS + 1, ""),
        )
    )


if __name__ == "__main__":
    main()
