"""A card is four files of one stem, and the page shows them all."""

from __future__ import annotations

from pathlib import Path

import flask_realtime_monitor
from flask_realtime_monitor.cards import CARDS

from .conftest import House

PACKAGE = Path(flask_realtime_monitor.__file__).parent
STEMS = {card.stem for card in CARDS}


def stems(folder: Path, pattern: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in folder.glob(pattern)}


def test_every_card_has_data_template_script_and_test() -> None:
    assert stems(PACKAGE / "cards", "*.py") - {"__init__", "base"} == STEMS
    assert stems(PACKAGE / "templates/realtime_monitor/cards", "*.html") == STEMS
    assert stems(PACKAGE / "static/cards", "*.js") == STEMS
    assert stems(Path(__file__).parent, "test_*.py") - {"structure"} == STEMS


def test_the_page_holds_every_card_and_nothing_inline(house: House) -> None:
    page = house.page()
    assert set(page.cards) >= STEMS
    html = house.html()
    assert html.count("<script") == 1 and "<style" not in html


def test_the_page_and_its_files_weigh_less_than_60_kb() -> None:
    files = [path for path in (PACKAGE / "static").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60_000
