"""Settings: one field each is the source of default, unit, range and meaning."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from .errors import ConfigError

PREFIX = "REALTIME_MONITOR_"

#: What is not recorded unless ``REALTIME_MONITOR_EXCLUDE`` says otherwise.
DEFAULT_EXCLUDE: tuple[str, ...] = (
    "static",
    "*.static",
    "/favicon.ico",
    "/robots.txt",
    "/health",
    "/healthz",
    "/livez",
    "/readyz",
    "/ping",
    "kube-probe*",
    "GoogleHC*",
    "ELB-HealthChecker*",
)

#: Names of view arguments and custom data whose values are never kept.
DEFAULT_REDACT: tuple[str, ...] = (
    "*token*",
    "*secret*",
    "*password*",
    "*key*",
    "*code*",
    "*signature*",
)

Check = Callable[[Any], Any]


class _Wrong(ValueError):
    """A value does not fit; the text completes the sentence "... must be"."""


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise _Wrong("True or False")


def _number(low: float, high: float, *, zero: str | None = None, whole: bool = False) -> Check:
    """A check for a number in [low, high]; with ``zero``, 0 is allowed too and means that."""
    kind = "a whole number" if whole else "a number"
    text = f"{kind} from {low:.12g} to {high:.12g}" + (f", or 0 ({zero})" if zero else "")

    def check(value: Any) -> float | int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (whole and not isinstance(value, int)):
            raise _Wrong(text)
        if zero and value == 0:
            return 0
        if not low <= value <= high:
            raise _Wrong(text)
        return value if whole else float(value)

    return check


def _texts(what: str) -> Check:
    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
            raise _Wrong(f'a tuple of {what}, such as ("name",)')
        if not all(isinstance(item, str) and item for item in value):
            raise _Wrong(f"a tuple of {what}, each a text that is not empty")
        return tuple(value)

    return check


def _choice(*allowed: str) -> Check:
    def check(value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise _Wrong(" or ".join(f'"{item}"' for item in allowed))

    return check


def _unbuilt(default: bool | int | str) -> Check:
    """A check for a setting that has a name and, so far, nothing but its default."""

    def check(value: Any) -> bool | int | str:
        is_alike = isinstance(value, bool) is isinstance(default, bool)
        if is_alike and isinstance(value, int | float | str) and value == default:
            return default
        raise _Wrong(f"{default!r}, or leave it out: anything else is not built yet")

    return check


def _url_prefix(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.strip("/"):
        raise _Wrong('a path that begins with "/" and names a place of its own, such as "/monitor"')
    if any(c in value for c in "<>?#") or "//" in value or not value.isprintable():
        raise _Wrong('a plain path without "<", ">", "?", "#" or "//", such as "/monitor"')
    if re.search("%[0-9A-Fa-f]{2}", value):
        # By then a server has decoded the path, so that nothing would ever be found there.
        raise _Wrong('the path as it reads, without escapes such as "%20", like "/my monitor"')
    return value.rstrip("/")


_SCHEMES = (
    "auto",
    "memory:",
    "sqlite:////path",
    "redis://host",
    "rediss://host",
    "valkey://host",
    "unix:///path",
)


def _store(value: Any) -> str:
    known = "one of " + ", ".join(f'"{one}"' for one in _SCHEMES)
    if not isinstance(value, str):
        raise _Wrong(known)
    if value == "auto" or value.rstrip("/") == "memory:":
        return "auto" if value == "auto" else "memory:"
    scheme, _, rest = value.partition("://")
    if scheme == "sqlite":
        if not rest.startswith("//") or rest.endswith("/"):
            raise _Wrong('"sqlite:////path" with the whole path of a file')
        return value
    if scheme not in STORE_SCHEMES or not rest.strip("/"):
        raise _Wrong(known)
    return value


#: Of stores on a server; the client comes with the extra "redis".
STORE_SCHEMES = (
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis+cluster",
    "valkey+cluster",
)


def _prefix(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.isprintable() and 0 < len(value) <= 100):
        return value
    raise _Wrong("None or a text of 1 to 100 printable characters")


def _metrics_token(value: Any) -> str | None:
    if value is None:
        return None
    is_whole = isinstance(value, str) and value.isprintable() and len(value) >= 16
    if is_whole and value == value.strip():  # else what is sent never equals it
        return str(value)
    raise _Wrong(
        "None or a text of at least 16 characters, without a line break and with no space around it"
    )


def _wall_token(value: Any) -> str | None:
    if value is None:
        return None
    is_whole = isinstance(value, str) and value.isprintable() and len(value) >= 24
    if is_whole and not set(value) & set("/?#%\\ "):  # it is one part of a path
        return str(value)
    raise _Wrong(
        "None or a text of at least 24 characters that may stand in a URL's path, such as "
        '`python -c "import secrets; print(secrets.token_urlsafe(32))"` prints'
    )


def _setting(default: Any, check: Check, meaning: str) -> Any:
    return field(default=default, metadata={"check": check, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of one app, checked; read once, at ``init_app``.

    The key in ``app.config`` is the field's name in capitals behind ``REALTIME_MONITOR_``.
    """

    enabled: bool = _setting(True, _boolean, "False: no hook, no route")
    url_prefix: str = _setting("/monitor", _url_prefix, "where the blueprint is mounted")
    store: str = _setting(
        "auto",
        _store,
        '"auto": right with no server to start, however many workers this host runs; "memory:"; '
        '"sqlite:////path"; "redis://..." or "valkey://..." for several hosts',
    )
    store_prefix: str | None = _setting(
        None,
        _prefix,
        "keeps two apps of one server or Redis apart; derived from the app's import name",
    )
    session_timeout: float = _setting(
        1800.0, _number(1, 86_400), "s without a request until a session ends"
    )
    active_window: float = _setting(
        300.0, _number(1, 86_400), 's; "active" = a request within it, or one in flight'
    )
    history_size: int = _setting(
        1000, _number(1, 100_000, whole=True), "activities kept for the feed"
    )
    session_history_size: int = _setting(
        50, _number(1, 1000, whole=True), "activities kept per session"
    )
    max_sessions: int = _setting(
        100_000,
        _number(1, 10_000_000, whole=True),
        "bound, in each worker; the longest-idle anonymous sessions go first, and are counted",
    )
    update_interval: float = _setting(
        1.0, _number(0.1, 60), "s between two stream updates; stretched only by a tick's own work"
    )
    # Twice the longest, and a reader's look at it, are less than how long a worker may say nothing.
    flush_interval: float = _setting(
        0.25, _number(0.05, 2), "s between two writes to a shared store"
    )
    heartbeat_interval: float = _setting(10.0, _number(1, 300), "s; a comment on an idle stream")
    resync_interval: float = _setting(
        300.0,
        _number(1, 86_400, zero="never"),
        "s; a full snapshot where something changed since the last",
    )
    max_viewers: int = _setting(
        0,
        _number(1, 100_000, zero="derived from the worker's descriptors", whole=True),
        "streams per worker, all together; never more than three quarters of what they take: "
        "descriptors, or connections",
    )
    stream_max_age: float = _setting(
        300.0,
        _number(1, 86_400, zero="never"),
        "s after which a stream asks its browser to come back with fresh cookies",
    )
    reauthorize_interval: float = _setting(
        10.0, _number(0.1, 3600), "s; an open stream asks the gate again"
    )
    exclude: tuple[str, ...] = _setting(
        DEFAULT_EXCLUDE,
        _texts("patterns of endpoints, paths or agents"),
        "what is not recorded; what you set replaces the default",
    )
    ip: str = _setting(
        "masked",
        _choice("full", "masked", "off"),
        '"full", "masked" (/24, /48) or "off"',
    )
    query_string: tuple[str, ...] = _setting(
        (), _texts("names of query parameters"), "query parameters that may be kept"
    )
    redact: tuple[str, ...] = _setting(
        DEFAULT_REDACT,
        _texts("patterns of names"),
        "names of view arguments and custom data shown as <name>, never as their value",
    )
    metrics_token: str | None = _setting(
        None, _metrics_token, "bearer token that opens /metrics alone, also where no gate is set"
    )
    wall_token: str | None = _setting(
        None,
        _wall_token,
        "at least 24 characters: opens /wall/<token> and /wall/<token>/stream alone, numbers of "
        "stats only; it stands in server logs like any URL, so change it now and then",
    )
    budget_us: int = _setting(
        0,
        _unbuilt(0),
        "microseconds a request above which recording steps down, 0 = never; only 0 is taken, "
        "the rest is not built yet",
    )
    gpc: str = _setting(
        "ignore",
        _unbuilt("ignore"),
        'what Sec-GPC: 1 does; only "ignore" is taken, the rest is not built yet',
    )
    trust_session_id: bool = _setting(
        False,
        _unbuilt(False),
        "whether a server-side session's id identifies the session; only False is taken, the rest "
        "is not built yet",
    )

    def __post_init__(self) -> None:
        if self.active_window > self.session_timeout:
            raise ConfigError(
                f"{PREFIX}ACTIVE_WINDOW ({self.active_window:g} s) is longer than "
                f"{PREFIX}SESSION_TIMEOUT ({self.session_timeout:g} s): a session would end while "
                f"it counts as active; set ACTIVE_WINDOW to at most SESSION_TIMEOUT"
            )


