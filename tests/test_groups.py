"""Against the plain way: a list of keys for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import groups
from flask_realtime_monitor.groups import Groups

WHOSE = st.sampled_from("abcde")
KEYS = st.integers(0, 9)
STEPS = st.lists(
    st.tuples(st.just("add"), WHOSE, KEYS)
    | st.tuples(st.just("drop"), WHOSE, KEYS)
    | st.tuples(st.just("add_all"), st.lists(st.tuples(WHOSE, KEYS), max_size=4)),
    max_size=40,
)


@pytest.mark.parametrize("many", [groups._MANY, 3])
@given(STEPS)
def test_it_is_a_list_of_keys_for_each(many: int, steps: list[tuple]) -> None:  # type: ignore[type-arg]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_MANY", many)
        play(steps)


def play(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    tied: set[int] = set()
    one: Groups[str] = Groups(tied)
    known: dict[str, list[int]] = {}

    def add(whose: str, key: int) -> None:
        keys = known.setdefault(whose, [])
        if key not in keys:
            keys.append(key)

    for name, *said in steps:
        if name == "add_all":
            (pairs,) = said
            one.add_all([whose for whose, _ in pairs], [key for _, key in pairs])
            for pair in pairs:
                add(*pair)
        elif name == "add":
            one.add(*said)
            add(*said)
        else:
            whose, key = said
            one.drop(whose, key)
            known[whose] = [one for one in known.get(whose, []) if one != key]
            if not known[whose]:
                del known[whose]
        assert {whose: list(one.of(whose)) for whose in one.whose()} == known
        assert len(one) == len(known)
        assert all(one.size(whose) == len(known.get(whose, ())) for whose in "abcde")
        assert all((whose in one) == (whose in known) for whose in "abcde")
        assert all(tied.issuperset(keys) for keys in known.values() if len(keys) > 1)
    assert all(any(pair[-1] == key for pair in said_in(steps)) for key in tied)


def said_in(steps: list[tuple]) -> list[tuple]:  # type: ignore[type-arg]
    """Return (whose, key) of all that were added."""
    found = []
    for name, *said in steps:
        found += said[0] if name == "add_all" else [tuple(said)]
    return found
