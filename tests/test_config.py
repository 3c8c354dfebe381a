from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from flask import Flask

from flask_realtime_monitor import ConfigError, RealtimeMonitor, beats
from flask_realtime_monitor.config import Settings, load

WRONG = [
    ("ENABLED", "yes", "True or False"),
    ("ENABLED", 1, "True or False"),
    ("URL_PREFIX", "monitor", 'begins with "/"'),
    ("URL_PREFIX", "/", "names a place of its own"),
    ("URL_PREFIX", "/a/<b>", "plain path"),
    ("URL_PREFIX", "/a%2Fb", "without escapes"),
    ("STORE", "postgres://localhost", "memory:"),
    ("STORE", "sqlite:///relative.db", "sqlite:////path"),
    ("STORE", "redis://", "redis://host"),
    ("STORE", None, "memory:"),
    ("STORE_PREFIX", "", "printable"),
    ("FLUSH_INTERVAL", 0, "from 0.05 to 2"),
    ("FLUSH_INTERVAL", 2.1, "from 0.05 to 2"),
    ("SESSION_TIMEOUT", "1800", "a number from 1 to 86400"),
    ("SESSION_TIMEOUT", 0, "a number from 1"),
    ("SESSION_TIMEOUT", True, "a number"),
    ("ACTIVE_WINDOW", -1, "a number from 1"),
    ("HISTORY_SIZE", 1.5, "a whole number"),
    ("SESSION_HISTORY_SIZE", 0, "a whole number from 1"),
    ("MAX_SESSIONS", 10**9, "a whole number from 1"),
    ("UPDATE_INTERVAL", 0.01, "a number from 0.1"),
    ("HEARTBEAT_INTERVAL", float("nan"), "a number from 1"),
    ("RESYNC_INTERVAL", -1, "or 0 (never)"),
    ("MAX_VIEWERS", -1, "or 0 (derived"),
    ("STREAM_MAX_AGE", "never", "or 0 (never)"),
    ("REAUTHORIZE_INTERVAL", 0, "a number from 0.1"),
    ("EXCLUDE", "static", "a tuple of patterns"),
    ("EXCLUDE", ("",), "not empty"),
    ("IP", "half", '"full" or "masked" or "off"'),
    ("QUERY_STRING", "q", "a tuple of names"),
    ("REDACT", None, "a tuple of patterns"),
    ("METRICS_TOKEN", "short", "at least 16 characters"),
    ("METRICS_TOKEN", " " * 20, "no space around it"),
    ("METRICS_TOKEN", "read-from-a-file-with-its-end\n", "without a line break"),
    ("METRICS_TOKEN", " a-token-of-enough-length", "no space around it"),
    ("STORE", "redis://h/notadb", "redis://host:port/0"),
    ("STORE", "redis://h/0/1", "redis://host:port/0"),
    ("STORE", "redis://[::1", "redis://host:port/0"),
    ("STORE", "redis://[zz]:1", "redis://host:port/0"),
    ("STORE", "redis+cluster://h:1,[::1", "redis://host:port/0"),
    ("STORE", "rediss://h?ssl_cert_reqs=zzz", "required, optional or none"),
    ("STORE", "valkeys://h?ssl_cert_reqs=zzz", "required, optional or none"),
    ("WALL_TOKEN", "twenty-three-characters", "at least 24 characters"),
    ("WALL_TOKEN", "a/wall/is-one/part-of-a-path", "at least 24 characters"),
    ("WALL_TOKEN", 7, "None or a text"),
    ("BUDGET_US", 500, "write 0, or leave it out: anything else is not built yet"),
    ("BUDGET_US", False, "not built yet"),
    ("GPC", "skip", "write 'ignore', or leave it out: anything else is not built yet"),
    ("GPC", None, "not built yet"),
    ("TRUST_SESSION_ID", True, "write False, or leave it out: anything else is not built yet"),
    ("TRUST_SESSION_ID", 0, "not built yet"),
]


