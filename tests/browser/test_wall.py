"""The wall in a real browser: big, honest, and of nobody in particular."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from .conftest import CLOCK, Site, Watch, is_live, refuse_once

TOKEN = "a-wall-for-the-browser-tests"
WALL = f"wall/{TOKEN}"
TV = {"width": 1920, "height": 1080}
PHONE = {"width": 360, "height": 740}
LAPTOP = {"width": 1366, "height": 680}
LONG = {"active": "123,456", "requests": "1,234,567", "in-flight": "23456", "latency": "123.4 s"}
CONTRAST = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return /, 0\\)$/.test(colour) ? ground(node.parentElement) : colour;
  };
  return Math.min(...[...document.querySelectorAll("h1, h2, p, footer")].map((node) => {
    const pair = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
}"""
FITS = """() => document.documentElement.scrollWidth <= innerWidth
  && [...document.querySelectorAll("section")].every(
    (one) => one.scrollWidth <= one.clientWidth && one.scrollHeight <= one.clientHeight)"""


def figure(page: Any, name: str) -> Any:
    return page.locator(f"[data-tile={name}] [data-value]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_moves_by_itself_and_names_nobody(own_site: Any, watch: Watch, scheme: str) -> None:
    site = own_site()
    page = watch(site, WALL, viewport=TV, color_scheme=scheme)
    is_live(page)
    for number in range(3):
        site.visit(f"/page/{number}", User_Agent=f"a{number}", X_User="sib-id", X_Name="Sibyl")
    site.visit("/fail", User_Agent="a0", X_User="sib-id", X_Name="Sibyl")
    expect(figure(page, "active")).to_have_text("3")
    expect(page.locator("[data-tile=active] .sub")).to_have_text("1 user signed in")
    expect(figure(page, "errors")).to_have_text("1")
    expect(page.locator("rect.errors").last).not_to_have_attribute("height", "0")
    expect(page.locator("#coverage")).to_have_text("1 of 1 worker, 1 host")
    assert not re.search("sib|/page|fail", page.content().casefold())
    assert page.evaluate(CONTRAST) >= 4.5
    assert page.evaluate(FITS)
    assert page.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    size = page.locator("[data-tile=active] .figure").evaluate(
        "(one) => getComputedStyle(one).fontSize"
    )
    assert float(size.removesuffix("px")) > 200


@pytest.mark.parametrize("screen", [TV, LAPTOP, PHONE], ids=["tv", "laptop", "phone"])
def test_long_figures_fit(site: Site, watch: Watch, screen: dict[str, int]) -> None:
    page = watch(
        site,
        WALL,
        viewport=screen,
        prepare=lambda page: page.route("**/stream", lambda route: None),
    )
    for name, text in LONG.items():
        figure(page, name).evaluate(
            """(one, text) => {
              one.textContent = text;
              one.parentElement.dataset.chars = text.length;
              one.parentElement.toggleAttribute("data-partial", true);
              one.parentElement.querySelector(".least").textContent = "at least ";
            }""",
            text,
        )
    assert page.evaluate(FITS)


def test_the_numbers_are_there_without_any_script(site: Site, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=TV)
    page = context.new_page()
    page.goto(f"{site.url}/monitor/{WALL}")
    expect(figure(page, "active")).to_have_text(re.compile(r"^\d+$"))
    expect(page.locator("#connection-text")).to_have_text(re.compile(r"^As of \d\d:\d\d:\d\d UTC$"))
    context.close()


def test_cut_off_it_says_how_old_the_numbers_are_and_comes_back(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site()
    site.visit("/page/before")
    page = watch(site, WALL, viewport=TV, prepare=lambda page: page.add_init_script(CLOCK))
    is_live(page)
    expect(figure(page, "requests")).to_have_text("1")
    bars = page.locator(".last rect:not(.errors)")
    expect(bars.first).to_have_class("none")  # before the picture began
    expect(bars.last).to_have_class("requests")
    site.stop()
    words = page.locator("#connection-text")
    expect(words).to_have_text(
        re.compile(r"^Cut off since \d\d:\d\d:\d\d, numbers [1-9]\d* s old$")
    )
    page.evaluate("window.ahead = 120_000")
    expect(bars.last).to_have_class("none")
    expect(page.locator("#most")).to_have_text("at most 1 in a minute, dashes: no data")
    expect(figure(page, "requests")).to_have_text("1")
    page.evaluate("window.ahead = 0")
    quiet = page.locator("[data-tile=active] .sub").evaluate("(one) => getComputedStyle(one).color")
    expect(page.locator("[data-tile=active] .figure")).to_have_css("color", quiet)
    assert page.evaluate(CONTRAST) >= 4.5
    site.start()
    is_live(page)
    expect(figure(page, "active")).to_have_text("0")


def test_another_token_closes_it_and_takes_the_numbers_away(
    own_site: Callable[..., Site], watch: Watch
) -> None:
    site = own_site(WALL_TOKEN=TOKEN)
    page = watch(site, WALL)
    is_live(page)
    site.stop()
    site._environ["WALL_TOKEN"] = "another-wall-for-the-browser-tests"
    site.start()
    expect(page.locator("#connection-text")).to_have_text("Closed")
    expect(page.locator("main")).to_have_text("This address opens the wall no more.")
    expect(page.locator("#coverage")).to_have_text("")


def test_a_part_of_the_workers_is_at_least(own_site: Callable[..., Site], watch: Watch) -> None:
    site = own_site("--workers", "2", STORE="memory:")
    page = watch(site, WALL)
    is_live(page)
    expect(page.locator("[data-tile=active] .least")).to_have_text("at least ")
    expect(page.locator("#coverage")).to_have_text(re.compile("the numbers may be a part only$"))


def test_where_nothing_streams_it_asks_again(own_site: Callable[..., Site], watch: Watch) -> None:
    site = own_site(worker="sync")
    page = watch(site, WALL)
    words = page.locator("#connection-text")
    expect(words).to_have_text(re.compile(r"^Asked every 10 s, numbers \d+ s old$"))
    site.visit("/page/later", X_User="u-later")
    expect(figure(page, "active")).to_have_text("1", timeout=40_000)


def test_a_masked_viewer_s_page_names_nobody(site: Site, browser: Any) -> None:
    site.visit("/page/herself", X_User="sib-id", X_Name="Sibyl", X_Title="Her Title")
    context = browser.new_context()
    context.add_cookies([{"name": "role", "value": "view", "url": site.url}])
    page = context.new_page()
    page.goto(f"{site.url}/monitor/")
    is_live(page)
    row = page.locator(".people tr", has_text=re.compile("User [0-9A-F]{4}"))
    expect(row.first).to_contain_text("/page/<path:name>")
    site.visit("/page/herself/again", X_User="sib-id-2", X_Name="Sibyl Too", X_Title="Her Title")
    expect(page.locator(".activity li").first).to_contain_text(re.compile("User [0-9A-F]{4}"))
    row.first.locator("a").first.click()
    expect(page.locator("dialog.drawer h2")).to_have_text(re.compile("^User [0-9A-F]{4}$"))
    expect(page.locator("dialog.drawer li").first).to_be_visible()
    assert not re.search("sib-id|Sibyl|herself|Her Title", page.content())
    context.close()


@pytest.mark.parametrize("part", ["wall.js", "model.js", "wall.css"])
def test_a_part_that_does_not_come_has_the_wall_loaded_again(
    site: Site, watch: Watch, part: str
) -> None:
    page = watch(site, WALL, prepare=lambda page: refuse_once(page, f"**/{part}"))
    if part.endswith(".js"):
        said = page.locator("#connection-text")
        expect(said).to_have_text(re.compile("^Not live: .* next try at"))
        expect(page.locator("body")).to_have_attribute("data-state", "cut")
    expect(page.locator("body")).to_have_attribute("data-state", "live")
    expect(page.locator("main")).to_have_css("display", "grid")
