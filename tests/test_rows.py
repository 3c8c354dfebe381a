"""The small parts below the tracker: rows, histograms, tables, clocks."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_realtime_monitor import crowd as crowd_module
from flask_realtime_monitor import rows, shapes
from flask_realtime_monitor.agents import describe
from flask_realtime_monitor.clock import Clock
from flask_realtime_monitor.crowd import Crowd, united
from flask_realtime_monitor.histogram import Histogram
from flask_realtime_monitor.interner import Interner, PathTable
from flask_realtime_monitor.privacy import masked, pack_ip

from .support.records import Time


@given(st.floats(0.001, 6e7))
def test_a_duration_comes_back_within_a_thousandth(milliseconds: float) -> None:
    kept = rows.rounded_ms(milliseconds)
    assert kept == pytest.approx(milliseconds, rel=0.001)


def test_no_duration_comes_back_as_none() -> None:
    assert rows.unpacked_ms(rows.packed_ms(None)) is None


@pytest.mark.parametrize("ip", ["203.0.113.0", "2001:db8:1::", "2001:db8:1:2:3:4:5:6"])
def test_addresses_come_back(ip: str) -> None:
    packed = masked(pack_ip(ip), "masked" if ip.endswith("::") else "full")
    assert rows.ip_of(b"x" * rows.HEAD_SIZE + packed, len(packed)) == ip


ACTS = st.lists(
    st.tuples(
        st.integers(0, rows.MAX_OFFSET),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.floats(0, 100, width=16),
    ),
    max_size=3,
)


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
    st.tuples(*[st.integers(0, rows.MAX_COUNT)] * 5),
    st.sampled_from([0, 4, 5, 6, 16, 255]),
    ACTS,
)
def test_what_a_row_tells_in_brief_is_what_it_tells_at_length(
    visitor: int, base_ms: int, counts: tuple[int, ...], ip_size: int, acts: list[tuple[Any, ...]]
) -> None:
    packed = rows.HEAD.pack(visitor, base_ms, *counts, 7, ip_size)
    row = packed + b"\xa5" * ip_size + b"".join(rows.ACT.pack(*act) for act in acts)
    rows.check_all([row])
    head = rows.head_of(row)
    requests = [act for act in rows.acts_of(row, head) if not act.code & rows.OTHER_KIND]
    route = requests[0].route if requests else 0
    brief = (visitor, base_ms, head.last, head.user, route)
    assert rows.brief_of(row)[:5] == brief
    plain = packed[:-1] + b"\0" + rows.ACT.pack(0, 7, 0, 0, 0.0)
    for some in ([row], [plain, row], [row, plain]):
        found = rows.briefs_of(some)
        assert found[some.index(row)][:5] == brief
        assert found == [one for row in some for one in rows.briefs_of([row])]
    assert rows.last_request(row) == route
    said: Any = SimpleNamespace(route=lambda n: ("page", n), path=lambda slot, ms: (slot, ms))
    place = shapes.last_place(said, row, head)
    if requests:
        newest = requests[0]
        path = newest.route if newest.path == rows.NO_PATH else (newest.path, newest.at_ms)
        assert place == ("page", path, newest.route, newest.code, newest.ordinal)
    else:
        assert place == (None, None, None, 0, 0)
    assert rows.unpack_place(row) == (base_ms, head.ordinal, ip_size)


@pytest.mark.parametrize("row", [b"", b"x", b"x" * rows.HEAD_SIZE, b"\0" * (rows.HEAD_SIZE + 5)])
def test_other_bytes_among_rows_are_told(row: bytes) -> None:
    good = b"\0" * (rows.HEAD_SIZE + rows.ACT_SIZE)
    rows.check_all([good, good])
    with pytest.raises(ValueError, match="no row"):
        rows.check_all([good, row])


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200))
def test_a_percentile_is_off_by_less_than_5_percent(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    for share, found in zip((0.5, 0.95, 0.99), histogram.read(0.5, 0.95, 0.99), strict=True):
        exact = ordered[max(0, -int(-share * len(values) // 1) - 1)]
        assert found == pytest.approx(exact, rel=0.05)


def test_without_values_there_is_no_percentile() -> None:
    assert Histogram().read(0.5, 0.99) == [None, None]


def test_a_full_table_gives_all_others_one_number_and_counts_them() -> None:
    table: Interner[str] = Interner(3, "(other)")
    assert [table.value(table.number(one)) for one in "abcda"] == [
        *("a", "b", "(other)", "(other)", "a")
    ]
    assert (len(table), table.dropped) == (2, 2)


def test_a_path_that_moved_out_is_none_and_never_another() -> None:
    table = PathTable(2)
    first = table.slot("/a", 10)
    table.slot("/b", 20)
    assert table.path(first, 10) == "/a"
    again = table.slot("/c", 30)
    assert again == first
    assert (table.path(first, 10), table.path(first, 30)) == (None, "/c")
    assert (len(table), table.replaced) == (2, 1)


def test_a_crowd_is_exact_up_to_1024_and_close_above() -> None:
    import random

    chance = random.Random(1)
    crowd = Crowd()
    for number in range(20_000):
        crowd.update([chance.getrandbits(64)])
        if number == 1023:
            assert crowd.count() == 1024
    crowd.pack()
    assert crowd.count() == pytest.approx(20_000, rel=0.1)


HASHES = st.lists(
    st.sets(st.integers(0, 2**64 - 1) | st.integers(0, 2**40), max_size=9), max_size=9
)


@given(HASHES, st.integers(0, 9))
def test_who_is_told_of_the_smallest_alone_counts_as_many(
    batches: list[set[int]], joins_at: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowd_module, "_SMALLEST", 4)
        crowd, there, late = Crowd(), Crowd(), Crowd()
        for number, batch in enumerate(batches):
            crowd.update(batch)
            if number == joins_at:
                late.update(crowd.among(crowd.hashes))
            for one in (there, late) if number >= joins_at else (there,):
                one.update(crowd.among(batch))
            assert there.count() == crowd.count()
            assert number < joins_at or late.count() == crowd.count()
        crowd.pack()
        assert there.count() == crowd.count()


@given(HASHES, st.sets(st.integers(0, 9)))
def test_a_packed_minute_takes_in_who_comes_late(batches: list[set[int]], over: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowd_module, "_SMALLEST", 4)
        crowd, packed = Crowd(), Crowd()
        for number, batch in enumerate(batches):
            crowd.update(batch)
            packed.update(batch)
            if number in over:
                packed.pack()
            assert packed.count() == crowd.count() == united([packed, crowd])


@given(HASHES, st.lists(st.integers(0, 99), max_size=9))
def test_what_is_remembered_of_a_count_changes_no_number(
    batches: list[set[int]], losses: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowd_module, "_SMALLEST", 4)
        crowds = [Crowd(), Crowd()]
        for number, batch in enumerate(batches):
            crowds[number % 2].update(batch)
            if number < len(losses) and batch:
                crowds[number % 2].take_back([sorted(batch)[losses[number] % len(batch)]])
            anew = [Crowd(), Crowd()]
            for one, crowd in zip(anew, crowds, strict=True):
                one.hashes, one.cut = set(crowd.hashes), crowd.cut
            assert united(crowds) == united(anew)
            assert crowds[0].count() == united(anew[:1])


@given(HASHES)
def test_several_workers_that_cut_count_as_one_that_saw_all(batches: list[set[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowd_module, "_SMALLEST", 4)
        crowds, everybody = [Crowd(), Crowd(), Crowd()], Crowd()
        for number, batch in enumerate(batches):
            crowds[number % 3].update(batch)
            everybody.update(batch)
            assert united(crowds) == everybody.count()


def test_a_wall_clock_that_is_set_moves_what_is_shown_and_no_age() -> None:
    time = Time()
    wall = [0.0]
    clock = Clock(lambda: time.now_s + wall[0], lambda: time.now_s)
    before_ms, before_at = clock.now_ms(), clock.now_at()
    wall[0] = 3600
    assert clock.follow()
    assert clock.now_ms() == before_ms
    assert clock.now_at() == pytest.approx(before_at + 3600)
    assert not clock.follow()


@pytest.mark.parametrize(
    ("agent", "browser", "system", "device"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/131.0 Safari/537.36",
            "Chrome",
            "Windows",
            "desktop",
        ),
        ("Mozilla/5.0 (iPhone; CPU) Version/18.1 Mobile Safari/604.1", "Safari", "iOS", "phone"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/131 Mobile", "Chrome", "Android", "phone"),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", "Firefox", "Linux", "desktop"),
        ("", None, None, None),
    ],
)
def test_agents_are_told_apart(
    agent: str, browser: str | None, system: str | None, device: str | None
) -> None:
    found = describe(agent)
    assert (found["browser"], found["os"], found["device"]) == (browser, system, device)
    assert not found["is_bot"]


def test_bots_are_seen() -> None:
    assert describe("Mozilla/5.0 (compatible; Googlebot/2.1)")["is_bot"]


@pytest.mark.parametrize("waits", [0, 1, 2, 3, 7], ids="before look {}".format)
def test_a_process_that_waits_between_two_looks_at_its_clocks_shows_no_other_time(
    waits: int,
) -> None:
    time, looks = Time(), count()

    def look(ahead_s: float) -> float:
        if next(looks) == waits:
            time.pass_(0.004)
        return time.now_s + ahead_s

    clock = Clock(lambda: look(3600.0), lambda: look(0.0))
    assert clock.offset_ms == 3_600_000
    assert clock.now_at() == time.now_s + 3600


def test_a_clock_goes_by_the_time_all_workers_have() -> None:
    wall = Time()
    clock = Clock(lambda: wall.now_s + 300, lambda: wall.now_s)
    assert clock.agree(wall.now_s)
    assert clock.now_at() == wall.now_s
    assert not clock.agree(wall.now_s + 1), "within what is taken for the way there"
    wall.pass_(60)
    assert not clock.follow(), "nobody has set a clock"
    assert clock.now_at() == wall.now_s


def test_a_wall_clock_that_is_set_is_followed_while_nobody_tells_the_time() -> None:
    wall = Time()
    ahead_s = 300.0
    clock = Clock(lambda: wall.now_s + ahead_s, lambda: wall.now_s)
    clock.agree(wall.now_s)
    ahead_s += 3600
    assert not clock.follow(), "the store has just told the time"
    wall.pass_(60)
    assert clock.follow()
    assert clock.now_at() == wall.now_s + 3600
