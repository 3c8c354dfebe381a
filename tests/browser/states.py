"""The states a page can be in, each a function that brings one about; a table for all who look.

``test_axe.py`` holds each to the rules of accessibility, ``screenshots.py`` takes its picture.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from threading import Thread
from typing import Any, NamedTuple

from playwright.sync_api import expect

from .conftest import Site, Watch, connection, is_live

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/141.0.0.0 Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.6 Safari/605.1.15",
)
NAMES = (
    *("Maria Lopez", "Yusuf Demir", "Ingrid Larsen", "Kwame Mensah", "Mei Chen", "Tomas Novak"),
    *("Aisha Hassan", "Liam Byrne", "Priya Nair", "Marek Rossi", "Léa Dubois", "שרה כהן"),
)
PLACES = (
    ("/page/tea/sencha", "Sencha"),
    ("/page/tea/morning-assam", "Morning Assam"),
    ("/page/tea/silver-needle", "Silver Needle"),
    ("/page/pots/clay-teapot", "Clay Teapot"),
    ("/page/basket", "Basket"),
    ("/", ""),
)
BEHIND_S = 29 * 60
WALL_TOKEN = "a-wall-for-the-browser-tests"


class Stage(NamedTuple):
    """Where a state is set up.

    Attributes:
        site: one with people; several states share it, and leave it as it is.
        own_site: starts another, for what would disturb the others.
        watch: opens its page as its admin.
    """

    site: Site
    own_site: Callable[..., Site]
    watch: Watch


State = Callable[[Stage], Any]


def peopled(make: Callable[..., Site]) -> Site:
    """Return a site with half an hour of visits behind it."""
    site = make(
        *("--timeout", "0"),
        app="tests.browser.half_hour:app",
        BEHIND_S=str(BEHIND_S),
        STORE="memory:",
        SITE_NAME="Tea shop",
        WALL_TOKEN=WALL_TOKEN,
    )
    chance = random.Random(7)
    for minute in range(BEHIND_S // 60):
        for _ in range(chance.randint(1, 3 + minute % 12)):
            visit(site, chance)
        if minute in (11, 12, 25):
            visit(site, chance, "/fail")
        site.visit("/pass/60", "POST")
    for number in range(len(NAMES)):
        visit(site, chance, number=number)
    visit(site, chance, "/no-such-page")
    return site


def visit(site: Site, chance: random.Random, path: str = "", number: int | None = None) -> None:
    """Make a visit of somebody; every third is a guest."""
    number = chance.randrange(3 * len(NAMES) // 2) if number is None else number
    place, title = chance.choice(PLACES) if not path else (path, "")
    headers = {"User_Agent": AGENTS[number % len(AGENTS)] + " " * (number // len(AGENTS))}
    if title:
        headers["X_Title"] = title
    if number < len(NAMES):
        name = NAMES[number]
        headers |= {"X_User": f"u-{number + 101}", "X_Name": name.encode().decode("latin-1")}
    site.visit(place, **headers)


def live(stage: Stage) -> Any:
    page = stage.watch(stage.site)
    is_live(page)
    return page


def waiting(stage: Stage) -> Any:
    """Somebody waits for an answer."""
    page = live(stage)
    asking = {"X_User": "u-104", "X_Name": NAMES[3], "User_Agent": AGENTS[0]}
    Thread(target=stage.site.visit, args=("/slow",), kwargs=asking, daemon=True).start()
    expect(page.locator(".waiting li")).to_have_count(1)
    return page


def drawer(stage: Stage) -> Any:
    page = live(stage)
    page.locator(".people a", has_text="Mei Chen").first.click()
    expect(page.locator("dialog.drawer li").first).to_be_visible()
    return page


def help_open(stage: Stage) -> Any:
    page = live(stage)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    return page


def paused(stage: Stage) -> Any:
    page = live(stage)
    page.keyboard.press("p")
    stage.site.visit("/page/basket", X_User="u-101", X_Name=NAMES[0], User_Agent=AGENTS[0])
    expect(page.locator("#pause")).to_have_text(re.compile(r"Paused, [1-9]"))
    return page


def filtered(stage: Stage) -> Any:
    page = stage.watch(stage.site, "#q=mei&who=users&window=15")
    is_live(page)
    expect(page.locator("#chips .chip")).to_have_count(2)
    return page


def without_match(stage: Stage) -> Any:
    page = stage.watch(stage.site, "#q=nobody-is-called-this")
    is_live(page)
    expect(page.locator(".people .empty")).to_be_visible()
    return page


def person(stage: Stage) -> Any:
    """The story of somebody, with all sessions."""
    page = stage.watch(stage.site, "#person=u-105")
    expect(page.locator("dialog.drawer .sessions li").first).to_be_visible()
    is_live(page)
    return page


def nobody(stage: Stage) -> Any:
    """The link to somebody who has gone."""
    page = stage.watch(stage.site, "#person=u-100")
    expect(page.locator("dialog.drawer")).to_contain_text("Not here now.")
    is_live(page)
    return page


def confirm(stage: Stage) -> Any:
    """Somebody's session is about to be ended."""
    stage.site.visit("/page/basket", X_User="u-151", X_Name="Noah Klein", User_Agent=AGENTS[0])
    found = stage.site.json("sessions?user=u-151", Cookie="role=admin")["items"]
    page = stage.watch(stage.site, f"#session={found[0]['id']}", prepare=as_role("act"))
    story = page.locator("dialog.drawer")
    expect(story.locator(".journey li").first).to_be_visible()
    is_live(page)
    story.locator("summary").click()
    story.locator("[data-end]").click()
    expect(story.locator("[data-confirm]")).to_be_visible()
    return page


