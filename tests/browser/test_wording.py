"""Values read the same before any script runs and after: wording.py against format.js itself."""

from __future__ import annotations

import random
from typing import Any

from flask_realtime_monitor import wording

from .conftest import Site, Watch, module_of

NAMES = ("age", "number", "milliseconds", "visible")


def values() -> list[float]:
    """Return many numbers: halves of all that is shown, and whatever chance gives."""
    chance = random.Random(12)
    found: list[float] = [n / 20 for n in range(4000)]
    found += [n / 2 for n in range(1800, 2600)]
    found += [n * 50 for n in range(20, 400)]
    found += [chance.lognormvariate(2, 4) for _ in range(4000)]
    found += [float(f"{one:.4g}") for one in found[-2000:]]
    return found + [10**n for n in range(16)]


def test_the_server_and_the_browser_say_the_same(site: Site, watch: Watch) -> None:
    page = watch(site)
    plain = values()
    data = [*plain, *(-one for one in plain), *(10.0**n for n in range(-12, 30)), 5e-324, 1.7e300]
    told = page.evaluate(
        """async ([module, plain, data]) => {
            const format = await import(module);
            return {
                age: plain.map(format.age), number: plain.map(format.number),
                milliseconds: plain.map(format.milliseconds), visible: data.map(format.visible),
            };
        }""",
        [module_of(page, "format.js"), plain, data],
    )
    own = {
        **{name: [getattr(wording, name)(one) for one in plain] for name in NAMES[:3]},
        "visible": [wording.datum(one) for one in data],
    }
    for name in NAMES:
        assert different(told[name], own[name], data) == [], name


def different(theirs: list[str], ours: list[str], of: list[float]) -> list[tuple[Any, ...]]:
    """Return the first values that do not read the same."""
    pairs = zip(of, theirs, ours, strict=False)
    return [one for one in pairs if one[1] != one[2]][:5]
