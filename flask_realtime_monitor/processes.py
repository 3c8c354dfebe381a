"""Which process is meant, by what no later one has, and which start of the system."""

from __future__ import annotations


def born_at(pid: int) -> int | None:
    """Return when a process began, in the system's ticks; None: there is none, or a zombie.

    It tells a process from a later one with its pid.

    Raises:
        OSError: it cannot be looked for now; no file can be opened any more, say.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in brackets, may hold any bytes, so count from its end.
            state, *rest = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in (b"Z", b"X") else int(rest[18])


def boot_id() -> str:
    """Return what is another after each start of the system; empty where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
