"""The people: their order, their sessions, what narrows them down, and very many of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from threading import Thread
from time import time
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from tests.support.waiting import wait_until

from .conftest import Site, Watch, is_live, module_of

NOBODY = re.compile(
    r"^Listening\. Nobody has asked for a page in the \d+ s since the start\. \d+ requests? "
    r"(?:is|are) left out by rule: files, probes, this page's own\. Open the app in another tab$"
)


IS_WHOLE = "(one) => one.scrollWidth <= one.clientWidth"
#: Where a text's first sign is, and the box that cuts the text off, in pixels from the left.
FIRST_SIGN = """(one) => {
  const sign = document.createRange();
  sign.setStart(one.firstChild, 0);
  sign.setEnd(one.firstChild, 1);
  const first = sign.getBoundingClientRect();
  const box = one.closest("a, td").getBoundingClientRect();
  return [first.left, first.right, box.left, box.right];
}"""


def rows(page: Any, name: str = "") -> Any:
    """Return the rows of people, all or those with a text."""
    return page.locator(".people tr[data-key]", has_text=name)


def test_search_finds_people_and_says_how_many_of_all(site: Site, watch: Watch) -> None:
    site.visit("/page/s", X_User="u-search-1", X_Name="Sought Sam")
    site.visit("/page/s", X_User="u-search-2", X_Name="Other Otto")
    page = watch(site)
    is_live(page)
    page.keyboard.press("/")
    page.keyboard.type("sought")
    expect(rows(page)).to_have_count(1)
    expect(page.locator(".people .count")).to_have_text(re.compile(r"^1 of \d+ sessions match$"))
    page.locator("#search").fill("nobody-has-this-name")
    empty = page.locator(".people .empty")
    expect(empty).to_have_text(re.compile(r"^0 of \d+ match: text nobody-has-this-name\."))
    empty.locator("button").click()
    expect(page.locator("#search")).to_have_value("")
    expect(rows(page, "Other Otto")).to_be_visible()


def test_a_guest_who_is_searched_for_by_name_is_offered(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/1", User_Agent="one")
    site.visit("/page/2", User_Agent="another")
    site.visit("/page/3", X_User="u-known", X_Name="Known Kim")
    page = watch(site)
    is_live(page)
    empty = page.locator(".people .empty")
    search = page.locator("#search")
    search.fill("guest")
    expect(empty).to_have_text("0 of 3 match: text guest. Show guests Show all")
    empty.get_by_role("button", name="Show guests").click()
    expect(search).to_have_value("")
    expect(rows(page)).to_have_count(2)
    name = rows(page).first.locator("th a").inner_text()
    page.locator("#clear").click()
    search.fill(name.lower())
    empty.get_by_role("button", name=f"Show {name.replace('G', 'g', 1)}").click()
    expect(rows(page)).to_have_count(1)
    expect(rows(page, name)).to_be_visible()
    site.stop(signal.SIGTERM)


def test_what_is_cut_off_in_a_row_is_told_when_pointed_at(site: Site, watch: Watch) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
    site.visit("/page/told", X_User="u-told", X_Name="Tolda Told", User_Agent=agent)
    page = watch(site)
    is_live(page)
    row = rows(page, "Tolda Told")
    expect(row.locator("th")).to_have_attribute("title", "Tolda Told u-told")
    expect(row.locator(".place")).to_have_attribute("title", "/page/told")
    expect(row.locator(".wide")).to_have_attribute("title", re.compile("Firefox"))


def test_a_long_text_shows_its_beginning_whichever_way_it_runs(site: Site, watch: Watch) -> None:
    for user, text in (("u-left", "Abcdefgh "), ("u-right", "\u0627\u0628\u062a\u062b\u062c ")):
        named = {"X_User": user, "X_Name": (text * 12).encode().decode("latin-1")}
        site.visit("/page/" + quote(text * 12), **named)
    page = watch(site)
    is_live(page)
    for user in ("u-left", "u-right"):
        row = page.locator(f".people tr[data-group='u{user}']")
        for place in ("th a bdi", ".place .path"):
            shown = row.locator(place)
            first_left, first_right, left, right = shown.evaluate(FIRST_SIGN)
            assert left - 1 <= first_left <= first_right <= right + 1, (user, place)


def test_further_sessions_of_a_person_unfold_below(site: Site, watch: Watch) -> None:
    for agent in ("one", "another", "third"):
        site.visit("/page/a", X_User="u-fold", X_Name="Fay Fold", User_Agent=agent)
    page = watch(site)
    is_live(page)
    expect(rows(page, "Fay Fold")).to_have_count(1)
    fold = rows(page, "Fay Fold").locator("button")
    expect(fold).to_have_text("3 sessions")
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.focus()
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    nested = rows(page).filter(has_text=re.compile("Session [0-9A-F]{4}"))
    expect(nested).to_have_count(3)
    above = rows(page, "Fay Fold").locator("xpath=following-sibling::tr[1]")
    expect(above).to_have_class(re.compile("nested"))
    page.keyboard.press("Enter")
    expect(nested).to_have_count(0)


def test_a_person_is_one_row_with_the_figures_of_all_sessions(site: Site, watch: Watch) -> None:
    who = {"X_User": "u-two", "X_Name": "Tess Two"}
    for path in ("/page/one", "/fail", "/fail"):
        site.visit(path, User_Agent="the one", **who)
    site.visit("/page/two", User_Agent="the other", **who)
    page = watch(site)
    is_live(page)
    row = rows(page, "Tess Two")
    expect(row).to_contain_text("/page/two")
    expect(row.locator("td.num")).to_have_text(["4", "2"])
    link = row.locator("a")
    link.focus()
    for path, agent in (("/page/three", "the one"), ("/page/four", "the other")):
        site.visit(path, User_Agent=agent, **who)
        expect(row).to_contain_text(path)
        expect(link).to_be_focused()  # whichever session is the newest
    row.locator(".fold").click()
    nested = rows(page).filter(has_text=re.compile("Session [0-9A-F]{4}"))
    expect(nested.locator("td.num")).to_have_text(["2", "0", "4", "2"])


def test_a_guest_who_signs_in_keeps_the_row_and_its_focus(site: Site, watch: Watch) -> None:
    site.visit("/page/g", User_Agent="signs in soon")
    found = site.json("sessions?who=guests", Cookie="role=admin")["items"]
    page = watch(site)
    is_live(page)
    link = page.locator(f".people a[href$='session={found[0]['id']}']")
    link.focus()
    site.visit("/page/in", User_Agent="signs in soon", X_User="u-soon", X_Name="Sonja Soon")
    expect(rows(page, "Sonja Soon").locator("a")).to_be_focused()


def test_the_focus_goes_to_nobody_else(site: Site, watch: Watch) -> None:
    for name in ("Gone", "Left", "Stays"):
        site.visit("/page/f", X_User=f"u-focus-{name}", X_Name=f"Focus {name}")
    page = watch(site, "#q=u-focus")
    is_live(page)
    heading = page.locator("#people-title")
    expect(rows(page)).to_have_count(3)
    rows(page, "Focus Gone").locator("a").focus()
    site.visit("/forget/u-focus-Gone", "POST")
    expect(heading).to_be_focused()
    # Nor from a story, when whose it is has gone from the list in the meantime.
    rows(page, "Focus Left").locator("a").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer h2")).to_have_text("Focus Left")
    page.evaluate("location.hash = location.hash.replace('u-focus', 'focus-stays')")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(heading).to_be_focused()


def test_a_fold_that_goes_leaves_the_focus_in_its_row(site: Site, watch: Watch) -> None:
    page = watch(site)
    focused = page.evaluate(
        """async (module) => {
            const { createRow, drawRow } = await import(module);
            const page = { view: { story: () => "#" }, model: { now: () => 9 }, role: "", me: "" };
            const session = { id: "a", user: { id: "u" }, agent: {}, host: "" };
            const row = { key: "uu", session, known: 2, count: 2, requests: 2, errors: 0,
                isActive: true, at: 1, isOpen: false, isNested: false };
            const body = document.querySelector(".people tbody");
            body.hidden = false;
            const element = createRow(row, page);
            body.append(element);
            drawRow(element, row, page);
            element.querySelector(".fold").focus();
            drawRow(element, { ...row, known: 1, count: 1 }, page);
            return document.activeElement === element.querySelector("a");
        }""",
        module_of(page, "rows.js"),
    )
    assert focused


def test_a_click_on_a_value_shows_only_what_has_it(site: Site, watch: Watch) -> None:
    chrome = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"
    site.visit("/page/v", X_User="u-click-1", X_Name="Viola Click", User_Agent=chrome)
    site.visit("/page/v", X_User="u-click-2", X_Name="Oskar Click", User_Agent="something")
    page = watch(site)
    is_live(page)
    rows(page, "Viola Click").locator("td.wide").click()
    expect(page).to_have_url(re.compile(r"#browser=Chrome$"))
    expect(rows(page, "Viola Click")).to_be_visible()
    expect(rows(page, "Oskar Click")).to_have_count(0)
    page.go_back()
    expect(rows(page, "Oskar Click")).to_be_visible()
    rows(page, "Viola Click").locator("td.place").click()
    expect(page).to_have_url(re.compile(r"#endpoint=page$"))


def test_j_and_k_go_from_row_to_row_and_enter_opens(site: Site, watch: Watch) -> None:
    site.visit("/page/k", X_User="u-key-1", X_Name="Kay Key")
    site.visit("/page/k", X_User="u-key-2", X_Name="Kit Key")
    page = watch(site, "#q=u-key")
    is_live(page)
    expect(rows(page)).to_have_count(2)
    first, second = (rows(page).nth(number).locator("a") for number in (0, 1))
    page.keyboard.press("j")
    expect(first).to_be_focused()
    page.keyboard.press("j")
    expect(second).to_be_focused()
    page.keyboard.press("j")
    expect(second).to_be_focused()
    page.keyboard.press("k")
    expect(first).to_be_focused()
    name = first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer h2")).to_have_text(name)
    page.keyboard.press("Escape")
    expect(first).to_be_focused()
    expect(page).to_have_url(re.compile(r"#q=u-key$"))  # Escape closed the story alone


def test_rows_keep_their_places_under_the_pointer(site: Site, watch: Watch) -> None:
    for number in (1, 2):
        before = int(time() * 1000)
        site.visit("/page/h", X_User=f"u-hover-{number}", X_Name=f"Hover {number}")
        # Who was seen in the same millisecond is ordered by id.
        wait_until(lambda before=before: int(time() * 1000) > before + 50, "the clock goes on")  # type: ignore[misc]
    page = watch(site, "#q=u-hover")
    is_live(page)
    expect(rows(page).nth(0)).to_contain_text("Hover 2")
    rows(page, "Hover 2").hover()
    site.visit("/page/h", X_User="u-hover-1", X_Name="Hover 1")
    site.visit("/page/h", X_User="u-hover-3", X_Name="Hover 3")
    expect(rows(page, "Hover 3")).to_be_visible()
    assert "Hover 2" in rows(page).nth(0).inner_text()
    page.locator("h1").hover()
    expect(rows(page).nth(0)).to_contain_text("Hover 3")
    expect(rows(page).nth(2)).to_contain_text("Hover 2")


def test_who_waits_is_marked(site: Site, watch: Watch) -> None:
    page = watch(site)
    is_live(page)
    site.visit("/page/w", X_User="u-wait", X_Name="Wanda Wait", User_Agent="patient")
    headers = {"X_User": "u-wait", "X_Name": "Wanda Wait", "User_Agent": "patient"}
    asking = Thread(target=site.visit, args=("/slow",), kwargs=headers, daemon=True)
    asking.start()
    expect(rows(page, "Wanda Wait")).to_contain_text(re.compile(r"waiting \d s"))
    site.visit("/page/beside", **{**headers, "User_Agent": "in no hurry"})
    expect(rows(page, "Wanda Wait")).to_contain_text("/page/beside")
    expect(rows(page, "Wanda Wait")).to_contain_text(re.compile(r"waiting \d s"))
    asking.join()
    expect(rows(page, "Wanda Wait")).to_contain_text("active")


def test_very_many_are_had_but_only_those_near_are_there(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    for number in range(320):
        site.visit("/page/m", X_User=f"u-many-{number}", X_Name=f"Many {number:03}")
    page = watch(site)
    is_live(page)
    expect(page.locator(".people .count")).to_have_text("100 of 320 sessions shown")
    held = page.locator(".people tr[data-key]")
    assert 0 < held.count() < 60
    first = held.first.locator("a")
    name = first.inner_text()
    first.focus()
    page.locator(".people thead").hover()
    page.mouse.wheel(0, 3000)
    expect(rows(page, "Many 259")).to_be_visible()
    expect(rows(page, name).locator("a")).to_be_focused()  # however far away it is
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer h2")).to_have_text(name)
    page.keyboard.press("Escape")
    expect(rows(page, name).locator("a")).to_be_focused()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    # What is only known in part is not called all of it.
    page.route("**/api/v1/sessions?*", lambda route: route.abort())
    page.locator("#window").select_option("15")
    count = page.locator(".people .count")
    expect(count).to_have_text("at least 100 of 320 sessions match")
    expect(page.locator(".people [data-all]")).to_have_text("Show the first 1,000")
    page.unroute("**/api/v1/sessions?*")
    expect(count).to_have_text("320 of 320 sessions match")
    expect(page.locator(".people table")).to_have_attribute("aria-rowcount", "321")
    page.locator("#window").select_option("30")
    expect(count).to_have_text("100 of 320 sessions shown")
    page.locator(".people [data-all]").click()
    expect(page.locator(".people table")).to_have_attribute("aria-rowcount", "321")
    seen: set[str] = set()

    def is_all_seen() -> bool:
        names = page.eval_on_selector_all(
            ".people tr[data-key] a", "all => all.map(one => one.innerText)"
        )
        assert len(names) < 60
        seen.update(names)
        page.mouse.wheel(0, 500)
        return len(seen) == 320

    page.locator(".people thead").hover()
    wait_until(is_all_seen, "every row has been there while scrolling")
    page.evaluate("scrollTo(0, 0)")
    page.locator("#search").fill("many 007")
    expect(held).to_have_count(1)
    expect(page.locator(".people .count")).to_have_text("1 of 320 sessions match")
    page.keyboard.press("Escape")
    page.locator(".people [data-all]").click()
    expect(page.locator(".people table")).to_have_attribute("aria-rowcount", "101")


def test_fewer_are_shown_though_all_come_after_all(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    for number in range(110):
        site.visit("/page/m", X_User=f"u-many-{number}")
    page = watch(site)
    is_live(page)
    held: list[Any] = []
    page.route("**/api/v1/sessions?*", lambda route: held.append(route))  # noqa: PLW0108
    rowcount = page.locator(".people table")
    all_or_fewer = page.locator(".people [data-all]")
    all_or_fewer.click()
    wait_until(lambda: page.wait_for_timeout(20) or held, "all are asked for")
    all_or_fewer.click()
    expect(all_or_fewer).to_have_text("Show all 110")
    with page.expect_response("**/api/v1/sessions?*"):
        held[0].continue_()
    site.visit("/page/m", X_User="u-new", X_Name="Nora New")
    page.locator(".people thead").hover()  # she comes last, and is first when all are in order
    expect(rows(page, "Nora New")).to_be_visible()  # so it has drawn since
    expect(rowcount).to_have_attribute("aria-rowcount", "101")


def test_who_is_erased_goes_from_what_the_server_was_asked_for_too(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/e", X_User="u-erased", X_Name="Edda Erased")
    for number in range(110):
        site.visit("/page/m", X_User=f"u-many-{number}", X_Name=f"Many {number:03}")
    page = watch(site)
    is_live(page)
    page.keyboard.press("/")
    page.keyboard.type("erased")
    expect(rows(page, "Edda Erased")).to_have_count(1)  # not of the stream's hundred
    site.visit("/forget/u-erased", "POST")
    expect(rows(page, "Edda Erased")).to_have_count(0)


def test_each_way_of_seeing_nobody_has_its_words(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    page = watch(site)
    is_live(page)
    empty = page.locator(".people .empty")
    expect(empty).to_have_text(NOBODY)
    held = Thread(target=site.visit, args=("/held",), daemon=True)
    held.start()
    expect(empty).to_have_text("Listening. The first request is being answered.")
    page.reload()  # the server says it, too
    expect(empty).to_have_text("Listening. The first request is being answered.")
    is_live(page)
    site.visit("/release", "POST")
    held.join()
    expect(rows(page, "Guest")).to_be_visible()
    site.visit("/page/first", X_User="u-first", X_Name="Fred First")
    expect(rows(page, "Fred First")).to_be_visible()
    expect(empty).not_to_be_visible()
    page.keyboard.press("e")
    expect(empty).to_have_text("0 of 2 match: status 5xx. Show all")
    empty.locator("button").click()
    expect(rows(page, "Fred First")).to_be_visible()
    site.stop(signal.SIGTERM)


def test_one_is_not_said_as_if_there_were_several(site: Site, watch: Watch) -> None:
    page = watch(site)
    told = page.evaluate(
        """async (module) => {
            const { emptyWords } = await import(module);
            const say = (stats) => {
                const place = document.createElement("p");
                const view = { isFiltered: false, minutes: 5, get: () => "" };
                const model = { stats: { since_at: 0, ...stats }, now: () => 1 };
                emptyWords(place, { model, view });
                return place.querySelector("span").textContent;
            };
            return [say({ excluded: 1 }), say({ total_sessions: 1 }), say({ total_sessions: 2 })];
        }""",
        module_of(page, "emptiness.js"),
    )
    assert "1 request is left out by rule" in told[0]
    assert told[1:] == [
        f"Nobody was seen in the last 5 min; {were} before." for were in ("1 was", "2 were")
    ]


def test_what_narrows_the_feed_alone_does_not_count_people(site: Site, watch: Watch) -> None:
    site.visit("/page/feed", X_User="u-feed", X_Name="Fee Feed")
    page = watch(site, "#kind=custom&status=404")
    is_live(page)
    expect(rows(page, "Fee Feed")).to_be_visible()
    expect(page.locator(".people .count")).not_to_contain_text("match")


def test_names_and_folds_have_the_room_there_is(site: Site, watch: Watch) -> None:
    for number in range(12):
        site.visit(
            "/page/many", X_User="u-many", X_Name="Maria Lopez", User_Agent=f"tests {number}"
        )
    page = watch(site, "#q=u-many")
    is_live(page)
    row = rows(page, "12 sessions")
    for width in (910, 1000, 1200, 1280, 1440, 360):
        page.set_viewport_size({"width": width, "height": 768})
        cell, fold, name = (row.locator(one).bounding_box() for one in ("th", ".fold", "th a"))
        assert fold["x"] + fold["width"] <= cell["x"] + cell["width"], width
        assert name["width"] > (50 if width > 910 else 40), width
        if width in (1280, 1440):
            assert row.locator("th a bdi").evaluate(IS_WHOLE), width


def test_a_person_with_the_name_of_another_is_told_apart_by_the_id(
    site: Site, watch: Watch
) -> None:
    site.visit("/page/n", X_User="u-real", X_Name="Same Name")
    site.visit("/page/n", X_User="u-fake", X_Name="Same Name")
    page = watch(site)
    is_live(page)
    expect(rows(page, "Same Name")).to_have_count(2)
    expect(rows(page, "Same Name").filter(has_text="u-real")).to_have_count(1)
