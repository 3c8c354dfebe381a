"""Where the file of "auto" lies: one for all workers of one gunicorn."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from posix import close
from typing import NamedTuple

from ..processes import born_at
from .base import StoreError
from .file import StoreFile, open_folder

#: 100,000 sessions of 50 activities took 132 to 144 MB; a container's /dev/shm often has 64.
ROOM_BYTES = 512 << 20
_NAME = re.compile(r"(.+)-(\d+)-(\d+)\.sqlite")
_SIDES = re.compile(r"(-wal|-shm|-journal|\.lock)?$")
_ELDER_S = 1
#: gunicorn's worker handles these; an app may have put a handler of its own on some.
_HANDLED = ("SIGTERM", "SIGQUIT", "SIGABRT", "SIGUSR1")


class Place(NamedTuple):
    """The store that "auto" means in this process.

    ``reason`` says why it is not the shared one; ``is_guest`` that the picture is of servers this
    process does not belong to.
    """

    url: str
    reason: str | None = None
    is_guest: bool = False


_ALONE = Place("memory:")


class Master(NamedTuple):
    """A process that has workers; its start time tells it from a later one with the same pid."""

    pid: int
    start: int


def find_place(app_name: str, siblings: Iterable[str] = ()) -> Place:
    """Return what "auto" means here.

    A worker of gunicorn shares its master's file. Any other process (a shell, cron, the command
    line) is a guest at the one living master of this app and user, and without one alone.

    Args:
        siblings: what the app may be called in a process that makes more apps, or fewer, than
            this one; looked for only where nobody has the very name.
    """
    stem, master = _stem(app_name), gunicorn_master()
    if master is None:
        place = _guest_place({stem})
        return place if place != _ALONE else _guest_place({_stem(name) for name in siblings})
    name = f"{stem}-{master.pid}-{master.start}.sqlite"
    folders = list(_folders())
    for folder in folders:
        if os.path.lexists(os.path.join(folder, name)):
            return Place(f"sqlite:///{os.path.join(folder, name)}")
    # A worker that comes later finds less room, for what the others have written, hence the
    # search for their file before.
    for folder in sorted(folders, key=lambda one: min(_room_bytes(one), ROOM_BYTES), reverse=True):
        with suppress(OSError, StoreError):
            close(open_folder(folder))
            return Place(f"sqlite:///{os.path.join(folder, name)}")
    return Place(
        "memory:",
        "the workers cannot share a file: no folder for temporary files has a place that is this "
        "user's alone; set REALTIME_MONITOR_STORE",
    )


def _guest_place(stems: Collection[str]) -> Place:
    found = [
        (master, os.path.join(folder, entry))
        for folder in _folders()
        for entry, owner, master in _entries(folder)
        if owner in stems and entry.endswith(".sqlite") and is_alive(master)
    ]
    if len(found) == 1:
        return Place(f"sqlite:///{found[0][1]}", is_guest=True)
    if not found:
        return _ALONE
    pids = ", ".join(str(master.pid) for master, _ in found)
    return Place(
        "memory:",
        f"{len(found)} servers of this app run here (gunicorn masters {pids}), and which one is "
        "meant cannot be known; set REALTIME_MONITOR_STORE to the file of one: "
        + ", ".join(f"sqlite:///{path}" for _, path in found),
    )


def clear_dead(folder: str) -> None:
    """Remove what masters that are no more have left, unless a worker still uses it."""
    dead = {_SIDES.sub("", entry) for entry, _, master in _entries(folder) if not is_alive(master)}
    for name in dead:
        with suppress(OSError):
            StoreFile(os.path.join(folder, name)).bury()


def gunicorn_master() -> Master | None:
    """Return the master of the gunicorn worker that this process is, None if it is none."""
    for name in _HANDLED:
        worker = getattr(signal.getsignal(getattr(signal, name)), "__self__", None)
        if worker is not None and hasattr(worker, "cfg") and hasattr(worker, "ppid"):
            pid = worker.ppid if isinstance(worker.ppid, int) else os.getppid()
            return Master(pid, born_at(pid) or 0)
    return None


def has_elders() -> bool:
    """Tell whether gunicorn has workers that began well before this one."""
    with suppress(OSError):  # no file can be opened any more, say
        master, own = gunicorn_master(), born_at(os.getpid())
        if master is not None and own is not None:
            with open(f"/proc/{master.pid}/task/{master.pid}/children") as told:
                found = [born_at(int(pid)) for pid in told.read().split()]
            oldest = min((start for start in found if start is not None), default=own)
            return own - oldest > _ELDER_S * os.sysconf("SC_CLK_TCK")
    return False


def is_alive(master: Master) -> bool:
    """Whether that very process still runs."""
    if master.start and os.path.exists("/proc/self/stat"):
        with suppress(OSError):  # no file can be opened any more, say
            return born_at(master.pid) == master.start
    try:
        os.kill(master.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    return True


def _stem(app_name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", app_name.lower()).strip("-")[:32] or "app"
    return f"{slug}-{hashlib.sha256(app_name.encode()).hexdigest()[:8]}"


def _folders() -> Iterator[str]:
    """Yield the folders the file may lie in, the best first, made or not; no other user's."""
    seen = set()
    for base in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if os.path.isabs(base) and os.path.isdir(base) and base not in seen:
            seen.add(base)
            folder = os.path.join(base, f"flask-realtime-monitor-{os.geteuid()}")
            with suppress(OSError):
                if not os.path.lexists(folder) or _is_own(os.lstat(folder)):
                    yield folder


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _room_bytes(folder: str) -> int:
    try:
        room = os.statvfs(os.path.dirname(folder))
    except OSError:
        return 0
    return room.f_bavail * room.f_frsize


def _entries(folder: str) -> Iterator[tuple[str, str, Master]]:
    """Yield (name, app's stem, master) of the files of a folder, and of those beside them."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(_SIDES.sub("", name))
        if found:
            yield name, found[1], Master(int(found[2]), int(found[3]))