def monitored(**settings: Any) -> Flask:
    app = Flask("settings")
    app.config.update({f"REALTIME_MONITOR_{name}": one for name, one in settings.items()})
    RealtimeMonitor(app)
    return app


@pytest.mark.parametrize(("key", "value", "advice"), WRONG)
def test_a_wrong_value_stops_the_app_and_says_what_to_write(
    key: str, value: Any, advice: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        monitored(**{key: value})
    assert f"REALTIME_MONITOR_{key}" in str(raised.value)
    assert advice in str(raised.value)


def test_a_wrong_token_is_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        monitored(METRICS_TOKEN="tiny-secret")
    assert "tiny-secret" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        monitored(WALL_TOKEN="tiny-secret")
    assert "tiny-secret" not in str(raised.value)
    assert "token_urlsafe(32)" in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redi://host/0?password=hunter2", "'redi://host/0'"),
        ("redi://host#hunter2", "'redi://host'"),
        ("redi://me:hunter2@host", "***"),
        ("redi://me:hunt?er2@host", "***"),
    ],
)
def test_of_a_wrong_url_neither_password_nor_options_are_shown(url: str, shown: str) -> None:
    with pytest.raises(ConfigError) as raised:
        monitored(STORE=url)
    assert f"REALTIME_MONITOR_STORE is {shown}; write" in str(raised.value)
    assert "hunt" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "redi://host?password=hunter2",
        "redis+sentinel://host?password=hunter2",
        "redis://:hunter2/@host:port",
        "redis://:hunter2?@host/x",
        "redis://:hunter2@host/x?password=hunter2",
        "rediss://:hunter2@host?ssl_cert_reqs=hunter2",
    ],
)
def test_the_password_of_a_wrong_store_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        monitored(STORE=url)
    assert "hunter2" not in str(raised.value)


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean REALTIME_MONITOR_SESSION_TIMEOUT"):
        monitored(SESION_TIMEOUT=60)


@pytest.mark.parametrize(("key", "meant"), [("ip", "IP"), ("MAX_VIEWER", "MAX_VIEWERS")])
def test_a_slip_of_the_keyboard_is_understood(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean REALTIME_MONITOR_{meant}\\?"):
        monitored(**{key: 1})


def test_of_what_is_not_built_the_default_may_be_set() -> None:
    monitored(BUDGET_US=0, GPC="ignore", TRUST_SESSION_ID=False)


def test_every_setting_is_tried_wrong_here() -> None:
    tried = {key.lower() for key, _, _ in WRONG}
    assert {item.name for item in fields(Settings)} == tried


def test_an_active_window_longer_than_a_session_is_refused() -> None:
    with pytest.raises(ConfigError, match="is longer than"):
        monitored(SESSION_TIMEOUT=60, ACTIVE_WINDOW=120)


def test_a_shorter_session_brings_a_window_that_fits() -> None:
    assert load({"REALTIME_MONITOR_SESSION_TIMEOUT": 60}).active_window == 60


def test_a_prefix_loses_its_last_slash() -> None:
    assert load({"REALTIME_MONITOR_URL_PREFIX": "/who/"}).url_prefix == "/who"


def test_a_worker_that_writes_as_seldom_as_may_be_set_is_not_silent() -> None:
    assert load({"REALTIME_MONITOR_FLUSH_INTERVAL": 2}).flush_interval * 2 < beats.SILENT_S
    with pytest.raises(ConfigError, match="to 2 "):
        load({"REALTIME_MONITOR_FLUSH_INTERVAL": beats.SILENT_S / 2})


def test_the_defaults_are_those_of_the_contract() -> None:
    found = load({"OTHER_KEY": 1})
    assert (found.session_timeout, found.active_window, found.history_size) == (1800, 300, 1000)
    assert (found.session_history_size, found.max_sessions) == (50, 100_000)
    assert (found.update_interval, found.heartbeat_interval, found.resync_interval) == (1, 10, 300)
    assert (found.stream_max_age, found.reauthorize_interval, found.ip) == (300, 10, "masked")
