"""Examines a deployment from beside it: the store, the gate, the workers, and the way in front."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .. import beats
from ..config import Settings
from ..state import Live, State
from ..stores import Beat, Roster, Store, StoreError
from .front import Front
from .reading import file_of, living, name_of, why_no_store, why_nothing

Json = dict[str, Any]

_GATE = (
    "no gate is set, so nobody may watch: write @monitor.authorize above a function that returns "
    "True for those who may"
)
_SKEW_S = 2.0
_FULL = 0.8
_MANY = 20
_ONE_ADDRESS = 0.9
_HERE = ("localhost", "127.0.0.1", "::1")


class Finding(NamedTuple):
    """What was found: ``mark`` is ok, warn or fault."""

    mark: str
    name: str
    text: str


def examine(state: State, live: Live, url: str | None, headers: Sequence[str]) -> list[Finding]:
    """Return what is well and what is not."""
    found = [_gate(state)]
    live.ingest.fold()
    why = None if live.serves else why_no_store(live)
    store = live.sharing.store
    if why is not None:
        found.append(Finding("fault", "store", why))
    elif not store.is_shared:
        found.append(Finding("ok", "store", "this process serves the app by itself"))
    else:
        found += _store(live, store)
    if url is not None:
        front = Front(url, live.settings, headers, state.hooks.authorize is not None)
        found += [Finding(*one) for one in front.examine()]
    return found


def _gate(state: State) -> Finding:
    if state.hooks.authorize is None:
        return Finding("fault", "gate", _GATE)
    return Finding("ok", "gate", "a gate is set; whom it lets in, --url with --header shows")


def _store(live: Live, store: Store) -> Iterator[Finding]:
    began_s = time.monotonic()
    try:
        roster = store.roster()
    except StoreError as error:
        yield Finding("fault", "store", f"it cannot be used: {error}")
        return
    took_ms = (time.monotonic() - began_s) * 1000
    yield Finding("ok", "store", f"{store.shown_url} answers in {took_ms:.0f} ms")
    yield _privacy(store)
    if abs(roster.now - time.time()) > _SKEW_S:
        off_s = roster.now - time.time()
        yield Finding(
            "warn",
            "clock",
            f"the store's clock and this host's differ by {off_s:.0f} s; let both follow NTP",
        )
    yield from _workers(live, roster)


def _privacy(store: Store) -> Finding:
    """Tell whether others can read what is kept."""
    path = file_of(store.shown_url)
    if path is None:
        return _privacy_of_server(store)
    for place, forbidden in ((path, 0o077), (os.path.dirname(path), 0o022)):
        found = os.stat(place)
        if stat.S_IMODE(found.st_mode) & forbidden or found.st_uid != os.geteuid():
            return Finding(
                "fault", "private", f"{place} is open to other users; chown and chmod go-rwx it"
            )
    return Finding("ok", "private", "only this user can read it")


def _privacy_of_server(store: Store) -> Finding:
    asked = urlsplit(store.url)
    host = asked.hostname or ""
    if asked.scheme == "unix" or host in _HERE:
        return Finding("ok", "private", "the server is on this host")
    if asked.password is None and "password=" not in asked.query:
        return Finding(
            "warn",
            "private",
            f"{host} is asked without a password: whoever reaches it reads who uses the app and "
            "can change it; give it one (requirepass or ACL), and write it into the address",
        )
    if not asked.scheme.startswith(("rediss", "valkeys")):
        return Finding(
            "warn",
            "private",
            f"what goes to {host} is not encrypted; use rediss:// unless the network is your own",
        )
    return Finding("ok", "private", "with a password, and encrypted")


def _workers(live: Live, roster: Roster) -> Iterator[Finding]:
    why = why_nothing(live)
    here = living(roster)
    if why is not None or not here:
        yield Finding("fault", "workers", why or "no worker reports; start the server")
        return
    told = {id: beats.decode(beat.data) for id, beat in here.items()}
    silent = [name_of(told[id]) for id, beat in here.items() if _age_s(roster, beat)]
    if silent:
        yield Finding(
            "fault",
            "workers",
            f"{len(silent)} of {len(here)} do not report: {', '.join(silent[:5])}; see whether "
            "they hang (a request that never ends, a sync worker that is stopped)",
        )
    else:
        hosts = len({beat.get("host") for beat in told.values()})
        yield Finding("ok", "workers", f"{len(here)} report, on {hosts} host(s)")
    yield from _serving(list(told.values()), live.settings)
    yield from _health(live, list(told.values()))
    yield from _addresses(live)


def _age_s(roster: Roster, beat: Beat) -> bool:
    return roster.now - beat.at > beats.SILENT_S


def _serving(told: Sequence[Json], settings: Settings) -> Iterator[Finding]:
    """Tell what the kind of worker means for streams."""
    serving = [beat.get("serving") or {} for beat in told]
    kinds = Counter(str(one.get("class", "")) for one in serving)
    kinds.pop("", None)
    if not kinds:
        yield Finding("ok", "server", "no gunicorn; a stream takes one of the server's threads")
    for kind, count in kinds.items():
        workers = "1 worker is" if count == 1 else f"{count} workers are"
        if "Gevent" in kind:
            yield Finding("ok", "server", f"{workers} of {kind}")
        else:
            yield Finding(
                "warn",
                "server",
                f"{workers} of {kind}: each dashboard that is open takes a thread, or has to ask "
                "again and again; serve with --worker-class gevent",
            )
    if any("Gevent" in str(one.get("class")) and not one.get("is_patched") for one in serving):
        yield Finding(
            "fault",
            "server",
            "gevent has not patched the standard library in a worker: a lock stops all of it; "
            "begin gunicorn.conf.py with: from gevent import monkey; monkey.patch_all()",
        )
    yield from _viewers(told, settings)


def _viewers(told: Sequence[Json], settings: Settings) -> Iterator[Finding]:
    """Compare streams, and those there may be, with what the server can hold."""
    held = [_connections(beat) for beat in told if _holds_streams(beat)]
    least = min((one for one in held if one), default=0)
    if settings.max_viewers and least and settings.max_viewers >= least:
        yield Finding(
            "fault",
            "viewers",
            f"REALTIME_MONITOR_MAX_VIEWERS is {settings.max_viewers}, and each stream keeps one of "
            f"a worker's {least} connections (worker_connections), as with TLS in the worker: "
            "viewers could take every one of them; raise worker_connections to twice as many",
        )
        return
    for beat in told:
        open_now = int((beat.get("item") or {}).get("viewers") or 0)
        most, remedy = _most(beat, settings)
        if most and open_now >= _FULL * most:
            yield Finding(
                "warn",
                "viewers",
                f"{name_of(beat)} has {open_now} of at most {most} viewers; raise {remedy}",
            )
            return
    viewers = sum(int((beat.get("item") or {}).get("viewers") or 0) for beat in told)
    yield Finding("ok", "viewers", f"{viewers} are connected; there is room")


def _holds_streams(beat: Json) -> bool:
    """Tell whether each stream keeps one of a worker's connections; most keep none."""
    serving = beat.get("serving") or {}
    return "Gevent" in str(serving.get("class")) and bool(serving.get("holds_streams"))


