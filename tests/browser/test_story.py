"""The drawer: the story of a session or of a user, why it is shown, and its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from tests.support.waiting import wait_until

from .conftest import Site, Watch, is_live
from .states import AGENTS, as_role

EVIL = "<img src=x onerror=alert(1)>"
UNKNOWN = "0123456789abcdef"


def drawer(page: Any) -> Any:
    """Return the drawer of a page."""
    return page.locator("dialog.drawer")


def fact(page: Any, name: str) -> Any:
    """Return what the drawer tells under a name."""
    return drawer(page).locator(".details > div", has=page.locator(f"dt:text-is('{name}')"))


def journey(page: Any) -> Any:
    """Return the lines of the journey."""
    return drawer(page).locator(".journey li")


def row(page: Any, name: str) -> Any:
    """Return the link of somebody in the table of people."""
    return page.locator(".people tr[data-key] a", has_text=name)


def session_of(site: Site, user: str) -> str:
    """Return the id of a user's newest session."""
    found = site.json(f"sessions?user={quote_plus(user)}", Cookie="role=admin")["items"]
    return str(found[0]["id"])


def refuse(route: Any) -> None:
    route.abort()


# -- opening and closing ------------------------------------------------------------------------


def test_it_opens_by_keyboard_and_escape_closes_nothing_else(site: Site, watch: Watch) -> None:
    site.visit("/page/one", X_User="u-story", X_Name="Stella Story")
    site.visit("/fail", X_User="u-story", X_Name="Stella Story")
    page = watch(site, "#q=stella&window=15")
    is_live(page)
    # Its script is there: until then a row has the link that the server wrote.
    expect(row(page, "Stella Story")).to_have_attribute("href", re.compile("q=stella"))
    came = "performance.getEntriesByType('resource').some((one) => one.name.includes('telling'))"
    assert not page.evaluate(came)  # most views never need it
    row(page, "Stella Story").focus()
    page.keyboard.press("Enter")
    expect(drawer(page)).to_be_visible()
    expect(drawer(page).locator("h2")).to_contain_text("Stella Story")
    expect(journey(page)).to_have_count(2)
    assert page.evaluate(came)
    assert page.evaluate("document.activeElement.closest('dialog.drawer') !== null")
    assert re.search(r"#q=stella&window=15&session=[0-9a-f]{16}$", page.url)
    page.keyboard.press("Escape")
    expect(drawer(page)).not_to_be_visible()
    expect(page).to_have_url(re.compile("#q=stella&window=15$"))
    expect(row(page, "Stella Story")).to_be_focused()


def test_what_is_typed_as_something_else_is_chosen_is_not_lost(site: Site, watch: Watch) -> None:
    site.visit("/page/one", X_User="u-typed", X_Name="Tina Typed")
    page = watch(site)
    is_live(page)
    page.evaluate(
        """() => {
            const search = document.getElementById("search");
            search.value = "tina";
            search.dispatchEvent(new Event("input"));
            location.hash = "#state=active";
        }"""
    )
    expect(page).to_have_url(re.compile("#state=active&q=tina$|#q=tina&state=active$"))
    expect(page.locator("#search")).to_have_value("tina")


