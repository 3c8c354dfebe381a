"""A connection on which every byte is seen: what is a chunk, what is its framing, where it ends."""

from __future__ import annotations

import socket
from contextlib import suppress
from time import monotonic
from types import TracebackType

from .waiting import DEADLINE_S


class Wire:
    """Makes one request over a socket of its own and reads the answer as it comes.

    Args:
        address: host and port, or the path of a Unix socket.
        keeps: how many bytes the kernel may keep of what is not read yet; 0 is its own choice.
        headers: named with underscores.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        path: str = "/monitor/stream",
        method: str = "GET",
        version: str = "1.1",
        keeps: int = 0,
        **headers: str,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        if keeps:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, keeps)
        self.socket.settimeout(DEADLINE_S)
        self._rest = b""
        try:
            self.socket.connect(address)
            lines = [f"{method} {path} HTTP/{version}", "Host: tests", "User-Agent: tests"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        except BaseException:
            self.close()
            raise
        self.version, status, *_ = head[0].split(" ", 2)
        self.status = int(status)
        #: Header fields in lower case; of several the last.
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        self.is_chunked = self.headers.get("transfer-encoding") == "chunked"

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self.socket.close()

    def next(self) -> bytes:
        """Return the next chunk, or where nothing is chunked the next bytes; nothing at the end.

        Raises:
            EOFError: the connection ended before the body did.
        """
        if not self.is_chunked:
            found, self._rest = self._rest, b""
            return found or self.socket.recv(65_536)
        size = int(self._until(b"\r\n"), 16)
        data = self._exactly(size)
        assert self._exactly(2) == b"\r\n"
        return data

    def until(self, what: bytes) -> bytes:
        """Return the pieces up to the one in which something is."""
        found, ends = b"", monotonic() + DEADLINE_S
        while what not in found:
            assert monotonic() < ends, f"no {what!r} in time"
            data = self.next()
            assert data, f"the end before {what!r}"
            found += data
        return found

    def is_at_end(self) -> bool:
        """Tell whether the connection is closed, and nothing came before that."""
        return not self._rest and self.socket.recv(1) == b""

    def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError("the connection ended in the middle")
        self._rest += data
