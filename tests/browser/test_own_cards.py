"""Cards that an app adds, in a real browser: the example of docs/cards.md, and odd ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from tests.support.gunicorn_server import ROOT
from tests.support.waiting import wait_until

from .conftest import Site, Watch, is_live

DOCS = (ROOT / "docs/cards.md").read_text()
FILES = re.findall(r"^`([\w./]+)` [^`]*?(?:`shown` [^`]*)?```\w+\n(.*?)^```", DOCS, re.M | re.S)
ADDING = re.findall(r"^And where the monitor is made.*?```python\n(.*?)^```", DOCS, re.M | re.S)

ODD = {
    "no-script": "export function mount( {",
    "no-mount": "export const mounted = 1;",
    "no-such-import": 'import { nothing } from "../dom.js"; export function mount() {}',
    "mount-throws": 'export function mount() { throw new Error("odd"); }',
    "mount-rejects": 'export async function mount() { throw new Error("odd"); }',
    "draw-throws": 'export function mount() { return { draw() { throw new Error("odd"); } }; }',
    "tick-throws": 'export function mount() { return { tick() { throw new Error("odd"); } }; }',
    "draw-rejects": 'export function mount() { return { async draw() { throw "odd"; } }; }',
    "markup": 'export function mount(card) { card.innerHTML = "<b>odd</b>"; }',
    "made-script": """export function mount(card) {
        const made = document.createElement("script");
        made.text = "window.ran = true";
        card.append(made);
    }""",
}
WELL = """
class Counting {
  constructor(element) { this.element = element; }
  draw(model) { this.element.textContent = `drawn, ${model.stats.requests_total}`; }
}
export function mount(element) { return Object.freeze(new Counting(element)); }
"""
APP = """
from pathlib import Path
from flask_realtime_monitor.cards import Card
from tests.browser.site import app, monitor
folder = Path(__file__).parent
for script in sorted(folder.glob("*.js")):
    monitor.add_card(Card(script.stem, script.stem, lambda reader: {}, folder))
"""


@pytest.fixture
def served(own_site: Callable[..., Site], tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Write files, and serve ``site:app`` of them."""

    def serve(files: dict[str, str], *options: str) -> Site:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return own_site("--chdir", str(tmp_path), *options, app="shown:app")

    yield serve


def staff(page: Any) -> Any:
    return page.locator("[data-card=departments] li")


def test_the_example_of_the_documentation_runs_and_is_live(
    served: Callable[..., Site], watch: Watch
) -> None:
    files = dict(FILES)
    assert {Path(name).suffix for name in files} == {".py", ".html", ".js", ".css"}
    app = "from tests.browser.site import app, monitor\n" + ADDING[0]
    site = served({**files, "shown.py": app}, "--workers", "2")
    site.visit("/", X_User="ana", X_Name="Ana")
    before = watch(site, java_script_enabled=False)
    wait_until(lambda: before.reload() and staff(before).count(), "this worker knows of Ana")
    expect(staff(before)).to_have_text([re.compile(r"Tasting\s+1")])
    expect(before.locator("#card-departments-title")).to_have_text("Staff by department")
    page = watch(site)
    is_live(page)
    expect(page.locator("[data-sum]")).to_have_text("1 signed in and active")
    for name in ("ben", "cleo", "<b>nobody</b>"):
        site.visit("/", X_User=name)
    expect(page.locator("[data-sum]")).to_have_text("4 signed in and active")
    departments = ("Elsewhere", "Packing", "Tasting")
    rows = zip(departments, (1, 2, 1), strict=True)
    expect(staff(page)).to_have_text([re.compile(rf"{name}\s+{people}") for name, people in rows])
    assert staff(page).first.evaluate("(one) => getComputedStyle(one).display") == "flex"


def test_a_card_asks_the_api_with_an_object_or_with_search_params(
    served: Callable[..., Site], watch: Watch
) -> None:
    script = """export async function mount(element, page) {
        const only = { user: "u-odd", who: "users", limit: 1 };
        const asked = [only, new URLSearchParams(only), {}, null, undefined];
        const totals = [];
        for (const params of asked) totals.push((await page.ask("users", params)).data.total);
        element.textContent = totals.join(", ");
    }"""
    site = served({"asking.js": script, "asking.html": "", "shown.py": APP})
    for name in ("u-odd", "u-even", "u-other"):
        site.visit("/", X_User=name)
    page = watch(site)
    expect(page.locator("[data-card=asking]")).to_have_text("1, 1, 3, 3, 3")


def test_a_script_that_fails_says_so_and_all_others_go_on(
    served: Callable[..., Site], watch: Watch
) -> None:
    scripts = {
        **ODD,
        "hangs": "export function mount() { return new Promise(() => {}); }",
        "well": WELL,
    }
    files = {f"{stem}.js": text for stem, text in scripts.items()}
    files |= {f"{stem}.html": f"<p>{stem} at first</p>" for stem in scripts}
    site = served({**files, "shown.py": APP})
    page = watch(site)
    is_live(page)
    for stem in ODD:
        failed = page.locator(f"[data-card={stem}] p")
        expect(failed).to_have_text("This card failed; the browser's console says why.")
        expect(page.locator(f"[data-card={stem}] h2")).to_have_text(stem)
    well = page.locator("[data-card=well]")
    expect(well).to_have_text(re.compile("^drawn, "))
    for _ in range(3):  # more to draw, nothing more to say
        told = well.inner_text()
        site.visit("/page/odd", X_User="u-odd", X_Name="Otto Odd")
        expect(well).not_to_have_text(told)
    expect(page.locator(".people tr", has_text="Otto Odd")).to_be_visible()
    expect(page.locator("[data-card=hangs] p")).to_have_text("hangs at first")
    assert page.evaluate("window.ran") is None
    wait_until(lambda: len(failures(page)) >= len(ODD), "all failures are on the console")
    assert sorted(failures(page)) == sorted(ODD)
    page.messages.clear()


def failures(page: Any) -> list[str]:
    """Return the stems of the cards that the console has told of."""
    found = [re.match(r'The card "([\w-]+)" failed', one) for one in page.messages]
    return [one.group(1) for one in found if one]


def test_a_card_that_failed_at_the_server_is_not_mounted(
    served: Callable[..., Site], watch: Watch
) -> None:
    site = served(
        {
            "late.js": 'export function mount() { throw new Error("mounted all the same"); }',
            "late.html": "{{ shown.nothing }}",
            "shown.py": APP,
        }
    )
    page = watch(site)
    is_live(page)
    expect(page.locator("[data-card=late]")).to_have_text(
        re.compile("This card failed; the app's log says why.")
    )
    assert "the template of card 'late' failed: UndefinedError" in site.log()
