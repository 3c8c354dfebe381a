"""The totals of who is gone: added once, whatever comes back and whatever the store loses."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import beats, estate
from flask_realtime_monitor.stores import Beat, Roster, StoreError

from .support.records import Time
from .support.several import Post, PostStore


def beat(requests: int, errors: int = 0, **dropped: int) -> bytes:
    totals = {
        "requests": requests,
        "errors": errors,
        "excluded": requests,
        "dropped": dropped,
        "endpoints": {"home": [requests, errors]},
    }
    return beats.encode({"pid": 1, "totals": totals})


def totals(data: bytes) -> object:
    return beats.decode(data)["totals"]


def test_the_first_who_goes_leaves_what_it_counted() -> None:
    assert totals(estate.fold(beat(5, 1, paths=2), None, None)) == totals(beat(5, 1, paths=2))


def test_who_goes_again_adds_only_what_came_since() -> None:
    once = estate.fold(beat(5, paths=2), beat(100), None)
    twice = estate.fold(beat(9, paths=3), once, beat(5, paths=2))
    assert totals(twice) == totals(beat(109, paths=3))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_however_often_somebody_comes_back_the_last_word_counts(growth: list[int]) -> None:
    retired = taken = None
    count = 0
    for more in growth:
        count += more
        retired = estate.fold(beat(count), retired, taken)
        taken = beat(count)
    assert retired is not None
    assert totals(retired) == {**beats.decode(beat(count))["totals"], "dropped": {}}


# -- a store that loses all ----------------------------------------------------------------------


class Crowd:
    """Workers that count and witnesses that look, around a post that may lose all.

    A worker is as much as its beat; whoever lives writes it anew as soon as it can.
    """

    def __init__(self, witnesses: int = 3) -> None:
        self.post = Post(Time())
        self.stores = [PostStore(self.post, f"witness{number}") for number in range(witnesses)]
        self.witnesses = [estate.Witness(store) for store in self.stores]
        self.counts: dict[str, int] = {}
        self.living: set[str] = set()

    def count(self, worker: str, more: int = 1) -> None:
        """Let a worker count some requests and write its beat."""
        self.counts[worker] = self.counts.get(worker, 0) + more
        self.living.add(worker)
        self.write(worker)

    def write(self, worker: str) -> None:
        told = beats.decode(beat(self.counts[worker]))
        whole = {**told, "at": 5_000, "o": 0, "whole": str(self.post.epochs)}
        self.post.beats[worker] = Beat(beats.encode(whole), 1.0)

    def rest(self, worker: str) -> None:
        """Let a worker be silent, and be taken for gone."""
        self.living.discard(worker)
        self.post.retire(worker)

    def lose(self, order: list[int]) -> None:
        """Lose all; the living and the witnesses come back in some order."""
        self.post.empty()
        for number in order:
            self.witnesses[number].look()
        for worker in self.living:
            self.write(worker)

    def total(self) -> int:
        """Return what a reader adds up."""
        roster = self.stores[0].roster()
        told = {worker: beats.decode(one.data) for worker, one in roster.beats.items()}
        return sum(one.requests for one in beats.summaries(roster, told, {}, ""))

    def check(self) -> None:
        assert self.total() == sum(self.counts.values())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["count", "count", "rest", "rest", "retire", "look", "lose", "half lost"]),
        st.integers(0, 4),
        st.integers(0, 1000),
    ),
    max_size=60,
)


def step(crowd: Crowd, what: str, number: int, seed: int) -> None:
    worker, order = f"worker{number}", list(range(len(crowd.witnesses)))
    Random(seed).shuffle(order)
    if what == "count":
        crowd.count(worker, 1 + seed % 5)
    elif what == "rest":
        crowd.rest(worker)
    elif what == "retire":  # who has just been silent, and was told by its last beat meanwhile
        crowd.living.discard(worker)
    elif what == "look":
        crowd.witnesses[order[0]].look()
    else:
        crowd.witnesses[order[0]].look()  # one of them has seen all; the others what they have
        Random(seed + 1).shuffle(order)
        if what == "lose":
            crowd.lose(order)
        else:  # as where a server lets go of one key that it has no room for
            crowd.post.retired, crowd.post.taken = None, {}
            for one in order:
                crowd.witnesses[one].look()


@given(STEPS)
def test_whatever_is_lost_nobody_is_forgotten_or_counted_twice(
    steps: list[tuple[str, int, int]],
) -> None:
    crowd = Crowd()
    for what, number, seed in steps:
        step(crowd, what, number, seed)
        crowd.check()
    for worker in [*crowd.post.beats]:
        crowd.post.retire(worker)
    crowd.check()


def test_who_comes_back_after_the_loss_is_counted_once() -> None:
    crowd = Crowd()
    crowd.count("frozen", 5)
    crowd.rest("frozen")
    crowd.witnesses[0].look()
    crowd.lose([0, 1, 2])
    crowd.count("frozen", 3)
    crowd.check()
    crowd.rest("frozen")
    crowd.check()


def test_two_losses_in_a_row_lose_nothing_that_anybody_knows() -> None:
    crowd = Crowd()
    crowd.count("first", 5)
    crowd.rest("first")
    crowd.witnesses[0].look()
    crowd.count("second", 7)
    crowd.rest("second")
    crowd.witnesses[1].look()
    crowd.lose([0])
    crowd.lose([0, 1])
    crowd.check()
    crowd.lose([])
    crowd.lose([1])
    crowd.lose([1, 0])
    crowd.check()


def test_what_is_lost_while_it_is_given_back_is_given_back_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd = Crowd()
    crowd.count("gone", 5)
    crowd.rest("gone")
    witness, store = crowd.witnesses[0], crowd.stores[0]
    witness.look()
    crowd.post.empty()
    restore = store.restore

    def lost_again(missing: Any) -> None:
        restore(missing)
        crowd.post.empty()

    def cut_off(missing: Any) -> None:
        raise StoreError("cut off")

    with monkeypatch.context() as broken:
        broken.setattr(store, "restore", lost_again)
        assert witness.look().retired is None
    with monkeypatch.context() as broken:
        broken.setattr(store, "restore", cut_off)
        with pytest.raises(StoreError, match="cut off"):
            witness.look()
    assert witness.look().retired is not None
    crowd.check()


def test_a_log_alone_that_is_lost_adds_nothing() -> None:
    """The picture has another epoch, and all that the gone have left."""
    crowd = Crowd()
    for number in range(4):
        crowd.count(f"worker{number}", 5)
        crowd.rest(f"worker{number}")
        crowd.witnesses[number % 2].look()
    crowd.post.taken.pop("worker0")  # it was gone long enough
    crowd.post.epochs += 1
    for witness in crowd.witnesses:
        witness.look()
    crowd.check()


def test_who_comes_new_to_the_store_that_lost_all_adds_to_it() -> None:
    crowd = Crowd()
    crowd.count("old", 5)
    crowd.rest("old")
    crowd.witnesses[0].look()
    crowd.witnesses[1].look()
    crowd.post.empty()
    crowd.count("new", 3)
    crowd.rest("new")  # before anybody has given anything back
    crowd.witnesses[0].look()
    crowd.check()
    crowd.witnesses[1].look()
    crowd.check()


def test_who_has_not_looked_for_long_gives_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    crowd.count("gone", 5)
    witness = crowd.witnesses[0]
    witness.look()
    crowd.lose([])
    monkeypatch.setattr(witness, "_looked_s", witness._looked_s - 61)
    assert witness.look().beats.keys() == {"gone"}  # it lives, and has written
    crowd.rest("gone")
    crowd.check()


def roster(epoch: str, *told: str) -> Roster:
    """Return a roster with the beats of some workers."""
    data = {"item": {"sessions": 1}, "in_flight": ["/secret"], "whole": epoch, "at": 5000, "o": 0}
    totals = beats.decode(beat(3))
    return Roster(
        {one: Beat(beats.encode({**totals, **data}), 1.0) for one in told}, None, {}, 2.0, epoch
    )


def test_what_passes_is_not_given_back_and_lost_rows_are_told() -> None:
    found = estate.missing(roster("before", "w1"), roster("after"))
    assert found is not None
    given = beats.decode(found.beats["w1"].data)
    assert "in_flight" not in given
    assert found.beats["w1"].at == 1.0
    assert not beats.is_whole(given, "after")
    retired = beats.decode(estate.fold(found.beats["w1"].data, None, None, "after"))
    assert estate.lost_at_in(retired) == 5.0
    whole = beats.decode(estate.fold(roster("after", "w1").beats["w1"].data, None, None, "after"))
    assert estate.lost_at_in(whole) == 0.0


def test_sessions_are_missing_until_the_last_would_have_ended() -> None:
    assert estate.lacks_until_at(5.0, 20, now_at=24.0) == 25.0
    assert estate.lacks_until_at(5.0, 20, now_at=25.0) == 0.0
    assert estate.lacks_until_at(0.0, 20, now_at=1.0) == 0.0


def test_of_who_had_no_sessions_none_is_missing() -> None:
    assert estate._last_at({"at": 5000, "o": 0, "item": {"sessions": 0}}) == 0.0
