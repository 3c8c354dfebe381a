"""A store's file, private to this user, and what lies beside it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from posix import close  # gevent's, in its place, may close in the loop's next turn alone
from typing import NamedTuple

from .base import StoreError

#: What SQLite puts beside its file. The file itself goes last.
_SIDES = ("-wal", "-shm", "-journal", "")


class Busy(StoreError):
    """Somebody else is at it, for a moment."""


class Look(NamedTuple):
    """Which file lies at a path now, and how long it is."""

    device: int
    inode: int
    size_bytes: int

    def is_same(self, other: Look) -> bool:
        """Whether that is the same file, whatever its size."""
        return (self.device, self.inode) == (other.device, other.inode)


class StoreFile:
    """The file of a store; only this user can have made, changed or read it.

    No link is followed, neither of the file nor of its folder, and nothing is used that somebody
    else owns or may write to: what lies in such a place may be a trap.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = os.path.dirname(path)
        self._life: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from making, replacing or removing files in the folder.

        Raises:
            Busy: another process does so now.
            StoreError: folder or file cannot be used; also for any OSError within.
        """
        try:
            folder = open_folder(self.folder)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
            finally:
                close(folder)
        except BlockingIOError:
            raise Busy(f"another process is opening {self.path}") from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be used: {error.strerror}") from error

    def look(self) -> Look | None:
        """Return which file is there now, None if there is none.

        Raises:
            StoreError: it is not a plain file of this user with one name.
        """
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return None
        wrong = None
        if stat.S_ISLNK(found.st_mode):
            wrong = "is a link, which is not followed"
        elif not stat.S_ISREG(found.st_mode):
            wrong = "is not a plain file"
        elif found.st_uid != os.geteuid():
            wrong = f"belongs to another user (uid {found.st_uid})"
        elif found.st_nlink != 1:
            wrong = "has a second name (hard link)"
        if wrong:
            raise StoreError(f"{self.path} {wrong}; remove it, or choose another path")
        return Look(found.st_dev, found.st_ino, found.st_size)

    def make(self) -> None:
        """Make the file, empty and private; whatever is there already is refused."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(self.path, flags, 0o600)
        try:
            # SQLite gives the files beside it the same mode, whatever the umask.
            os.fchmod(made, 0o600)
        finally:
            # Nobody can have this new file open yet. Closing one that SQLite has open in this
            # process would drop SQLite's locks.
            close(made)

    def keep_private(self) -> None:
        """Take everybody else's rights away from a file that was found."""
        os.chmod(self.path, 0o600)

    def remove(self) -> None:
        """Remove the file with what SQLite left beside it; who has it open keeps the old one."""
        for side in _SIDES:
            with suppress(FileNotFoundError):
                os.unlink(self.path + side)

    def set_aside(self) -> None:
        """Rename a file that is not ours to lose."""
        os.replace(self.path, self.path + ".broken")
        self.remove()

    def live(self) -> None:
        """Show, as long as this process lives, that the file is in use."""
        self.rest()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._life = os.open(self.path + ".lock", flags, 0o600)
        fcntl.flock(self._life, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def rest(self) -> None:
        """Stop showing it."""
        if self._life is not None:
            close(self._life)
            self._life = None

    def bury(self) -> bool:
        """Remove everything unless a process shows that it uses the file."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(self.path + ".lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.remove()
            os.unlink(self.path + ".lock")
        except BlockingIOError:
            return False
        finally:
            close(lock)
        return True


def open_folder(path: str) -> int:
    """Open a folder that only this user can write to, made when missing; return its descriptor.

    Raises:
        StoreError: it is somebody else's, or others may write to it.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StoreError(f"{path} is a link or no folder; name a folder itself") from None
    found = os.fstat(folder)
    wrong = None
    if found.st_uid != os.geteuid():
        wrong = f"belongs to another user (uid {found.st_uid}); choose a folder of your own"
    elif stat.S_IMODE(found.st_mode) & 0o022:
        wrong = "can be written by others; choose a folder of your own, or chmod go-w it"
    if wrong:
        close(folder)
        raise StoreError(f"the folder {path} {wrong}")
    return folder