def over(stage: Stage) -> Any:
    """It has been ended."""
    page = confirm(stage)
    page.locator("[data-confirm]").click()
    expect(page.locator("dialog.drawer [data-said]")).to_be_visible()
    expect(page.locator(".people tr", has_text="Noah Klein")).to_have_count(0)
    return page


def as_role(role: str) -> Callable[[Any], None]:
    """Return what lets a page be opened with another role than the admin's."""

    def prepare(page: Any) -> None:
        page.context.add_cookies([{**page.context.cookies()[0], "value": role}])

    return prepare


def masked(stage: Stage) -> Any:
    """For a viewer with the role "view"."""
    page = stage.watch(stage.site, prepare=as_role("view"))
    is_live(page)
    expect(page.locator(".strip .role")).to_be_visible()
    return page


def wall(stage: Stage) -> Any:
    """For a screen that everybody sees."""
    page = stage.watch(stage.site, f"wall/{WALL_TOKEN}")
    is_live(page)
    return page


def scriptless(stage: Stage) -> Any:
    """What stands there before any script runs; axe-core needs a browser that could run one."""
    return stage.watch(stage.site, prepare=lambda page: page.route("**/main.js", _nothing))


def _nothing(route: Any) -> None:
    route.fulfill(body="", content_type="text/javascript")


def empty(stage: Stage) -> Any:
    page = stage.watch(stage.own_site(STORE="memory:", SITE_NAME="Tea shop"))
    is_live(page)
    expect(page.locator(".people .empty")).to_be_visible()
    return page


def cut_off(stage: Stage) -> Any:
    site = peopled(stage.own_site)
    page = stage.watch(site)
    is_live(page)
    site.stop(signal.SIGKILL)
    expect(page.locator("#connection")).to_have_attribute("data-state", "cut")
    return page


def polling(stage: Stage) -> Any:
    """All places of the stream are taken."""
    site = stage.own_site(MAX_VIEWERS="1", SITE_NAME="Tea shop")
    site.visit("/page/basket", X_User="u-101", X_Name=NAMES[0])
    is_live(stage.watch(site))
    page = stage.watch(site)
    expect(connection(page)).to_have_text(re.compile("^No free place"))
    return page


def ended(stage: Stage) -> Any:
    site = stage.own_site(SITE_NAME="Tea shop")
    page = stage.watch(site)
    is_live(page)
    site.visit("/doors/shut", "POST")
    expect(connection(page)).to_have_text("Access ended")
    return page


#: All states, by the names of their pictures.
STATES: dict[str, State] = {
    "live": live,
    "waiting": waiting,
    "drawer": drawer,
    "person": person,
    "nobody": nobody,
    "confirm": confirm,
    "over": over,
    "help": help_open,
    "paused": paused,
    "filtered": filtered,
    "without-match": without_match,
    "masked": masked,
    "wall": wall,
    "scriptless": scriptless,
    "empty": empty,
    "cut-off": cut_off,
    "polling": polling,
    "ended": ended,
}
#: How a page is looked at: width, height, theme.
LOOKS = tuple(
    (width, height, theme)
    for width, height in ((1440, 900), (360, 740))
    for theme in ("light", "dark")
)
#: On a tablet or a small laptop, where two columns are narrow.
NARROW = (1024, 768, "light")


def looks_at(state: str) -> tuple[tuple[int, int, str], ...]:
    """Return how a state is looked at."""
    return (*LOOKS, NARROW) if state == "live" else LOOKS


def looked_at(page: Any, width: int, height: int, theme: str) -> str:
    """Let a page be looked at in another way; return its name."""
    page.set_viewport_size({"width": width, "height": height})
    # Without motion: a number that flashes just then has the other theme's colour.
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    # Rows that come into view are filled frame by frame.
    page.wait_for_function(
        "() => [...document.querySelectorAll('tr[data-key] a')].every((one) => one.textContent)"
    )
    return f"{width}-{theme}"