def test_what_is_chosen_after_one_was_closed_leaves_the_next_alone(
    site: Site, watch: Watch
) -> None:
    site.visit("/page/one", X_User="u-next-1", X_Name="Nora Next")
    site.visit("/page/one", X_User="u-next-2", X_Name="Ned Next")
    page = watch(site)
    is_live(page)
    row(page, "Nora Next").click()
    expect(journey(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(drawer(page)).not_to_be_visible()
    page.locator("#search").fill("ned")
    expect(page).to_have_url(re.compile("#q=ned$"))
    row(page, "Ned Next").click()
    expect(drawer(page).locator("h2")).to_contain_text("Ned Next")
    expect(journey(page)).to_have_count(1)


def test_its_link_opens_it_on_a_fresh_page_and_it_goes_on_live(site: Site, watch: Watch) -> None:
    site.visit("/page/one", X_User="u-fresh", X_Name="Fred Fresh")
    page = watch(site, f"#session={session_of(site, 'u-fresh')}")
    expect(drawer(page).locator("h2")).to_contain_text("Fred Fresh")
    expect(journey(page)).to_have_count(1)
    is_live(page)
    site.visit("/page/two", X_User="u-fresh", X_Name="Fred Fresh")
    expect(journey(page)).to_have_count(2)
    expect(journey(page).first).to_contain_text("/page/two")
    drawer(page).locator("[data-close]").click()
    expect(row(page, "Fred Fresh")).to_be_focused()


def test_back_and_forward_turn_its_pages(site: Site, watch: Watch) -> None:
    site.visit("/page/b", X_User="u-back-1", X_Name="Bea Back")
    site.visit("/page/b", X_User="u-back-2", X_Name="Ben Back")
    page = watch(site)
    is_live(page)
    title = drawer(page).locator("[data-title]")
    row(page, "Bea Back").click()
    expect(title).to_have_text("Bea Back")
    page.go_back()
    expect(drawer(page)).not_to_be_visible()
    page.go_forward()
    expect(title).to_have_text("Bea Back")
    page.evaluate("(hash) => { location.hash = hash; }", f"session={session_of(site, 'u-back-2')}")
    expect(title).to_have_text("Ben Back")
    page.go_back()
    expect(title).to_have_text("Bea Back")
    page.evaluate(
        """() => {
            for (const hash of ["#", location.hash]) { // closed and opened in one breath
                history.replaceState(null, "", hash);
                dispatchEvent(new PopStateEvent("popstate"));
            }
        }"""
    )
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    expect(title).to_have_text("Bea Back")
    expect(drawer(page)).to_be_visible()
    assert "#session=" in page.url


def test_a_click_beside_it_closes_it_and_one_on_its_edge_does_not(site: Site, watch: Watch) -> None:
    site.visit("/page/c", X_User="u-beside", X_Name="Bess Beside")
    page = watch(site, f"#session={session_of(site, 'u-beside')}")
    expect(journey(page)).to_have_count(1)
    box = drawer(page).bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 300)
    expect(drawer(page)).to_be_visible()
    page.mouse.move(box["x"] + 200, box["y"] + 300)
    page.mouse.down()  # a selection that ends outside
    page.mouse.move(box["x"] - 100, box["y"] + 300)
    page.mouse.up()
    expect(drawer(page)).to_be_visible()
    page.mouse.click(box["x"] - 100, box["y"] + 300)
    expect(drawer(page)).not_to_be_visible()


# -- a session ----------------------------------------------------------------------------------


def test_a_session_tells_who_and_where_and_each_value_narrows_down(
    site: Site, watch: Watch
) -> None:
    who = {"X_User": "u-facts", "X_Name": "Fay Facts", "User_Agent": AGENTS[0]}
    site.visit("/page/tea", X_Title="Green tea", **who)
    id = session_of(site, "u-facts")
    page = watch(site, f"#session={id}")
    (told,) = site.json("sessions?user=u-facts", Cookie="role=admin")["items"]
    for name, text in (
        ("User", "u-facts"),
        ("Session", id),
        ("State", "active"),
        ("Page now", "Green tea"),
        ("Page now", "/page/tea"),
        ("Endpoint", "page"),
        ("Device", "Chrome"),
        ("Device", "Windows"),
        ("Address", "127.0.0.0"),
        ("Requests", "0 failed"),
        ("Worker", told["worker"]),
        ("Host", told["host"]),
    ):
        expect(fact(page, name)).to_contain_text(text)
    expect(fact(page, "State")).to_contain_text(re.compile(r"last seen \d+ s ago"))
    for name, text, chosen in (
        ("State", "active", "state=active"),
        ("Page now", "/page/tea", "path=%2Fpage%2Ftea"),
        ("Endpoint", "page", "endpoint=page"),
        ("Device", "Chrome", "browser=Chrome"),
        ("Device", "Windows", "os=Windows"),
        ("Device", "desktop", "device=desktop"),
        ("Worker", told["worker"], f"worker={told['worker']}"),
        ("Host", told["host"], f"host={told['host']}"),
    ):
        link = fact(page, name).locator("a", has_text=text)
        expect(link).to_have_attribute("href", f"#{chosen}")
    fact(page, "Device").locator("a", has_text="Windows").focus()
    page.keyboard.press("Enter")
    expect(drawer(page)).not_to_be_visible()
    expect(page.locator("#chips .chip")).to_have_text(re.compile("os Windows"))


def test_a_guest_is_told_apart_and_has_no_user(site: Site, watch: Watch) -> None:
    site.visit("/page/g", User_Agent="a guest of the story")
    found = site.json("sessions?who=guests", Cookie="role=admin")["items"]
    id = found[0]["id"]
    page = watch(site, f"#session={id}")
    expect(drawer(page).locator("[data-title]")).to_have_text(f"Guest {id[:4].upper()}")
    expect(fact(page, "User")).to_contain_text("not signed in")
    expect(fact(page, "Device")).to_contain_text("Unknown")
    drawer(page).locator("summary").click()
    expect(drawer(page).locator("[data-why]")).to_contain_text("Nobody has signed in")


def test_the_journey_draws_pauses_to_scale_and_says_them(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site(
        *("--timeout", "0"),
        app="tests.browser.half_hour:app",
        BEHIND_S="1740",
        STORE="memory:",
    )
    who = {"X_User": "u-gaps", "X_Name": "Gus Gaps"}
    for path, pause_s in (("/page/1", 125), ("/page/2", 30), ("/fail", 1500), ("/no-page", 0)):
        site.visit(path, **who)
        site.visit(f"/pass/{pause_s}", "POST")
    site.visit("/told/bought?what=tea", "POST", **who)
    page = watch(site, f"#session={session_of(site, 'u-gaps')}")
    expect(journey(page)).to_have_count(6)
    did = [one.strip() for one in journey(page).locator(".did").all_inner_texts()]
    assert sorted(did[:2]) == ["POST /told/bought", "bought what: tea"]
    assert did[2:] == ["GET /no-page", "GET /fail", "GET /page/2", "GET /page/1"]
    gaps = journey(page).locator(".gap:not([hidden])")
    expect(gaps).to_have_text(["25 min earlier", "2 min earlier"])
    long, short = (one.bounding_box()["height"] for one in gaps.all())
    assert short < long < 8 * short
    statuses = journey(page).locator(".status")
    assert "200" in statuses.last.inner_text()
    marks = statuses.evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one, '::before').content)"
    )
    assert {'"✓"', '"?"', '"!"'} <= set(marks)


