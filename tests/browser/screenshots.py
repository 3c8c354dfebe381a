"""Pictures of the page in every state, for a person to look at.

``python -m tests.browser.screenshots [folder] [state ...]`` writes ``<state>-<width>-<theme>.png``;
``make screenshots`` writes them all to ``docs/screenshots``.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

from tests.support.waiting import DEADLINE_S

from .conftest import CHROMIUM, Site, dashboard
from .states import STATES, Stage, looked_at, looks_at, peopled

FOLDER = Path(__file__).parents[2] / "docs/screenshots"


def main(folder: Path, states: list[str]) -> None:
    """Write the pictures of some states into a folder."""
    if CHROMIUM is None:
        raise SystemExit("no chromium; Debian's is installed by `apt-get install chromium`")
    folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=DEADLINE_S * 1000)
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.callback(browser.close)

        def own_site(*options: str, **more: str) -> Site:
            site = Site(*options, **more)
            stack.callback(site.close)
            return site

        def watch(site: Site, path: str = "", **options: Any) -> Any:
            return dashboard(browser, site.url, path, **options)

        shared = peopled(own_site)
        for name in states:
            page = STATES[name](Stage(shared, own_site, watch))
            for look in looks_at(name):
                path = folder / f"{name}-{looked_at(page, *look)}.png"
                page.screenshot(path=path, animations="disabled")
                print(path)
            page.context.close()


if __name__ == "__main__":
    where, *wanted = sys.argv[1:] or [str(FOLDER)]
    main(Path(where), wanted or list(STATES))
