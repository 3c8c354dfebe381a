"""How large a snapshot and an update can become: 100 of everything, texts up to what is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# The picture without an app is what the tests have.
sys.path.append(str(Path(__file__).parents[1]))

from support import aims, heading, options, table

from flask_realtime_monitor import delta, sse
from tests.support.records import Bench

ITEMS = 100
EMOJI = "\N{GRINNING FACE}"
MOST_UPDATE_BYTES = 65_536
MOST_SNAPSHOT_BYTES = 131_072
#: (path, name, title, endpoint, data): what each is filled up with.
CASES: dict[str, tuple[str, str, str, str, dict[str, str] | None]] = {
    "short texts": ("item", "Ann Example", "Order 1", "shop.item", None),
    "paths of 60": ("x" * 56, "Ann Example", "Order 1", "shop.item", None),
    "paths of 256": ("x" * 256, "Ann Example", "", "shop.item", None),
    "all at their longest": ("x" * 256, "n" * 128, "t" * 128, "e" * 128, None),
    "the same, all emoji": (EMOJI * 256, EMOJI * 128, EMOJI * 128, EMOJI * 128, None),
    "custom data too": (
        *(EMOJI * 256, EMOJI * 128, EMOJI * 128, EMOJI * 128),
        {f"{number:02}" + EMOJI * 62: EMOJI * 256 for number in range(16)},
    ),
}


def main() -> None:
    """Print the sizes of each case."""
    options(__doc__)
    heading(f"{ITEMS} sessions, users, activities and endpoints, all new in one tick")
    rows = []
    for case, texts in CASES.items():
        snapshot, update = largest(*texts)
        parts = delta.parts(update, MOST_UPDATE_BYTES)
        sizes = [len(sse.encode("update", part)) for part in parts]
        whole = len(sse.encode("snapshot", snapshot))
        rows.append((case, whole, len(sse.encode("update", update)), len(parts), max(sizes)))
    table(
        ("case", "snapshot bytes", "update bytes", "parts", "largest part"),
        [(case, *(f"{number:,}" for number in numbers)) for case, *numbers in rows],
    )
    aims(
        [
            ("a snapshot, short texts", rows[0][1], MOST_SNAPSHOT_BYTES, "bytes"),
            ("a snapshot, paths of 256", rows[2][1], MOST_SNAPSHOT_BYTES, "bytes"),
            ("a part, all at their longest", rows[3][4], MOST_UPDATE_BYTES, "bytes"),
        ]
    )


def largest(
    path: str, name: str, title: str, endpoint: str, data: dict[str, str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a full snapshot, and the update that leads to it from nothing."""
    bench = Bench()
    before = bench.picture.snapshot()
    for number in range(ITEMS):
        fields: dict[str, Any] = {
            "user_name": name,
            "path": f"/{number:03}{path}"[:256],
            "rule": "/<x>",
            "endpoint": f"e{number:03}{endpoint}"[:128],
            "title": title or None,
        }
        user = f"u{number:03}{name}"[:128]
        if data is not None:
            bench.visit(number + 1, user, kind="custom", data=data, **fields)
        bench.visit(number + 1, user, **fields)
    after = bench.picture.snapshot()
    return after, delta.update(before, after) or {}


if __name__ == "__main__":
    main()
