"""Everybody can use the page: axe-core finds nothing, in any state, theme or width."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
pytest.importorskip("axe_playwright_python", reason="no axe-core; it comes with the test extra")

from .axe import violations
from .conftest import Site, Watch
from .states import STATES, Stage, looked_at, looks_at, peopled


@pytest.fixture(scope="module")
def shop() -> Iterator[Site]:
    site = peopled(Site)
    yield site
    site.close()


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing(
    state: str, shop: Site, own_site: Callable[..., Site], watch: Watch
) -> None:
    page = STATES[state](Stage(shop, own_site, watch))
    found = []
    for look in looks_at(state):
        name = looked_at(page, *look)
        found += [f"{name}: {one}" for one in violations(page, look[2] == "dark")]
    assert not found, "\n".join(found)


def test_axe_would_find_something(shop: Site, watch: Watch) -> None:
    page = watch(shop)
    page.locator("html").evaluate("(one) => one.removeAttribute('lang')")
    page.locator("h1").evaluate("(one) => { one.style.color = 'silver'; }")
    found = {one.partition(":")[0] for one in violations(page)}
    assert found == {"html-has-lang", "color-contrast"}
