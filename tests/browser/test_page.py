"""The dashboard in a real browser."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from time import time
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from tests.support.waiting import wait_until

from .conftest import Site, Watch, connection, is_live, module_of, refuse_once


def test_a_stranger_sees_nothing(site: Site, browser: Any) -> None:
    page = browser.new_page()
    assert page.goto(f"{site.url}/monitor/").status == 403
    assert page.locator("body").inner_text().strip() == "forbidden"
    page.close()


def test_a_visitor_appears_without_a_reload(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    site.visit("/page/tea", X_User="u-appears", X_Name="Ana Appears", X_Title="Green tea")
    row = page.locator(".people tr", has_text="Ana Appears")
    expect(row).to_contain_text("Green tea")
    expect(row).to_contain_text("/page/tea")
    expect(page.locator(".activity li").first).to_contain_text("Ana Appears")


def test_the_first_numbers_and_rows_are_there_without_any_script(site: Site, browser: Any) -> None:
    site.visit("/page/early", X_User="u-early", X_Name="Eva Early")
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "role", "value": "admin", "url": site.url}])
    page = context.new_page()
    page.goto(f"{site.url}/monitor/")
    expect(page.locator(".people tr", has_text="Eva Early")).to_be_visible()
    expect(connection(page)).to_have_text(re.compile(r"^As of [0-9:]{8} UTC$"))
    for dead in (".tools", ".kinds"):
        expect(page.locator(dead)).not_to_be_visible()
        assert page.locator(dead).bounding_box()["height"] > 20  # its place is kept
    assert int(page.locator("[data-tile=active] .figure").inner_text()) >= 1
    context.close()


def test_it_asks_nobody_but_the_app(site: Site, watch: Watch) -> None:
    site.visit("/page/own", X_User="u-own", X_Name="Olga Own")
    others: list[str] = []

    def look(request: Any) -> None:
        if not request.url.startswith((f"{site.url}/", "data:")):
            others.append(request.url)

    page = watch(site, prepare=lambda page: page.context.on("request", look))
    is_live(page)
    page.locator(".people tr", has_text="Olga Own").locator("a").click()
    expect(page.locator("dialog.drawer .journey li")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("#theme").click()
    page.locator(".health summary").click()
    expect(page.locator("[data-store]")).to_be_visible()
    assert others == []


def test_paused_it_holds_still_and_counts_what_is_new(site: Site, watch: Watch) -> None:
    site.visit("/page/before-pause", X_User="u-pause", X_Name="Paul Pause")
    page = watch(site)
    is_live(page)
    expect(page.locator(".people tr a", has_text="Paul Pause")).to_be_visible()
    page.keyboard.press("p")
    expect(page.locator("#pause")).to_have_text("Paused, 0 new: go on")
    site.visit("/page/while-paused", X_User="u-paused")
    expect(page.locator("#pause")).to_have_text(re.compile(r"Paused, [1-9]\d* new: go on"))
    feed = page.locator(".activity")
    expect(feed).not_to_contain_text("/page/while-paused")
    # Nor when something else is chosen to see: a story, or a part.
    page.locator(".people tr a", has_text="Paul Pause").click()
    expect(page.locator("dialog.drawer .journey li")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("#search").fill("page")
    expect(page.locator("#chips li")).to_have_count(1)
    expect(feed.locator("li a").first).to_have_attribute("href", re.compile("q=page"))
    expect(feed).not_to_contain_text("/page/while-paused")
    expect(page.locator(".people")).not_to_contain_text("u-paused")
    page.locator("#pause").click()
    expect(page.locator(".activity")).to_contain_text("/page/while-paused")


def test_a_script_that_hangs_holds_up_its_own_card_alone(site: Site, watch: Watch) -> None:
    held: list[Any] = []

    def prepare(page: Any) -> None:
        page.route("**/cards/timeline.js", lambda route: held.append(route))  # noqa: PLW0108

    page = watch(site, prepare=prepare)
    is_live(page)
    site.visit("/page/beside", X_User="u-beside", X_Name="Bea Side")
    expect(page.locator(".people tr", has_text="Bea Side")).to_be_visible()
    canvas = page.locator("[data-card=timeline] canvas")
    assert (len(held), canvas.count()) == (1, 0)
    held[0].continue_()
    expect(canvas).to_be_visible()


@pytest.mark.parametrize("part", ["main.js", "feed.js", "page.css"])
def test_a_part_that_does_not_come_has_the_page_loaded_again(
    site: Site, watch: Watch, part: str
) -> None:
    page = watch(site, prepare=lambda page: refuse_once(page, f"**/{part}"))
    if part.endswith(".js"):
        expect(connection(page)).to_have_text(re.compile("^Not live: .* next try at [0-9:]{8}$"))
        expect(page.locator("body")).to_have_attribute("data-state", "cut")
        page.locator("#connection-now").click()
    expect(page.locator("body")).to_have_css("margin", "0px")
    is_live(page)
    assert page.evaluate("sessionStorage.getItem('realtime-monitor-loads')") == "0"


def test_the_longer_a_part_does_not_come_the_more_seldom_it_is_asked_for(
    site: Site, watch: Watch
) -> None:
    page = watch(site, prepare=lambda page: page.route("**/main.js", lambda route: route.abort()))
    waits = []
    for loads in range(1, 6):
        expect(connection(page)).to_have_text(re.compile("next try at"))
        assert page.evaluate("sessionStorage.getItem('realtime-monitor-loads')") == str(loads)
        seconds = """() => {
          const [at] = document.getElementById("connection-text").textContent.match(/[0-9:]{8}$/);
          const [h, m, s] = at.split(":").map(Number);
          const now = new Date();
          const of = (h, m, s) => h * 3600 + m * 60 + s;
          const left = of(h, m, s) - of(now.getHours(), now.getMinutes(), now.getSeconds());
          return (left + 86400) % 86400;
        }"""
        waits.append(page.evaluate(seconds))
        page.locator("#connection-now").click()
        page.wait_for_load_state()
    assert waits[0] <= 5 < waits[2] <= 20 < waits[4] <= 60, waits


def test_a_card_whose_script_does_not_come_gets_it_later(site: Site, watch: Watch) -> None:
    page = watch(site, prepare=lambda page: refuse_once(page, "**/cards/timeline.js"))
    is_live(page)
    card = page.locator("[data-card=timeline]")
    expect(card).to_contain_text("this card's script did not come")
    expect(card.locator("canvas")).to_be_visible()
    expect(card).not_to_contain_text("did not come")


def has_focus(link: Any) -> bool:
    return bool(link.evaluate("(one) => one === document.activeElement"))


def test_the_focus_set_before_the_first_event_stays_through_it(site: Site, watch: Watch) -> None:
    site.visit("/page/kept", X_User="u-kept", X_Name="Kai Kept")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    def prepare(page: Any) -> None:
        page.add_init_script("delete window.SharedWorker")  # what that asks for cannot be held
        page.route("**/stream", hold)

    page = watch(site, prepare=prepare)
    row = page.locator(".people tr", has_text="Kai Kept")
    row.locator("a").focus()
    line = page.locator(".activity li", has_text="/page/kept").first
    line.evaluate("(one) => { window.line = one; }")
    wait_until(lambda: page.title() and held, "the page asks for the stream")
    for route in held:
        route.continue_()
    is_live(page)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert has_focus(row.locator("a"))
    assert line.evaluate("(one) => one === window.line")


def visit_later(site: Site, number: int) -> None:
    """Visit in another millisecond than the last: rows of the same one are ordered by id."""
    before = int(time() * 1000)
    wait_until(lambda: int(time() * 1000) > before + 1, "the clock goes on")
    site.visit("/page/moved", X_User=f"u-row-{number}")


def test_the_focus_stays_while_rows_change_places(site: Site, watch: Watch) -> None:
    for number in range(4):
        site.visit("/page/moved", X_User=f"u-row-{number}", X_Name=f"Row {number}")
    page = watch(site)
    is_live(page)
    people = page.locator(".people tbody tr", has_text=re.compile(r"Row \d"))
    first = page.locator(".people tr", has_text="Row 3").locator("a")
    first.focus()
    for number in (0, 2, 1):
        visit_later(site, number)
    expect(people).to_have_text([re.compile(f"Row {number}") for number in (1, 2, 0, 3)])
    assert has_focus(first)
    middle = page.locator(".people tr", has_text="Row 2").locator("a")
    middle.focus()
    for number in (0, 3, 2):
        visit_later(site, number)
    expect(people).to_have_text([re.compile(f"Row {number}") for number in (2, 3, 0, 1)])
    assert has_focus(middle)
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer h2")).to_have_text("Row 2")
    page.keyboard.press("Escape")
    assert has_focus(middle)


def test_a_row_that_goes_leaves_the_focus_to_its_neighbour(site: Site, watch: Watch) -> None:
    page = watch(site)
    module = module_of(page, "dom.js")
    focused = page.evaluate(
        """async (module) => {
            const { el, keyed } = await import(module);
            const list = el("ul");
            document.body.append(list);
            const draw = (items) => keyed(list, items, (one) => one,
                (one) => el("li", {}, el("a", { href: "#", textContent: one })), () => {});
            const shown = () => `${list.textContent} ${document.activeElement.textContent}`;
            draw(["a", "b", "c", "d"]);
            list.children[1].firstElementChild.focus();
            const told = [shown()];
            for (const items of ["bacd", "dcba", "ebfa", "acd", "dc", "c"]) {
                draw([...items]);
                told.push(shown());
            }
            return told;
        }""",
        module,
    )
    assert focused == ["abcd b", "bacd b", "dcba b", "ebfa b", "acd a", "dc c", "c c"]


def test_what_comes_takes_the_place_of_what_goes_but_never_of_what_is_in_use(
    site: Site, watch: Watch
) -> None:
    page = watch(site)
    told = page.evaluate(
        """async (module) => {
            const { el, keyed } = await import(module);
            const list = el("ul");
            document.body.append(list);
            let made = 0;
            const create = (one, spare) => spare
                ?? el("li", {}, el("a", { href: "#", id: `made-${made += 1}` }));
            const draw = (items) => keyed(list, [...items], (one) => one, create,
                (child, one) => { child.firstElementChild.textContent = one; });
            const shown = () => [...list.querySelectorAll("a")]
                .map((one) => `${one.textContent}${one.id.replace("made-", "")}`).join(" ");
            const told = [];
            for (const items of ["abcd", "efgh", "xefg", "fy"]) {
                draw(items);
                told.push(shown());
            }
            list.querySelector("a").focus();
            draw("pq");
            told.push(shown());
            list.remove();
            return told;
        }""",
        module_of(page, "dom.js"),
    )
    # In place; the last for the first; those left over go; what had the focus, or got it, is new.
    assert told == ["a1 b2 c3 d4", "e1 f2 g3 h4", "x4 e1 f2 g3", "f2 y3", "p5 q6"]


def test_hostile_text_shows_literally_and_runs_nothing(site: Site, watch: Watch) -> None:
    evil = "<img src=page onerror=alert(1)>"
    page = watch(site)
    is_live(page)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    site.visit("/page/%3Cscript%3Ealert(1)%3C/script%3E", X_User="u-evil-page", X_Name=evil)
    row = page.locator(".people tr", has_text=evil)
    expect(row).to_contain_text("<script>alert(1)</script>")
    row.locator("a").click()
    expect(page.locator("dialog.drawer h2")).to_have_text(evil)
    assert page.locator("main img, main script").count() == 0
    page.reload()  # what the server renders is no different
    expect(page.locator(".people tr", has_text=evil)).to_contain_text("<script>alert(1)</script>")
    assert page.locator("main img, main script").count() == 0


def test_a_phone_scrolls_one_way_only(site: Site, watch: Watch) -> None:
    site.visit("/page/" + "long" * 60, X_User="u-long", X_Name="Long" * 40)
    page = watch(site, viewport={"width": 360, "height": 740}, color_scheme="dark")
    is_live(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_cut_off_it_says_so_and_comes_back_by_itself(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/before", X_User="u-cut", X_Name="Carla Cut")
    page = watch(site)
    is_live(page)
    page.locator(".people tr a", has_text="Carla Cut").click()
    expect(page.locator("dialog.drawer .journey li")).to_have_count(1)
    site.stop(signal.SIGKILL)
    expect(connection(page)).to_have_text(re.compile("^Cut off since"))
    line = page.locator("dialog.drawer .said").first
    expect(line).to_have_text(re.compile("^Cut off since [0-9:]{8}; this is what was known then.$"))
    expect(page.locator(".people tr", has_text="Carla Cut")).to_be_visible()
    site.start()
    expect(line).to_be_hidden()
    page.keyboard.press("Escape")
    site.visit("/page/after", X_User="u-back", X_Name="Bert Back")
    is_live(page)
    expect(page.locator(".people tr", has_text="Bert Back")).to_have_count(1)
    expect(page.locator(".people tr", has_text="Carla Cut")).to_have_count(0)


def test_a_silent_worker_is_named_and_totals_say_at_least(
    own_site: Callable[..., Site], watch: Watch, browser: Any
) -> None:
    site = own_site("--workers", "2")

    page = watch(site)
    is_live(page)

    def other() -> dict[str, Any] | None:
        """Return the worker that does not serve the page its stream, once both are there."""
        site.visit("/page/x", X_User="u-part", X_Name="Petra Part")
        found = site.json("workers", Cookie="role=admin")["items"]
        idle = [one for one in found if not one["viewers"]]
        return idle[0] if len(found) == 2 and len(idle) == 1 else None

    victim = wait_until(other, "both workers serve")
    assert victim is not None
    name = f"{victim['host']}:{victim['pid']}"
    coverage, figure = page.locator("#coverage"), page.locator("[data-tile=active] .figure")
    summary = page.locator("[data-summary]")
    whole = re.compile(r"2 of 2 workers, 1 host, oldest report \d+ s ago$")
    expect(coverage).to_have_text(whole)
    expect(summary).to_have_text(re.compile("^All 2 workers reporting"))
    expect(figure).to_have_text("1")
    part = f"1 of 2 workers, 1 host, oldest report 0 s ago: {name} is silent"
    os.kill(victim["pid"], signal.SIGSTOP)
    try:
        expect(coverage).to_contain_text(f"{name} is silent")
        expect(figure).to_have_text("at least 1")
        expect(page.locator(".health tr.silent")).to_contain_text(re.compile(r"silent for \d+ s"))
        # Chromium may have six connections to the worker that hangs.
        expect(page.locator("[data-problems]")).to_contain_text("not report", timeout=40_000)
        expect(page.locator("[data-store]")).to_contain_text(re.compile("sqlite:.*, written"))
        assert "Degraded" in summary.inner_text()
        # What the server renders says the same, its ages aside.
        context = browser.new_context(java_script_enabled=False)
        context.add_cookies([{"name": "role", "value": "admin", "url": site.url}])
        still = context.new_page()
        still.goto(f"{site.url}/monitor/")
        for one in (page, still):
            told = re.sub(r"\d+ (s|ms)", "0 s", one.locator("#coverage").inner_text())
            assert told == part
            assert one.locator("[data-tile=active] .figure").inner_text() == "at least 1"
            assert f"Degraded: {part}" == re.sub(
                r"\d+ s", "0 s", one.locator("[data-summary]").inner_text()
            )
        context.close()
    finally:
        os.kill(victim["pid"], signal.SIGCONT)
    expect(coverage).to_have_text(whole)
    expect(figure).to_have_text("1")


def test_when_the_gate_changes_its_mind_everything_shown_is_gone(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/x", X_User="u-gate", X_Name="Greta Gate")
    page = watch(site)
    is_live(page)
    page.keyboard.press("e")
    expect(page.locator("#chips li")).to_have_count(1)
    page.locator("#pause").click()
    site.visit("/doors/shut", "POST")
    expect(connection(page)).to_have_text("Access ended")
    for gone in ("#choice", "#search", "#pause", ".people"):
        expect(page.locator(gone)).to_have_count(0)
    expect(page.locator("#coverage")).to_be_empty()
    expect(page.locator("body")).to_have_attribute("data-paused", "no")
    for key in ("p", "e", "j", "/", "Escape"):
        page.keyboard.press(key)
    page.go_back()
    expect(page.locator("main")).to_be_empty()
    expect(page.locator("#notice")).to_contain_text("You may no longer watch here")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_without_a_free_place_it_asks_instead(own_site: Callable[..., Site], watch: Watch) -> None:
    site = own_site(MAX_VIEWERS="1")
    site.visit("/page/x", X_User="u-poll", X_Name="Paula Poll")
    first = watch(site)
    is_live(first)
    second = watch(site)
    expect(connection(second)).to_have_text(re.compile("^No free place for a live view"))
    expect(second.locator(".people tr", has_text="Paula Poll")).to_be_visible()
    first.close()
    wait_until(lambda: site.viewers() == 0, "the first viewer's place is free")
    second.locator("#connection-now").click()
    is_live(second)
