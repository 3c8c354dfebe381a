"""A real gunicorn, a real Chromium, and visitors who speak plain HTTP."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.support.gunicorn_server import GunicornServer
from tests.support.networks import NetworkTurns
from tests.support.waiting import DEADLINE_S

Watch = Callable[..., Any]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.server)
            item.add_marker(pytest.mark.browser)


class Site(GunicornServer):
    """The app of site.py, and its visitors."""

    def __init__(
        self,
        *options: str,
        app: str = "tests.browser.site:app",
        worker: str = "gevent",
        **environ: str,
    ) -> None:
        super().__init__(app, *options, worker=worker, **environ)

    def visit(self, path: str, method: str = "GET", **headers: str) -> int:
        """Make one request, its headers named with underscores; return the status.

        Who is named has a browser of their own, unless one is given: no guest of another test is to
        be the one who has signed in now.
        """
        if "X_User" in headers:
            headers.setdefault("User_Agent", f"tests, {headers['X_User']}")
        return self.ask(path, method, **headers)[0]

    def viewers(self) -> int:
        """Return how many streams are open."""
        return int(self.ask("/viewers")[1])


def connection(page: Any) -> Any:
    """Return what says how fresh a page is."""
    return page.locator("#connection-text")


def module_of(page: Any, name: str) -> str:
    """Return the URL of one of a page's scripts."""
    script = page.locator("script[type=module]").get_attribute("src")
    return urljoin(page.url, script).replace("main.js", name)


def is_live(page: Any) -> None:
    """Wait until a page is live."""
    from playwright.sync_api import expect

    try:
        expect(connection(page)).to_have_text(re.compile("^Live"))
    except AssertionError as error:
        came = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        said = getattr(page, "messages", None)
        raise AssertionError(f"{error}\nsaid: {said}\ncame: {came}") from None


#: Lets a page's clock be set ahead, by ``ahead = 60_000``.
CLOCK = "const { now } = Date; window.ahead = 0; Date.now = () => now() + window.ahead;"


def refuse_once(page: Any, pattern: str) -> None:
    """Fail the first request for it, as where the network becomes another one."""
    refused: list[Any] = []

    def answer(route: Any) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.abort("internetdisconnected")

    page.route(pattern, answer)


@pytest.fixture(autouse=True)
def _still_network(network_turns: NetworkTurns) -> Iterator[None]:
    """Chromium gives up what is on its way when the machine's addresses change."""
    with network_turns.still():
        yield


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def own_site() -> Iterator[Callable[..., Site]]:
    """A site of the test's own, for what would disturb the others."""
    made: list[Site] = []

    def make(*options: str, **more: str) -> Site:
        made.append(Site(*options, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


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
    from playwright.sync_api import expect

    expect.set_options(timeout=DEADLINE_S * 1000)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def dashboard(
    browser: Any,
    url: str,
    path: str = "",
    prepare: Callable[[Any], None] | None = None,
    beside: Any = None,
    messages: list[str] | None = None,
    **options: Any,
) -> Any:
    """Open the dashboard of the site at a URL as its admin, in a browser of its own.

    Args:
        prepare: called with the page before it goes there.
        beside: another page, of the same browser.
        messages: gets what is said on the console.
        options: of the browser's context.
    """
    heard = [] if messages is None else messages
    if beside is None:
        context = browser.new_context(**options)
        context.add_cookies([{"name": "role", "value": "admin", "url": url}])
    else:
        context = beside.context
    page = context.new_page()
    page.set_default_timeout(DEADLINE_S * 1000)
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    if prepare is not None:
        prepare(page)
    page.goto(f"{url}/monitor/{path}")
    page.messages = heard
    return page


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the dashboard of a site as its admin; a message on the console fails the test.

    A page is a browser's only one, unless it is opened beside another.
    """
    contexts: list[Any] = []
    messages: list[str] = []

    def open_page(
        site: Site,
        path: str = "",
        prepare: Callable[[Any], None] | None = None,
        beside: Any = None,
        url: str = "",
        **options: Any,
    ) -> Any:
        page = dashboard(browser, url or site.url, path, prepare, beside, messages, **options)
        contexts.append(page.context)
        return page

    yield open_page
    for context in contexts:
        context.close()  # closed already where it is a second page's, too
    told = [one for one in messages if "Failed to load resource" not in one]
    assert told == []
