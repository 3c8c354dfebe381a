"""What the benchmarks share: the measured app, its visitors, child processes, tables."""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from flask import Flask, g, request

import flask_realtime_monitor
from flask_realtime_monitor import RealtimeMonitor

VISITORS = 1_000
PATHS = 50
#: For servers that are started here: this folder's modules, and the monitor that this process has,
#: whichever is installed.
SERVED_PATH = os.pathsep.join(
    str(one) for one in (Path(__file__).parent, Path(flask_realtime_monitor.__file__).parents[1])
)

_SYSTEMS = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
    "Linux; Android 15; Mobile",
    "iPhone; CPU iPhone OS 18_1 like Mac OS X",
)
_BROWSERS = (
    "Chrome/131.0.0.0 Safari/537.36",
    "Firefox/133.0",
    "Version/18.1 Safari/605.1.15",
    "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
)
AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) {browser}"
    for system in _SYSTEMS
    for browser in _BROWSERS
]


def options(about: str | None) -> argparse.Namespace:
    """Read the command line: ``--quick``; ``--case`` names what a process of its own measures."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="a rough run of a few seconds")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- the app and its visitors ------------------------------------------------------------------


def shop() -> Flask:
    """Return the app that is measured: three views and a visitor who may be known."""
    app = Flask("shop")

    @app.before_request
    def know_user() -> None:
        g.user_id = request.environ.get("shop.user")

    @app.get("/")
    def home() -> str:
        return "welcome"

    @app.get("/product/<int:number>")
    def product(number: int) -> str:
        return f"product {number}"

    @app.get("/category/<name>/<int:page>")
    def category(name: str, page: int) -> dict[str, Any]:
        return {"name": name, "page": page, "items": [1, 2, 3]}

    return app


def watched(identify: bool = False, **settings: Any) -> Flask:
    """Return the same app with the monitor."""
    app = shop()
    app.config.update({f"REALTIME_MONITOR_{key.upper()}": one for key, one in settings.items()})
    monitor = RealtimeMonitor(app, authorize=lambda: True)
    if identify:
        monitor.identify(lambda: g.user_id)
    app.extensions["realtime_monitor"].guard.is_strict = True  # a swallowed failure costs nothing
    return app


def live(app: Flask) -> Any:
    """Return the live parts of an app's monitor in this process."""
    return app.extensions["realtime_monitor"].live


def address(visitor: int) -> str:
    """Return the address of a visitor; agents repeat, addresses do not."""
    return f"10.{visitor >> 16 & 255}.{visitor >> 8 & 255}.{visitor & 255}"


def visits(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """Return the environs of ``n`` requests: 1,000 visitors, 50 paths, one in 50 a 404.

    Half of the visitors are known to the app as a user.
    """
    chance = random.Random(seed)
    paths = ["/"]
    paths += [f"/product/{number}" for number in range(29)]
    paths += [f"/category/books/{page}" for page in range(PATHS - len(paths))]
    found = []
    for _ in range(n):
        visitor = chance.randrange(VISITORS)
        path = chance.choice(paths) if chance.random() > 0.02 else "/no-such-page"
        found.append(
            {
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
                "QUERY_STRING": "",
                "SERVER_NAME": "shop.example",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": address(visitor),
                "HTTP_HOST": "shop.example",
                "HTTP_USER_AGENT": AGENTS[visitor % len(AGENTS)],
                "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
                "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.5",
                "HTTP_CONNECTION": "keep-alive",
                "HTTP_REFERER": "http://shop.example/",
                "HTTP_SEC_FETCH_DEST": "document",
                "HTTP_SEC_FETCH_MODE": "navigate",
                "HTTP_SEC_FETCH_SITE": "same-origin",
                "HTTP_X_FORWARDED_FOR": address(visitor),
                "HTTP_X_FORWARDED_PROTO": "https",
                "RAW_URI": path,
                "REMOTE_PORT": "40000",
                "SERVER_SOFTWARE": "gunicorn",
                "wsgi.input_terminated": True,
                "shop.user": f"user{visitor}" if visitor % 2 else None,
                "wsgi.version": (1, 0),
                "wsgi.url_scheme": "http",
                "wsgi.errors": sys.stderr,
                "wsgi.multithread": True,
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
            }
        )
    return found


def fresh(environ: dict[str, Any]) -> dict[str, Any]:
    """Return an environ as a server makes it for each request."""
    return {**environ, "wsgi.input": io.BytesIO()}


def start_response(_status: str, _headers: list[tuple[str, str]], _error: Any = None) -> Any:
    """Take the head of an answer and forget it."""


def serve(app: Any, environ: dict[str, Any]) -> None:
    """Do what a server does with a request: call, send the body, close."""
    body = app(environ, start_response)
    for _ in body:
        pass
    close = getattr(body, "close", None)
    if close is not None:
        close()


# -- numbers -----------------------------------------------------------------------------------


def share(values: list[float], part: float) -> float:
    """Return the value below which a part (0 to 1) of the sorted values lies."""
    return values[min(len(values) - 1, int(len(values) * part))]


# -- child processes ---------------------------------------------------------------------------


def start_case(case: str, quick: bool) -> subprocess.Popen[str]:
    """Start this very benchmark for one case in a process of its own."""
    command = [sys.executable, sys.argv[0], "--case", case, *(["--quick"] if quick else [])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def await_start() -> None:
    """In a case: say that all is prepared, and wait until the others have said so too."""
    print("ready", flush=True)
    sys.stdin.readline()


def start_together(children: Iterable[subprocess.Popen[str]]) -> None:
    """Wait until all cases are prepared, then let them go."""
    crew = list(children)
    for child in crew:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            result_of(child)
    for child in crew:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()


def result_of(child: subprocess.Popen[str]) -> Any:
    """Wait for a case and return what it handed back."""
    out, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, child.args))} failed")  # type: ignore[arg-type]
    return json.loads(out.splitlines()[-1])


def hand_back(result: Any) -> None:
    """Give a case's result to the process that asked for it."""
    print(json.dumps(result), flush=True)


# -- printing ----------------------------------------------------------------------------------


def heading(title: str) -> None:
    """Print what is measured, and with what."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("flask", "gevent"))
    print(f"{title}\nPython {platform.python_version()}, {versions}, {os.cpu_count()} cores\n")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows in columns, the first to the left, numbers to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    for line in (lines[0], rule, *lines[1:]):
        cells = [text.rjust(width) for text, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        print("  ".join(cells).rstrip())
    print(flush=True)


def aims(found: Iterable[tuple[str, float, float, str]]) -> None:
    """Print (what, measured, at most, unit) each with a verdict."""
    rows = [
        (what, f"{value:,.3g}", f"{most:,g}", unit, "pass" if value <= most else "OVER")
        for what, value, most, unit in found
    ]
    table(("aim", "measured", "at most", "unit", ""), rows)
