"""Imports go down, never up: the architecture, held."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import flask_realtime_monitor

PACKAGE = Path(flask_realtime_monitor.__file__).parent
#: Each line may import from the lines above it, and from its own.
LAYERS = (
    "errors models signals sse packet pulse ring records clock histogram interner rows wheel crowd",
    "processes agents wording recency groups departures credentials filters tokens listing",
    "config privacy guard people traffic visitors",
    "pauses",
    "sessions",
    "noted",
    "tracker stores",
    "source delta health frames feed reports meanings doubts",
    "peers surroundings outbox replica refusals beats estate worker",
    "hearsay",
    "sights foresight gathering joining living legacy index shapes replicas signouts viewers",
    "flusher",
    "numbers endings reasons sharing search resumption rendering selection fanout",
    "picture edits ingest identity access handover",
    "recorders cards metrics receivers",
    "totals",
    "timeline",
    "channels capacity",
    "broadcaster",
    "state",
    "web cli gates",
    "extension",
    "__init__ testing",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
FLASK_FROM = LEVEL["identity"]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (name, whether it is ours) of everything a module imports."""
    package = ("flask_realtime_monitor", *path.relative_to(PACKAGE).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(((node.module or "").partition(".")[0], False))
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            inside = [name for name in base[1:] if name]
            names = [inside[0]] if inside else [alias.name for alias in node.names]
            found += [(name, True) for name in names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = part(path)
    for name, is_ours in imports(path):
        if is_ours and name != own:
            assert LEVEL[name] <= LEVEL[own], f"{own} imports {name}, which is above it"


def test_the_table_of_layers_in_the_documents_is_true() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    table = text.partition("| layer | modules |")[2].partition("\n\n")[0]
    lines = [re.sub(r"\([^)]*\)", "", line) for line in table.splitlines()[2:]]
    line_of = {name: at for at, line in enumerate(lines) for name in re.findall(r"`(\w+)`", line)}
    for path in modules():
        own = part(path)
        for name, is_ours in imports(path) if own != "__init__" else ():
            assert not is_ours or line_of[name] <= line_of[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_below_knows_no_flask_and_one_knows_gevent(path: Path) -> None:
    names = {name for name, is_ours in imports(path) if not is_ours}
    assert not names & {"greenlet", "gunicorn"}
    assert "gevent" not in names or part(path) == "fanout"
    flaskless = LEVEL[part(path)] < FLASK_FROM or part(path) in ("picture", "ingest", "worker")
    if flaskless or part(path) in ("cards", "metrics", "broadcaster", "timeline"):
        assert not names & {"flask", "werkzeug", "flask_login"}


def test_recorders_see_neither_store_nor_tracker() -> None:
    for path in (PACKAGE / "recorders").glob("*.py"):
        assert not {name for name, ours in imports(path) if ours} & {"stores", "tracker"}


def test_every_module_has_its_layer_and_reads_in_one_go() -> None:
    assert {part(path) for path in modules()} == set(LEVEL)
    for path in modules():
        assert len(path.read_text().splitlines()) <= 440, path


def test_what_others_wrote_is_parsed_never_run() -> None:
    """Rows, beats and notes come out of a store that others write to."""
    runs = re.compile(r"\b(pickle|marshal|shelve|yaml|dill)\b|(?<![\w.])(eval|exec)\(")
    found = [str(path) for path in modules() if runs.search(path.read_text())]
    assert found == []


def test_nothing_names_a_place_on_a_machine() -> None:
    for path in modules():
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text()), path
