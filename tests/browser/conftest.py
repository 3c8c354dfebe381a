"""A real gunicorn, a real Chromium, and visitors who speak plain HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.server)
            item.add_marker(pytest.mark.browser)


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    pause = Event()
    for _ in range(DEADLINE_S * 20):
        found = condition()
        if found:
            return found
        pause.wait(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


class Site:
    """The app of site.py under gunicorn; it can be stopped and started again on its port."""

    def __init__(self, **environ: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "--config", "python:tests.browser.patched"]
        command += ["--bind", f"127.0.0.1:{self.port}", "tests.browser.site:app"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self._environ, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "gunicorn answers")

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(kind)
            self._process.wait(DEADLINE_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            self.visit("/monitor/no")
        except OSError:
            return False
        return True

    def visit(self, path: str, method: str = "GET", **headers: str) -> int:
        """Make one request, its headers named with underscores; return the status."""
        return self.ask(path, method, **headers)[0]

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Make one request; return status and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"User-Agent": "tests", **named})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.stop()


@pytest.fixture
def own_site() -> Iterator[Callable[..., Site]]:
    """A site of the test's own, for what would disturb the others."""
    made: list[Site] = []

    def make(**environ: str) -> Site:
        made.append(Site(**environ))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    missing = None
    if CHROMIUM is None:
        missing = "no chromium; Debian's is installed by `apt-get install chromium`"
    else:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            missing = "no playwright; it comes with the test extra"
    if missing:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the dashboard of a site as its admin; a message on the console fails the test."""
    contexts: list[Any] = []
    messages: list[str] = []

    def open_page(site: Site, path: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_cookies([{"name": "role", "value": "admin", "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(f"{site.url}/monitor/{path}")
        page.messages = messages
        return page

    yield open_page
    for context in contexts:
        context.close()
    told = [one for one in messages if "Failed to load resource" not in one]
    assert told == []
