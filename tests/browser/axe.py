"""axe-core, run in a page as it is: its CSP and its Trusted Types stay on."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any


def violations(page: Any) -> list[str]:
    """Return what breaks a rule of accessibility: the rule, what it wants, and where."""
    # The debugger's evaluation is no script of the page's, so no policy has a say in it.
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_source())
    found = page.evaluate(
        """() => axe.run(document, {
            runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
            resultTypes: ["violations"],
        })"""
    )
    return [
        f"{one['id']}: {' '.join(node['failureSummary'].split())}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@cache
def _source() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()
