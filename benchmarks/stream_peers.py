"""Whom the stream is measured against: nginx with nchan, and the least that C can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from streaming import STARTS_IN_S, Skip, ask, children, compiled, free_port, start, until

_CONFIG = """
load_module {module};
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /stream {{
            nchan_subscriber eventsource;
            nchan_channel_id all;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id all;
        }}
        location = /ping {{ return 200 pong; }}
    }}
}}
"""


class Nchan:
    """nginx with nchan, one worker; a message of a size each second while it is entered.

    Args:
        size: bytes of an event's data.

    Raises:
        Skip: there is none.
    """

    stream = "/stream"

    def __init__(self, folder: Path, size: int, descriptors: int) -> None:
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if nginx is None:
            raise Skip("no nginx")
        built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr
        found = re.search(r"--modules-path=(\S+)", built)
        module = Path(found[1] if found else "") / "ngx_nchan_module.so"
        if not module.exists():
            raise Skip("no nchan (the Debian packages nginx-light and libnginx-mod-nchan bring it)")
        self.port = free_port()
        self._size = size
        self._folder = folder / f"nginx-{self.port}"
        self._folder.mkdir()
        (self._folder / "conf").write_text(
            _CONFIG.format(
                module=module,
                user="user root;" if os.geteuid() == 0 else "",
                folder=self._folder,
                descriptors=descriptors,
                connections=descriptors - 50,
                port=self.port,
            )
        )
        self._command = [nginx, "-p", str(self._folder), "-c", str(self._folder / "conf")]
        self._is_over = threading.Event()
        self._publisher = threading.Thread(target=self._publish, daemon=True)

    def __enter__(self) -> Nchan:
        with (self._folder / "log").open("wb") as log:
            self._process = start(self._command, stdout=log, stderr=log)
        if until(self._answers, STARTS_IN_S) == float("inf"):
            self._process.kill()
            raise SystemExit((self._folder / "log").read_text())
        self._publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._publisher.join()
        self._process.terminate()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The worker."""
        return children(self._process.pid)[0]

    def _answers(self) -> bool:
        try:
            return ask(self.port, "/ping")[0] == 200
        except OSError:
            return False

    def _publish(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        next_s = time.monotonic()
        while not self._is_over.wait(max(0.0, next_s - time.monotonic())):
            next_s += 1
            data = f'{{"as_of":{time.time():.6f},"x":"'
            connection.request("POST", "/publish", data + "x" * (self._size - len(data) - 2) + '"}')
            connection.getresponse().read()
        connection.close()


class Writer:
    """The C program that writes the same bytes to all each second.

    Args:
        size: bytes of an event.

    Raises:
        Skip: there is no C compiler.
    """

    stream = "/"

    def __init__(self, folder: Path, size: int) -> None:
        self._command = [compiled("epoll_writer", folder), str(size)]

    def __enter__(self) -> Writer:
        more: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = start(self._command, **more)
        self.port = int(self._process.stdout.readline())  # type: ignore[union-attr]
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
