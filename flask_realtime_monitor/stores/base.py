"""What every store offers: it carries bytes between workers, and knows nothing of sessions."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ..errors import MonitorError

#: Over so many buckets a worker's sessions are spread, by the low eight bits of their keys.
SESSION_BUCKETS = 256
#: The bucket in which the last log entries of a worker that is gone are kept.
TAIL = SESSION_BUCKETS
#: Every snapshot's bucket is below this; those above TAIL are for whatever else.
END_OF_BUCKETS = 512
#: One of these, for numbers alone: kept for ``LASTING_S`` at least, however soon sessions end.
LASTING = 257
#: How long (s) that is: the minutes of the last hour are shown, whoever counted them.
LASTING_S = 3_900.0
#: How long (s) a snapshot, a note or a worker's traces outlive their last writing.
KEEP_S = 1920.0
#: How long (s) what was taken over from a worker that is gone is remembered, and of how many.
TAKEN_S = 86_400.0
MOST_TAKEN = 256


class StoreError(MonitorError):
    """The store cannot be used now; the caller keeps everything and comes again.

    The text is short, for people, and never holds a password.
    """


class Gap(StoreError):
    """The log does not reach back to the cursor any more: load again."""


class Entry(NamedTuple):
    """One frame in the log.

    ``cursor`` is the global order; ``at`` is when the store took it (seconds since the epoch, by
    the store's clock).
    """

    cursor: int
    worker: str
    at: float
    data: bytes


class Flush(NamedTuple):
    """What one worker writes at once.

    ``frame`` goes to the log; each of ``snapshots`` (bucket, blob) replaces this worker's blob of
    that bucket, ``beat`` its small row; ``notes`` are for every worker.
    """

    frame: bytes | None
    snapshots: Sequence[tuple[int, bytes]]
    beat: bytes
    notes: Sequence[bytes] = ()


class Flushed(NamedTuple):
    """What a flush tells: where the log is, the picture's epoch, and the others' notes.

    ``cursor`` is that of the frame, or the newest known when there was none. Another ``epoch``
    than before means: resend everything. ``notes`` (cursor, data) came from other workers since
    this store's last flush that went well, or since it was opened.
    """

    cursor: int
    epoch: str
    notes: list[tuple[int, bytes]]
    at: float


class Beat(NamedTuple):
    """A worker's small row, and when it was written by the store's clock."""

    data: bytes
    at: float


class Roster(NamedTuple):
    """Every worker's beat, what the gone ones left, and the store's clock now.

    ``retired`` is their folded totals; ``taken`` is what was folded of each, for a day. All of it
    is of the picture ``epoch``.
    """

    beats: dict[str, Beat]
    retired: bytes | None
    taken: dict[str, bytes]
    now: float
    epoch: str


class Load(NamedTuple):
    """Everything: ``snapshots`` (worker, bucket, blob) first, then ``entries`` up to ``cursor``.

    An entry may be older than the snapshot it comes after. ``notes`` (cursor, data) are all that
    are kept, own ones too: snapshots of workers that are gone do not know of later notes.
    """

    epoch: str
    cursor: int
    snapshots: list[tuple[str, int, bytes]]
    entries: list[Entry]
    notes: list[tuple[int, bytes]]


#: Makes the new row of the retired of (a gone worker's beat, the old row of the retired, what was
#: taken over from that same worker before); quick, and it may not use the store.
Fold = Callable[[bytes, bytes | None, bytes | None], bytes]
#: Makes of the roster as it is the rows to write; quick, and it may not use the store.
Missing = Callable[[Roster], Roster | None]


def tail_of(frames: Iterable[bytes]) -> bytes:
    """Return frames, the oldest first, as they are kept of a worker that is gone."""
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


class Store(ABC):
    """Carries what must be the same in all workers of one picture.

    Made after the fork, for one process. It opens nothing before its first use; any call may
    raise StoreError, and works again as soon as the store does.

    Args:
        url: the store's address; ``shown_url`` is the same without its password.
        worker: this worker's id.
        keep_s: how long what is not rewritten is kept.
    """

    #: Whether other processes can read what this one writes.
    is_shared = False
    #: Whether this process found the picture of servers it does not belong to (a shell, cron).
    is_guest = False
    #: Why nothing is shared where one might have expected it; for people.
    reason: str | None = None

    def __init__(self, url: str, *, worker: str = "", keep_s: float = KEEP_S) -> None:
        self.url = url
        self.worker = worker
        self.keep_s = keep_s
        #: How long (s) a snapshot of the bucket LASTING is.
        self.longest_s = max(keep_s, LASTING_S)
        #: How many rows of others were not read because they made no sense.
        self.dropped = 0

    def keep_of(self, bucket: int) -> float:
        """Return how long (s) a snapshot of a bucket outlives its last writing."""
        return self.longest_s if bucket == LASTING else self.keep_s

    @property
    def shown_url(self) -> str:
        """The address as outputs may show it."""
        return self.url

    @abstractmethod
    def epoch(self) -> str:
        """Return the id of the picture: it changes when the picture begins anew."""

    @abstractmethod
    def since_at(self) -> float:
        """Return when the picture began, in seconds since the epoch."""

    @abstractmethod
    def salt(self, day: int) -> bytes:
        """Return the salt of a day (days since the epoch): 16 random bytes, made when missing."""

    @abstractmethod
    def secret(self) -> bytes:
        """Return the picture's own key: 16 random bytes, made when missing, kept as it is."""

    @abstractmethod
    def flush(self, flush: Flush) -> Flushed:
        """Write, and learn what has changed; writing the same again does no harm."""

    @abstractmethod
    def tell(self, note: bytes) -> None:
        """Hand a note to every worker, from a process that is none itself: it gets no beat."""

    @abstractmethod
    def notes(self) -> list[tuple[int, bytes]]:
        """Return all notes (cursor, data) that are kept, own ones too."""

    @abstractmethod
    def read_since(self, cursor: int, most: int = 1000) -> list[Entry]:
        """Return the oldest entries after a cursor, this worker's own too.

        Raises:
            Gap: entries after the cursor are gone, or it is of another epoch.
        """

    @abstractmethod
    def load(self) -> Load:
        """Return everything that is kept."""

    @abstractmethod
    def snapshots_of(self, bucket: int) -> list[tuple[str, bytes]]:
        """Return the other workers' blobs of one bucket."""

    @abstractmethod
    def put(self, name: str, bucket: int, blob: bytes) -> None:
        """Write a blob of a bucket in another name than this worker's; it is kept as any other."""

    @abstractmethod
    def written_as(self, name: str) -> list[tuple[int, bytes]]:
        """Return the blobs (bucket, blob) of sessions that were written in a name."""

    @abstractmethod
    def roster(self) -> Roster:
        """Return who there is and was."""

    @abstractmethod
    def retire(self, worker: str, fold: Fold) -> bool:
        """Fold a gone worker's beat into the row of the retired, exactly once.

        Its beat is left as ``taken``, so that readers can correct a worker that was only frozen;
        its entries that no snapshot covers are kept as its bucket TAIL: each behind its length as
        four bytes, little-endian.

        Returns:
            False when there is no such worker, or somebody else did it.
        """

    @abstractmethod
    def restore(self, missing: Missing) -> None:
        """Write what the roster lacks, at once, whoever does so at the same time.

        Args:
            missing: returns the beats (with when they were written), what was taken, and the row
                of the retired (None: stays), that are to be others; None for nothing.
        """

    @abstractmethod
    def trim(self, cursor: int) -> None:
        """Let this worker's own entries go up to a cursor: its snapshots cover them.

        What has outlived ``keep_s`` goes too, and a snapshot what ``keep_of`` says.
        """

    @abstractmethod
    def leave(self) -> None:
        """Close files and sockets; the next use opens them again."""

    def lag_s(self) -> float | None:
        """Return how long ago the store last answered; None where nothing is shared, or yet."""
        return None