def test_bars_are_as_long_as_the_slowest_lets_them(site: Site, watch: Watch) -> None:
    site.visit("/page/quick", X_User="u-bars")
    site.visit("/slow", X_User="u-bars")
    page = watch(site, f"#session={session_of(site, 'u-bars')}")
    expect(journey(page)).to_have_count(2)
    slow, quick = (
        journey(page)
        .locator("meter")
        .evaluate_all("(all) => all.map((one) => one.value / one.max)")
    )
    assert slow == 1 and 0 <= quick < 0.1
    expect(journey(page).first).to_contain_text(re.compile(r"[56]\.\d s"))


def test_nobody_asks_while_there_is_no_news(site: Site, watch: Watch) -> None:
    site.visit("/page/still", X_User="u-still", X_Name="Stan Still")
    asked: list[str] = []
    page = watch(
        site,
        f"#session={session_of(site, 'u-still')}",
        prepare=lambda page: page.on("request", lambda one: asked.append(one.url)),
    )
    is_live(page)
    expect(fact(page, "State")).to_contain_text(re.compile(r"last seen ([89]|1\d) s ago"))
    assert len([url for url in asked if "/sessions/" in url]) == 1


def test_why_it_is_shown_is_told_in_words_and_counts_down(site: Site, watch: Watch) -> None:
    agent = {"User_Agent": "who asks why"}
    site.visit("/page/w", **agent)
    site.visit("/page/w", X_User="u-why", X_Name="Wim Why", **agent)
    id = session_of(site, "u-why")
    (worker,) = site.json(f"sessions/{id}", Cookie="role=admin")["why"]["workers"]
    page = watch(site, f"#session={id}")
    why = drawer(page).locator("[data-why]")
    expect(why.locator("ul")).not_to_be_visible()
    why.locator("summary").press("Enter")
    for text in (
        "own identify function named this user.",
        "What the guest did here before signing in is part of it.",
        f"Worker {worker['id']} on {worker['host']} saw 2 requests of it",
        "Of an address only the network is kept.",
        "Not known: what told each single request apart.",
    ):
        expect(why).to_contain_text(text)
    ends = why.locator("li", has_text="It ends at")
    left = re.compile(r"It ends at [\d:]{8}, in (29 min \d+ s), if nothing more comes\.")
    expect(ends).to_have_text(left)
    before = ends.inner_text()
    expect(ends).not_to_have_text(before)
    expect(ends).to_have_text(left)


