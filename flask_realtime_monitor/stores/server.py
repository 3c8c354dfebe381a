"""The way to a Redis or Valkey: a client without surprises, also of a cluster."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from ..errors import ConfigError
from . import wire
from .base import StoreError
from .desk import Desk

T = TypeVar("T")
Command = tuple[Any, ...]

#: How long (s) connecting, and each wait for an answer, may take.
TIMEOUT_S = 0.5
#: A server that could not be reached is tried again after this (s), once.
PAUSE_S = 1.0
#: So many times as long as connecting and one wait may all that is done in one go take: a large
#: answer comes in many pieces.
_PATIENCE = 5
_PORT = 6379
#: So many entries of a stream, and values at first, are asked for at once.
_AT_ONCE = 64
_MOST_MOVES = 3
_MOST_RACES = 10
#: The clients of Redis and Valkey; the first that is installed serves.
_CLIENTS = ("redis", "valkey")
#: What a node says of keys that are another's: their slot, whose host may be empty, and a port.
_MOVED = re.compile(r"MOVED \d+ (\S*):(\d+)")

#: What begins an error's text or is its class, and what to say of it. The first that fits counts:
#: a refused password is also a failed connection.
_REASONS = (
    ("NOAUTH", "asks for a password"),
    ("WRONGPASS", "refuses the user or the password"),
    ("Authentication", "refuses the user or the password"),
    ("NOPERM", "does not permit this user what is needed"),
    ("NoPermission", "does not permit this user what is needed"),
    ("ReadOnly", "is a replica that takes no writes (READONLY)"),
    ("OutOfMemory", "is out of memory (maxmemory)"),
    ("OOM", "is out of memory (maxmemory)"),
    ("BusyLoading", "is still loading its data"),
    ("MISCONF", "cannot save to its disk and takes no writes (MISCONF)"),
    (
        "WRONGTYPE",
        "holds something else under our keys (WRONGTYPE); set REALTIME_MONITOR_STORE_PREFIX",
    ),
    ("CLUSTERDOWN", "is a cluster that is not complete"),
    ("ClusterDown", "is a cluster that is not complete"),
    ("MASTERDOWN", "is a cluster that is not complete"),
    ("MasterDown", "is a cluster that is not complete"),
    ("TRYAGAIN", "is a cluster that is moving our keys"),
    ("TryAgain", "is a cluster that is moving our keys"),
    ("ASK ", "is a cluster that is moving our keys"),
    ("Ask", "is a cluster that is moving our keys"),
    ("Timeout", f"did not answer within {TIMEOUT_S:g} s"),
    ("MaxConnections", "takes no more connections"),
    ("Certificate", "has a certificate that is not trusted; name its CA: ?ssl_ca_certs=/path"),
    ("Connection", "cannot be reached"),
)


class Ended(StoreError):
    """The connection has ended, and what answers now may be another server."""


class _Way(NamedTuple):
    """The way to a node in one process: a client for transactions, and what all else goes by."""

    pid: int
    client: Any
    connection: Any


class Server:
    """Sends commands to the server, or to the node of a cluster, that has our keys.

    It does so in one background thread; whoever calls waits, and no longer than it makes sense.

    All keys of one picture lie in one slot of a cluster, so an ordinary client of that one node
    serves; it follows when the slot moves, and asks the other nodes when its own is gone.
    """

    def __init__(self, url: str) -> None:
        self._driver = _driver(url)
        #: The address without user, password and options, any of which may be secret.
        self.shown_url = _shown(url)
        self._options, self._nodes = self._read(url)
        self._node = self._nodes[0]
        self._way: _Way | None = None
        self._trouble: str | None = None
        self._next_try_s = 0.0
        waits = (self._options[name] for name in ("socket_connect_timeout", "socket_timeout"))
        self._desk = Desk(self.shown_url, _PATIENCE * sum(one or TIMEOUT_S for one in waits))
        self.answered_s: float | None = None
        #: How many connections have ended: what answers next may be another server.
        self.ends = 0
        #: When it answered for the first time, where it had not at first (monotonic).
        self.met_s: float | None = None
        errors = self._driver.exceptions
        self._errors: Any = (getattr(errors, "RedisError", None) or errors.ValkeyError, OSError)
        self._lost: Any = (errors.ConnectionError, errors.TimeoutError, OSError)
        try:
            self._made()
        except TypeError as error:
            raise self._no_option(
                f"that the client does not know: {str(error).rpartition(' ')[2]}"
            ) from None
        except (ValueError, *self._errors):
            names = ", ".join(parse_qs(url.partition("?")[2]))
            raise self._no_option(
                f"whose value the client refuses, of these: {names}; ssl_cert_reqs, for one, is "
                "required, optional or none"
            ) from None

    def send(self, *commands: Command, ends: int | None = None) -> list[Any]:
        """Send commands in one go and return their answers.

        Args:
            ends: how many connections may have ended; with one more, nothing is sent.

        Raises:
            StoreError: the server cannot be reached, or refuses one of the commands.
            Ended: one connection more has ended.
        """
        return self.ask(wire.pack(commands), len(commands), ends)

    def ask(self, packed: bytes, count: int, ends: int | None = None) -> list[Any]:
        """Send so many commands, packed already, as ``send`` does.

        A pipeline of the client's does the same for several times the CPU, four times a second.
        """
        return self._try(lambda way: self._exchange(way.connection, packed, count, ends))

    def _exchange(self, connection: Any, packed: bytes, count: int, ends: int | None) -> list[Any]:
        refusal = self._driver.exceptions.ResponseError
        answers: list[Any] = []
        refused: Exception | None = None
        try:
            self._connect(connection)
            if ends not in (None, self.ends):
                raise Ended(f"{self.shown_url} has closed the connection")
            connection.send_packed_command([packed], check_health=False)
            for _ in range(count):
                try:
                    answers.append(connection.read_response())
                except refusal as error:
                    refused = refused or error
        except Ended:
            raise  # it is open again
        except BaseException:
            self.ends += 1
            connection.disconnect()  # whatever else it would answer is nobody's
            raise
        if refused is not None:
            raise refused
        return answers

    def pages(self, key: str, cursor: int) -> Iterator[list[Any]]:
        """Yield a stream's rows after a cursor, some at a time."""
        rows = [None] * _AT_ONCE
        while len(rows) >= _AT_ONCE:
            begin = wire.id_of(cursor + 1)
            (rows,) = self.send(("XRANGE", key, begin, "+", "COUNT", _AT_ONCE))
            if rows:
                yield rows
                cursor = wire.cursor_of(rows[-1][0])

    def values(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return what is at some keys, one about as large as the other."""
        found: list[bytes | None] = []
        begin, count = 0, _AT_ONCE
        while begin < len(keys):
            found += (part := self.send(("MGET", *keys[begin : begin + count]))[0])
            begin, count = begin + count, wire.next_count(count, part)
        return found

    def lag_s(self) -> float | None:
        """Return how long ago the server last answered, None if it never has."""
        return None if self.answered_s is None else time.monotonic() - self.answered_s

    def cut(self, key: str, up_to: int) -> None:
        """Drop what is older than a cursor from a stream."""
        try:
            self.send(("XTRIM", key, "MINID", wire.id_of(up_to)))
        except StoreError as error:
            if "syntax" not in str(error):
                raise
            # Redis before 6.2.
            (rows,) = self.send(("XRANGE", key, "-", wire.id_of(max(0, up_to - 1))))
            if rows:
                self.send(("XDEL", key, *(id for id, _ in rows)))

    def _connect(self, connection: Any) -> None:
        """Connect, also where the server has closed the connection meanwhile."""
        connection.connect()
        try:
            is_stale = connection.can_read()
        except self._lost:
            is_stale = True
        if is_stale:
            self.ends += 1
            connection.disconnect()
            connection.connect()

    def transact(self, key: str, plan: Callable[[Callable[..., Any]], list[Command]]) -> bool:
        """Run the commands of a plan as one, if nobody has changed a key since it was made.

        Args:
            plan: makes the commands out of what it asks for; none: nothing to do.

        Returns:
            Whether there was something to do.
        """

        def work(way: _Way) -> bool:
            with way.client.pipeline() as pipe:
                for _ in range(_MOST_RACES):
                    pipe.watch(key)
                    commands = plan(pipe.execute_command)
                    if not commands:
                        return False
                    pipe.multi()
                    for command in commands:
                        pipe.execute_command(*command)
                    try:
                        pipe.execute()
                    except self._driver.exceptions.WatchError:
                        continue
                    return True
            raise StoreError(f"{self.shown_url}: others kept changing {key}")

        return self._try(work)

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        if self._way is None:
            return
        try:
            self._desk.do(self._close)
        except StoreError:
            self._close()  # what is waited for there ends with its connection

    def _close(self) -> None:
        way, self._way = self._way, None
        if way and way.pid == os.getpid():
            way.connection.disconnect()
            way.client.connection_pool.disconnect()

    def _try(self, work: Callable[[_Way], T]) -> T:
        trouble = self._trouble
        if trouble and time.monotonic() < self._next_try_s:
            raise StoreError(trouble)
        return self._desk.do(lambda: self._try_here(work))

    def _try_here(self, work: Callable[[_Way], T]) -> T:
        if self._trouble:
            now_s = time.monotonic()
            if now_s < self._next_try_s:
                raise StoreError(self._trouble)  # found by the one before, while this one waited
            # Whoever comes while this one tries is told at once.
            self._next_try_s = now_s + PAUSE_S
        for _ in range(_MOST_MOVES):
            way = self._open()
            try:
                found = work(way)
            except self._errors as error:
                node = _moved_to(error)
                if node is None:
                    raise self._wrong(way, error) from error
                self._move(way, *node)
                continue
            now_s = time.monotonic()
            if self._trouble is not None and self.answered_s is None:
                self.met_s = now_s
            self._trouble, self.answered_s = None, now_s
            return found
        raise StoreError(f"{self.shown_url} is a cluster that is moving our keys")

    def _wrong(self, way: _Way, error: Exception) -> StoreError:
        kind, text = type(error).__name__, _said(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            kind = "Certificate"  # the clients tell it as a failed connection
        reason = next(
            (reason for sign, reason in _REASONS if kind.startswith(sign) or text.startswith(sign)),
            f"answers: {text[:80]}",
        )
        wrong = StoreError(f"{self.shown_url} {reason}")
        if isinstance(error, self._lost):
            self._trouble = str(wrong)
            self._next_try_s = time.monotonic() + PAUSE_S
            self._drop(way)
        return wrong

    def _drop(self, way: _Way) -> None:
        """Go on with new connections, and with the next node if there are several.

        A transaction that this was a part of still holds one of the old ones: it is left to it.
        """
        self._leave(way)
        if self._way is way:
            self._way = None
            at = self._nodes.index(self._node)
            self._node = self._nodes[(at + 1) % len(self._nodes)]

    def _leave(self, way: _Way) -> None:
        way.connection.disconnect()
        way.client.connection_pool.disconnect(inuse_connections=False)

    def _move(self, way: _Way, host: str, port: int) -> None:
        """Go to the node that has our keys, and learn of the others."""
        here = self._node
        node = (host or here[0], port)
        known = [*self._nodes, node]
        try:
            slots = way.client.execute_command("CLUSTER", "SLOTS")
        except self._errors:  # one node is enough to go on with
            slots = []
        for _, _, *owners in slots:
            known += [(_text(owner[0]) or here[0], int(owner[1])) for owner in owners]
        self._nodes, self._node, self._way = list(dict.fromkeys(known)), node, None
        self._leave(way)

    def _open(self) -> _Way:
        pid = os.getpid()
        if self._way is None or self._way.pid != pid:
            self.ends += 1
            pool, connection = self._made()
            made = getattr(self._driver, "Redis", None) or self._driver.Valkey
            client = made(connection_pool=pool)
            # Answers as the server gave them: the clients' own forms differ by version.
            client.response_callbacks.clear()
            self._way = _Way(pid, client, connection)
        return self._way

    def _made(self) -> tuple[Any, Any]:
        """Return a pool of connections and one of its kind; none of them is open."""
        options = dict(self._options)
        kind = options.pop("connection_class", self._driver.Connection)
        if "path" not in options:
            options["host"], options["port"] = self._node
        pool = self._driver.ConnectionPool(connection_class=kind, **options)
        return pool, pool.connection_class(**pool.connection_kwargs)

    def _no_option(self, why: str) -> ConfigError:
        return ConfigError(f"REALTIME_MONITOR_STORE: {self.shown_url!r} has an option {why}")

    def _read(self, url: str) -> tuple[dict[str, Any], list[tuple[str, int]]]:
        """Return the client's options and the nodes named in a URL."""
        scheme, _, rest = url.partition("://")
        scheme = scheme.removesuffix("+cluster").replace("valkey", "redis")
        netloc, slash, path = rest.partition("/")
        user, at, hosts = netloc.rpartition("@")
        first, *others = hosts.split(",")
        try:
            options = _options_of(self._driver, f"{scheme}://{user}{at}{first}{slash}{path}")
            database = unquote(re.split(r"[?#]", path)[0]).strip("/")
            if scheme != "unix" and database and not database.isdecimal():
                raise ValueError("what comes after the host is the number of a database")
            nodes = [(options.get("host", "localhost"), options.get("port", _PORT))]
            for other in others:
                node = urlsplit(f"//{other}")
                nodes.append((node.hostname or "", node.port or _PORT))
        except ValueError as error:
            raise ConfigError(
                f"REALTIME_MONITOR_STORE: {self.shown_url!r} is no address of a server: "
                f"{type(error).__name__}; write 'redis://host:port/0'"
            ) from None
        retry = import_module(f"{self._driver.__name__}.retry").Retry
        no_backoff = import_module(f"{self._driver.__name__}.backoff").NoBackoff
        return {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            **options,
            "retry": retry(no_backoff(), 0),
            "retry_on_timeout": False,
            "health_check_interval": 0,
            "protocol": 2,
            "decode_responses": False,
        }, nodes


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if place and "@" in rest and "@" not in place:  # a password with such a sign in it
        return f"{scheme}://..."
    path = re.split(r"[?#]", rest[len(place) :], maxsplit=1)[0]
    return f"{scheme}://{place.rpartition('@')[2]}{path}"


def _options_of(driver: Any, url: str) -> dict[str, Any]:
    """Return the options in a URL, which every client hands to the pool that it makes of one.

    What reads them is in another place from version to version; valkey-py before 6.2 hides it.
    """
    found: dict[str, Any] = driver.ConnectionPool.from_url.__func__(dict, url)
    return found


def _said(error: Exception) -> str:
    """Return what the server said: in a transaction the client puts its own words before it."""
    return str(error).rpartition("caused error: ")[2]


def _moved_to(error: Exception) -> tuple[str, int] | None:
    """Return the host, empty for that of the node that says so, and the port of who has our keys.

    Newer redis-py has a class of errors for it, without the first word; valkey-py the text alone.
    """
    word = "MOVED " if type(error).__name__ == "MovedError" else ""
    found = _MOVED.fullmatch(word + _said(error).removeprefix(word))
    return found and (_text(found[1].strip("[]")), int(found[2]))


def _text(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else value or ""
    return "" if text == "?" else str(text)


def _driver(url: str) -> Any:
    for name in _CLIENTS:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ConfigError(
        f"REALTIME_MONITOR_STORE begins with {url.partition(':')[0]!r}, and no client of Redis is "
        "installed; run: pip install 'Flask-Realtime-Monitor[redis]'"
    )
