"""axe-core, run in a page as it is: its CSP and its Trusted Types stay on."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

#: All there are, and those that are about colours: what else a theme changes is nothing.
_ALL = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_COLOURS = ("color-contrast", "link-in-text-block")


def violations(page: Any, colours_alone: bool = False) -> list[str]:
    """Return what breaks a rule of accessibility: the rule, what it wants, and where.

    Args:
        colours_alone: whether the page was looked at before, in another theme.
    """
    # The debugger's evaluation is no script of the page's, so no policy has a say in it.
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_source())
    found = page.evaluate(
        "(only) => axe.run(document, { runOnly: only, resultTypes: ['violations'] })",
        {"type": "rule", "values": _COLOURS} if colours_alone else {"type": "tag", "values": _ALL},
    )
    return [
        f"{one['id']}: {' '.join(node['failureSummary'].split())}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@cache
def _source() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()
