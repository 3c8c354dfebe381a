"""Another worker as this one knows it: its rows and what the numbers in them mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import chain
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from . import rows
from .clock import row_ms
from .doubts import Doubts, by_doubt
from .feed import Feed, Line, Whole, loose_line, newest_rows
from .frames import Frame, Head, refusing
from .meanings import NO_PATH, UNKNOWN, Meanings
from .pauses import PauseTable
from .reports import ReportedTraffic
from .rows import ACT, ACT_SIZE, HEAD, HEAD_SIZE, IP_SIZE_AT
from .traffic import Summary

_unpack, _unpack_act = HEAD.unpack_from, ACT.unpack_from

_Keys = Collection[int]


class Taken(NamedTuple):
    """What a frame changes: sessions by key, and of others only that they did one thing more."""

    keys: Collection[int]
    seen: Sequence[Line]


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
        self.is_gone = False
        self.rows: dict[int, bytes] = {}
        self.pauses = PauseTable()
        #: What is added to a row's time to get ms since the epoch.
        self.offset_ms = 0
        self._store_ms: int | None = None  # the same for the store's time; None where unknown
        self._told_clock = -1.0  # by which frame that is; a beat tells later than all
        self._history = history
        self._meanings = means = Meanings()
        self.user, self.user_id, self.agent = means.user, means.ids.get, means.agent
        self.route, self.path, self.rare = means.route, means.path, means.rare_of
        self._traffic = ReportedTraffic()
        self.feed = Feed(feed_size)
        self._bucket_sequences: dict[int, int] = {}
        self._sequence = 0
        self._loose_sequence = 0
        self._ended: set[int] = set()  # by notes; frames of before those may follow
        self._is_complete = True  # whether the feed has what the snapshots told
        self._log_from_ms = inf  # what came later is told by frames of the log
        self._doubts = Doubts()

    # -- as a source ---------------------------------------------------------------------------

    @property
    def named(self) -> int:
        """Grows whenever somebody known comes to have another name."""
        return self._meanings.named

    def summary_at(self, now_ms: int) -> Summary:
        """Return the counters at a moment in ms since the epoch."""
        return self._traffic.summary(now_ms - self.offset_ms)

    def is_clock_news(self, written: Head) -> bool:
        """Take note of a frame's head, or a beat; tell whether none told of the clock later."""
        sequence = written.get("q", inf)
        if not isinstance(sequence, int | float) or sequence < self._told_clock:
            return False
        self._told_clock = sequence
        return True

    # -- what comes from the store -------------------------------------------------------------

    def take_snapshot(self, bucket: int, frame: Frame) -> None:
        """Take in a whole bucket; comes before any frame of the log.

        Raises:
            FrameError: what is in it makes no sense.
        """
        with refusing():
            sequence = int(frame.head.get("q", 0))
            self._take_head(frame.head, ())
            rows.check_all(frame.rows.values())
            self.rows.update(frame.rows)
            self.pauses.take(frame.head.get("pauses", ()), ())
            self._is_complete = False
            loose = [loose_line(item) for item in frame.head.get("loose", ())]
            if loose:
                self._loose_sequence = sequence
                self.feed.add(loose)
            self._bucket_sequences[bucket] = sequence

    def take(self, frame: Frame, is_shown: bool = True) -> Taken:
        """Take in a frame of the log; return what it changes.

        Args:
            is_shown: whether its activities are to be in the feed; not where later ones fill it.

        Raises:
            FrameError: what is in it makes no sense.
        """
        with refusing():
            return self._take(frame, is_shown)

    def _take(self, frame: Frame, is_shown: bool) -> Taken:
        sequence = int(frame.head.get("q", 0))
        if sequence <= self._sequence:  # it was written twice
            return Taken((), ())
        rows.check_all(frame.rows.values())
        # A worker's first frame tells of all before it. Of one who seemed gone the next may lack.
        from_ms = -inf if sequence == 1 else float(frame.head.get("at", inf))
        known_from_ms = self._log_from_ms if sequence == self._sequence + 1 else inf
        self._log_from_ms, self._sequence = min(known_from_ms, from_ms), sequence
        newer = {n for n, of in self._bucket_sequences.items() if of >= sequence}
        if not newer:
            self._bucket_sequences = {}
        changed = self._begin_anew(newer) if frame.head.get("anew") else []
        moved, again = frame.head.get("moved", ()), frame.head.get("again")
        erase = partial(self.forget, but=newer, keys=frame.head.get("erased_keys", ()))
        erased = frame.head.get("erased", ())
        changed += chain.from_iterable(map(erase, erased))
        self._move(moved, newer)
        if moved:  # what came by its key in this way went by it; which was first is not told
            changed += chain.from_iterable(map(erase, erased))
        self._doubts.name(frame.head.get("u", ()), newer)
        self._take_head(frame.head, newer)
        fresh: list[Line | Whole] | None = [] if is_shown else None
        taken = frame.rows
        if newer:
            changed += self._take_beside(taken, newer, fresh)
            taken = {}
        elif self._doubts:
            self._tell_doubted()
        others, seen = self._take_rows(taken, fresh)
        changed += others
        self.pauses.take(frame.head.get("pauses", ()), newer)
        again = again or (self._ended and not self._ended.isdisjoint(frame.rows))
        gone = [key for key in frame.head.get("gone", ()) if key & 0xFF not in newer]
        self._ended = self._ended and self._ended.difference(frame.rows, gone)
        self._drop(gone)
        changed += gone
        if fresh is not None:
            loose = [loose_line(item) for item in frame.head.get("loose", ())]
            fresh += loose
            if loose or moved or again or not self._is_complete or sequence <= self._loose_sequence:
                # What was not acknowledged is told again, and what a row held once is loose later.
                self.feed.add_untold(fresh)
            else:
                self.feed.add(fresh)
        return Taken(changed, seen)

    def _take_beside(
        self, taken: dict[int, bytes], newer: Collection[int], fresh: list[Line | Whole] | None
    ) -> list[int]:
        """Take in rows of before what is known of some buckets; return the keys of the changed."""
        plain, doubtful = by_doubt(taken, newer)
        self._take_rows(plain, fresh)
        for key, row in doubtful.items():
            lines: list[Line | Whole] | None = None if fresh is None else []
            self._take_rows({key: row}, lines)
            if fresh is not None and lines:
                fresh += self._doubts.told(rows.user_of(row), lines)
        if fresh is not None:
            for key in taken.keys() - plain.keys() - doubtful.keys():
                self._show_told(key, taken[key], newer, fresh)
        return [*plain, *doubtful]

    def _tell_doubted(self) -> None:
        self.feed.add_untold(self._doubts.settled())

    def complete_feed(self) -> None:
        """Add to the feed what only snapshots tell: after these and the log.

        Not before the log: a snapshot's rows may have numbers whose meaning the log alone tells.
        """
        self._tell_doubted()
        most = self.feed.size
        # What is older than all of a full feed has no place in it.
        least_ms = self.feed.oldest_ms if len(self.feed) == most else 0
        is_whole = self._sequence >= max(self._bucket_sequences.values(), default=0)
        self._is_complete = True
        if is_whole and least_ms > self._log_from_ms:  # the log has told of all that is newer
            return
        table = dict(self.rows)  # in somebody else's turn a sign-out may be told of
        found: list[Line | Whole] = []
        for key in newest_rows(table, least_ms, most):
            row = table[key]
            fields = _unpack(row)
            self._feed_acts(key, fields, ACT.iter_unpack(row[HEAD_SIZE + fields[8] :]), found)
        self.feed.add_untold(sorted(found, key=itemgetter(0, 2)))  # by time and ordinal

    def forget(
        self, user_id: str, until_ms: float = inf, but: _Keys = (), keys: _Keys = ()
    ) -> list[int]:
        """Drop what is known of a person; return the keys.

        Args:
            until_ms: what was later (ms since the epoch) is of somebody who came again.
            but: buckets that are known from later.
            keys: of what the person's sessions are made of, guest parts too.
        """
        until_ms -= self.offset_ms
        numbers = {n for n, whose in self._meanings.ids.items() if whose == user_id}
        heads = {key: _unpack(row) for key, row in self.rows.items()} if numbers or keys else {}
        gone = {key for key, one in heads.items() if one[5] - 1 in numbers}
        gone |= {key for key in keys if key in heads}
        # Seen since by a worker that lives: it knows whether there is anything from before.
        ms_of = rows.begun_ms_of if self.is_gone else rows.last_ms_of
        gone = {key for key in gone if key & 0xFF not in but and ms_of(self.rows[key]) <= until_ms}
        self._drop(gone)
        self._meanings.forget_sessions(gone)
        if self.is_gone or until_ms == inf:  # else its worker tells when nothing is left
            still = {head[5] - 1 for key, head in heads.items() if key not in gone}
            self._meanings.name_users(
                [(n, None, None) for n in numbers - still if n & 0xFF not in but]
            )
        told = gone.union(keys)
        self.feed.keep(
            lambda item: (
                item.record.at_ms > until_ms or not (item.record.is_of(user_id) or item.key in told)
            )
        )
        return list(gone)

    def end_before(
        self, keys: Collection[int], at_ms: int, store_at_ms: object = None
    ) -> list[int]:
        """Drop the sessions that ended at a moment, if not seen since.

        Args:
            at_ms, store_at_ms: as ``clock.row_ms`` takes them.

        Returns:
            The keys of those that went.
        """
        gone, until_ms = [], row_ms(at_ms, store_at_ms, self.offset_ms, self._store_ms)
        for key in keys:
            row = self.rows.get(key)
            if row is not None and rows.last_ms_of(row) <= until_ms:
                gone.append(key)
        self._drop(gone)
        self._ended.update(gone)
        return gone

    def _drop(self, keys: Iterable[int]) -> None:
        for key in keys:
            self.rows.pop(key, None)
            self.pauses.pop(key, None)

    def _move(self, moved: Iterable[Sequence[int]], newer: Collection[int]) -> None:
        for key, to, *rest in moved:  # the releases before tell no ordinal
            after = rest[0] if rest else 0
            self.feed.rename(key, to, after)
            self._doubts.rename(key, to, after)
            if key in self.rows and key & 0xFF not in newer:
                self.rows[to] = self.rows.pop(key)
                self.pauses.put(to, self.pauses.pop(key, ()))

    def _begin_anew(self, newer: Collection[int]) -> list[int]:
        """Drop what this frame and the next tell again: all but rows that are known newer.

        What came after the store had lost everything had numbers whose meaning was lost; the feed
        has it told again, whatever of the rows is known.
        """
        gone = [key for key in self.rows if key & 0xFF not in newer]
        self._drop(gone)
        self.feed.begin_anew(is_known_later=self._sequence <= self._loose_sequence)
        self._doubts.settled()
        return gone

    def _take_head(self, head: Head, skip: Collection[int]) -> None:
        """Take in numbers' meanings and counters, but for buckets that are known newer."""
        self.host = str(head.get("host", self.host))
        self.boot = str(head.get("boot", self.boot))
        if isinstance(store_ms := head.get("s"), int):
            self._store_ms = store_ms
        self._meanings.take(head, skip)
        if "c" in head:
            self._traffic.take(head["c"])

    def _take_rows(self, taken: dict[int, bytes], fresh: list[Line | Whole] | None) -> Taken:
        """Put newest parts of rows before what is known, and their activities into the feed.

        As ``_take_row`` for each; what most of them are, one activity more of a session that is
        known or new, is written out: a tick of a busy site has thousands of them.
        """
        if fresh is None:  # a first read: most of them are new
            old = {key: self.rows[key] for key in self.rows.keys() & taken.keys()}
            self.rows.update(taken)
            self.rows.update(old)
            for key in old:
                self._take_row(key, taken[key], None)
            return Taken(taken, ())
        others: list[int] = []
        seen: list[Line] = []
        table, means, is_complete = self.rows, self._meanings, self._is_complete
        ids, names, routes, paths = means.ids, means.names, means.routes, means.paths
        place, alone, one_act = rows.unpack_place, rows.unpack_alone, HEAD_SIZE + ACT_SIZE
        room = (self._history - 1) * ACT_SIZE
        # What is known lies all over the memory; a loop in C has several on their way at once.
        before = list(map(table.get, taken))
        for (key, new), known in zip(taken.items(), before, strict=True):
            ip_size = new[IP_SIZE_AT]
            unpack = alone.get(ip_size)
            if unpack is None or len(new) - ip_size != one_act:
                self._take_row(key, new, fresh)
                others.append(key)
                continue
            visitor, base_ms, user, ordinal, offset, route, slot, code, duration = unpack(new)
            if known is None:
                table[key] = new
            else:
                known_base_ms, known_ordinal, known_ip_size = place(known)
                if known_base_ms != base_ms or known_ordinal != ordinal - 1 or not is_complete:
                    self._take_row(key, new, fresh)
                    others.append(key)
                    continue
                kept = HEAD_SIZE + known_ip_size
                table[key] = new + known[kept : kept + room]
            whose = None
            if user and (user_id := ids.get(user - 1)) is not None:
                whose = user_id, names.get(user - 1)
            at_ms = base_ms + offset
            route = routes.get(route, UNKNOWN)
            path = None
            if slot != rows.NO_PATH:
                born_ms, path = paths.get(slot, NO_PATH)
                if at_ms < born_ms:
                    path = None
            seen.append(
                (
                    at_ms,
                    key,
                    ordinal,
                    visitor,
                    whose,
                    route,
                    path or route[1],
                    means.rare.get((key, ordinal)) if code & rows.RARE else None,
                    code,
                    duration,
                )
            )
        fresh += seen
        return Taken(others, seen)

    def _take_row(self, key: int, new: bytes, fresh: list[Line | Whole] | None) -> None:
        """Put a row's newest part before what is known of it, and its activities into the feed."""
        fields = _unpack(new)
        ordinal, start = fields[6], HEAD_SIZE + fields[8]
        count = (len(new) - start) // ACT_SIZE
        row, is_new, oldest = new, count, 0
        known = self.rows.get(key)
        if known is not None:
            before = _unpack(known)
            if before[1] == fields[1]:  # the same session, not one that began since
                # Of a part that reaches back behind what is known, only the rest is new.
                is_new = min(count, ordinal - before[6])
                if is_new < 0:
                    return  # an older part than what is known
                # Told again after the store had lost it, it may also reach back further.
                oldest = before[6] - (len(known) - HEAD_SIZE - before[8]) // ACT_SIZE
                kept = HEAD_SIZE + before[8] + max(0, count - is_new) * ACT_SIZE
                room = (self._history - count) * ACT_SIZE
                row = new + known[kept : kept + room] if room > 0 else new
                if not self._is_complete and fresh is not None:
                    dropped = known[max(kept + room, HEAD_SIZE + before[8]) :]
                    last = oldest + len(dropped) // ACT_SIZE
                    acts = ACT.iter_unpack(dropped)
                    self._feed_acts(key, (*before[:6], last, *before[7:]), acts, fresh)
            elif ordinal >= before[6]:  # its base has moved, or one began since under its key
                is_new = min(count, ordinal - before[6])
        self.rows[key] = row
        if fresh is None:
            return
        if not self._is_complete:
            is_new = count  # a snapshot had some of it, and its rows are not in the feed yet
        if is_new == 1:
            self._feed_acts(key, fields, (_unpack_act(new, start),), fresh)
        elif is_new:
            acts = ACT.iter_unpack(new[start : start + is_new * ACT_SIZE])
            self._feed_acts(key, fields, acts, fresh)
        if ordinal - count < oldest:
            acts = ACT.iter_unpack(new[start + (ordinal - oldest) * ACT_SIZE :])
            self._feed_acts(key, (*fields[:6], oldest, *fields[7:]), acts, fresh)

    def _show_told(
        self, key: int, old: bytes, newer: Collection[int], fresh: list[Line | Whole]
    ) -> None:
        """Put into the feed what a part of a row tells that is known from later."""
        known = self.rows.get(key)
        if known is None:
            return
        fields, later, number = _unpack(old), _unpack(known), rows.user_of(old)
        is_named, is_later = self._doubts.has_named(number), number & 0xFF in newer
        is_another = number >= 0 and (fields[1], fields[5]) != (later[1], later[5])
        if is_another and is_later and not is_named:
            return  # the number may mean somebody else by now
        lines: list[Line | Whole] = []
        self._feed_acts(key, fields, ACT.iter_unpack(old[HEAD_SIZE + fields[8] :]), lines)
        fresh += self._doubts.told(number, lines) if is_named else lines

    def _feed_acts(
        self,
        key: int,
        head: tuple[Any, ...],
        acts: Iterable[tuple[Any, ...]],
        to: list[Line | Whole],
    ) -> None:
        """Append a row's activities, newest first, as lines of the feed."""
        visitor, base_ms, _, _, _, user, ordinal, _, _ = head
        whose = self.user(user - 1) if user else None
        for offset, number, slot, code, duration in acts:
            at_ms = base_ms + offset
            route = self.route(number)
            path = None if slot == rows.NO_PATH else self.path(slot, at_ms)
            rare = self.rare(key, ordinal) if code & rows.RARE else None
            to.append(
                (at_ms, key, ordinal, visitor, whose, route, path or route[1], rare, code, duration)
            )
            ordinal -= 1