def _connections(beat: Json) -> int:
    return int((beat.get("serving") or {}).get("connections") or 0)


def _most(beat: Json, settings: Settings) -> tuple[int, str]:
    """Return how many viewers a worker takes, and what gives it more."""
    most = int((beat.get("serving") or {}).get("most_viewers") or 0)
    if settings.max_viewers and most >= settings.max_viewers:
        return most, "REALTIME_MONITOR_MAX_VIEWERS"
    if not settings.max_viewers and _holds_streams(beat):
        return min(most, _connections(beat) // 2), "worker_connections"
    return most, "the limit of its descriptors (ulimit -n, LimitNOFILE)"


def _health(live: Live, told: Sequence[Json]) -> Iterator[Finding]:
    errors = sum(int((beat.get("item") or {}).get("errors") or 0) for beat in told)
    if errors:
        yield Finding(
            "warn",
            "errors",
            f"{errors} calls of the monitor failed; the server's log has the first of each kind",
        )
    dropped = {name: n for name, n in live.picture.stats()["dropped"].items() if n}
    if dropped.get("sessions"):
        yield Finding(
            "warn",
            "bounds",
            f"{dropped['sessions']} sessions were thrown away at "
            f"REALTIME_MONITOR_MAX_SESSIONS ({live.settings.max_sessions}); raise it",
        )


def _addresses(live: Live) -> Iterator[Finding]:
    """Tell when everybody seems to come from one address: that of the proxy."""
    sessions = live.picture.sessions(1000)["items"]
    addresses = Counter(one["ip"] for one in sessions if one["ip"])
    if not addresses or len(sessions) < _MANY:
        return
    ip, count = addresses.most_common(1)[0]
    if count >= _ONE_ADDRESS * len(sessions):
        yield Finding(
            "warn",
            "proxy",
            f"{count / len(sessions):.0%} of the sessions come from {ip}: probably the proxy's "
            "address; tell the app who is behind it, after init_app: "
            "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)",
        )
