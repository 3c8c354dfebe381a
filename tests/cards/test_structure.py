"""A card is four files of one stem, and the page shows them all."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from werkzeug.test import TestResponse

import flask_realtime_monitor
from flask_realtime_monitor.cards import CARDS

from .conftest import House

PACKAGE = Path(flask_realtime_monitor.__file__).parent
STEMS = {card.stem for card in CARDS}


def stems(folder: Path, pattern: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in folder.glob(pattern)}


def test_every_card_has_data_template_script_and_test() -> None:
    no_cards = {"__init__", "base", "deck", "minutes", "reader"}
    assert stems(PACKAGE / "cards", "*.py") - no_cards == STEMS
    assert stems(PACKAGE / "templates/realtime_monitor/cards", "*.html") == STEMS
    assert stems(PACKAGE / "static/cards", "*.js") == STEMS
    assert stems(Path(__file__).parent, "test_*.py") - {"structure", "own"} == STEMS


def test_the_page_holds_every_card_and_nothing_inline(house: House) -> None:
    page = house.page()
    assert set(page.cards) >= STEMS
    html = house.html()
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == ["", ""]
    assert "<style" not in html


def imported_by(name: str) -> set[str]:
    """Return the scripts that are loaded with one, itself included, but for those loaded later."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        path = PACKAGE / "static" / name
        for other in re.findall(
            r'^(?:import|export) .*?"(\.[^"]+)";', path.read_text(), re.M | re.S
        ):
            there = (path.parent / other).resolve()
            waiting.append(there.relative_to(PACKAGE / "static").as_posix())
    return found


def test_whatever_a_script_exports_is_used_by_another() -> None:
    texts = {path: path.read_text() for path in (PACKAGE / "static").rglob("*.js")}
    for path, text in texts.items():
        names = re.findall(r"^export (?:async )?(?:const|function|class) (\w+)", text, re.M)
        others = "\n".join(other for there, other in texts.items() if there != path)
        for name in set(names) - {"mount"}:
            assert re.search(rf"\b{name}\b", others), f"{path.name} exports {name} to nobody"


def test_every_file_of_the_page_is_served_whole_and_packed(house: House) -> None:
    version = re.search(r"/monitor/assets/(\w+)/", house.html())
    assert version
    for path in (PACKAGE / "static").rglob("*"):
        if path.is_file():
            name = path.relative_to(PACKAGE / "static").as_posix()
            url = f"/monitor/assets/{version.group(1)}/{name}"
            packed = house.client.get(url, headers={"Accept-Encoding": "gzip, br"})
            assert packed.headers["Vary"] == "Accept-Encoding"
            plain = house.client.get(url)
            assert gzip.decompress(packed.data) == plain.data
            assert "Content-Encoding" not in plain.headers
            if path.suffix in (".js", ".css"):
                says_the_same(plain.text, path.read_text("utf-8"))
            assert plain.headers["ETag"] != packed.headers["ETag"]


def says_the_same(lean: str, source: str) -> None:
    """Comments, indents and spaces are for those who read the files; texts are for all."""
    assert not re.search(r"/\*|^[ \n]", lean, re.M)
    source = re.sub(r"/\*(?s:.*?)\*/|(?<!:)//.*", "", source)
    for text in re.findall(r'"[^"\n]*"|`[^`\n]*`', source):
        assert text in lean
    assert re.sub(r"\s", "", lean) == re.sub(r"\s", "", source)
    assert len(lean) < 0.95 * len(source)


def test_the_page_and_its_files_weigh_less_than_60_kb_on_the_wire(house: House) -> None:
    version = re.search(r"/monitor/assets/(\w+)/", house.html())
    assert version
    page = house.client.get("/monitor/", headers={"Accept-Encoding": "gzip, br"})
    assert gzip.decompress(page.data).startswith(b"<!doctype html>")
    assert page.headers["Vary"] == "Accept-Encoding"
    url = f"/monitor/assets/{version.group(1)}/"
    loaded = {"icon.svg", "early.js", "page.css", "worker.js", *imported_by("main.js")}
    loaded |= {name for stem in STEMS for name in imported_by(f"cards/{stem}.js")}
    assert len(loaded) > 20
    weight = wire_bytes(page)
    for name in loaded:
        packed = house.client.get(url + name, headers={"Accept-Encoding": "gzip, br"})
        assert packed.headers["Content-Encoding"] == "gzip"
        weight += wire_bytes(packed)
    assert weight < 60_000


def wire_bytes(answer: TestResponse) -> int:
    """Return what an answer weighs: its body, its headers, and those that a server adds."""
    added = "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nConnection: keep-alive\r\n\r\n"
    return len(answer.data) + len(str(answer.headers)) + len(added)


def test_the_page_of_who_may_act_is_not_compressed(house: House) -> None:
    house.monitor.authorize(lambda: "act")
    page = house.client.get("/monitor/", headers={"Accept-Encoding": "gzip, br"})
    assert page.data.startswith(b"<!doctype html>") and "Content-Encoding" not in page.headers
