from __future__ import annotations

import inspect

import flask_realtime_monitor as package
from flask_realtime_monitor import RealtimeMonitor, signals


def test_the_package_exports_what_the_documents_name() -> None:
    assert sorted(package.__all__) == sorted(
        ["RealtimeMonitor", "User", "Activity", "ConfigError", "DEFAULT_EXCLUDE", "DEFAULT_REDACT"]
    )
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_object_has_the_documented_calls() -> None:
    assert list(inspect.signature(RealtimeMonitor).parameters) == [
        *("app", "authorize", "identify", "before_record", "on_end_session", "cards")
    ]
    for name in (
        *("init_app", "authorize", "identify", "before_record", "on_end_session", "exempt"),
        *("enabled", "add_card"),
        *("track", "annotate", "get_stats", "get_active_users", "get_active_sessions"),
        *("get_activities", "get_session", "forget"),
    ):
        assert inspect.getdoc(getattr(RealtimeMonitor, name)), name


def test_the_signals_are_those_of_the_documents() -> None:
    assert sorted(signals.__all__) == [
        *("activity_recorded", "session_ended", "session_started"),
        *("viewer_connected", "viewer_disconnected"),
    ]


def test_the_defaults_are_those_of_the_documents() -> None:
    assert set(package.DEFAULT_EXCLUDE) == {
        *("static", "*.static", "/favicon.ico", "/robots.txt", "/health", "/healthz"),
        *("/livez", "/readyz", "/ping", "kube-probe*", "GoogleHC*", "ELB-HealthChecker*"),
    }
    assert set(package.DEFAULT_REDACT) == {
        *("*token*", "*secret*", "*password*", "*key*", "*code*", "*signature*"),
    }
