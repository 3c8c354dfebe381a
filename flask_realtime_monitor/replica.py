"""Another worker as this one knows it: its rows and what the numbers in them mean."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from heapq import nlargest
from math import inf
from typing import Any

from . import rows
from .frames import Frame, FrameError, Head
from .records import FeedItem, Rare, Record
from .rows import ACT_SIZE, HEAD, HEAD_SIZE
from .source import Person
from .traffic import UNMATCHED, ReportedTraffic, Summary

_UNKNOWN = ("(other)", None)
_MOST_RARE = 20_000


class Replica:
    """One worker's rows, put together from its snapshots and frames; a Source.

    Frames may come twice, and an old one after a newer snapshot: the sequence numbers in them say
    what is older.

    Args:
        worker_id: whose.
        history: how many activities a row holds.
        feed_size: how many activities the feed holds.
    """

    def __init__(self, worker_id: str, history: int, feed_size: int) -> None:
        self.worker_id = worker_id
        self.host = ""
        self.boot = ""
        self.rows: dict[int, bytes] = {}
        #: What is added to a row's time to get ms since the epoch.
        self.offset_ms = 0
        self._history = history
        self._agents: dict[int, str] = {}
        self._routes: dict[int, tuple[str, str | None]] = {}
        self._people: dict[int, Person | None] = {}
        self._paths: dict[int, tuple[int, str]] = {}
        self._rare: dict[tuple[int, int], Rare] = {}
        self._traffic = ReportedTraffic()
        self._feed: deque[FeedItem] = deque(maxlen=feed_size)
        self._feed_number = 0
        self._bucket_sequences: dict[int, int] = {}
        self._sequence = 0

    # -- as a source ---------------------------------------------------------------------------

    def user(self, number: int) -> Person | None:
        """Return (id, name) of a user's number, None once it was given back."""
        return self._people.get(number)

    def agent(self, number: int) -> str:
        """Return the User-Agent of a number."""
        return self._agents.get(number, "")

    def route(self, number: int) -> tuple[str, str | None]:
        """Return (endpoint, rule) of a number."""
        return self._routes.get(number, _UNKNOWN)

    def path(self, slot: int, seen_ms: int) -> str | None:
        """Return the path that was in a slot at that time, None if it is gone."""
        born = self._paths.get(slot)
        return None if born is None or seen_ms < born[0] else born[1]

    def rare(self, key: int, ordinal: int) -> Rare | None:
        """Return what few activities have."""
        return self._rare.get((key, ordinal))

    def summary_at(self, now_ms: int) -> Summary:
        """Return the counters at a moment in ms since the epoch."""
        return self._traffic.summary(now_ms - self.offset_ms)

    def feed(self) -> Sequence[FeedItem]:
        """Return the newest activities, oldest first."""
        return self._feed

    # -- what comes from the store -------------------------------------------------------------

    def take_snapshot(self, bucket: int, frame: Frame) -> None:
        """Take in a whole bucket; comes before any frame of the log.

        Raises:
            FrameError: what is in it makes no sense.
        """
        self._bucket_sequences[bucket] = int(frame.head.get("q", 0))
        self._take_head(frame.head, None)
        self.rows.update(frame.rows)

    def take(self, frame: Frame) -> Collection[int]:
        """Take in a frame of the log; return the keys of the sessions that it changes.

        Raises:
            FrameError: what is in it makes no sense.
        """
        sequence = int(frame.head.get("q", 0))
        if sequence <= self._sequence:
            return ()  # it was written twice
        self._sequence = sequence
        newer = {n for n, of in self._bucket_sequences.items() if of >= sequence}
        if not newer:
            self._bucket_sequences = {}
        changed = [key for user_id in frame.head.get("erased", ()) for key in self.forget(user_id)]
        self._take_head(frame.head, newer)
        fresh: list[FeedItem] = []
        for key, row in frame.rows:
            if key & 0xFF not in newer:
                self._take_row(key, row, fresh)
                changed.append(key)
        for key in frame.head.get("gone", ()):
            if key & 0xFF not in newer:
                self.rows.pop(key, None)
                changed.append(key)
        fresh += (self._loose(item) for item in frame.head.get("loose", ()))
        fresh.sort(key=_at_ms)
        if fresh and self._feed and fresh[0].record.at_ms < self._feed[-1].record.at_ms:
            # Written again, after the store had lost it: what is older must not push out newer.
            fresh = sorted([*self._feed, *fresh], key=_at_ms)
            self._feed.clear()
        for item in fresh:
            self._feed_number += 1
            self._feed.append(item._replace(number=self._feed_number))
        return changed

    def begin_feed(self) -> None:
        """Make the feed out of the rows: after the snapshots, before the log."""
        most = self._feed.maxlen or 0
        found = [
            (act.at_ms, act.ordinal, key, row, act)
            for key, row in nlargest(most, self.rows.items(), key=_last_ms)
            for act in rows.acts_of(row, rows.head_of(row))
        ]
        for _, _, key, row, act in sorted(nlargest(most, found, key=lambda one: one[:2])):
            self._feed_number += 1
            self._feed.append(self._item(key, row, act))

    def forget(self, user_id: str, until_ms: float = inf) -> list[int]:
        """Drop what is known of a person; return the keys.

        Args:
            until_ms: what began later (ms since the epoch) is of somebody who came again.
        """
        until_ms -= self.offset_ms
        numbers = {n for n, whose in self._people.items() if whose and whose[0] == user_id}
        heads = {key: HEAD.unpack_from(row) for key, row in self.rows.items()} if numbers else {}
        gone = {
            key for key, head in heads.items() if head[5] - 1 in numbers and head[1] <= until_ms
        }
        gone |= {heads[key][0] for key in gone if heads[key][0] in heads}
        for key in gone:
            del self.rows[key]
        for pair in [pair for pair in self._rare if pair[0] in gone]:
            del self._rare[pair]
        still = {head[5] - 1 for key, head in heads.items() if key not in gone}
        self._people.update(dict.fromkeys(numbers - still))
        kept = [
            item
            for item in self._feed
            if item.record.at_ms > until_ms
            or (item.record.user_id != user_id and item.key not in gone)
        ]
        self._feed.clear()
        self._feed.extend(kept)
        return list(gone)

    def end_before(self, keys: Collection[int], at_ms: int) -> None:
        """Drop the sessions that ended at a moment (ms since the epoch), if not seen since."""
        for key in keys:
            row = self.rows.get(key)
            if row is not None and rows.last_ms_of(row) + self.offset_ms <= at_ms:
                del self.rows[key]

    def _take_head(self, head: Head, newer: Collection[int] | None) -> None:
        """Take in numbers' meanings and counters, but for buckets that are known newer."""
        skip = newer or ()
        try:
            self.host = str(head.get("host", self.host))
            self.boot = str(head.get("boot", self.boot))
            for number, agent in head.get("a", ()):
                self._agents[number] = str(agent)
            for number, (endpoint, rule) in head.get("r", ()):
                self._routes[number] = (str(endpoint), rule)
            for number, user_id, name in head.get("u", ()):
                if number & 0xFF not in skip:
                    self._people[number] = None if user_id is None else (user_id, name)
            for slot, born_ms, path in head.get("p", ()):
                if slot & 0xFF not in skip:
                    self._paths[slot] = (born_ms, str(path))
            for key, ordinal, kind, title, error, name, data in head.get("rare", ()):
                self._rare[key, ordinal] = Rare(kind, title, error, name, data)
            while len(self._rare) > _MOST_RARE:
                del self._rare[next(iter(self._rare))]
            if "c" in head:
                self._traffic.take(head["c"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FrameError(f"a frame's head makes no sense: {error}") from None

    def _take_row(self, key: int, new: bytes, fresh: list[FeedItem]) -> None:
        """Put a row's newest part before what is known of it, and its activities into the feed."""
        try:
            fields = HEAD.unpack_from(new)
        except Exception as error:
            raise FrameError(f"a row makes no sense: {error}") from None
        ordinal, start = fields[6], HEAD_SIZE + fields[8]
        count = (len(new) - start) // ACT_SIZE
        row, is_new = new, count
        known = self.rows.get(key)
        if known is not None:
            before = HEAD.unpack_from(known)
            if before[1] == fields[1]:  # the same session, not one that began since
                # Of a part that reaches back behind what is known, only the rest is new.
                is_new = min(count, ordinal - before[6])
                if is_new < 0:
                    return  # an older part than what is known
                kept = HEAD_SIZE + before[8] + max(0, count - is_new) * ACT_SIZE
                room = (self._history - count) * ACT_SIZE
                row = new + known[kept : kept + room] if room > 0 else new
        self.rows[key] = row
        if is_new:
            head = rows.head_of(row)
            for act in rows.acts_of(row, head):
                if act.ordinal <= ordinal - is_new:
                    break
                fresh.append(self._item(key, row, act))

    def _item(self, key: int, row: bytes, act: rows.Act) -> FeedItem:
        """Return a row's activity as a line of the feed."""
        head = rows.head_of(row)
        endpoint, rule = self.route(act.route)
        path = rule if act.path == rows.NO_PATH else self.path(act.path, act.at_ms) or rule
        rare = self._rare.get((key, act.ordinal)) if act.code & rows.RARE else None
        whose = self.user(head.user - 1) if head.user else None
        is_request = not act.code & rows.OTHER_KIND
        placed = endpoint if is_request or endpoint != UNMATCHED else None
        record = Record(
            kind="request" if is_request else ("custom" if rare is None else rare.kind),
            at_ms=act.at_ms,
            visitor=head.visitor,
            user_id=None if whose is None else whose[0],
            user_name=None if whose is None else whose[1],
            ip=b"",
            agent="",
            method=rows.method_name(act.code),
            endpoint=placed,
            rule=rule,
            path=path,
            title=None if rare is None else rare.title,
            status=act.code & rows.STATUS or None,
            duration_ms=act.duration_ms,
            error=None if rare is None else rare.error,
            name=None if rare is None else rare.name,
            data=None if rare is None else rare.data,
        )
        return FeedItem(self._feed_number, key, act.ordinal, record)

    def _loose(self, plain: list[Any]) -> FeedItem:
        try:
            key, ordinal, *fields = plain
            record = Record._make([*fields[:5], b"", "", *fields[5:]])
        except (ValueError, TypeError) as error:
            raise FrameError(f"a line of the feed makes no sense: {error}") from None
        return FeedItem(0, key, ordinal, record)


def _at_ms(item: FeedItem) -> int:
    return item.record.at_ms


def _last_ms(pair: tuple[int, bytes]) -> int:
    return rows.last_ms_of(pair[1])