def key_of(setting: Field[Any]) -> str:
    """Return the full key of a field of Settings, as written in ``app.config``."""
    return PREFIX + setting.name.upper()


def load(config: Mapping[str, Any]) -> Settings:
    """Read the settings out of an app's config.

    Raises:
        ConfigError: for an unknown key, a wrong type or a value out of range.
    """
    by_key = {key_of(item): item for item in fields(Settings)}
    values: dict[str, Any] = {}
    for key, value in config.items():
        if not isinstance(key, str) or not key.startswith(PREFIX):
            continue
        setting = by_key.get(key)
        if setting is None:
            raise ConfigError(_unknown(key, list(by_key)))
        try:
            values[setting.name] = setting.metadata["check"](value)
        except _Wrong as wrong:
            raise ConfigError(
                f"{key} is {_shown(key, value)}; write {wrong} (default {setting.default!r}: "
                f"{setting.metadata['meaning']})"
            ) from None
    if "active_window" not in values and "session_timeout" in values:
        # Who only shortens the session means the window to fit, not to be told off.
        values["active_window"] = min(300.0, values["session_timeout"])
    return Settings(**values)


def _shown(key: str, value: Any) -> str:
    """Return a value as a message may show it: of a URL neither password nor options."""
    if key.endswith("TOKEN") or "@" in str(value):
        return "***"
    if isinstance(value, str) and "://" in value:
        value = re.split("[?#]", value, maxsplit=1)[0]
    return repr(value)[:80]


def _unknown(key: str, known: list[str]) -> str:
    # Compared without what all keys have in common, which would make any two look alike.
    names = [name.removeprefix(PREFIX) for name in known]
    close = difflib.get_close_matches(key.removeprefix(PREFIX).upper(), names, n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known: {', '.join(known)}"
    return f"unknown setting {key}; {hint}"
