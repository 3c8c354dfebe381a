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


JOINERS = "\u200c\u200d"
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
HEART = "\u2764\ufe0f\u200d\U0001f525"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
#: Names as they are to be read, by what they are.
READABLE = {
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Sinhala": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "Hindi": "\u0930\u094d\u200d\u092f",
    "a family": FAMILY,
    "a heart on fire": HEART,
    "a skin": "\U0001f44b\U0001f3fd",
    "England": ENGLAND,
    "Latin": "Zo\u00eb \u00c9",
}
#: What would make two names look alike, or turn one around.
MARKED = {
    "ad\u200dmin": "ad[U+200D]min",
    "ad\u200cmin": "ad[U+200C]min",
    "\u202enimda": "[U+202E]nimda",
    "\u0645\u200c": "\u0645[U+200C]",
    "\u0645\u200c\u200c\u0645": "\u0645[U+200C][U+200C]\u0645",
    "\U0001f469\u200d": "\U0001f469[U+200D]",
    "\u2764\ufe0f\u200dx": "\u2764\ufe0f[U+200D]x",
    "x\U000e0067\U000e007f": "x[U+E0067][U+E007F]",
    "\U0001f3f4\U000e0067": "\U0001f3f4[U+E0067]",
    "a\n\u2028\ue000": "a[U+000A][U+2028][U+E000]",
}
DURATIONS = {
    None: "–",  # noqa: RUF001 (a dash, not a minus)
    0.44: "0.4 ms",
    9.97: "10 ms",
    12.4: "12 ms",
    999.4: "999 ms",
    999.7: "1.0 s",
    12_340: "12.3 s",
    59_940: "59.9 s",
    59_999: "1 min",
    119_000: "1 min",
    3_600_000: "1 h",
}
AGENTS: list[tuple[dict[str, Any], str]] = [
    ({"browser": None, "os": None, "is_bot": True}, "Bot"),
    ({"browser": "curl", "os": None, "is_bot": True}, "Bot: curl"),
    ({"browser": None, "os": None, "is_bot": False}, "Unknown"),
    ({"browser": "Firefox", "os": "Linux", "is_bot": False}, "Firefox on Linux"),
]


def told(page: Any, name: str, values: list[Any]) -> list[str]:
    """Return what the script makes of values."""
    found = page.evaluate(
        "async ([module, name, values]) => values.map((await import(module))[name])",
        [module_of(page, "format.js"), name, values],
    )
    return list(found)


def test_the_script_words_values_as_the_server_does(site: Site, watch: Watch) -> None:
    page = watch(site)
    assert told(page, "milliseconds", list(DURATIONS)) == list(DURATIONS.values())
    assert told(page, "device", [agent for agent, _ in AGENTS]) == [text for _, text in AGENTS]
    assert told(page, "visible", list(READABLE.values())) == list(READABLE.values())
    assert told(page, "visible", list(MARKED)) == list(MARKED.values())
    chance = random.Random(3)
    signs = [*JOINERS, *FAMILY[::2], *HEART, *ENGLAND, *"ad\n\u202e\u00ad\u0645\u0dca\u0dbb\u0600"]
    mixed = ["".join(chance.choices(signs, k=8)) for _ in range(2000)]
    assert told(page, "visible", mixed) == [wording.visible(one) for one in mixed]


def test_the_server_words_values_as_it_is_meant() -> None:
    assert [wording.milliseconds(one) for one in DURATIONS] == list(DURATIONS.values())
    assert [wording.device(agent) for agent, _ in AGENTS] == [text for _, text in AGENTS]
    for name, text in READABLE.items():
        assert wording.visible(text) == text, name
    for text, marked in MARKED.items():
        assert wording.visible(text) == marked
