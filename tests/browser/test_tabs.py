"""One stream for all tabs of a browser, and what becomes of it when nobody looks."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import Error, expect

from tests.support.relay import Relay
from tests.support.waiting import wait_until

from .conftest import Site, Watch, connection, is_live, module_of

#: Run before the page's own scripts.
_ASLEEP_SOON = """document.addEventListener("readystatechange", () => {
    document.body.dataset.asleepAfter = "0.5";
});"""
_NO_SHARED_WORKER = "delete window.SharedWorker;"
_DEAF_SHARED_WORKER = """window.SharedWorker = class {
    constructor() { this.port = new MessageChannel().port1; }
};"""
_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`violated: ${event.effectiveDirective} ${event.blockedURI}`);
});"""


def prepared(*scripts: str) -> Callable[[Any], None]:
    """Return what makes a page run scripts before its own."""

    def prepare(page: Any) -> None:
        for script in (_VIOLATIONS, *scripts):
            page.add_init_script(script)

    return prepare


def show(page: Any, is_shown: bool) -> None:
    """Show or hide a tab, as far as its scripts can tell."""
    page.evaluate(
        """(isShown) => {
            const state = isShown ? "visible" : "hidden";
            Object.defineProperty(document, "hidden", { value: !isShown, configurable: true });
            Object.defineProperty(
                document, "visibilityState", { value: state, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_shown,
    )


def has_viewers(site: Site, number: int) -> None:
    wait_until(lambda: site.viewers() == number, f"{number} streams are open")


def row(page: Any, name: str) -> Any:
    return page.locator(".people tr", has_text=name)


@pytest.mark.parametrize("tabs", [2, 8])
def test_all_tabs_of_a_browser_share_one_stream(
    own_site: Callable[..., Site], watch: Watch, tabs: int
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    pages = [first, *(watch(site, prepare=prepared(), beside=first) for _ in range(tabs - 1))]
    site.visit("/page/tea", X_User="u-all", X_Name="Ann All")
    for page in pages:
        is_live(page)
        expect(row(page, "Ann All")).to_have_count(1)
    has_viewers(site, 1)
    # A browser opens six connections to an HTTP/1.1 server: the app is not shut out.
    assert pages[-1].goto(f"{site.url}/page/cake").status == 200


def test_a_second_tab_shows_the_picture_though_no_news_comes(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    is_live(first)
    site.visit("/page/tea", X_User="u-two", X_Name="Tom Two")
    expect(row(first, "Tom Two")).to_have_count(1)
    second = watch(site, prepare=prepared(), beside=first)
    is_live(second)
    # Only what a script has drawn has a title there.
    drawn = second.locator(".activity li time[title]")
    wait_until(lambda: drawn.count() == 1, "the second tab has drawn what the first knew")
    assert site.viewers() == 1


def test_the_first_tab_leaves_and_the_second_stays_live(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    is_live(second)
    first.close()
    site.visit("/page/tea", X_User="u-left", X_Name="Lea Left")
    expect(row(second, "Lea Left")).to_have_count(1)
    is_live(second)
    assert site.viewers() == 1


def test_the_stream_ends_with_the_last_tab(own_site: Callable[..., Site], watch: Watch) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    is_live(second)
    first.close()
    second.close()
    has_viewers(site, 0)


def test_a_hidden_tab_gets_nothing_until_it_is_shown(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    is_live(second)
    show(second, False)
    site.visit("/page/tea", X_User="u-hidden", X_Name="Hans Hidden")
    expect(row(first, "Hans Hidden")).to_have_count(1)
    expect(row(second, "Hans Hidden")).to_have_count(0)
    show(second, True)
    expect(row(second, "Hans Hidden")).to_have_count(1)


def test_a_pause_is_of_one_tab_and_counts_what_came_while_it_was_hidden(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/tea", X_User="u-pause-1", X_Name="Pia Pause")
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    for page in (first, second):
        is_live(page)
    second.keyboard.press("p")
    site.visit("/page/tea", X_User="u-pause-2", X_Name="Pit Pause")
    expect(row(first, "Pit Pause")).to_have_count(1)
    expect(second.locator("#pause")).to_have_text("Paused, 1 new: go on")
    show(second, False)
    site.visit("/page/tea", X_User="u-pause-3", X_Name="Pam Pause")
    expect(row(first, "Pam Pause")).to_have_count(1)
    show(second, True)
    expect(second.locator("#pause")).to_have_text("Paused, 2 new: go on")
    expect(row(second, "Pit Pause")).to_have_count(0)
    second.keyboard.press("p")
    expect(row(second, "Pam Pause")).to_have_count(1)


@pytest.mark.parametrize("script", ["", _NO_SHARED_WORKER], ids=["shared", "alone"])
def test_when_nobody_looks_the_stream_is_closed_and_then_comes_back_right(
    own_site: Callable[..., Site], watch: Watch, script: str
) -> None:
    site = own_site()
    site.visit("/page/early", X_User="u-asleep-1", X_Name="Asa Asleep")
    first = watch(site, prepare=prepared(_ASLEEP_SOON, script))
    second = watch(site, prepare=prepared(_ASLEEP_SOON, script), beside=first)
    for page in (first, second):
        is_live(page)
    show(first, False)
    expect(row(second, "Asa Asleep")).to_have_count(1)
    show(second, False)
    has_viewers(site, 0)
    for page in (first, second):
        wait_until(lambda page=page: page.title().startswith("(asleep) "), "the page is asleep")
    site.visit("/page/late", X_User="u-asleep-2", X_Name="Lou Late")
    show(first, True)
    is_live(first)
    expect(first.locator("[data-tile=active] .figure")).to_have_text("2")
    expect(row(first, "Lou Late")).to_have_count(1)
    expect(row(first, "Asa Asleep")).to_have_count(1)
    has_viewers(site, 1)


def test_a_killed_worker_costs_a_moment_and_shows_nothing_twice(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    for page in (first, second):
        is_live(page)
        page.evaluate(
            """() => {
                window.states = [];
                new MutationObserver(() => window.states.push(document.body.dataset.state))
                    .observe(document.body, { attributeFilter: ["data-state"] });
            }"""
        )
    site.visit("/page/before", X_User="u-kill", X_Name="Kim Kill")
    expect(row(second, "Kim Kill")).to_have_count(1)
    (worker,) = site.workers()
    os.kill(worker, signal.SIGKILL)
    for page in (first, second):
        wait_until(
            lambda page=page: re.search("(quiet|cut).*live$", page.evaluate("String(states)")),
            "the page is cut off, and then live again",
        )
    site.visit("/page/after", X_User="u-kill", X_Name="Kim Kill")
    for page in (first, second):
        lines = page.locator(".activity li")
        expect(lines.filter(has_text="/page/after")).to_have_count(1)
        expect(lines.filter(has_text="/page/before")).to_have_count(1)
        expect(row(page, "Kim Kill")).to_have_count(1)
    has_viewers(site, 1)


@pytest.mark.parametrize(
    "script", [_NO_SHARED_WORKER, _DEAF_SHARED_WORKER], ids=["missing", "silent"]
)
def test_without_a_shared_worker_each_tab_has_a_stream(
    own_site: Callable[..., Site], watch: Watch, script: str
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared(script))
    second = watch(site, prepare=prepared(script), beside=first)
    for page in (first, second):
        is_live(page)
    has_viewers(site, 2)
    site.visit("/page/tea", X_User="u-alone", X_Name="Alma Alone")
    for page in (first, second):
        expect(row(page, "Alma Alone")).to_have_count(1)


def test_a_tab_that_crashes_leaves_the_others_live(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    first = watch(site, prepare=prepared())  # the worker lives in its process
    is_live(first)
    second = watch(site, prepare=prepared(), beside=first)
    is_live(second)
    crashed: list[Any] = []
    first.on("crash", lambda page: crashed.append(page.url))
    with pytest.raises(Error):
        first.goto("chrome://crash")
    wait_until(lambda: second.title() and crashed, "the first tab has crashed")
    site.visit("/page/tea", X_User="u-crash", X_Name="Cem Crash")
    expect(row(second, "Cem Crash")).to_have_count(1)
    is_live(second)
    has_viewers(site, 1)


def test_a_line_that_is_dead_without_a_word_is_given_up(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    relay = Relay(site.port)
    try:
        page = watch(site, prepare=prepared(), url=f"http://127.0.0.1:{relay.port}")
        is_live(page)
        relay.cut()
        expect(connection(page)).to_have_text(re.compile("^Cut off since"))
        relay.mend()
        # A second try may run into what was on its way before, and a third waits its time.
        expect(connection(page)).to_have_text(re.compile("^Live"), timeout=60_000)
        page.close()
    finally:
        relay.close()


def test_sent_to_a_login_page_it_says_so_with_a_link(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/x", X_User="u-login", X_Name="Lia Login")
    first = watch(site, prepare=prepared())
    second = watch(site, prepare=prepared(), beside=first)
    for page in (first, second):
        is_live(page)
    site.visit("/doors/login", "POST")
    for page in (first, second):
        expect(connection(page)).to_have_text("Signed out")
        expect(page.locator("main")).to_be_empty()
        link = page.locator("#notice a", has_text="Sign in again")
        expect(link).to_have_attribute("href", "/monitor/")
    site.visit("/doors/open", "POST")
    first.locator("#notice a").click()
    is_live(first)  # in the worker that was told no before
    expect(row(first, "Lia Login")).to_have_count(1)
    expect(second.locator("main")).to_be_empty()


def test_a_server_that_cannot_stream_is_named_and_asked_again(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site(worker="sync")
    page = watch(site, prepare=prepared())
    expect(connection(page)).to_have_text("This server cannot stream; asked every 10 s")
    site.visit("/page/slowly", X_User="u-sync", X_Name="Syd Sync")
    expect(row(page, "Syd Sync")).to_have_count(1)
    expect(connection(page)).to_have_text("This server cannot stream; asked every 10 s")
    expect(page.locator(".activity .gap")).to_have_count(0)  # nothing was missed


def test_the_worker_and_its_scripts_break_no_policy_and_say_nothing(
    own_site: Callable[..., Site], watch: Watch, browser: Any
) -> None:
    site = own_site()
    page = watch(site, prepare=prepared())
    is_live(page)
    devtools = browser.new_browser_cdp_session()
    said: list[str] = []
    devtools.on("Target.receivedMessageFromTarget", lambda one: said.append(one["message"]))
    targets = devtools.send("Target.getTargets")["targetInfos"]
    (worker,) = [one for one in targets if one["type"] == "shared_worker"]
    # What tells workers apart: the version of all files, where they are mounted, and the role.
    assert worker["url"] == module_of(page, "worker.js")
    assert '"role":"reveal"' in worker["title"]
    session = devtools.send("Target.attachToTarget", {"targetId": worker["targetId"]})["sessionId"]

    def ask(number: int, method: str, **params: Any) -> Any:
        message = json.dumps({"id": number, "method": method, "params": params})
        devtools.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})

        def answer() -> Any:
            page.title()  # lets Playwright take in what has come
            return next((one for one in map(json.loads, said) if one.get("id") == number), None)

        return wait_until(answer, f"the worker answers {method}")

    for number, method in enumerate(("Runtime.enable", "Log.enable"), 1):
        ask(number, method)
    tried = ask(
        3,
        "Runtime.evaluate",
        expression="fetch('https://example.org/').catch((error) => error.name)",
        awaitPromise=True,
    )
    assert tried["result"]["result"]["value"] == "TypeError"
    methods = [json.loads(one).get("method") for one in said]
    told = [one for one in said if "example.org" not in one]
    assert "Runtime.executionContextCreated" in methods
    assert not [one for one in told if "consoleAPICalled" in one or "entryAdded" in one]
    assert not [one for one in told if "exceptionThrown" in one]
    devtools.detach()
