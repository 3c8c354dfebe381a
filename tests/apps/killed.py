"""Kills a request's greenlet each time it waits for something; for a process of its own.

Prints how many such moments there were, each followed by a request that has to be recorded.
"""

from gevent import monkey

monkey.patch_all()

from contextlib import suppress  # noqa: E402 (gevent patches first)
from itertools import count, cycle  # noqa: E402

import gevent  # noqa: E402
from flask import Flask  # noqa: E402
from greenlet import GreenletExit  # noqa: E402
from werkzeug.test import Client  # noqa: E402

from flask_realtime_monitor import Activity, RealtimeMonitor  # noqa: E402
from flask_realtime_monitor.testing import strict  # noqa: E402

ANSWER_S = 20.0
KINDS = cycle([GreenletExit, lambda: gevent.Timeout(1), SystemExit])

app = Flask("killed")
app.config.update(TESTING=True, REALTIME_MONITOR_STORE="memory:")
monitor = RealtimeMonitor(app)
strict(app)


def wait() -> None:
    """Switch, as what asks a database does."""
    gevent.sleep(0)


@monitor.identify
def who() -> str:
    wait()
    return "ana"


@monitor.before_record
def show(activity: Activity) -> Activity:
    wait()
    return activity


@app.get("/")
def page() -> str:
    before = monitor.get_stats()["requests_total"]  # it folds what waits, past the hook above
    wait()
    return f"{before} before"


@app.get("/recorded")
def recorded() -> str:
    return "recorded"


def answer(path: str) -> None:
    assert Client(app).get(path).status_code == 200


def answer_or_be_killed() -> None:
    with suppress(GreenletExit, gevent.Timeout, SystemExit):
        answer("/")


def is_killed(number: int) -> bool:
    """Kill a request the n-th time it waits; tell whether it still ran."""
    for _ in range(3):
        answer("/recorded")
    running = gevent.spawn(answer_or_be_killed)
    for _ in range(number):
        wait()
    ran = not running.dead
    running.kill(next(KINDS)())
    return ran


def main() -> None:
    """Print how many moments there were."""
    answer("/recorded")
    for number in count(1):
        if not is_killed(number):
            break
        with gevent.Timeout(ANSWER_S):
            before = monitor.get_stats()
            answer("/recorded")
            after = monitor.get_stats()
            assert after["requests_total"] == before["requests_total"] + 1, number
            assert after["in_flight"] == 0, number
    print(number - 1)


if __name__ == "__main__":
    main()
