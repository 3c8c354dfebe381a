"""A course of events at several workers, in any order, and what holds wherever it leads.

There is no second implementation to compare with. What is compared is what readers tell: each has
followed the others for as long as it was there, in its own way, and one comes only at the end and
reads all at once. And what was done is known: how many requests, by whom, who was erased when.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask_realtime_monitor import estate, handover
from flask_realtime_monitor.clock import Clock
from flask_realtime_monitor.config import Settings
from flask_realtime_monitor.ingest import Raw
from flask_realtime_monitor.picture import Picture
from flask_realtime_monitor.records import InFlight
from flask_realtime_monitor.stores import StoreError

from .file_post import FilePost
from .records import Time
from .several import Post
from .watching import Watched, Watcher, views

Json = dict[str, Any]

TIMEOUT_S = 60
WINDOW_S = 30
#: In such steps of the time-out sessions end, once nothing keeps them any more.
GRAIN_S = TIMEOUT_S / 100
#: How long nothing is asked for: about the window, the time-out, the grace after it, and past all.
PAUSES_S = (4, 8, 20, 28, 32, 44, 56, 60, 64, 88, 128, 200)
MOST_WORKERS = 5
#: Of these no two are within one second.
RECORDED = ("visit", "fail", "burst", "event", "sign_out", "end", "forget")


class Step(NamedTuple):
    """One thing that happens; what a step has no use for is not looked at."""

    what: str
    worker: int = 0
    visitor: int = 1
    user: str | None = None
    number: int = 0


@dataclass(frozen=True)
class Circumstances:
    """What happens how often, and where.

    Attributes:
        weights: how often each method of ``Course`` is taken, against the others.
        is_heard: whether everybody writes before and after who signs out, is ended or erased;
            where not, these meet with what the others have not told yet.
        step_s: how often (s) everybody writes while nothing is asked for.
        is_tended: whether the background's work is done meanwhile: what timed out is ended.
        has_own_clocks: whether each worker is a host with clocks of its own.
        to_midnight_s: how long until the salt changes, by which guests are told apart.
        has_names: whether users have names, that change.
    """

    weights: Mapping[str, int]
    workers: int = 2
    visitors: int = 2
    users: tuple[str | None, ...] = (None, None, "ana", "bob")
    post: type[Post] | type[FilePost] = Post
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_heard: bool = True
    step_s: float = 4.0
    is_tended: bool = False
    has_own_clocks: bool = False
    to_midnight_s: float | None = None
    has_names: bool = False


class OwnTime(Time):
    """The clocks of one host: as fast as the others', and somewhere else."""

    def __init__(self, base: Time, name: str) -> None:
        self._base = base
        self._since_boot_s = zlib.crc32(f"{name} booted".encode()) % 5 * 1000.0
        self.ahead_s = (zlib.crc32(name.encode()) % 7 - 3) * 100.0

    @property
    def now_s(self) -> float:  # type: ignore[override]
        """The monotonic clock (s)."""
        return self._base.now_s + self._since_boot_s

    def clock(self) -> Clock:
        """Return a clock that reads these."""
        return Clock(lambda: self._base.now_s + 1e9 + self.ahead_s, lambda: self.now_s)


