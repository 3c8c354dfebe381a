"""The strip, the keys, and what a viewer chose: all of it in the URL."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from .conftest import CLOCK, Site, Watch, connection, is_live, module_of
from .states import as_role


def chips(page: Any) -> Any:
    """Return the filters that are set."""
    return page.locator("#chips .chip")


def test_a_search_is_in_the_url_and_a_link_shows_the_same(site: Site, watch: Watch) -> None:
    site.visit("/page/linked", X_User="u-link", X_Name="Lina Link")
    page = watch(site)
    is_live(page)
    page.keyboard.press("/")
    page.keyboard.type("lina")
    expect(page).to_have_url(re.compile(r"#q=lina$"))
    expect(chips(page)).to_have_text([re.compile("text lina")])
    again = watch(site, "#q=lina&window=15")
    expect(again.locator("#search")).to_have_value("lina")
    expect(again.locator("#window")).to_have_value("15")
    expect(again.locator(".people tr", has_text="Lina Link")).to_have_count(1)


def test_a_link_to_somebody_shows_the_name_once_it_is_known(site: Site, watch: Watch) -> None:
    site.visit("/page/named", X_User="u-named", X_Name="Nora Named")
    page = watch(site, "#user=u-named")
    is_live(page)
    expect(chips(page)).to_have_text([re.compile("Nora Named")])


def test_spaces_alone_are_no_search(site: Site, watch: Watch) -> None:
    page = watch(site, "#q=%20")
    is_live(page)
    expect(chips(page)).to_have_count(0)
    page.locator("#search").fill("  two words ")
    expect(page).to_have_url(re.compile(r"#q=two\+words$"))
    expect(page.locator("#search")).to_have_value("  two words ")  # while it is typed
    page.locator("#search").fill("   ")
    expect(chips(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("/monitor/$"))


def test_a_chip_takes_its_filter_away_and_escape_all(site: Site, watch: Watch) -> None:
    page = watch(site, "#q=x&state=active&endpoint=page")
    is_live(page)
    expect(chips(page)).to_have_count(3)
    chips(page).filter(has_text="active").click()
    expect(chips(page)).to_have_count(2)
    expect(page).to_have_url(re.compile(r"#q=x&endpoint=page$"))
    page.go_back()
    expect(chips(page)).to_have_count(3)
    page.keyboard.press("Escape")
    expect(page.locator("#choice")).not_to_be_visible()
    expect(page).to_have_url(re.compile(r"/monitor/$"))
    expect(page.locator("#search")).to_have_value("")


def test_what_is_no_filter_in_a_url_is_nothing_and_text_is_only_text(
    site: Site, watch: Watch
) -> None:
    page = watch(site, "#__proto__=1&constructor=2&user=%3Cimg%20src%3Dx%3E&nonsense=3&window=7")
    is_live(page)
    expect(chips(page)).to_have_text([re.compile("user <img src=x>")])
    expect(page.locator("#window")).to_have_value("30")


def test_each_key_does_what_the_help_says(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    page.keyboard.press("?")
    help_ = page.locator("#help")
    expect(help_).to_be_visible()
    expect(help_.locator("kbd")).to_have_text(["/", "j", "k", "Enter", "e", "p", "Esc", "?"])
    page.keyboard.press("e")  # below a dialog nothing happens
    page.keyboard.press("Escape")
    expect(help_).not_to_be_visible()
    expect(chips(page)).to_have_count(0)
    page.keyboard.press("e")
    expect(chips(page)).to_have_text([re.compile("status 5xx")])
    page.keyboard.press("e")
    expect(chips(page)).to_have_count(0)
    page.keyboard.press("p")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("p?e")  # what is typed is text
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    expect(help_).not_to_be_visible()


def test_a_theme_is_chosen_and_kept(site: Site, watch: Watch) -> None:
    def ground(page: Any) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page = watch(site, color_scheme="light")
    is_live(page)
    light = ground(page)
    theme = page.locator("#theme")
    theme.click()
    expect(theme).to_have_text("Theme: light")
    assert ground(page) == light
    theme.click()
    expect(theme).to_have_text("Theme: dark")
    assert ground(page) != light
    page.reload()
    expect(theme).to_have_text("Theme: dark")
    assert ground(page) != light
    theme.click()
    expect(theme).to_have_text("Theme: auto")
    assert ground(page) == light


def test_cut_off_the_title_the_icon_and_the_colours_say_so(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/before", X_User="u-dim", X_Name="Dora Dim")

    def prepare(page: Any) -> None:
        as_role("act")(page)
        page.add_init_script(CLOCK)

    page = watch(site, prepare=prepare, viewport={"width": 1280, "height": 720})
    is_live(page)
    requests = page.locator("[data-tile=requests] [data-value]")
    expect(requests).to_have_text("1")
    icon = page.locator("link[rel=icon]")
    calm = icon.get_attribute("href")
    tiles = page.locator(".tiles")
    place = tiles.bounding_box()
    site.stop(signal.SIGKILL)
    expect(page.locator("#connection")).to_have_attribute("data-state", "cut")
    assert tiles.bounding_box() == place
    expect(connection(page)).to_have_text(re.compile("^Cut off since"))
    expect(page).to_have_title(re.compile(r"^\(cut off\) "))
    expect(icon).to_have_attribute("href", re.compile("icon-cut"))
    page.evaluate("window.ahead = 70_000")
    expect(page.locator(".people tr", has_text="Dora Dim")).to_contain_text("1 min")
    expect(requests).to_have_text("1")  # nobody knows that there were none
    page.evaluate("window.ahead = 0")
    for width, height in ((360, 740), (720, 450)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(page.locator("h1")).not_to_be_in_viewport()
        expect(connection(page)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("#connection-now").focus()
    site.start()
    is_live(page)
    expect(page.locator("#people-title")).to_be_focused()  # the button has gone
    expect(page).not_to_have_title(re.compile("cut off"))
    assert calm is not None
    expect(icon).to_have_attribute("href", re.compile(re.escape(calm) + "$"))


def test_the_first_tab_stop_leads_past_the_strip(site: Site, watch: Watch) -> None:
    site.visit("/page/skip", X_User="u-skip-x")
    page = watch(site, "#q=u-skip-x")
    is_live(page)
    page.locator("body").press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#people-title")).to_be_focused()
    expect(page).to_have_url(re.compile(r"#q=u-skip-x$"))
    page.keyboard.press("Tab")
    expect(page.locator(".people tr", has_text="u-skip-x").locator("a")).to_be_focused()


def test_what_has_the_focus_is_never_below_the_strip(site: Site, watch: Watch) -> None:
    for number in range(12):
        site.visit("/page/below", X_User=f"u-below-{number}")
    page = watch(site, "#q=u-below", viewport={"width": 800, "height": 640})
    is_live(page)
    link = page.locator(".people tr a").nth(1)
    link.evaluate("(one) => scrollBy(0, one.getBoundingClientRect().top - 5)")
    link.focus()
    strip, box = page.locator(".strip").bounding_box(), link.bounding_box()
    assert (strip["y"], box["y"] >= strip["height"]) == (0, True)
    page.set_viewport_size({"width": 800, "height": 450})  # as a page is at 200 %
    page.evaluate("scrollTo(0, 300)")
    expect(page.locator("h1")).not_to_be_in_viewport()


def test_the_focus_goes_on_where_what_had_it_goes(site: Site, watch: Watch) -> None:
    site.visit("/page/focus", X_User="u-focus")  # without anybody there is nothing to show all of
    page = watch(site, "#q=nobody-has-this-name")
    is_live(page)
    title = page.locator("#people-title")
    for button in (chips(page), page.locator("#clear"), page.locator(".people .empty button")):
        button.focus()
        page.keyboard.press("Enter")
        expect(title).to_be_focused()
        expect(chips(page)).to_have_count(0)
        page.go_back()
        expect(page.locator(".people .empty button")).to_be_visible()


def test_back_undoes_a_search_and_leaves_the_page_only_then(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    search = page.locator("#search")
    for typed in ("l", "li", "lina"):
        search.fill(typed)
        expect(page).to_have_url(re.compile(f"#q={typed}$"))
    search.press("Enter")
    search.fill("linus")
    expect(page).to_have_url(re.compile("#q=linus$"))
    page.go_back()
    expect(page).to_have_url(re.compile("#q=lina$"))
    expect(search).to_have_value("lina")
    page.go_back()
    expect(page).to_have_url(re.compile("/monitor/$"))
    expect(search).to_have_value("")
    expect(chips(page)).to_have_count(0)


def test_what_is_typed_before_the_script_comes_is_searched_for(site: Site, watch: Watch) -> None:
    def prepare(page: Any) -> None:
        def answer(route: Any) -> None:
            page.locator("#search").fill("early bird")
            route.continue_()

        page.route("**/main.js", answer)

    page = watch(site, prepare=prepare)
    expect(page).to_have_url(re.compile(r"#q=early\+bird$"))
    expect(page.locator("#search")).to_have_value("early bird")


def test_what_is_spoken_counts_rightly_and_changes_only_with_what_happens(
    site: Site, watch: Watch
) -> None:
    page = watch(site)
    said = page.evaluate(
        """async (module) => {
            const { Strip } = await import(module);
            const say = (active_sessions, in_flight, status) => {
                const coverage = { complete: true };
                const stats = { active_sessions, in_flight, coverage };
                Strip.prototype._speak.call(
                    { _page: { model: { isEmpty: false, stats } }, _feed: { status } });
                return document.getElementById("spoken").textContent;
            };
            const now = Date.now();
            return [
                say(1200, 1, { state: "live", heardAt: now - 7000 }),
                say(1, 2, { state: "live", heardAt: now }),
                say(1, 0, { state: "reconnecting", since: now, retryAt: now + 3000 })
                    .replace(/[0-9:]{8}/, "12:00:00"),
                say(1, 0, { state: "polling", retryAt: now + 3000 }),
            ];
        }""",
        module_of(page, "strip.js"),
    )
    assert said == [
        "1,200 active now, 1 request in flight. Live",
        "1 active now, 2 requests in flight. Live",
        "1 active now, 0 requests in flight. Cut off since 12:00:00",
        "1 active now, 0 requests in flight. No free place for a live view",
    ]


def test_on_paper_it_is_light_whole_and_without_what_can_only_be_clicked(
    site: Site, watch: Watch
) -> None:
    for number in range(60):
        site.visit(f"/page/{number}", X_User=f"u-paper-{number}")
    page = watch(site, "#q=u-paper", color_scheme="dark")
    is_live(page)
    page.locator("#theme").click()
    page.locator("#theme").click()  # dark, whatever the system says
    expect(page.locator(".activity li").nth(29)).to_be_attached()
    page.emulate_media(media="print", color_scheme="dark")
    for gone in (".tools", "#clear", ".kinds", ".people tbody[aria-hidden]"):
        expect(page.locator(gone).first).not_to_be_visible()
    expect(page.locator("#chips .chip")).to_be_visible()
    assert page.locator(".scroll").evaluate("(one) => one.scrollHeight === one.clientHeight")
    assert page.locator("body").evaluate("(one) => getComputedStyle(one).colorScheme") == "light"
    expect(page.locator(".strip")).to_have_css("position", "static")
    # A card that is not there leaves no place for the next one on a sheet as wide as a window.
    boxes = [one.bounding_box() for one in page.locator("main > :visible").all()]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"], (above, below)


def test_where_the_system_chooses_the_colours_states_are_seen(site: Site, watch: Watch) -> None:
    page = watch(site, forced_colors="active")
    is_live(page)
    expect(page.locator("#connection .dot")).to_have_css("border-top-width", "5px")
    grounds = page.locator(".kinds .chip").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert grounds[0] not in grounds[1:]


@pytest.mark.parametrize(
    ("known", "more", "fresh", "missed"),
    [
        (100, 20, 20, 0),  # what is told reaches back to what was known
        (100, 250, 100, 150),
        (3, 3, 3, 0),
    ],
)
def test_what_was_missed_while_cut_off_is_counted(
    site: Site, watch: Watch, known: int, more: int, fresh: int, missed: int
) -> None:
    page = watch(site)
    gap = page.evaluate(
        """async ([module, known, more]) => {
            const { Model } = await import(module);
            const told = (as_of, all) => ({
                as_of, users: [], sessions: [], endpoints: [], in_flight: [], workers: [],
                stats: { requests_total: all, since_at: 1, history: [], coverage: {} },
                activities: Array.from(
                    { length: Math.min(all, 100) }, (_, n) => ({ id: `a${all - n}` })),
            });
            const model = new Model();
            model.snapshot(told(10, known));
            model.snapshot(told(22, known + more));
            const calm = model.gap;
            const cut = new Model();
            cut.snapshot(told(10, known));
            cut.snapshot(told(22, known + more), true);
            const asked = new Model();
            asked.snapshot(told(10, known));
            asked.snapshot(told(22, known + more), false, true);
            return { ...cut.gap, calm, asked: asked.gap?.missed ?? null, fresh: cut.seen };
        }""",
        [module_of(page, "model.js"), known, more],
    )
    assert gap == {
        "from": 10,
        "to": 22,
        "after": f"a{known}",
        "missed": missed,
        "calm": None,
        "asked": missed or None,
        "fresh": fresh,
    }


def test_what_other_workers_saw_earlier_comes_behind_what_is_there(
    site: Site, watch: Watch
) -> None:
    page = watch(site)
    found = page.evaluate(
        """async (module) => {
            const { Model } = await import(module);
            const done = (...all) => all.map((at) => ({ id: `a${at}`, at }));
            const model = new Model();
            model.snapshot({
                as_of: 10, users: [], sessions: [], endpoints: [], in_flight: [], workers: [],
                stats: { history: [] }, activities: done(9, 7, 5),
            });
            model.update({ as_of: 11, activities: done(4, 8, 9, 10) });
            return model.activities.map((one) => one.id);
        }""",
        module_of(page, "model.js"),
    )
    assert found == ["a10", "a9", "a8", "a7", "a5", "a4"]
