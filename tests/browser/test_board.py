"""The numbers, the half hour, the pages, who waits, the feed and the monitor's own health."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from flask_realtime_monitor.filters import Filter
from tests.support.waiting import wait_until

from .conftest import Site, Watch, is_live, module_of

EVIL = "<img src=x onerror=alert(1)>"


def tile(page: Any, name: str) -> Any:
    """Return one of the numbers at the top."""
    return page.locator(f"[data-tile={name}]")


def lines(page: Any) -> Any:
    """Return the lines of the feed."""
    return page.locator(".activity li")


@contextmanager
def waiting(site: Site, **headers: str) -> Iterator[None]:
    """Somebody waits for a page, until they need not any more."""
    asking = Thread(target=site.visit, args=("/held",), kwargs=headers, daemon=True)
    asking.start()
    try:
        yield
    finally:
        site.visit("/release", "POST")
        asking.join()


# -- tiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("active", "state=active"),
        ("requests", "kind=request"),
        ("errors", "status=5xx"),
        ("slowest", r"endpoint=\w+"),
    ],
)
def test_a_tile_shows_only_what_it_counts_and_all_again(
    site: Site, watch: Watch, name: str, fragment: str
) -> None:
    for _ in range(5):
        site.visit("/page/often")
    page = watch(site)
    is_live(page)
    one = tile(page, name)
    expect(one).to_have_attribute("aria-pressed", "false")
    one.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"#{fragment}$"))
    expect(one).to_have_attribute("aria-pressed", "true")
    one.click()
    expect(page).to_have_url(re.compile("/monitor/$"))
    expect(one).to_have_attribute("aria-pressed", "false")


def test_a_text_marked_anywhere_holds_up_no_button(site: Site, watch: Watch) -> None:
    site.visit("/page/marked")
    page = watch(site)
    is_live(page)
    one = tile(page, "errors")
    for act in (one.click, lambda: one.press("Enter")):
        page.evaluate("getSelection().selectAllChildren(document.getElementById('coverage'))")
        before = one.get_attribute("aria-pressed")
        act()
        expect(one).not_to_have_attribute("aria-pressed", before or "")
    page.evaluate("getSelection().selectAllChildren(document.getElementById('coverage'))")
    page.evaluate("document.querySelector('.activity .status').click()")  # as by marking a text
    expect(page).to_have_url(re.compile("/monitor/$"))


def test_the_tile_of_requests_in_flight_leads_to_who_waits(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    one = tile(page, "in-flight")
    expect(page.locator(".waiting")).to_be_hidden()
    one.click()
    expect(page.locator("#spoken")).to_have_text("Nobody waits for over a second.")
    expect(page).to_have_url(re.compile("/monitor/$"))
    with waiting(site):
        expect(one.locator(".sub")).to_have_text(re.compile(r"^oldest \d+ s$"))
        one.click()
        expect(page.locator(".waiting")).to_be_focused()
        assert one.get_attribute("aria-pressed") is None


@pytest.mark.parametrize(("motion", "flashes"), [("no-preference", True), ("reduce", False)])
def test_a_number_that_changes_flashes_where_motion_is_welcome(
    own_site: Callable[..., Site], watch: Watch, motion: str, flashes: bool
) -> None:
    def count(page: Any) -> None:
        page.add_init_script(
            """window.flashed = [];
            const animate = Element.prototype.animate;
            Element.prototype.animate = function (frames, how) {
                flashed.push(how);
                return animate.call(this, frames, how);
            };"""
        )

    site = own_site()
    page = watch(site, prepare=count, reduced_motion=motion)
    is_live(page)
    figure = tile(page, "active").locator(".figure")
    expect(figure).to_have_text("0")
    page.evaluate("flashed.length = 0")
    before = tile(page, "active").bounding_box()
    site.visit("/page/x", X_User="u-one")
    expect(figure).to_have_text("1")
    assert tile(page, "active").bounding_box() == before
    assert (300 in page.evaluate("flashed")) == flashes


def let_a_millisecond_pass() -> None:
    """What two workers see in the same one has no order: a page shows it as it came."""
    from_s = time.monotonic()
    wait_until(lambda: time.monotonic() >= from_s + 0.001, "a millisecond passes")


def test_what_the_server_renders_reads_as_what_the_script_draws(
    own_site: Callable[..., Site], watch: Watch, browser: Any
) -> None:
    site = own_site("--workers", "2")
    for name in ("a", "b", "c"):
        site.visit(f"/page/{name}", X_User=f"u-{name}", X_Name=f"Name {name}")
        let_a_millisecond_pass()
    site.visit("/fail")
    let_a_millisecond_pass()
    site.visit("/told/bought", "POST", X_User="u-a", X_Name="Name a")
    page = watch(site, timezone_id="UTC")
    is_live(page)
    expect(lines(page)).to_have_count(6)
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "role", "value": "admin", "url": site.url}])
    still = context.new_page()
    still.goto(f"{site.url}/monitor/")
    for part in (".tiles", ".timeline", ".pages", ".activity .scroll"):
        told = [
            re.sub(r"[\d.,]+ m?s", "0 s", one.locator(part).inner_text()).split()
            for one in (still, page)
        ]
        assert told[0] == told[1], part
    for part in (".tiles", ".plot", ".pages", ".health"):
        first, later = (one.locator(part).bounding_box() for one in (still, page))
        assert (first["width"], first["height"]) == (later["width"], later["height"]), part
    context.close()


# -- the timeline -----------------------------------------------------------------------------


def reading(page: Any) -> Any:
    """Return what is read of the half hour."""
    return page.locator(".timeline .reading")


def within_a_minute() -> None:
    """Wait until the next few seconds lie within one minute: the oldest goes as it turns."""
    wait_until(lambda: time.time() % 60 < 50, "some of this minute is left")


def test_each_minute_can_be_read_with_the_keyboard(site: Site, watch: Watch) -> None:
    site.visit("/page/x")
    page = watch(site)
    is_live(page)
    within_a_minute()
    plot = page.get_by_role("slider", name="Minute")
    expect(plot).to_be_visible()  # a slider only once its minutes are drawn
    page.locator(".tile").last.focus()
    page.keyboard.press("Tab")
    expect(plot).to_be_focused()
    now = re.compile(r"^\d\d:\d\d, so far: [\d,]+ requests?, [\d,]+ errors?, [\d,]+ sessions?$")
    expect(reading(page)).to_have_text(now)
    expect(plot).to_have_attribute("aria-valuetext", now)
    page.keyboard.press("Home")
    expect(reading(page)).to_have_text(re.compile(r"^\d\d:\d\d: no data$"))
    expect(plot).to_have_attribute("aria-valuenow", "1")
    page.keyboard.press("End")
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-valuenow", "21")
    page.keyboard.press("Enter")
    expect(page.locator("#window")).to_have_value("15")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#window=5$"))
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/monitor/$"))
    page.keyboard.press("Tab")
    expect(reading(page)).to_have_text(re.compile("^In 30 min: "))


def test_the_pointer_reads_a_minute_and_draws_the_window(site: Site, watch: Watch) -> None:
    site.visit("/page/x")
    page = watch(site)
    is_live(page)
    plot = page.locator(".plot")
    expect(plot.locator("canvas")).to_be_visible()
    within_a_minute()
    box = plot.bounding_box()

    def at(minute: float) -> tuple[float, float]:
        """Return the point of a minute, counted from the left."""
        return box["x"] + box["width"] * (minute - 0.5) / 30, box["y"] + 50

    page.mouse.move(*at(30))
    expect(reading(page)).to_have_text(re.compile(r"^\d\d:\d\d, so far: "))
    page.mouse.move(*at(1))
    expect(reading(page)).to_have_text(re.compile(r"^\d\d:\d\d: no data$"))
    page.mouse.move(*at(27))
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile("#window=5$"))
    page.mouse.move(*at(29))
    page.mouse.down()
    page.mouse.move(*at(22))
    page.mouse.move(*at(18))
    expect(reading(page)).to_have_text("Look back 15 min")
    page.mouse.up()
    expect(page).to_have_url(re.compile("#window=15$"))
    page.mouse.move(0, 0)
    expect(reading(page)).to_have_text(re.compile("^In 15 min: "))


def test_who_reads_the_oldest_minute_goes_on_to_the_next_as_it_goes(
    site: Site, watch: Watch
) -> None:
    page = watch(site, timezone_id="UTC")
    is_live(page)
    told = page.evaluate(
        """async (module) => {
            const { mount } = await import(module);
            let minute = 1000;
            const model = {
                stats: { since_at: 0, history: [], coverage: { complete: true } },
                get asOf() { return minute * 60; }, now() { return minute * 60 + 1; },
            };
            const element = document.querySelector(".timeline").cloneNode(true);
            document.body.append(element);
            const card = mount(element, { model, view: { minutes: 30 } });
            const plot = element.querySelector("[data-plot]");
            const press = (key) => plot.dispatchEvent(new KeyboardEvent("keydown", { key }));
            const reading = () => element.querySelector("[data-reading]").textContent;
            card.draw(model);
            const told = [];
            for (const keys of [["Home"], [], ["ArrowRight"], []]) {
                keys.forEach(press);
                told.push(reading());
                minute += 1;
                card.draw(model);
            }
            return told;
        }""",
        module_of(page, "cards/timeline.js"),
    )
    nothing = "0 requests, 0 errors, 0 sessions"
    minutes = [re.sub(r"^\d\d:", "", one) for one in told]
    assert minutes == [f"{minute}: {nothing}" for minute in ("11", "12", "14", "14")]


COLOURS = """() => {
    const canvas = document.querySelector(".plot canvas");
    const copy = new OffscreenCanvas(canvas.width, canvas.height)
        .getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    const drawn = new Set();
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] === 255) drawn.add(`rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`);
    }
    const looks = (name) =>
        getComputedStyle(document.querySelector(`[data-swatch=${name}]`));
    return ["requests", "errors", "people"].map((name) =>
        [looks(name).backgroundColor, drawn.has(looks(name).backgroundColor)]);
}"""


def test_its_colours_are_those_of_the_theme_and_change_with_it(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    for _ in range(3):
        site.visit("/fail")
        site.visit("/page/x")
    page = watch(site, color_scheme="light")
    is_live(page)
    expect(page.locator(".plot canvas")).to_be_visible()
    light = page.evaluate(COLOURS)
    assert [is_drawn for _, is_drawn in light] == [True, True, True]
    page.locator("#theme").click()
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    page.wait_for_function(f"() => ({COLOURS})().every(([, isDrawn]) => isDrawn)")
    dark = page.evaluate(COLOURS)
    assert not {colour for colour, _ in light} & {colour for colour, _ in dark}
    page.locator("#theme").click()
    expect(page.locator("#theme")).to_have_text("Theme: auto")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => ({COLOURS})().every(([, isDrawn]) => isDrawn)")
    assert page.evaluate(COLOURS) == dark


def test_it_is_drawn_sharp_and_only_when_something_changed(site: Site, watch: Watch) -> None:
    page = watch(site, device_scale_factor=2)
    is_live(page)
    canvas = page.locator(".plot canvas")
    expect(canvas).to_be_visible()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert canvas.evaluate("(one) => one.width === 2 * one.clientWidth")
    drawn = page.evaluate(
        """() => {
            let drawn = 0;
            const scale = CanvasRenderingContext2D.prototype.scale;
            CanvasRenderingContext2D.prototype.scale = function (...by) {
                drawn += 1;
                return scale.apply(this, by);
            };
            const told = [];
            for (let n = 0; n < 5; n += 1) dispatchEvent(new Event("resize"));
            told.push(drawn);
            document.querySelector(".timeline").style.width = "400px";
            for (let n = 0; n < 5; n += 1) dispatchEvent(new Event("resize"));
            told.push(drawn);
            return told;
        }"""
    )
    assert drawn == [0, 1]


def test_minutes_that_never_came_are_quiet_or_unknown(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    told = page.evaluate(
        """async (module) => {
            const { lastMinutes } = await import(module);
            const minute = (at, requests) => ({
                at, requests, errors: 0, active_users: 0, active_sessions: 0 });
            const model = {
                stats: { since_at: 60 * 975, history: [minute(60 * 980, 7), minute(60 * 981, 8)] },
                asOf: 60 * 981 + 5, now: () => 60 * 984 + 1,
            };
            const told = [];
            for (const state of ["live", "cut"]) {
                document.body.dataset.state = state;
                told.push(lastMinutes(model).slice(-11).map((one) => one.requests));
            }
            return told;
        }""",
        module_of(page, "chart.js"),
    )
    before = [None, 0, 0, 0, 0, 0, 7, 8]
    assert told == [[*before, 0, 0, 0], [*before, None, None, None]]


# -- pages now, waiting now -------------------------------------------------------------------


def test_a_page_shows_those_who_are_there_as_many_as_it_says(site: Site, watch: Watch) -> None:
    for number in range(3):
        site.visit("/room/1", X_User=f"u-room-{number}")
    page = watch(site)
    is_live(page)
    row = page.locator(".pages li", has_text="room1").locator("button")
    number = int(row.locator("[data-people]").inner_text())
    assert number >= 3
    row.click()
    expect(page).to_have_url(
        re.compile("#state=active&endpoint=room1$|#endpoint=room1&state=active$")
    )
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".people tbody tr[data-key]")).to_have_count(number)
    row.press("Enter")
    expect(page).to_have_url(re.compile("/monitor/$"))
    expect(row).to_have_attribute("aria-pressed", "false")


def test_more_than_eight_pages_are_shown_when_asked_for(site: Site, watch: Watch) -> None:
    for number in range(10):
        site.visit(f"/room/{number}", X_User=f"u-more-{number}")
    page = watch(site)
    is_live(page)
    rows, more = page.locator(".pages li"), page.locator(".pages .all")
    expect(rows).to_have_count(8)
    expect(more).to_have_text(re.compile(r"^Show all \d\d$"))
    whole = int(more.inner_text().split()[-1])
    more.click()
    expect(rows).to_have_count(whole)
    expect(more).to_have_attribute("aria-expanded", "true")
    more.click()
    expect(rows).to_have_count(8)


def test_pages_keep_their_places_under_the_pointer(site: Site, watch: Watch) -> None:
    def visit(room: int, people: range) -> None:
        for number in people:
            site.visit(f"/room/{room}", X_User=f"u-place-{number}-{room}")

    visit(6, range(25))
    visit(7, range(20))
    page = watch(site)
    is_live(page)
    six, seven = (page.locator(".pages li", has_text=f"room{room}") for room in (6, 7))
    number = seven.locator("[data-people]")
    before = int(number.inner_text())  # other tests may have been there

    def is_first() -> bool:
        return bool(six.bounding_box()["y"] < seven.bounding_box()["y"])

    seven.hover()
    visit(7, range(20, 30))
    expect(number).to_have_text(str(before + 10))
    assert is_first()
    page.locator("h1").hover()
    visit(7, range(30, 31))
    expect(number).to_have_text(str(before + 11))
    assert not is_first()


def test_who_waits_moves_nothing_under_the_pointer(site: Site, watch: Watch) -> None:
    site.visit("/page/first", X_User="u-still")
    page = watch(site)
    is_live(page)
    card, feed = page.locator(".waiting"), page.locator(".activity")
    expect(card).not_to_be_visible()
    lines(page).first.hover()
    place = feed.bounding_box()["y"]
    with waiting(site, X_User="u-still", X_Name="A Name of Many Words " * 4):
        expect(tile(page, "in-flight").locator(".sub")).to_have_text(re.compile("oldest [2-9] s"))
        assert feed.bounding_box()["y"] == place
        page.locator("h1").hover()
        expect(card).to_be_visible()
        path = card.locator(".path")
        assert path.bounding_box()["height"] < 30  # a long name leaves it its line
        lines(page).first.hover()
        height = card.bounding_box()["height"]
    expect(card.locator("li")).to_have_count(0)
    assert card.bounding_box()["height"] == height
    page.locator("h1").hover()
    expect(card).not_to_be_visible()


def test_who_waits_is_shown_with_an_age_and_goes_when_served(site: Site, watch: Watch) -> None:
    who = {"X_User": "u-waits", "X_Name": EVIL, "User_Agent": "one that waits"}
    site.visit("/page/first", **who)
    page = watch(site)
    is_live(page)
    card = page.locator(".waiting")
    with waiting(site, **who):
        row = card.locator("li", has_text="/held")
        expect(row).to_be_visible()
        expect(row).to_contain_text(EVIL)
        told = row.locator(".num").inner_text()
        expect(row.locator(".num")).not_to_have_text(told)  # it counts
        assert row.locator(".host").inner_text()
        row.locator(".path").click()
        expect(page).to_have_url(re.compile("#endpoint=held$"))
        row.locator("a").click()
        expect(page).to_have_url(re.compile(r"#endpoint=held&session=[0-9a-f]{16}$"))
        page.keyboard.press("Escape")
    expect(card.locator("li")).to_have_count(0)
    expect(card).not_to_be_visible()


# -- the feed ---------------------------------------------------------------------------------


def test_kinds_are_chosen_one_at_a_time_and_are_in_the_url(site: Site, watch: Watch) -> None:
    site.visit("/page/plain")
    site.visit("/page/api/things")
    site.visit("/fail")
    site.visit("/told/bought tea".replace(" ", "%20"), "POST")
    page = watch(site)
    is_live(page)
    kinds = page.get_by_role("group", name="Which activities")
    for name, fragment, shown, hidden in (
        ("Pages", "kind=page", "/page/plain", "/page/api/things"),
        ("API", "kind=api", "/page/api/things", "/page/plain"),
        ("Events", "kind=custom", "bought tea", "/page/plain"),
        ("Errors", "status=5xx", "/fail", "/page/plain"),
        ("All", "", "/page/plain", None),
    ):
        kinds.locator("label", has_text=name).click()
        expect(kinds.get_by_role("radio", name=name, exact=True)).to_be_checked()
        expect(page).to_have_url(re.compile(f"#{fragment}$" if fragment else "/monitor/$"))
        expect(lines(page).filter(has_text=shown).first).to_be_visible()
        if hidden:
            expect(lines(page).filter(has_text=hidden)).to_have_count(0)
    kinds.get_by_role("radio", name="All").focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("#kind=page$"))
    page.keyboard.press("p")  # a letter is no choice among them
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    again = watch(site, "#status=5xx")
    expect(again.get_by_role("radio", name="Errors")).to_be_checked()


def test_what_a_kind_takes_in(site: Site, watch: Watch) -> None:
    page = watch(site)
    found = page.evaluate(
        """async (module) => {
            const { activityMatches } = await import(module);
            const all = [
                ["request", "/api/v1/x", "x"], ["request", "/x", "admin.api.list"],
                ["request", null, null], ["request", "/capital", "capi"],
                ["login", null, null], ["logout", null, null], ["custom", null, null],
            ].map(([kind, path, endpoint]) => ({ kind, path, endpoint, at: 0, user: null }));
            return ["page", "api", "sign-in", "request"].map((kind) => {
                const view = { minutes: 30, get: () => "", filters: () => [["kind", kind]] };
                return all.flatMap((one, n) => activityMatches(one, null, view, "", 0) ? [n] : []);
            });
        }""",
        module_of(page, "matching.js"),
    )
    assert found == [[2, 3], [0, 1], [4, 5], [0, 1, 2, 3]]


def test_the_page_and_the_api_mean_the_same_by_a_status(site: Site, watch: Watch) -> None:
    base = {"kind": "request", "user": None, "endpoint": "x", "path": "/x", "session": None}
    ends = [(200, None), (200, "Oops"), (404, None), (500, None), (503, "Oops"), (None, None)]
    items = [
        {**base, "at": 0, "status": status, "error": error}
        for status, error in [*ends, (None, "Oops")]
    ]
    wanted = ["2xx", "4xx", "5xx", "200", "500"]
    page = watch(site)
    by_page = page.evaluate(
        """async ([module, items, wanted]) => {
            const { activityMatches } = await import(module);
            return wanted.map((status) => {
                const view = { minutes: 30, get: () => "", filters: () => [["status", status]] };
                return items.map((one) => activityMatches(one, null, view, "", 0));
            });
        }""",
        [module_of(page, "matching.js"), items, wanted],
    )
    by_api = [
        [Filter(status=status).has_activity(one, "worker", "host", None) for one in items]
        for status in wanted
    ]
    assert by_page == by_api


def test_what_a_search_of_the_feed_takes_in(site: Site, watch: Watch) -> None:
    page = watch(site)
    found = page.evaluate(
        """async (module) => {
            const { activityMatches } = await import(module);
            const data = { Blend: "Sencha", data: 5 };
            const activity = { kind: "custom", path: "/buy", at: 0, user: null, data };
            return ["blend", "SEN", "dat", "kind", "0"].map((q) => {
                const view = { minutes: 30, get: () => "", filters: () => [["q", q]] };
                return activityMatches(activity, null, view, "", 0);
            });
        }""",
        module_of(page, "matching.js"),
    )
    assert found == [True, True, True, False, False]


def test_a_click_on_a_value_shows_only_what_has_it(site: Site, watch: Watch) -> None:
    site.visit("/page/valued", X_User="u-val", X_Name="Vera Value")
    page = watch(site)
    is_live(page)
    line = lines(page).filter(has_text="/page/valued").first
    line.locator(".status").click()
    expect(page).to_have_url(re.compile("#status=200$"))
    line.locator(".path").click()
    expect(page).to_have_url(re.compile("#status=200&endpoint=page$"))
    page.keyboard.press("Escape")
    line.hover()
    line.locator(".only").click()
    expect(page).to_have_url(re.compile("#user=u-val$"))
    expect(lines(page)).to_have_count(1)
    page.go_back()
    expect(page).to_have_url(re.compile("/monitor/$"))


def test_a_line_that_was_of_another_request_says_nothing_of_it(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    page = watch(site)
    is_live(page)
    for number in range(30):  # as many as there are lines
        site.visit(f"/page/old-{number}", X_User="u-old", X_Name="Olga Old")
    expect(lines(page).first).to_contain_text("old-29")
    page.evaluate(
        "() => { for (const one of document.querySelectorAll('.activity li')) one.id = 'old'; }"
    )
    page.keyboard.press("p")
    for number in range(40):
        site.visit(
            f"/page/new-{number}", X_User="u-new", X_Name="Nora New", X_Title=f"Title {number}"
        )
    for number in range(40, 80):
        site.visit(f"/page/new-{number}", X_User="u-new", X_Name="Nora New")
    expect(page.locator("#pause")).to_have_text(re.compile("80 new"))
    page.keyboard.press("p")
    line = lines(page).first
    expect(line).to_contain_text("new-79")
    assert page.locator(".activity li#old").count() == 30
    expect(page.locator(".activity ol")).not_to_contain_text(re.compile("Olga|old|Title"))
    expect(line.locator(".status")).to_have_attribute("data-value", "200")
    line.locator(".who a").click()
    expect(page.locator("dialog.drawer h2")).to_have_text("Nora New")


def test_a_path_has_room_however_wide_the_window_is(site: Site, watch: Watch) -> None:
    site.visit("/page/tea/sencha", X_User="u-room", X_Name="Rosa Room")
    page = watch(site)
    is_live(page)
    for width in (641, 900, 901, 1024, 1200, 1350, 1351):
        page.set_viewport_size({"width": width, "height": 768})
        assert lines(page).first.locator(".what").bounding_box()["width"] > 140, width


def test_a_long_word_runs_over_nothing(site: Site, watch: Watch) -> None:
    site.visit("/burst", X_User="u-burst")
    page = watch(site, viewport={"width": 1440, "height": 900})
    is_live(page)
    line = lines(page).filter(has_text="VeryLong").first
    error, who = (line.locator(one).bounding_box() for one in (".error", ".who"))
    assert error["x"] + error["width"] <= who["x"]


def test_a_line_opens_the_story_of_who_did_it(site: Site, watch: Watch) -> None:
    site.visit("/page/opened", X_User="u-line", X_Name="Lena Line")
    page = watch(site, "#user=u-line")
    is_live(page)
    line = lines(page).filter(has_text="/page/opened")
    link = line.locator("a")
    expect(link).to_have_attribute("href", re.compile("^#user=u-line&session=[0-9a-f]{16}$"))
    line.locator("time").click()
    expect(page).to_have_url(re.compile("#user=u-line&session=[0-9a-f]{16}$"))


def test_new_lines_wait_while_somebody_reads_further_down(site: Site, watch: Watch) -> None:
    for number in range(40):
        site.visit(f"/page/down-{number}")
    page = watch(site)
    is_live(page)
    more, scroll = page.locator(".activity .more"), page.locator(".activity .scroll")
    expect(more).to_be_hidden()
    scroll.evaluate("(one) => { one.scrollTop = 300; }")
    site.visit("/page/new-below")
    expect(more).to_have_text("1 new")
    expect(page.locator(".activity ol")).not_to_contain_text("/page/new-below")
    site.visit("/page/new-below")
    expect(more).to_have_text("2 new")
    more.click()
    expect(lines(page).first).to_contain_text("/page/new-below")
    expect(more).to_be_hidden()
    assert scroll.evaluate("(one) => one.scrollTop") == 0


def test_new_lines_wait_while_a_line_has_the_focus(site: Site, watch: Watch) -> None:
    site.visit("/page/in-focus", X_User="u-line-1", X_Name="Lara Line")
    page = watch(site)
    is_live(page)
    more, link = page.locator(".activity .more"), lines(page).first.locator("a")
    expect(link).to_have_text("Lara Line")
    link.focus()
    for number in (1, 2):
        site.visit("/page/beside-focus", X_User="u-line-2", X_Name="Levi Line")
        expect(more).to_have_text(f"{number} new")
    expect(link).to_have_text("Lara Line")
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer .journey li")).to_have_count(1)
    site.visit("/page/beside-focus", X_User="u-line-2", X_Name="Levi Line")
    expect(more).to_have_text("3 new")
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    page.locator("#search").focus()
    expect(link).to_have_text("Levi Line")
    expect(more).to_be_hidden()


def test_a_snapshot_takes_no_place_from_who_reads_further_down(site: Site, watch: Watch) -> None:
    page = watch(site)
    told = page.evaluate(
        """async (module) => {
            const { mount } = await import(module);
            const element = document.querySelector(".activity").cloneNode(true);
            element.querySelector("ol").replaceChildren();
            document.body.append(element);
            const activity = (n) => ({ id: `a${n}`, at: n, kind: "custom", name: `a${n}`,
                session: n === 150 || n === 80 ? "gone" : `s${n}`, user: null, status: null,
                duration_ms: null, error: null });
            const model = (newest, snapshots) => ({
                activities: Array.from({ length: 101 }, (_, n) => activity(newest - n))
                    .filter((one) => snapshots === 1 || one.session !== "gone").slice(0, 100),
                gap: null, seen: newest, snapshots, asOf: newest, now: () => newest, stats: {} });
            const page = {
                view: { get: () => "", href: () => "#", isFiltered: false, minutes: 30 },
                showsActivity: () => true, isPaused: false, draw() {}, model: model(179, 1) };
            const card = mount(element, page);
            card.draw(page.model);
            const scroll = element.querySelector(".scroll");
            scroll.scrollTop = 40;
            await new Promise((then) => { scroll.onscroll = then; });
            const ids = () => [...element.querySelectorAll("li")].map((one) => one.dataset.key);
            const before = ids();
            card.draw(model(220, 2)); // reaches back to a120
            const after = ids();
            element.remove();
            return [before.length, before.filter((one) => !after.includes(one))];
        }""",
        module_of(page, "cards/activity.js"),
    )
    # What is missing there, and what else is of whom that was: erased, perhaps.
    assert told == [100, ["a150", "a80"]]


def test_paused_the_feed_says_how_many_are_new_and_goes_on(site: Site, watch: Watch) -> None:
    site.visit("/page/before-pause")
    page = watch(site, "#endpoint=page")
    is_live(page)
    expect(lines(page).filter(has_text="before-pause").first).to_be_visible()
    page.keyboard.press("p")
    site.visit("/page/in-pause")
    site.visit("/room/1")  # is none of what is chosen
    more = page.locator(".activity .more")
    expect(page.locator("#pause")).to_have_text(re.compile("Paused, 2 new"))
    expect(more).to_have_text("1 new")
    more.click()
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "false")
    expect(lines(page).first).to_contain_text("/page/in-pause")


def test_older_matches_are_asked_for_and_merged(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    for number in range(3):
        site.visit(f"/page/needle-{number}", X_User="u-old", X_Name="Olga Old")
    for _ in range(110):
        site.visit("/page/hay", User_Agent="another")
    page = watch(site)
    is_live(page)
    expect(lines(page)).to_have_count(30)
    expect(page.locator(".activity ol")).not_to_contain_text("needle")
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(lines(page)).to_have_count(3)
    site.visit("/page/needle-new", User_Agent="another")
    expect(lines(page)).to_have_count(4)
    expect(lines(page).first).to_contain_text("needle-new")
    # Who is erased is gone from here, too.
    site.visit("/forget/u-old", "POST")
    expect(lines(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(lines(page)).to_have_count(30)


@pytest.mark.parametrize(
    ("script", "card", "failed", "there"),
    [
        ("past", "activity", "did not come from the server", "Nothing in the last 30 min"),
        ("emptiness", "people", "Why did not come from the server", "match: text nobody-at-all"),
    ],
)
def test_what_is_loaded_on_first_use_is_asked_for_again_where_it_does_not_come(
    site: Site, watch: Watch, script: str, card: str, failed: str, there: str
) -> None:
    site.visit("/page/somebody")
    pattern = re.compile(rf"/{script}\.js")
    page = watch(site)
    is_live(page)
    empty = page.locator(f".{card} [data-empty]")
    page.route(pattern, lambda route: route.abort())
    page.keyboard.press("/")
    page.keyboard.type("nobody-at-all")
    expect(empty).to_contain_text(failed)
    page.unroute(pattern)
    expect(empty).to_contain_text(there)


def test_of_people_beyond_the_first_hundred_the_server_is_believed(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
    site.visit("/page/early", User_Agent=firefox)
    for number in range(101):
        site.visit("/page/later", User_Agent=f"agent {number}")
    page = watch(site, "#browser=Firefox")
    is_live(page)
    expect(lines(page)).to_have_count(1)
    expect(lines(page)).to_contain_text("/page/early")
    site.visit("/page/again", User_Agent=firefox)
    expect(lines(page)).to_have_count(2)


def test_a_cut_leaves_a_line_in_the_feed(own_site: Callable[..., Site], watch: Watch) -> None:
    site = own_site()
    site.visit("/page/before")
    page = watch(site)
    is_live(page)
    site.stop(signal.SIGKILL)
    expect(page.locator("#connection")).to_have_attribute("data-state", "cut")
    site.start()
    site.visit("/page/after")
    is_live(page)
    gap = page.locator(".activity .gap")
    expect(gap).to_have_text(
        re.compile(
            r"^Cut off [\d:]{8} to [\d:]{8}, (how much was missed is not known|nothing missed)$"
        )
    )


@pytest.mark.parametrize(
    ("gap", "known", "expected"),
    [
        ({"missed": 0, "after": "a2"}, 4, ["a4", "a3", "nothing missed", "a2", "a1"]),
        ({"missed": 84, "after": "gone"}, 4, ["a4", "a3", "a2", "a1", "84 not shown"]),
        ({"missed": None, "after": None}, 2, ["a2", "a1", "how much was missed is not known"]),
        (None, 2, ["a2", "a1"]),
    ],
)
def test_what_was_missed_is_said_where_it_is_missing(
    site: Site, watch: Watch, gap: dict[str, Any] | None, known: int, expected: list[str]
) -> None:
    page = watch(site)
    found = page.evaluate(
        """async ([module, gap, known]) => {
            const { mount } = await import(module);
            const element = document.querySelector(".activity").cloneNode(true);
            element.querySelector("ol").replaceChildren();
            const activities = Array.from({ length: known }, (_, n) => ({
                id: `a${known - n}`, at: 1000 + known - n, kind: "custom", name: `a${known - n}`,
                session: null, user: null, status: null, duration_ms: null, error: null }));
            const page = {
                view: { get: () => "", href: () => "#", isFiltered: false, minutes: 30 },
                showsActivity: () => true, isPaused: false, draw() {} };
            const model = {
                activities, gap: gap && { from: 990, to: 1000, ...gap }, seen: 0, snapshots: 1,
                now: () => 1010, stats: {} };
            mount(element, page).draw(model);
            return [...element.querySelectorAll("li")].map((line) =>
                line.className === "gap" ? line.textContent.split(", ")[1]
                    : line.querySelector(".what").textContent);
        }""",
        [module_of(page, "cards/activity.js"), gap, known],
    )
    assert found == expected


def test_each_empty_feed_says_why_and_what_to_do(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    page = watch(site, extra_http_headers={"X-User": "u-me"})
    is_live(page)
    empty = page.locator(".activity .empty")
    expect(empty).to_contain_text("Nothing has happened yet. The first request will stand here.")
    site.visit("/page/mine", X_User="u-me")
    expect(lines(page)).to_have_count(1)
    page.locator("#mine").uncheck()
    expect(empty).to_contain_text("Only your own doing, and that is hidden.")
    empty.get_by_role("button", name="Show it").click()
    expect(lines(page)).to_have_count(1)
    page.keyboard.press("/")
    page.keyboard.type(EVIL)
    expect(empty).to_contain_text(f"Nothing in the last 30 min matches: text {EVIL}.")
    empty.get_by_role("button", name="Show all").click()
    expect(lines(page)).to_have_count(1)
    expect(page.locator("#search")).to_have_value("")


def test_hostile_text_in_the_feed_shows_literally(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    site.visit("/page/%E2%80%AE%3Csvg%20onload=alert(1)%3E", X_User=EVIL, X_Name=EVIL, X_Title=EVIL)
    line = lines(page).filter(has_text="<svg onload=alert(1)>").first
    for _ in ("by the script", "by the server"):
        expect(line).to_contain_text(EVIL)
        expect(line.locator(".path")).to_have_text("/page/[U+202E]<svg onload=alert(1)>")
        # Drawn by the script: until then the cards above may still grow, and the line move.
        expect(line.locator("time")).to_have_attribute("title", re.compile("."))
        line.hover()
        line.locator(".only").click()
        expect(page.locator("#chips .chip bdi")).to_have_text(f"user {EVIL}")
        page.keyboard.press("Escape")
        page.reload()
        is_live(page)
    assert page.locator("main img, main script").count() == 0


# -- health -----------------------------------------------------------------------------------


def test_a_worker_in_the_table_filters_by_it(site: Site, watch: Watch) -> None:
    site.visit("/page/x")
    page = watch(site)
    is_live(page)
    expect(page.locator("[data-summary]")).to_have_text(re.compile("^The only worker is reporting"))
    page.locator(".health summary").click()
    worker = page.locator(".health tbody button")
    expect(worker).to_have_count(1)
    expect(page.locator(".health tbody td.age")).to_have_text(re.compile(r"^\d+ s ago$"))
    expect(page.locator("[data-dropped]")).to_contain_text("0 sessions")
    worker.click()
    expect(page).to_have_url(re.compile("#worker=[0-9a-f]+$"))
    expect(worker).to_have_attribute("aria-pressed", "true")
    worker.click()
    expect(page).to_have_url(re.compile("/monitor/$"))


def test_a_newer_page_is_told_of_and_never_loaded_by_itself(site: Site, watch: Watch) -> None:
    told = {"page": "0123456789abcdef", "status": "degraded", "problems": ["sessions: <b>all"]}

    def answer(route: Any) -> None:
        found = route.fetch().json()
        route.fulfill(json={**found, **told})

    def prepare(page: Any) -> None:
        page.clock.install()
        page.route("**/api/v1/health", answer)

    page = watch(site, prepare=prepare)
    is_live(page)
    note = page.locator("#older")
    expect(note).to_have_count(0)
    page.clock.fast_forward(16_000)
    expect(note).to_contain_text("This page is of an older version: load it again")
    expect(page.locator("[data-problems]")).to_have_text("sessions: <b>all")
    page.evaluate("window.isSame = true")
    del told["page"]
    told.update(status="ok", problems=[])
    page.clock.fast_forward(16_000)
    expect(note).to_have_count(0)
    expect(page.locator("[data-last]")).to_contain_text("Before that: sessions: <b>all")
    assert page.evaluate("window.isSame")


def test_a_long_name_leaves_room_for_others_in_the_feed(site: Site, watch: Watch) -> None:
    name = "Wolfeschlegelsteinhausenbergerdorff " * 3
    site.visit("/page/short", X_User="u-short", X_Name="Sho Rt")
    site.visit("/page/long", X_User="u-long", X_Name=name.strip())
    page = watch(site)
    lines = page.locator(".activity li")
    long, short = (lines.filter(has_text=who).first for who in ("Wolfe", "Sho Rt"))
    expect(long).to_be_visible()
    heights = [one.bounding_box()["height"] for one in (long, short)]
    assert heights[0] < 2 * heights[1] + 10
