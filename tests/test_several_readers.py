"""Whoever reads one picture reads the same, where what is told is much, late or out of order."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from flask_realtime_monitor import outbox
from flask_realtime_monitor.rows import MAX_OFFSET

from .support.several import Team


@pytest.mark.parametrize("is_busy", [False, True])
def test_what_no_row_tells_is_told_of_all_rows_though_they_go_in_parts(
    monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    monkeypatch.setattr(outbox, "_MOST_ROWS", 20)
    team = Team(2, session_history_size=5)
    writer, reader = team.mates
    team.flush()
    reader.read()
    for visitor in range(1, 31):
        team.visit(0, visitor, None, path=f"/{visitor}", rule="/<x>")
    for number in range(9):
        team.visit(0, 25, None, path=f"/burst/{number}", rule="/<x>")
    team.visit(0, 0, None, path="/nobody", rule=None, kind="custom", name="event")
    if is_busy:  # what the row of a later part held still as the first was packed
        writer.flusher.flush()
        for number in range(9):
            team.visit(0, 30, None, path=f"/more/{number}", rule="/<x>")
    team.flush()
    team.check(writer, reader)


def test_of_more_people_than_are_kept_in_a_minute_all_readers_tell_the_same_number() -> None:
    team = Team(2)
    one, other = team.mates
    random = Random(1)
    hashes = iter([random.getrandbits(64) for _ in range(3_300)])
    for mate, many in ((one, 1_100), (other, 1_100)):
        for visitor in islice(hashes, many):
            mate.visit(visitor, f"user {visitor}")
    team.flush()
    assert one.read()["history"] == other.read()["history"]
    for visitor in islice(hashes, 1_100):
        other.visit(visitor, f"user {visitor}")
    team.time.pass_(60)
    other.visit(1, "ana")  # the minute before is over as the rest of it is told
    team.flush()
    late = team.mate("late")
    assert one.read()["history"] == other.read()["history"] == late.read()["history"]


@pytest.mark.parametrize("kind", ["request", "custom"])
def test_a_session_that_lasts_longer_than_its_times_can_say_keeps_its_story_everywhere(
    kind: str,
) -> None:
    team = Team(2, session_timeout=2 * MAX_OFFSET / 1000)
    writer, reader = team.mates
    writer.visit(1, "ana", path="/first", rule="/<x>")
    team.time.pass_(MAX_OFFSET / 1000 - 60)
    for number in range(5):
        writer.visit(1, "ana", path=f"/{number}", rule="/<x>")
        writer.flush()
        reader.read()
    team.time.pass_(120)
    writer.visit(1, "ana", path="/over", rule="/<x>", kind=kind)
    for _ in range(2):
        writer.flush()
        stories = []
        for mate in (writer, reader, team.mate("late")):
            (session,) = mate.read()["sessions"]
            story = mate.picture.session(session[0])
            assert story is not None
            stories.append([one["path"] for one in story["activities"]])
        assert stories[0] == stories[1] == stories[2]
        assert "/first" not in stories[0]
        assert "/0" in stories[0]
        writer.visit(1, "ana", path="/after", rule="/<x>")