class Course:
    """Some workers of one picture, and what became of them."""

    def __init__(self, circumstances: Circumstances, time: Time) -> None:
        self._circumstances = circumstances
        self._time = time
        if circumstances.to_midnight_s is not None:
            time.pass_(86400 - (1e9 + time.now_s) % 86400 - circumstances.to_midnight_s)
        more = {"session_timeout": TIMEOUT_S, "active_window": WINDOW_S}
        self._settings = Settings(**{**more, **circumstances.settings})
        self._post = circumstances.post(time)
        self._count = 0
        self._requests = 0
        self._lost = 0
        self._has_dead = False
        #: Whether what only the dead could tell again, or who was killed before it did, is lost.
        self._may_lack = False
        #: Who made the request of a path, and as which step of all.
        self._made: dict[str, tuple[str | None, int]] = {}
        self._erased: dict[str, int] = {}
        self._leaving: list[Watched] = []
        self._watchers: dict[int, Watcher] = {}
        self._mates: list[Watched] = []
        self._mates = [self._new(f"a{number:x}") for number in range(circumstances.workers)]
        for mate in self._mates:
            self._write(mate)
        for mate in self._mates:
            mate.read()

    def play(self, steps: Iterable[Step]) -> None:
        """Let all that happen, and compare what they tell."""
        try:
            for step in steps:
                self._count += 1
                if step.what in RECORDED:
                    if self._circumstances.is_heard:  # as in a second all are
                        self._write_all()
                    self._time.pass_(1.0)
                getattr(self, step.what)(self._mates[step.worker % len(self._mates)], step)
            self.check()
        finally:
            self._post.close()

    # What people do.

    def visit(self, mate: Watched, step: Step, status: int = 200, more: int = 0) -> None:
        """Make a request, and that many more."""
        for number in range(more + 1):
            self._time.pass_(0.001)
            if self._record(mate, step, f"/{self._count}-{number}", status=status):
                self._requests += 1

    def fail(self, mate: Watched, step: Step) -> None:
        """Make a request that fails."""
        self.visit(mate, step, status=500)

    def burst(self, mate: Watched, step: Step) -> None:
        """Make more requests than a session shows."""
        self.visit(mate, step, more=self._settings.session_history_size + 1)

    def event(self, mate: Watched, step: Step) -> None:
        """Have the application tell of something."""
        blank = dict.fromkeys(("endpoint", "method", "status", "duration_ms"))
        self._record(mate, step, f"/{self._count}", kind="custom", name="event", **blank)

    def sign_out(self, mate: Watched, step: Step) -> None:
        """Sign somebody out."""
        step = step._replace(user=step.user or "ana")
        with self._heard():
            self._record(mate, step, f"/{self._count}", kind="logout")

    def begin(self, mate: Watched, step: Step) -> None:
        """Begin a request.

        Not once a worker has gone: who comes later does not know that this keeps what is of there.
        """
        if self._has_dead:
            return
        at_ms = mate.tracker.clock.now_ms()
        id = f"{mate.name}-{self._count}"
        visitor = self._visitor(mate, step.visitor)
        mate.flying.append(InFlight(id, visitor, "GET", "wait", "/wait", at_ms, True))
        self._write_all()

    def finish(self, mate: Watched, step: Step) -> None:
        """End one that has begun, as a guest's."""
        if not mate.flying:
            return
        self._time.pass_(0.01)
        begun = mate.flying.pop(step.number % len(mate.flying))
        path = f"/{self._count}-0"
        self._made[path] = (None, self._count)
        lasted_ms = float(mate.tracker.clock.now_ms() - begun.started_ms)
        where = {"path": path, "rule": "/<x>", "endpoint": "wait", "duration_ms": lasted_ms}
        mate.visit(begun.visitor, None, **where)
        self._requests += 1
        self._write_all()

    # What admins do, and the application.

    def end(self, mate: Watched, step: Step) -> None:
        """End one of the sessions that are told."""
        with self._heard():
            mate.replicas._is_roster_due = True
            found = mate.picture.sessions(1000)["items"]
            if found:
                mate.end(found[step.number % len(found)]["id"])

    def forget(self, mate: Watched, step: Step) -> None:
        """Erase a person."""
        user = step.user or "ana"
        with self._heard():
            mate.forget(user)
            self._erased[user] = self._count

    def track(self, mate: Watched, step: Step) -> None:
        """Tell of something from a shell."""
        del mate
        if self._is_troubled:
            return
        self._time.pass_(0.01)
        shell = self._new(f"5{self._count:x}")
        whose = (step.user or "ana", None)
        raw = Raw("custom", self._time.now_s, "", "", whose, name="tracked", data={})
        handover.give(shell.store, raw._replace(has_visitor=False))
        shell.store.leave()
        self._hear()

    # What time and the server do.

    def pass_(self, mate: Watched, step: Step) -> None:
        """Let time go on while nothing is asked for."""
        del mate
        if not self._is_troubled:
            self._hear()
        left_s = float(PAUSES_S[step.number % len(PAUSES_S)])
        while left_s > 0:
            self._time.pass_(min(self._circumstances.step_s, left_s))
            left_s -= self._circumstances.step_s
            for one in self._mates:
                if self._circumstances.is_tended:
                    one.tracker.expire({begun.visitor for begun in one.flying})
                with suppress(StoreError):
                    self._turn(one)
            self._write_all()
            for one in self._mates:
                if one.watchers:
                    one.tick()

    def write(self, mate: Watched, step: Step) -> None:
        """Let one write, and hear the others."""
        del step
        self._write(mate)

    def read(self, mate: Watched, step: Step) -> None:
        """Ask one."""
        del step
        mate.read()

    def watch(self, mate: Watched, step: Step) -> None:
        """Let somebody watch who did not, or did elsewhere."""
        self._watchers.setdefault(step.visitor, Watcher()).come_to(mate)

    def tick(self, mate: Watched, step: Step) -> None:
        """Let one stream what has changed."""
        del step
        self._time.pass_(0.25)
        mate.tick()

    def look(self, mate: Watched, step: Step) -> None:
        """Compare what they tell by now."""
        del mate, step
        self.check()

    def join(self, mate: Watched, step: Step) -> None:
        """Let one more worker begin."""
        del mate
        if len(self._mates) < MOST_WORKERS - 1 and not self._is_troubled:
            self._mates.append(self._new(f"b{self._count:x}"))
            if step.number % 2:
                self._write(self._mates[-1])

    def kill(self, mate: Watched, step: Step) -> None:
        """Kill one; what it had not written is lost. As with ``begin``, not during a request."""
        are_any = any(one.flying for one in self._mates)
        if len(self._mates) == 1 or self._is_troubled or are_any:
            return
        self._may_lack |= mate.told is None
        self._lost += mate.tracker.summary().requests - (mate.told or 0)
        self._leave(mate)
        if mate in self._leaving:
            self._leaving.remove(mate)
        self._has_dead = True
        if step.number % 3:  # as its own host's do, at once; others wait until it is gone
            self._hear()
            self._retire(mate)

    def replace(self, mate: Watched, step: Step) -> None:
        """Begin to replace one, as a reload does: the new one comes while the old one works."""
        del step
        is_full = len(self._mates) == MOST_WORKERS
        if not is_full and mate not in self._leaving and not self._is_troubled:
            self._mates.append(self._new(f"b{self._count:x}"))
            self._leaving.append(mate)

    def quit(self, mate: Watched, step: Step) -> None:
        """Let one go that is being replaced, in good order; as ``kill`` not during a request."""
        del mate
        are_any = any(one.flying for one in self._mates)
        if not self._leaving or len(self._mates) == 1 or self._is_troubled or are_any:
            return
        left = self._leaving.pop(step.number % len(self._leaving))
        left.flusher.last()
        self._leave(left)
        self._has_dead = True
        if step.number % 2:
            self._retire(left)

    def jump(self, mate: Watched, step: Step) -> None:
        """Set a host's clock an hour on or back."""
        assert isinstance(mate.time, OwnTime)
        mate.time.ahead_s += 3600 if step.number % 2 else -3600

    # What befalls the store.

    def break_(self, mate: Watched, step: Step) -> None:
        """Let no call reach it."""
        del mate, step
        self._post.is_down = True

    def lose(self, mate: Watched, step: Step) -> None:
        """Let no answer to what is written come back."""
        del mate, step
        self._post.loses_answers = True

    def mend(self, *_: Any) -> None:
        """Let all be well again."""
        self._post.is_down = self._post.loses_answers = False

    def empty(self, mate: Watched, step: Step) -> None:
        """Take all away."""
        del mate, step
        if not self._is_troubled:
            self._hear()
            self._time.pass_(0.5)
            self._lose_told()
            self._post.empty()

    def _lose_told(self) -> None:
        self._may_lack |= self._has_dead
        for mate in self._mates:
            mate.told = None

    def keep(self, mate: Watched, step: Step) -> None:
        """Take a copy of the file."""
        del mate, step
        assert isinstance(self._post, FilePost)
        if not self._post.is_down:
            self._post.keep()

    def go_back(self, mate: Watched, step: Step) -> None:
        """Put the copy in the place of what was written since; who writes next notices it."""
        del step
        assert isinstance(self._post, FilePost)
        if not self._is_troubled:
            self._hear()
            self._time.pass_(0.5)
            self._lose_told()
            self._post.go_back()
            self._write(mate)

    # What holds.

    def check(self) -> None:
        """All tell the same, and what was done."""
        self.mend()
        for wait_s in (0.0, GRAIN_S):  # the second time, what was done for what was heard
            self._time.pass_(wait_s)
            for mate in self._mates:
                mate.tracker.expire({begun.visitor for begun in mate.flying})
            self._hear()
        late = self._new(f"c{self._count:x}")
        late.tracker.visitors.masked("x")  # the masks' key is asked for before they are compared
        whole = told(late.picture), told(late.picture.masked)
        for mate in self._mates:
            mate.replicas._is_roster_due = True
            seen = told(mate.picture), told(mate.picture.masked)
            for one, expected in zip(seen, whole, strict=True):
                different = differences(one, expected)
                if self._circumstances.has_own_clocks:
                    different = [each for each in different if not is_rounding(*each)]
                assert not different, f"{mate.name} tells otherwise than who comes now: {different}"
        requests = whole[0]["stats"]["requests_total"]
        assert requests <= self._requests - (0 if self._may_lack else self._lost)
        assert self._may_lack or requests == self._requests - self._lost
        for mate in (*self._mates, late):
            self._check_owners(mate.picture)
        late.store.leave()
        self._check_watchers()

    def _check_watchers(self) -> None:
        """Who watches has what is shown there, wherever it watched before."""
        for number, watcher in self._watchers.items():
            if watcher.at is None:
                watcher.come_to(self._mates[number % len(self._mates)])
        for mate in self._mates:
            if mate.watchers:
                mate.tick()
        for number, watcher in self._watchers.items():
            different = differences(*views(watcher))
            assert not different, f"watcher {number} has otherwise than is shown: {different}"

    def _check_owners(self, picture: Picture) -> None:
        """Nothing is told of another than who did it, nor of who was erased since."""
        lines = [*picture.activities(1000)["items"]]
        for session in picture.sessions(1000)["items"]:
            lines += picture.session(session["id"])["activities"]
        for line in lines:
            user, made = self._made.get(line["path"], (None, 0))
            if user is not None:
                shown = (line["user"] or {}).get("id")
                assert shown in (None, user), f"{line['path']} of {user} is told of {shown}"
                assert made > self._erased.get(user, 0), f"{line['path']} of {user} was erased"

    def _record(self, mate: Watched, step: Step, path: str, **fields: Any) -> bool:
        """Fold one; False where nobody is known for lack of a salt."""
        try:
            visitor = self._visitor(mate, step.visitor)
        except StoreError:
            return False
        self._made[path] = (step.user, self._count)
        if self._circumstances.has_names and step.user:
            fields["user_name"] = f"{step.user}-{step.number % 3}"
        where = {
            "path": path,
            "rule": "/<x>",
            "endpoint": f"e{self._count % 3}",
            "duration_ms": 0.0,
        }
        mate.visit(visitor, step.user, **{**where, **fields})
        return True

    def _visitor(self, mate: Watched, number: int) -> int:
        """Return by which number a worker knows a visitor, which midnight changes."""
        if self._circumstances.to_midnight_s is None:
            return number
        self._turn(mate)
        return mate.tracker.visitors.visitor(f"10.{number}.0.1", "agent")

    def _turn(self, mate: Watched) -> None:
        if self._circumstances.to_midnight_s is not None:
            now_at = mate.tracker.clock.now_at()
            mate.tracker.visitors.fetch(now_at)
            mate.tracker.visitors.turn(now_at)

    @property
    def _is_troubled(self) -> bool:
        return self._post.is_down or self._post.loses_answers

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Where all hear at once, let them, before and after what is done within."""
        if self._circumstances.is_heard:
            self._hear()
        yield
        if self._circumstances.is_heard:
            self._hear()
            self._time.pass_(0.01)

    def _new(self, name: str) -> Watched:
        if self._mates:  # a newcomer waits for these to write to a store that has lost all
            self._write(self._mates[0])
        own = self._circumstances.has_own_clocks
        time = OwnTime(self._time, name) if own else self._time
        mate = Watched(name, self._post, self._settings, time)
        if own:
            mate.flusher.outbox._about = {"host": name, "boot": f"boot-{name}:1"}
        return mate

    def _leave(self, mate: Watched) -> None:
        self._mates.remove(mate)
        for watcher in [*mate.watchers]:
            watcher.leave()

    def _write(self, mate: Watched) -> None:
        mate.tracker.clock.follow()
        mate.flush()

    def _write_all(self) -> None:
        for mate in self._mates:
            self._write(mate)

    def _hear(self) -> None:
        """Let each write, and hear all the others."""
        self._write_all()
        self._write_all()

    def _retire(self, mate: Watched) -> None:
        store = self._mates[0].store
        store.retire(mate.name, functools.partial(estate.fold, epoch=store.epoch()))


def told(picture: Picture) -> Json:
    """Return all that a picture tells which must not depend on who is asked."""
    found = picture.snapshot(1000)
    # Guest and user of one session are two of a minute where two workers saw them.
    history = [{**minute, "active_sessions": None} for minute in found["stats"]["history"]]
    readers_own = {"as_of": None, "coverage": None, "in_flight": None}
    listed = picture.sessions(1000)
    assert [one["id"] for one in listed["items"]] == [one["id"] for one in found["sessions"]]
    assert listed["total"] == found["stats"]["total_sessions"] == len(listed["items"])
    stories = {}
    for session in listed["items"]:
        story = picture.session(session["id"])
        assert {name: story[name] for name in session} == session
        stories[session["id"]] = [line_of(one) for one in story["activities"]]
        requests = sum(one["kind"] == "request" for one in story["activities"])
        assert requests <= session["requests"], "more than it counts"
    ids = [one["id"] for one in found["activities"]]
    assert len(set(ids)) == len(ids), "an activity is told twice"
    return {
        **{name: found[name] for name in ("users", "sessions", "endpoints")},
        "stats": {**found["stats"], "history": history, **readers_own},
        "stories": stories,
        "feed": [line_of(one) for one in found["activities"]],
    }


def line_of(activity: Json) -> Json:
    """Return what of an activity does not depend on when it was heard of: its user's name does."""
    names = ("id", "at", "kind", "name", "path", "session")
    user = activity["user"] and activity["user"]["id"]
    return {**{name: activity[name] for name in names}, "user": user}


def differences(one: Any, other: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """Return in which places two values of JSON differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other}, key=str)
        pairs = [(f"{where}/{key}", one.get(key), other.get(key)) for key in keys]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}/{at}", *pair) for at, pair in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [(where, one, other)]
    return [found for place, *both in pairs for found in differences(*both, place)]


def is_rounding(where: str, one: Any, other: Any) -> bool:
    """Tell whether these are one moment, by two hosts' clocks."""
    return where.endswith("at") and isinstance(one, float) and abs(one - (other or 0.0)) <= 0.3
