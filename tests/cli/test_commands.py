"""What each command prints, over an app in this process."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from typing import Any

import click
import pytest
from click.testing import Result

from flask_realtime_monitor.cli.export import COLUMNS
from tests.support.apps import House
from tests.support.gunicorn_server import ROOT
from tests.support.waiting import wait_until

#: What must not reach a terminal; a line's end aside.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HOSTILE = (
    *("\x1b[2J\x1b]0;owned\x07", "back\x08space", "over\rwrite", "del\x7fete", "c1 \x9b31m"),
    *("tab\there", "line\nbreak", "bidi \u202eexe.txt", "zero\u200bwidth", "nul\x00"),
)


def _wsgi(text: str) -> str:
    """Return text as a server hands it on."""
    return text.encode().decode("latin-1")


def run(house: House, *words: str, code: int = 0, **options: Any) -> Result:
    result = house.app.test_cli_runner().invoke(args=["monitor", *words], **options)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def json_of(house: House, *words: str) -> Any:
    return json.loads(run(house, *words, "--json").stdout)


def test_the_documents_name_every_command_that_prints_json() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    named = set(re.findall(r"`([a-z-]+)`", text.partition("`--json` prints JSON")[2].split(".")[0]))
    group = House().app.cli.commands["monitor"]
    assert isinstance(group, click.Group)
    assert named == {
        name
        for name, command in group.commands.items()
        if any("--json" in one.opts for one in command.params)
    }


@pytest.fixture
def house() -> House:
    made = House()
    made.visit("/item/tea", user="ana", name="Ana")
    made.visit("/fail", user="bob", agent="other")
    made.visit("/", agent="guest")
    return made


def test_stats_are_the_api_s(house: House) -> None:
    def still(stats: Any) -> dict[str, Any]:
        moving = {"as_of", "excluded", "requests_per_s", "errors_per_s"}
        return {k: v for k, v in stats.items() if k not in moving}

    def are_alike() -> bool:  # unless another minute begins in between
        return still(json_of(house, "stats")) == still(house.get("stats").json)

    wait_until(are_alike, "both tell the same")
    told = json_of(house, "stats")
    assert (told["active_users"], told["requests_total"]) == (2, 3)
    text = run(house, "stats").stdout
    assert re.search(r"people +2 ", text)
    assert re.search(r"workers +1 +of 1 report", text)


def test_who_lists_people_and_then_guests(house: House) -> None:
    found = json_of(house, "who")
    assert found["items"] == house.monitor.get_active_users()
    assert {one["id"] for one in found["items"]} == {"ana", "bob"}
    assert [one["path"] for one in found["guests"]] == ["/"]
    assert found["total"] == 2
    text = run(house, "who").stdout
    assert max(text.index("bob"), text.index("Ana")) < text.index("Guest ")
    assert json_of(house, "who", "-q", "ana")["items"][0]["name"] == "Ana"


def test_who_is_not_active_any_more_is_listed_with_all() -> None:
    house = House(ACTIVE_WINDOW=1)
    house.visit("/", user="ana")
    wait_until(lambda: json_of(house, "who")["items"] == [], "ana is idle")
    assert [one["id"] for one in json_of(house, "who", "--all")["items"]] == ["ana"]


def test_tail_ends_with_the_newest(house: House) -> None:
    lines = run(house, "tail", "-n", "2").stdout.splitlines()
    assert ["/fail" in lines[0], "Guest" in lines[1], len(lines)] == [True, True, 2]
    told = [json.loads(line) for line in run(house, "tail", "--json").stdout.splitlines()]
    assert told == list(reversed(house.get("activities").json["items"]))


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_an_export_is_the_api_s_list_in_either_form(house: House, kind: str) -> None:
    items = house.get(kind).json["items"]
    lines = [json.loads(line) for line in run(house, "export", kind).stdout.splitlines()]
    assert [sorted(line) for line in lines] == [sorted(item) for item in items]
    rows = list(csv.reader(StringIO(run(house, "export", kind, "--csv").stdout)))
    assert rows[0] == [column.replace(".", "_") for column in COLUMNS[kind]]
    assert len(rows) == len(items) + 1
    named = {column.partition(".")[0] for column in COLUMNS[kind]}
    assert all(set(item) == named for item in items), "a column for each key"


def test_an_export_of_nothing_has_its_header(house: House) -> None:
    assert run(house, "export", "users", "--format", "csv", "-q", "nobody").stdout.count("\n") == 1
    assert run(house, "export", "users", "-q", "nobody").stdout == ""


@pytest.mark.parametrize(
    "name", ["=1+1", "+49 30", "-cmd", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "\r=1"]
)
def test_a_cell_is_never_a_formula(house: House, name: str) -> None:
    house.monitor.track(name, user="ana")
    rows = list(csv.DictReader(StringIO(run(house, "export", "--csv").stdout)))
    cells = [row["name"] for row in rows if row["kind"] == "custom"]
    assert cells and all(cell.startswith("'") for cell in cells if cell != "1"), cells


def test_a_number_stays_a_number(house: House) -> None:
    from flask_realtime_monitor.cli.console import csv_cell

    cells = [csv_cell(one) for one in (-5, -0.5, "-5", "-5.25", True, None, {"a": -5})]
    assert cells == ["-5", "-0.5", "-5", "-5.25", "true", "", '{"a":-5}']


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_strangers_acts_on_the_terminal(text: str) -> None:
    house = House(QUERY_STRING=("q",))
    overrides = {"HTTP_X_USER": text, "HTTP_X_NAME": text, "HTTP_USER_AGENT": f"curl/{text}"}
    house.client.get("/item/x", environ_overrides=overrides)
    house.client.get("/", environ_overrides={"PATH_INFO": f"/item/{_wsgi(text)}"})
    house.monitor.track(text, user=text, value=text)
    commands = ("stats", "who", "tail", "top", "export", "doctor", "wait-idle --timeout 0")
    for command in (*commands, *(f"export {kind} --csv" for kind in COLUMNS)):
        for form in ("", "--json"):
            words = [*command.split(), *([form] if form else [])]
            result = house.app.test_cli_runner().invoke(args=["monitor", *words])
            assert not FORBIDDEN.search(result.output), (words, result.output)
            assert "\u202e" not in result.output
            assert result.exit_code in (0, 1)
            assert result.exception is None or isinstance(result.exception, SystemExit)


def test_text_that_the_encoding_has_not_is_spelled_out(house: House) -> None:
    house.visit("/", user="zo\u00eb")
    runner = house.app.test_cli_runner(charset="ascii")
    result = runner.invoke(args=["monitor", "who"])
    assert result.exit_code == 0
    assert "\\xeb" in result.output


def test_forget_erases_here(house: House) -> None:
    assert "erased 'ana'" in run(house, "forget", "ana").stdout
    assert "ana" not in str(house.get("users").json) + str(house.get("activities").json)
    assert json_of(house, "forget", "bob") == {"user": "bob", "workers": 1, "late": []}


def test_idle_is_who_did_nothing_for_a_while(house: House) -> None:
    busy = run(house, "wait-idle", "--timeout", "0", code=1)
    assert "was active" in busy.stderr
    assert run(house, "wait-idle", "--seconds", "0").stdout == "idle\n"
    assert json_of(house, "wait-idle", "--seconds", "0") == {"is_idle": True, "because": []}


def test_a_request_in_flight_is_not_idle() -> None:
    house = House()

    @house.app.get("/ask")
    def ask() -> str:
        result = run(house, "wait-idle", "--seconds", "0", "--timeout", "0", code=1)
        run(house, "wait-idle", "--seconds", "0", "--max-inflight", "1")
        return result.stderr

    assert "1 in flight, the oldest GET /ask" in house.client.get("/ask").text


def test_top_prints_one_screen_where_nobody_looks(house: House) -> None:
    text = run(house, "top").stdout
    assert "house: flask monitor top" in text
    assert "people 2" in text
    assert set(json_of(house, "top", "--once")) >= {"stats", "sessions", "activities"}


@pytest.mark.parametrize("store", ["memory:", "auto"])
def test_without_a_picture_it_says_what_to_do_and_fails(store: str) -> None:
    house = House(STORE=store)
    for words in (["stats"], ["who"], ["tail"], ["top"], ["export"], ["wait-idle"]):
        result = run(house, *words, code=1)
        assert result.stdout == ""
        assert "REALTIME_MONITOR_STORE" in result.stderr
    assert "nothing was erased" in run(house, "forget", "ana", code=1).stderr


def test_a_file_that_is_not_there_is_not_made(tmp_path: Any) -> None:
    house = House(STORE=f"sqlite:///{tmp_path}/monitor.sqlite")
    result = run(house, "stats", code=1)
    assert "no server has written to it" in result.stderr
    run(house, "forget", "ana", code=1)
    run(house, "doctor", code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_worker_is_no_truth(tmp_path: Any) -> None:
    tmp_path.chmod(0o700)
    url = f"sqlite:///{tmp_path}/monitor.sqlite"
    from flask_realtime_monitor.stores import open_store

    store = open_store(url, worker="none")
    store.epoch()
    store.leave()
    assert "no worker reports" in run(House(STORE=url), "stats", code=1).stderr


def test_there_are_no_commands_without_the_monitor() -> None:
    house = House(is_open=None)
    assert "monitor" in house.app.cli.commands
    from flask import Flask

    from flask_realtime_monitor import RealtimeMonitor

    app = Flask("off")
    app.config["REALTIME_MONITOR_ENABLED"] = False
    RealtimeMonitor(app)
    assert "monitor" not in app.cli.commands


def test_a_command_of_the_app_s_own_stays() -> None:
    from flask import Flask

    from flask_realtime_monitor import RealtimeMonitor

    app = Flask("own")
    app.cli.command("monitor")(lambda: None)
    own = app.cli.commands["monitor"]
    RealtimeMonitor(app)
    assert app.cli.commands["monitor"] is own
    assert "stats" in app.cli.commands["realtime-monitor"].commands  # type: ignore[attr-defined]


def test_the_doctor_misses_a_gate() -> None:
    house = House(is_open=None)
    house.visit()
    result = run(house, "doctor", code=1)
    assert "fault" in result.stdout and "@monitor.authorize" in result.stdout
    house.monitor.authorize(lambda: True)
    assert json_of(house, "doctor")["ok"]


@pytest.mark.parametrize(
    "url",
    [
        *("shop.example", "ftp://shop", "http://", "http://x:port"),
        *("http://a..b/", "http://h/täst", "http://h/a b"),
    ],
)
def test_the_doctor_wants_a_whole_address(house: House, url: str) -> None:
    assert "--url" in run(house, "doctor", "--url", url, code=1).stderr


def test_the_doctor_says_how_a_path_is_written(house: House) -> None:
    assert "/t%C3%A4st" in run(house, "doctor", "--url", "http://h/täst", code=1).stderr


def test_the_doctor_asks_for_a_prefix_of_any_letters() -> None:
    house = House(URL_PREFIX="/wächter")
    told = run(house, "doctor", "--url", "http://127.0.0.1:1", code=1).stdout
    assert "127.0.0.1 cannot be asked" in told


@pytest.mark.parametrize("header", ["Cookie", ": x", "A: b\r\nC: d", "A: €", "Ä: b", "A: \x00"])
def test_the_doctor_wants_a_whole_header(house: House, header: str) -> None:
    words = ("doctor", "--url", "http://127.0.0.1:1", "--header", header)
    assert "--header" in run(house, *words, code=1).stderr
