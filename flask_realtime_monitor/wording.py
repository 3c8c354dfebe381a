"""How values read on the page; ``static/format.js`` says the same in the browser."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Any

_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def age(seconds: float) -> str:
    """Return how long ago something was, such as "12 s" or "3 min"."""
    for size, unit in _SECONDS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def clock_time(at: float) -> str:
    """Return the time of day, UTC; the script puts the viewer's own in its place."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def number(value: float | None) -> str:
    """Return a number with its thousands apart; a dash where there is none."""
    if value is None:
        return "–"  # noqa: RUF001 (a dash, not a minus)
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}"


def milliseconds(value: float | None) -> str:
    """Return a duration, such as "0.4 ms", "12 ms" or "3.1 s"."""
    if value is None:
        return "–"  # noqa: RUF001 (a dash, not a minus)
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def visible(text: Any) -> str:
    """Return text with its invisible characters spelled out, so that no name can hide itself."""
    return "".join(
        f"[U+{ord(one):04X}]"
        if unicodedata.category(one) in {"Cc", "Cf", "Co", "Zl", "Zp"}
        else one
        for one in str(text)
    )


def datum(value: Any) -> str:
    """Return a plain value of custom data, as JavaScript writes it too."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return visible(value)


def person(user: dict[str, Any] | None, session_id: str | None) -> str:
    """Return what a person is called: name, else id, else "Guest" and a few signs to tell apart."""
    if user is not None:
        return visible(user["name"] or user["id"])
    return "Guest" if session_id is None else f"Guest {session_id[:4].upper()}"


def device(agent: dict[str, Any]) -> str:
    """Return a browser and its system in a few words."""
    parts = [agent["browser"], agent["os"]]
    known = " on ".join(visible(part) for part in parts if part)
    return f"Bot: {known}" if agent["is_bot"] and known else known or "Unknown"
