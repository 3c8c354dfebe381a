"""How values read on the page; ``static/format.js`` says the same in the browser.

Halves are rounded up, as there; ``round`` and formats of Python's go to the even neighbour. What
is a half is asked of two things: ``toFixed`` looks at the exact value of the binary number, where
0.15 is less than it reads; ``Intl.NumberFormat`` at the shortest decimal that stands for it.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from math import floor
from typing import Any

_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_WHOLE, _TENTHS, _EXACT = Decimal(1), Decimal("0.1"), Context(prec=400)  # no float has more
_LONGEST = 21  # digits before the point; a longer number gets an exponent
_SMALLEST = -6  # places that the point may stand before the first digit
#: Joiners between letters that they shape (Arabic to Sinhala) or emoji, and the flag of a region:
#: they belong there. Elsewhere they could make two names look alike, and are marked.
_SHAPING = re.compile(
    "\U0001f3f4[\U000e0030-\U000e007a]{3,6}\U000e007f"
    "|(?<=[\u0620-\u0dff])[\u200c\u200d](?=[\u0620-\u0dff])"
    "|(?<=[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d"
    "(?=[\u2190-\u2bff\U0001f000-\U0001faff])"
    "|(.)",
    re.DOTALL,
)
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Zl", "Zp"})


def age(seconds: float) -> str:
    """Return how long ago something was, such as "12 s" or "3 min"."""
    for size, unit in _SECONDS:
        if seconds >= size:
            return f"{floor(seconds / size)} {unit}"
    return f"{max(0, floor(seconds))} s"


def clock_time(at: float) -> str:
    """Return the time of day, UTC; the script puts the viewer's own in its place."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def number(value: float | None) -> str:
    """Return a number with its thousands apart; a dash where there is none."""
    if value is None:
        return "–"  # noqa: RUF001 (a dash, not a minus)
    is_whole = value == int(value) or abs(value) >= 100
    return f"{_rounded(Decimal(str(value)), _WHOLE if is_whole else _TENTHS):,}"


def milliseconds(value: float | None) -> str:
    """Return a duration, such as "0.4 ms", "12 ms", "3.1 s" or "2 min".

    The unit is that of the number when rounded: 999.7 ms are "1.0 s".
    """
    if value is None:
        return "–"  # noqa: RUF001 (a dash, not a minus)
    if value >= 59_950:
        return age(floor(value / 1000 + 0.5))
    if value >= 999.5:
        return f"{_rounded(Decimal(value / 1000), _TENTHS)} s"
    return f"{_rounded(Decimal(value), _WHOLE if value >= 9.95 else _TENTHS)} ms"


def _rounded(value: Decimal, to: Decimal) -> Decimal:
    return value.quantize(to, ROUND_HALF_UP, _EXACT)


def visible(text: Any) -> str:
    """Return text with its invisible characters spelled out, so that no name can hide itself."""
    text = str(text)
    return text if text.isprintable() else _SHAPING.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    one: str = found[0]
    if found[1] is None or unicodedata.category(one) not in _INVISIBLE:
        return one
    return f"[U+{ord(one):04X}]"


def datum(value: Any) -> str:
    """Return a plain value of custom data, as JavaScript writes it too."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _plain(value) if isinstance(value, float) else visible(value)


def _plain(value: float) -> str:
    """Return a number as JavaScript writes it: ECMA-262, Number::toString."""
    if not value:
        return "0"
    shortest = Decimal(repr(value)).normalize()
    digits = "".join(map(str, shortest.as_tuple().digits))
    point = shortest.adjusted() + 1  # how many digits stand before it
    if len(digits) <= point <= _LONGEST:
        text = digits.ljust(point, "0")
    elif 0 < point <= _LONGEST:
        text = f"{digits[:point]}.{digits[point:]}"
    elif _SMALLEST < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}.{digits[1:]}".rstrip(".") + f"e{point - 1:+d}"
    return f"-{text}" if value < 0 else text


def person(user: dict[str, Any] | None, session_id: str | None) -> str:
    """Return what a person is called: name, else id, else "Guest" and a few signs to tell apart."""
    if user is not None:
        return visible(user["name"] or user["id"])
    return "Guest" if session_id is None else f"Guest {session_id[:4].upper()}"


def device(agent: dict[str, Any]) -> str:
    """Return a browser and its system in a few words."""
    parts = [agent["browser"], agent["os"]]
    known = " on ".join(visible(part) for part in parts if part)
    if agent["is_bot"]:
        return f"Bot: {known}" if known else "Bot"
    return known or "Unknown"
