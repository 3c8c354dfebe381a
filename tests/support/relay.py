"""The network between a host and a server, which a test can cut."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress


class Relay:
    """Passes on what comes to its port, unless it is cut: then nothing comes through, either way.

    Args:
        port: of the server on this machine.
        late_s: how much later everything arrives, either way.
        tls: speaks TLS to who comes, and plainly to the server.
    """

    def __init__(self, port: int, late_s: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self._to, self._late_s, self._tls = port, late_s, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._is_open = threading.Event()
        self._is_open.set()
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Let nothing through; connections stay, as when a cable is pulled."""
        self._is_open.clear()

    def mend(self) -> None:
        """Let it through again, what was sent meanwhile first."""
        self._is_open.set()

    def close(self) -> None:
        """End every connection."""
        self._is_closed = True
        self.mend()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in (*self._sockets, self._listener):
            one.close()

    def _accept(self) -> None:
        while True:
            here, _ = self._listener.accept()
            self._is_open.wait()
            if self._is_closed:
                here.close()
                return
            try:
                if self._tls is not None:
                    here = self._tls.wrap_socket(here, server_side=True)
                there = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                here.close()
                continue
            self._sockets += [here, there]
            thread = threading.Thread(target=self._pass, args=(here, there), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, here: socket.socket, there: socket.socket) -> None:
        other = {here: there, there: here}
        try:
            with suppress(OSError):
                while True:
                    ready, _, _ = select.select((here, there), (), ())
                    for one in ready:
                        data = one.recv(65_536)
                        while isinstance(one, ssl.SSLSocket) and one.pending():
                            data += one.recv(65_536)
                        self._is_open.wait()
                        time.sleep(self._late_s)
                        if not data:
                            return
                        other[one].sendall(data)
        finally:
            for one in other:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