# -- a user -------------------------------------------------------------------------------------


def test_a_user_is_told_with_all_sessions_and_one_journey(site: Site, watch: Watch) -> None:
    user = "a/b?c=1&d#e%41 +ü"
    sent = user.encode().decode("latin-1")
    for agent, path in ((AGENTS[0], "/page/desk"), (AGENTS[1], "/fail"), (AGENTS[1], "/page/ph")):
        site.visit(path, X_User=sent, X_Name="Odd Olga", User_Agent=agent)
    (shown,) = site.json("users?q=Odd+Olga", Cookie="role=admin")["items"]
    page = watch(site, f"#person={quote_plus(shown['id'])}")
    expect(drawer(page).locator("[data-title]")).to_have_text("Odd Olga")
    expect(fact(page, "User").locator("bdi").first).to_have_text(shown["id"])
    expect(fact(page, "Devices")).to_contain_text("Chrome on Android, Chrome on Windows")
    expect(fact(page, "Requests")).to_contain_text("1 failed")
    sessions = drawer(page).locator(".sessions li")
    expect(drawer(page).locator("[data-sessions] h3")).to_have_text("2 sessions")
    expect(sessions).to_have_text(
        [re.compile("Chrome on Android.*/page/ph"), re.compile("/page/desk")]
    )
    expect(journey(page)).to_have_count(3)
    expect(journey(page).locator(".of")).to_have_text(
        [*["Chrome on Android"] * 2, "Chrome on Windows"]
    )
    sessions.last.locator("a").click()
    expect(fact(page, "Session")).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog.drawer') !== null")
    expect(journey(page)).to_have_count(1)
    expect(journey(page).locator(".of:not([hidden])")).to_have_count(0)
    fact(page, "User").locator("a").click()
    expect(journey(page)).to_have_count(3)
    fact(page, "User").locator("a").click()
    expect(drawer(page)).not_to_be_visible()
    expect(page.locator(".people tr[data-key]")).to_have_count(1)


def test_one_who_is_not_here_is_told_so_until_they_come(site: Site, watch: Watch) -> None:
    page = watch(site, "#person=u-later")
    is_live(page)
    expect(drawer(page)).to_contain_text("Not here now.")
    expect(drawer(page).locator("[data-title]")).to_have_text("u-later")
    site.visit("/page/at-last", X_User="u-later", X_Name="Lars Later")
    expect(drawer(page).locator("[data-title]")).to_have_text("Lars Later")
    expect(drawer(page)).not_to_contain_text("Not here now.")
    expect(journey(page)).to_have_count(1)


def test_the_longest_ids_and_paths_fit_the_url(site: Site, watch: Watch) -> None:
    user, path = "u-long-" + "x" * 121, "/page/long/" + "y" * 245
    site.visit(path, X_User=user)
    page = watch(site, f"#person={user}")
    expect(fact(page, "User").locator("bdi").first).to_have_text(user)
    fact(page, "Page now").locator("a").click()
    expect(page.locator(".people tr[data-key]")).to_have_count(1)
    expect(page.locator(".people tr[data-key] .path")).to_have_text(path)


# -- copying ------------------------------------------------------------------------------------


