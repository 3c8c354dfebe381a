"""Servers of other kinds, each in a process of its own on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from pwd import getpwuid

from .client import Client
from .gunicorn_server import ROOT
from .ports import free_port
from .valkey import missing
from .waiting import DEADLINE_S, wait_until


class Served(Client):
    """Runs a command that serves HTTP.

    Args:
        command: in it ``{port}`` is the port to listen on.
        port: 0 is a free one.
        environ: further environment variables.
    """

    def __init__(self, *command: str, port: int = 0, **environ: str) -> None:
        self.address, self.port = "127.0.0.1", port or free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self.process = subprocess.Popen(
            [part.replace("{port}", str(self.port)) for part in command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            stdout=self._log,
            stderr=self._log,
        )
        wait_until(self._answers, f"{command[0]} answers: {self.log()}")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection((self.address, self.port), 1).close()
        except OSError:
            return False
        return True

    def log(self) -> str:
        """Return what the server has said so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """Stop it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)
        self._log.close()


_NGINX = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


class Nginx(Served):
    """Runs nginx as the current user, with nothing of this machine's own configuration.

    Args:
        site: what stands within ``http``; in it ``{port}`` is the port to listen on.
        folder: an empty one for its files.
    """

    def __init__(self, site: str, folder: Path) -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            missing("no nginx; Debian's is installed by `apt-get install nginx-light`")
        assert program is not None
        # Only root may change to somebody, and would do so by itself.
        user = f"user {getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        port, config = free_port(), folder / "nginx.conf"
        here = site.replace("{port}", str(port))
        config.write_text(_NGINX.format(user=user, folder=folder, site=here))
        super().__init__(program, "-e", "stderr", "-p", str(folder), "-c", str(config), port=port)
