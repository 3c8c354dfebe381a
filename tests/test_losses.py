"""What several workers tell when the store between them loses everything."""

from __future__ import annotations

import pytest

from flask_realtime_monitor.frames import decode

from .support.several import Mate, Team


def endpoints(mate: Mate) -> dict[str, tuple[str | None, int]]:
    """Return where each session is, and how many are there."""
    found = {one["endpoint"]: one["active_sessions"] for one in mate.picture.endpoints()["items"]}
    return {
        one["path"]: (one["endpoint"], found.get(one["endpoint"], 0))
        for one in mate.picture.sessions()["items"]
    }


def begin_one_together(one: Mate, other: Mate, late: Mate) -> None:
    """Nobody is there; then a guest comes to two workers, and is one session for all."""
    assert one.read()["sessions"] == other.read()["sessions"] == []
    for mate in (one, other):
        mate.visit(1)
        mate.flush()
    for mate in (one, other, late):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [2]


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Team:
    """Two workers, of whom each looks for the others whenever it writes."""
    monkeypatch.setattr("flask_realtime_monitor.flusher._HOUSEKEEPING_S", 0.0)
    team = Team(2)
    team.flush()
    return team


def test_what_numbers_mean_is_seen_as_soon_as_it_is_told_anew(team: Team) -> None:
    writer, reader = team.mates
    writer.visit(1, endpoint="shop", path="/1")
    team.flush()
    team.post.empty()
    writer.visit(2, endpoint="shop", path="/2")
    writer.flusher.flush()
    assert endpoints(reader) == {"/2": ("(other)", 0)}, "its meaning was lost"
    team.flush()
    assert endpoints(reader) == {"/1": ("shop", 2), "/2": ("shop", 2)}


def test_who_is_gone_when_all_is_read_anew_is_told_by_the_same_clock(team: Team) -> None:
    goes, reader = team.mates
    goes.visit(1)
    goes.visit(2, "ana")
    team.flush()
    assert reader.read()["total_sessions"] == 2
    team.post.empty()
    team.time.pass_(1.0)
    for mate in (goes, reader):
        mate.visit(1)
        mate.visit(2, "ana", kind="logout" if mate is reader else "request")
    reader.flush()
    goes.flush()
    team.time.pass_(1.0)
    goes.visit(2, "ana")
    goes.flush()
    team.post.retire(goes.name)
    team.post.snapshots.clear()  # as where they cannot be read yet
    assert reader.read() == team.mate("late").read()
    assert [requests for _, requests, *_ in reader.read()["sessions"]] == [3, 1]


def test_a_store_that_comes_back_empty_is_told_all_with_the_first_write(team: Team) -> None:
    writer = team.mates[0]
    writer.visit(1)
    team.flush()
    team.post.is_down = True
    writer.visit(2)
    writer.flusher.flush()
    team.post.empty()
    team.post.is_down = False
    writer.flusher.flush()
    (entry,) = team.post.log
    frame = decode(entry.data)
    assert frame.head["anew"] and len(frame.rows) == 2


def test_who_has_heard_of_a_sign_out_tells_it_again(team: Team) -> None:
    leaver, hearer = team.mates
    third = team.mate("third")
    for mate in (leaver, hearer, third):
        mate.visit(1, "ana")
        mate.flush()
    team.time.pass_(1.0)
    leaver.visit(1, "ana", kind="logout")
    leaver.flush()
    hearer.flush()
    team.post.empty()  # the leaver, too, is no more
    for mate in (hearer, third, hearer):
        mate.flush()
    begin_one_together(hearer, third, team.mate("late"))


def test_a_note_that_all_tell_again_is_taken_once(team: Team) -> None:
    taken = []
    for mate in team.mates:
        take = mate.flusher._take_note
        mate.flusher._take_note = lambda note, take=take: (taken.append(note), take(note))  # type: ignore[func-returns-value, misc]
    leaver, hearer = team.mates
    leaver.visit(1, "ana")
    leaver.visit(1, "ana", kind="logout")
    team.flush()
    assert len(taken) == 1
    for _ in range(3):
        team.post.empty()
        team.flush()
        assert len(team.post.notes) == 2, "each tells it once"
    assert len(taken) == 1
    late = team.mate("late")
    late.flush()
    team.flush()
    assert hearer.read()["sessions"] == late.read()["sessions"] == []


@pytest.mark.parametrize("user", [None, "ana"])
def test_who_comes_before_all_is_told_again_learns_who_has_signed_out(
    team: Team, user: str | None
) -> None:
    for mate in team.mates:
        mate.visit(1, "ana")
    team.mates[0].visit(1, "ana", kind="logout")
    team.flush()
    team.time.pass_(90.0)  # longer than notes are told again
    team.mates[0].flusher._lately.clear()
    team.mates[1].flusher._lately.clear()
    team.post.empty()
    late = team.mate("late")
    late.visit(1, user)
    late.flush()
    team.flush()
    late.flush()
    for mate in team.mates:
        mate.visit(1, user)
    team.flush()
    late.flush()
    for mate in (*team.mates, late, team.mate("later")):
        assert [requests for _, requests, *_ in mate.read()["sessions"]] == [3]


def test_a_sign_out_that_is_learned_of_ends_what_was_before(team: Team) -> None:
    one, deaf = team.mates
    for mate in team.mates:
        mate.visit(1)
        mate.visit(1, "ana")
        mate.visit(2)
    team.time.pass_(1.0)
    team.flush()
    one.visit(1, "ana", kind="logout")
    team.time.pass_(1.0)
    deaf.visit(1)
    one.tracker.take_notes()  # it is lost with the store
    team.post.empty()
    team.flush()
    team.flush()
    for mate in team.mates:
        assert sorted(requests for _, requests, *_ in mate.read()["sessions"]) == [1, 2]
    for mate in team.mates:
        mate.visit(1)
    team.flush()
    for mate in team.mates:
        assert sorted(requests for _, requests, *_ in mate.read()["sessions"]) == [2, 3]


def test_who_learns_of_a_sign_out_tells_the_others(team: Team) -> None:
    leaver, learner = team.mates
    third = team.mate("third")
    for mate in (leaver, learner, third):
        mate.visit(1, "ana")
        mate.flush()
    team.time.pass_(1.0)
    leaver.visit(1, "ana", kind="logout")
    leaver.tracker.take_notes()  # it is lost with the store
    team.post.empty()
    for mate in (leaver, leaver, learner):
        mate.flush()
    team.post.empty()  # the leaver, too, is no more
    for mate in (learner, third, learner, third):
        mate.flush()
    begin_one_together(learner, third, team.mate("late"))