def test_ids_are_copied_those_of_the_story_that_is_open(site: Site, watch: Watch) -> None:
    site.visit("/page/copy", X_User="u-copy", X_Name="Cora Copy")
    site.visit("/page/copy", X_User="u-copy-other", X_Name="Carl Copy")
    page = watch(
        site,
        f"#session={session_of(site, 'u-copy')}",
        permissions=["clipboard-read", "clipboard-write"],
    )
    copy = fact(page, "User").locator("button")
    copy.click()
    expect(copy).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "u-copy"
    other = session_of(site, "u-copy-other")
    page.evaluate("(hash) => { location.hash = hash; }", f"session={other}")
    expect(fact(page, "User")).to_contain_text("u-copy-other")
    fact(page, "User").locator("button").click()
    expect(fact(page, "User").locator("button")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "u-copy-other"
    fact(page, "Session").locator("button").click()
    expect(fact(page, "Session").locator("button")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == other


def test_without_a_clipboard_the_id_is_selected(site: Site, watch: Watch) -> None:
    site.visit("/page/copy", X_User="u-select")
    script = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    page = watch(
        site,
        f"#session={session_of(site, 'u-select')}",
        prepare=lambda page: page.add_init_script(script),
    )
    copy = fact(page, "User").locator("button")
    copy.click()
    expect(copy).to_contain_text("Selected: copy it by keyboard")
    assert page.evaluate("getSelection().toString()") == "u-select"


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_session_that_never_was_says_so(site: Site, watch: Watch) -> None:
    page = watch(site, f"#session={UNKNOWN}&q=x")
    expect(drawer(page)).to_contain_text("There is no such session. It may have ended long ago.")
    drawer(page).get_by_role("link", name="Back to all").click()
    expect(drawer(page)).not_to_be_visible()
    expect(page).to_have_url(re.compile("#q=x$"))


def test_a_time_of_another_day_comes_with_its_day(site: Site, watch: Watch) -> None:
    ended_at = time.time() - 26 * 3600

    def answer(route: Any) -> None:
        route.fulfill(status=404, json={"error": "gone", "ended_at": ended_at})

    page = watch(
        site,
        f"#session={UNKNOWN}",
        prepare=lambda page: page.route(f"**/sessions/{UNKNOWN}", answer),
        timezone_id="UTC",
    )
    day = time.gmtime(ended_at)
    expect(drawer(page)).to_contain_text(f"ended {day.tm_mday} {time.strftime('%b %Y', day)}, ")


def test_without_an_answer_it_says_so_and_asks_again(site: Site, watch: Watch) -> None:
    site.visit("/page/net", X_User="u-net", X_Name="Nell Net")
    id = session_of(site, "u-net")
    pattern = f"**/sessions/{id}"
    page = watch(site, f"#session={id}", prepare=lambda page: page.route(pattern, refuse))
    expect(drawer(page)).to_contain_text("The server did not answer. It is asked again every 5 s.")
    page.unroute(pattern)
    expect(journey(page)).to_have_count(1)
    expect(drawer(page).locator("[data-said]")).not_to_be_visible()
    page.route(pattern, lambda route: route.fulfill(status=500, json={"error": "no"}))
    site.visit("/page/news", X_User="u-net", X_Name="Nell Net")
    said = re.compile(r"The server answered 500 at [\d:]{8}; this is what it told before\.")
    expect(drawer(page).locator("[data-said]")).to_have_text(said)
    expect(journey(page)).to_have_count(1)
    page.unroute(pattern)
    expect(journey(page)).to_have_count(2)
    expect(drawer(page).locator("[data-said]")).not_to_be_visible()


def test_its_scripts_are_asked_for_again_when_they_do_not_come(site: Site, watch: Watch) -> None:
    site.visit("/page/late", X_User="u-late", X_Name="Lea Late")
    pattern = re.compile(r"/(telling|story|journey|ending)\.js")
    page = watch(
        site,
        f"#session={session_of(site, 'u-late')}",
        prepare=lambda page: page.route(pattern, refuse),
    )
    expect(drawer(page)).to_contain_text("The server did not answer. It is asked again every 5 s.")
    page.unroute(pattern)
    expect(journey(page)).to_have_count(1)


def test_hostile_text_shows_literally_in_a_story(site: Site, watch: Watch) -> None:
    shown: list[str] = []
    who = {
        "X_User": EVIL,
        "X_Name": "\N{RIGHT-TO-LEFT OVERRIDE}evil".encode().decode("latin-1"),
        "User_Agent": EVIL,
    }
    site.visit(f"/told/{quote_plus(EVIL)}?{quote_plus(EVIL)}={quote_plus(EVIL)}", "POST", **who)
    site.visit("/page/%3Cscript%3Ealert(1)%3C/script%3E", X_Title=EVIL, **who)
    page = watch(site, f"#person={quote_plus(EVIL)}")
    page.on("dialog", lambda dialog: shown.append(dialog.message))
    expect(drawer(page).locator("[data-title]")).to_have_text("[U+202E]evil")
    expect(fact(page, "User").locator("bdi").first).to_have_text(EVIL)
    expect(journey(page).first).to_contain_text("<script>alert(1)</script>")
    expect(journey(page).first.locator("b")).to_have_text(EVIL)
    expect(drawer(page).locator(".datum")).to_have_text(f"{EVIL}: {EVIL}")
    assert drawer(page).locator("img, script").count() == 0
    assert shown == []


def test_a_masked_viewer_reads_no_gaps(site: Site, watch: Watch) -> None:
    site.visit("/page/secret-page", X_User="u-masked", X_Name="Mona Masked", X_Title="Secret")
    id = session_of(site, "u-masked")
    page = watch(site, f"#session={id}", prepare=as_role("view"))
    expect(drawer(page).locator("[data-title]")).to_have_text(re.compile("^User [0-9A-Z]{4}$"))
    expect(fact(page, "Address")).to_contain_text("not shown to your role")
    expect(fact(page, "Page now")).to_contain_text("/page/<path:name>")
    text = drawer(page).inner_text()
    for gone in ("Mona", "u-masked", "secret-page", "Secret", "null", "undefined"):
        assert gone not in text
    fact(page, "User").locator("a").click()
    expect(drawer(page).locator(".sessions li")).to_have_count(1)
    expect(drawer(page).locator("[data-title]")).to_have_text(re.compile("^User [0-9A-Z]{4}$"))


# -- ending a session ---------------------------------------------------------------------------


@pytest.fixture
def offered(site: Site, watch: Watch) -> Iterator[Callable[..., Any]]:
    """Opens the story of a user's session for a viewer with a role."""

    def open_story(user: str, role: str = "act", **options: Any) -> Any:
        site.visit("/page/end", X_User=user, X_Name=f"Name of {user}", User_Agent=AGENTS[0])
        path = f"#session={session_of(site, user)}"
        page = watch(site, path, prepare=as_role(role), **options)
        expect(journey(page)).to_have_count(1)
        return page

    yield open_story


def ending(page: Any) -> Any:
    return drawer(page).locator("[data-ending]")


@pytest.mark.parametrize("role", ["admin", "view"])
def test_only_who_may_act_is_offered_an_end(role: str, offered: Callable[..., Any]) -> None:
    page = offered(f"u-end-{role}", role)
    expect(ending(page)).not_to_be_visible()


def test_a_session_is_ended_in_two_steps_and_only_then_said_to_be(
    site: Site, watch: Watch, offered: Callable[..., Any]
) -> None:
    page = offered("u-ended")
    id = session_of(site, "u-ended")
    other = watch(site, f"#session={id}")
    expect(journey(other)).to_have_count(1)
    ending(page).locator("[data-end]").click()
    expect(ending(page)).to_contain_text(
        "End the session of Name of u-ended (Chrome on Windows)? The app signs it out"
    )
    expect(ending(page)).not_to_contain_text("This is you")
    expect(ending(page).locator("[data-cancel]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(ending(page).locator("[data-end]")).to_be_focused()
    assert session_of(site, "u-ended") == id
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    over = re.compile(r"^This session ended [\d:]{8}\.$")
    expect(drawer(page).locator("[data-said]")).to_have_text(over)
    expect(ending(page)).not_to_be_visible()
    expect(drawer(page).locator("h2")).to_be_focused()
    assert drawer(page).evaluate("(one) => one.scrollTop") == 0
    assert site.json("sessions?user=u-ended", Cookie="role=admin")["items"] == []
    # Who else looks at it keeps what was told, with a mark.
    expect(drawer(other).locator("[data-said]")).to_have_text(over)
    expect(fact(other, "State")).to_contain_text(re.compile(r"ended [\d:]{8}$"))
    expect(journey(other)).to_have_count(1)
    drawer(other).locator("summary").click()
    expect(drawer(other).locator("[data-why]")).not_to_contain_text("It ends at")
    # On a fresh page the feed still knows what was done in it.
    other.reload()
    expect(drawer(other).locator("[data-said]")).to_contain_text(
        re.compile(r"session ended [\d:]{8}\.")
    )
    expect(drawer(other).locator("[data-title]")).to_have_text("Name of u-ended")
    expect(journey(other).last).to_contain_text("/page/end")
    other.evaluate("() => { location.hash = 'person=u-ended'; }")
    expect(drawer(other).locator("[data-said]")).to_contain_text("Not here now. Last seen at")
    expect(journey(other).last).to_contain_text("/page/end")


def test_one_that_goes_while_its_end_is_asked_for_leaves_the_focus_in_the_story(
    site: Site, offered: Callable[..., Any]
) -> None:
    page = offered("u-goes")
    ending(page).locator("[data-end]").click()
    expect(ending(page).locator("[data-cancel]")).to_be_focused()
    site.visit("/forget/u-goes", "POST")
    expect(drawer(page).locator("[data-said]")).to_contain_text("This session ended")
    expect(drawer(page).locator("h2")).to_be_focused()


def test_a_session_of_ones_own_comes_with_a_warning(offered: Callable[..., Any]) -> None:
    page = offered("u-own", extra_http_headers={"X-User": "u-own"})
    expect(drawer(page).locator("[data-you]")).to_be_visible()
    ending(page).locator("[data-end]").click()
    expect(ending(page)).to_contain_text("This is you")


def test_what_the_app_cannot_end_goes_on(site: Site, offered: Callable[..., Any]) -> None:
    page = offered("u-stays")
    ending(page).locator("[data-end]").click()
    ending(page).locator("[data-confirm]").click()
    expect(ending(page)).to_contain_text("The app could not end it; its log says why.")
    expect(ending(page).locator("[data-end]")).to_be_visible()
    expect(drawer(page).locator("[data-said]")).not_to_be_visible()
    assert session_of(site, "u-stays")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "The server refused"),
        (404, "It had ended already, or you may not end sessions any more."),
        (409, "It is being ended already."),
        (503, "The server cannot check this now."),
        (418, "The server answered 418."),
        (None, "The server did not answer: whether it has ended will show here."),
    ],
)
def test_each_refusal_has_its_words(
    status: int | None, said: str, offered: Callable[..., Any]
) -> None:
    page = offered(f"u-refused-{status}")
    tokens: list[str] = []

    def answer(route: Any) -> None:
        tokens.append(route.request.headers["x-monitor-token"])
        if status is None:
            route.abort()
        else:
            route.fulfill(status=status, json={"error": "no"})

    page.route("**/end", answer)
    ending(page).locator("[data-end]").click()
    ending(page).locator("[data-confirm]").click()
    expect(ending(page).locator("[data-ending-said]")).to_contain_text(said)
    assert tokens == [page.locator("body").get_attribute("data-token")]
    expect(ending(page).locator("[data-end]")).to_be_focused()
    expect(journey(page)).to_have_count(1)


def test_it_is_sent_once_however_often_it_is_clicked(offered: Callable[..., Any]) -> None:
    page = offered("u-twice")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/end", hold)
    ending(page).locator("[data-end]").click()
    confirm = ending(page).locator("[data-confirm]")
    confirm.dblclick()
    expect(ending(page)).to_contain_text("Ending it")
    confirm.click()
    ending(page).locator("[data-cancel]").click()
    expect(ending(page)).to_contain_text("Ending it")
    wait_until(lambda: page.title() and held, "the page asks for the end")
    for route in held:
        route.continue_()
    expect(drawer(page).locator("[data-said]")).to_contain_text("This session ended")
    assert len(held) == 1


# -- looks --------------------------------------------------------------------------------------


def test_on_a_phone_it_is_as_wide_as_the_screen(site: Site, watch: Watch) -> None:
    site.visit("/page/" + "long" * 60, X_User="u-" + "long" * 30, X_Name="Long" * 40)
    page = watch(
        site,
        f"#session={session_of(site, 'u-' + 'long' * 30)}",
        viewport={"width": 360, "height": 740},
    )
    expect(journey(page)).to_have_count(1)
    box = drawer(page).bounding_box()
    assert (box["x"], box["width"], box["height"]) == (0, 360, 740)
    assert drawer(page).evaluate("(one) => one.scrollWidth") == 360
