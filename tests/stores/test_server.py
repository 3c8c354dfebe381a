"""What happens to the Redis store when the server is not well."""

from __future__ import annotations

import gc
import itertools
import re
import secrets
import shutil
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from flask_realtime_monitor.errors import ConfigError
from flask_realtime_monitor.stores import (
    SESSION_BUCKETS,
    TAIL,
    Flush,
    Gap,
    Store,
    StoreError,
    open_store,
    wire,
)
from flask_realtime_monitor.stores.redis import RedisStore
from flask_realtime_monitor.stores.server import Server, _moved_to
from tests.support.relay import Relay
from tests.support.valkey import ValkeyCluster, ValkeyServer, missing
from tests.support.waiting import DEADLINE_S, wait_until

pytestmark = pytest.mark.server

Own = Callable[..., ValkeyServer]
Left = Callable[[Any], Any]


def frame(text: bytes = b"x") -> Flush:
    return Flush(text, [(1, b"blob")], b"1")


def went_well(store: Store, flush: Flush | None = None) -> Any:
    """Flush; None while the store cannot."""
    try:
        return store.flush(flush or frame())
    except StoreError:
        return None


def refused(store: Store) -> tuple[str, float]:
    """Return what a flush is refused with, and after how many seconds."""
    began_s = time.monotonic()
    with pytest.raises(StoreError) as wrong:
        store.flush(frame())
    return str(wrong.value), time.monotonic() - began_s


def test_a_frozen_server_costs_one_timeout_a_second_and_comes_back(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    epoch = store.flush(frame()).epoch
    server.freeze()
    text, took_s = refused(store)
    assert "did not answer within 0.5 s" in text
    assert took_s < 0.5 + 2
    text, took_s = refused(store)
    assert "did not answer" in text
    assert took_s < 0.25, "no second try within the second"
    server.thaw()
    assert wait_until(lambda: went_well(store), "the store works again", 5).epoch == epoch


def test_all_sockets_are_used_by_one_thread_that_is_no_caller_s(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    used_by: set[int] = set()
    server = own_valkey()

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(connection: Any, *args: Any, **kwargs: Any) -> Any:
            if connection.port == server.port:
                used_by.add(threading.get_ident())
            return real(connection, *args, **kwargs)

        return noted

    kind = redis.connection.AbstractConnection
    for name in ("connect", "disconnect", "send_packed_command", "read_response", "can_read"):
        monkeypatch.setattr(kind, name, spied(getattr(kind, name)))
    store, gone = (left(open_store(server.url, worker=name)) for name in ("w1", "w2"))
    gc.collect()  # the fixture's own client, and what the options were tried on
    used_by.clear()

    def use(n: int) -> None:
        cursor = store.flush(Flush(b"x", [(n, b"blob")], b"1", [b"note"])).cursor
        store.read_since(store.load().cursor)
        store.salt(n)
        assert store.secret() and store.epoch() and store.since_at()
        assert store.roster().beats
        store.snapshots_of(n)
        store.trim(cursor)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(8)))
    assert len(used_by) == 1
    assert threading.get_ident() not in used_by
    gone.flush(frame())
    used_by.clear()
    assert store.retire("w2", lambda beat, retired, taken: b"1")
    store.leave()
    assert len(used_by) == 1
    assert threading.get_ident() not in used_by


def test_commands_go_over_the_wire_as_the_client_sends_them() -> None:
    commands = [("SET", "key", b"\r\n\x00", "EX", 60), ("ZADD", "{ü}", 0.1 + 0.2, b""), ("TIME",)]
    packed = redis.Connection().pack_commands(commands)
    assert wire.pack(commands) == b"".join(packed)


def test_a_connection_that_the_server_has_closed_is_opened_again(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    epoch = store.flush(frame()).epoch
    assert server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 1
    assert store.flush(frame()).epoch == epoch


def test_what_a_server_refuses_leaves_no_answer_behind(own_valkey: Own, left: Left) -> None:
    way = Server(own_valkey().url)
    with pytest.raises(StoreError, match="WRONGTYPE"):
        way.send(("SET", "text", "x"), ("HGETALL", "text"), ("GET", "text"))
    assert way.send(("GET", "text")) == [b"x"]
    way.close()


def test_all_who_wait_for_a_frozen_server_are_through_after_one_timeout(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    cursor = store.flush(frame()).cursor
    calls: tuple[Callable[[], Any], ...] = (
        lambda: store.flush(frame()),
        lambda: store.read_since(cursor),
        lambda: store.salt(20_000),
        store.secret,
        store.load,
        store.roster,
    )

    def outcome(n: int) -> str:
        try:
            calls[n % len(calls)]()
        except StoreError as error:
            return str(error)
        return "it answered"

    server.freeze()
    began_s = time.monotonic()
    with ThreadPoolExecutor(30) as pool:
        found = set(pool.map(outcome, range(30)))
    assert time.monotonic() - began_s < 0.5 + 2, "not one after the other"
    assert found == {f"{store.shown_url} did not answer within 0.5 s"}
    server.thaw()
    wait_until(lambda: went_well(store), "the store works again", 5)


def test_an_answer_that_comes_too_late_is_dropped_and_no_note_with_it(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.stores.server._PATIENCE", 0.01)
    server = own_valkey()
    waits = "?socket_timeout=20&socket_connect_timeout=20"
    reader = left(open_store(f"{server.url}{waits}", worker="w1"))
    writer = left(open_store(server.url, worker="w2"))
    wait_until(lambda: went_well(reader), "it is open")
    monkeypatch.undo()
    wait_until(lambda: went_well(writer), "the other's too")
    wait_until(
        lambda: went_well(writer, Flush(b"y", [], b"1", [b"first"])), "the first note is written"
    )
    server.freeze()
    text, _ = refused(reader)
    assert "does not answer in time" in text
    server.thaw()
    wait_until(
        lambda: went_well(writer, Flush(b"y", [], b"1", [b"second"])), "the second is written"
    )
    told: list[tuple[int, bytes]] = []  # a write that answered too late was tried again

    def hears_both() -> bool:
        flushed = went_well(reader)
        told.extend(flushed.notes) if flushed else None
        return {b"first", b"second"} <= {note for _, note in told}

    wait_until(hears_both, "both notes are told")
    assert sorted(told) == sorted(set(told)), "each once"


def test_who_comes_while_a_server_is_away_takes_the_salt_that_the_others_had(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_valkey()
    monkeypatch.setattr("flask_realtime_monitor.stores.kept.FIRST_S", 60.0)
    one, late = (left(open_store(server.url, worker=name)) for name in ("w1", "w2"))
    one.flush(frame())
    salt, secret = one.salt(20_000), one.secret()
    server.kill()
    assert "cannot be reached" in refused(one)[0]
    with pytest.raises(StoreError):
        late.salt(20_000)
    server.start()

    def is_refused() -> bool:
        with suppress(StoreError):
            late.flush(frame())
            try:
                late.salt(20_000)
            except StoreError as error:
                return "was here before" in str(error)
        return False

    wait_until(is_refused, "the server is back, and empty")
    wait_until(lambda: went_well(one), "the other one writes")
    assert one.secret() == secret
    assert (late.salt(20_000), late.secret()) == (salt, secret)


def salt_of(store: Store) -> bytes | None:
    with suppress(StoreError):
        return store.salt(20_000)
    return None


def test_who_finds_a_server_empty_makes_a_salt_where_nobody_else_does(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_valkey()
    monkeypatch.setattr("flask_realtime_monitor.stores.kept.FIRST_S", 0.1)
    server.kill()
    store = left(open_store(server.url, worker="w1"))
    with pytest.raises(StoreError):
        store.salt(20_000)
    server.start()

    assert len(wait_until(lambda: salt_of(store), "there is a salt") or b"") == 16


def test_a_salt_that_a_full_server_threw_away_is_written_again(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_valkey()
    monkeypatch.setattr("flask_realtime_monitor.stores.redis.RENEW_S", 0.0)
    one = left(open_store(server.url, worker="w1"))
    one.flush(frame())
    salt, secret = one.salt(20_000), one.secret()
    for key in (*server.ask("KEYS", "*:salt:*"), *server.ask("KEYS", "*:secret")):
        server.ask("DEL", key)
    one.flush(frame())
    one.flush(frame())
    late = left(open_store(server.url, worker="w2"))
    assert (late.salt(20_000), late.secret()) == (salt, secret)


def test_a_server_that_lost_everything_has_a_new_epoch_the_old_beginning_and_salt(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    one, two = (left(open_store(server.url, worker=name)) for name in ("w1", "w2"))
    epoch, since_at, salt = one.flush(frame()).epoch, one.since_at(), one.salt(20_000)
    cursor = two.load().cursor
    server.kill()
    assert "cannot be reached" in refused(one)[0]
    server.start()
    new = wait_until(lambda: went_well(one), "the store works again", 5).epoch
    assert new != epoch
    assert wait_until(lambda: went_well(two), "the other's too", 5).epoch == new
    assert two.salt(20_000) == salt
    assert two.since_at() == since_at
    with pytest.raises(Gap):
        two.read_since(cursor)
    assert {worker for worker, _, _ in two.load().snapshots} == {"w1", "w2"}


def test_after_a_loss_the_clock_of_the_server_may_be_behind(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    one, two = (left(open_store(server.url, worker=name, prefix="p")) for name in ("w1", "w2"))
    for store in (one, two):
        store.flush(frame())
    ahead = f"{round(time.time() * 1000) + 300_000}-0"
    for stream in ("log", "notes"):  # these go on from there
        server.ask("XADD", f"{{p}}:{stream}", ahead, "w", "x", "d", "x")
    one.flush(Flush(b"before", [], b"1", [b"before"]))
    assert [note for _, note in two.flush(frame()).notes] == [b"x", b"before"]
    one.trim(one.flush(frame()).cursor)
    server.ask("FLUSHALL")
    one.flush(Flush(b"after", [], b"1", [b"after"]))
    assert [note for _, note in two.flush(frame()).notes] == [b"after"]
    one.flush(Flush(None, [], b"1", [b"and then"]))
    one.trim(one.flush(Flush(None, [], b"1")).cursor)
    assert [note for _, note in two.flush(frame()).notes] == [b"and then"]
    assert two.retire("w1", lambda beat, retired, taken: beat)
    tails = [blob for worker, bucket, blob in two.load().snapshots if bucket == TAIL]
    assert b"after" in b"".join(tails)


@pytest.mark.parametrize("lost", ["log", "epoch", "since", "cut"])
def test_a_part_that_the_server_dropped_is_made_again(
    valkey_url: str, left: Left, lost: str
) -> None:
    one, two = (
        left(open_store(valkey_url, worker=name, prefix=f"lost {lost}")) for name in ("w1", "w2")
    )
    one.flush(frame())
    epoch = two.flush(frame()).epoch
    with redis.from_url(valkey_url) as client:
        client.delete(f"{{lost {lost}}}:{lost}")
    assert (one.flush(frame()).epoch == epoch) is (lost in ("since", "cut"))
    assert one.flush(frame()).epoch == two.flush(frame()).epoch == one.epoch()
    assert one.since_at() == two.since_at()
    assert one.read_since(two.load().cursor) == []


def test_a_wrong_password_is_said_without_telling_it(own_valkey: Own, left: Left) -> None:
    server = own_valkey("requirepass right")
    for url in (
        server.url,
        server.url.replace("//", "//:wr%40ng@"),
        server.url.replace("//", "//bob:wr%40ng@"),
    ):
        store = left(open_store(url, worker="w1"))
        text, _ = refused(store)
        assert "password" in text
        assert "wr" not in text
        assert "wr" not in store.shown_url
    store = left(open_store(server.url.replace("//", "//:right@"), worker="w1"))
    store.flush(frame())


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return the files of a certificate of 127.0.0.1 and of its key."""
    program = shutil.which("openssl") or missing("no openssl to make a certificate with")
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    whose = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *whose]
    subprocess.run(
        [program, *kind, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True
    )
    return made, key


def test_tls_is_spoken_and_the_certificate_is_checked(
    own_valkey: Own, left: Left, certificate: tuple[Path, Path]
) -> None:
    server = own_valkey("requirepass right")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    # The server of the package is built without TLS, so a proxy speaks it.
    with closing(Relay(server.port, tls=tls)) as relay:
        url = f"rediss://:right@127.0.0.1:{relay.port}/0"
        trusted = quote(str(certificate[0]))
        trusting = left(open_store(f"{url}?ssl_ca_certs={trusted}", worker="w1"))
        epoch = trusting.flush(frame()).epoch
        assert trusting.load().epoch == epoch
        doubting = left(open_store(url, worker="w2"))
        text, _ = refused(doubting)
        assert "right" not in text
        assert "certificate" in text, text
        trusting.leave()


def test_a_replica_that_takes_no_writes_is_said(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    store.flush(frame())
    server.ask("REPLICAOF", "127.0.0.1", 1)
    server.ask("CONFIG", "SET", "replica-serve-stale-data", "yes")
    assert "READONLY" in refused(store)[0]
    server.ask("REPLICAOF", "NO", "ONE")
    store.flush(frame())


def test_a_full_server_is_said(own_valkey: Own, left: Left) -> None:
    server = own_valkey("maxmemory-policy noeviction")
    store = left(open_store(server.url, worker="w1"))
    store.flush(frame())
    server.ask("CONFIG", "SET", "maxmemory", 1)
    assert "out of memory" in refused(store)[0]
    server.ask("CONFIG", "SET", "maxmemory", 0)
    store.flush(frame())


def test_a_server_that_has_gone_back_is_still_known_to_have_when_it_takes_writes_again(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey("dbfilename saved", "maxmemory-policy noeviction")
    store = left(open_store(server.url, worker="w1"))
    store.flush(frame())
    server.ask("SAVE")
    epoch = store.flush(frame()).epoch
    server.kill()
    server.start()
    server.ask("CONFIG", "SET", "maxmemory", 1)
    wait_until(lambda: "out of memory" in refused(store)[0], "it is full")
    assert "out of memory" in refused(store)[0]
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert store.flush(frame()).epoch != epoch


def test_who_was_only_frozen_finds_nothing_lost_whatever_the_clock_of_who_took_over(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    frozen, other = (left(RedisStore(server.url, worker=worker)) for worker in ("w1", "w2"))
    epoch = frozen.flush(frame()).epoch
    other.flush(frame())
    other._ahead_s -= 60.0
    assert other.retire("w1", lambda beat, retired, taken: beat)
    # One of each, and retiring has its own.
    assert server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 3
    assert frozen.flush(frame()).epoch == epoch


def test_keys_of_another_program_are_said(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    server.ask("SET", "{taken}:log", "x")
    store = left(open_store(server.url, worker="w1", prefix="taken"))
    assert "WRONGTYPE" in refused(store)[0]
    assert "STORE_PREFIX" in refused(store)[0]


def test_a_server_that_cannot_save_is_said(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    store.flush(frame())
    server.ask("CONFIG", "SET", "save", "100000 100000")
    shutil.rmtree(server.folder)
    server.ask("BGSAVE")
    wait_until(
        lambda: b"rdb_last_bgsave_status:err" in server.ask("INFO", "persistence"),
        "saving has failed",
    )
    assert "MISCONF" in refused(store)[0]


def test_what_makes_no_sense_is_dropped_and_counted(valkey_url: str, left: Left) -> None:
    store = left(open_store(valkey_url, worker="w1", prefix="odd"))
    cursor = store.flush(frame()).cursor
    with redis.from_url(valkey_url) as client:
        client.xadd("{odd}:log", {"other": "x"})
        client.hset("{odd}:beats", "short", b"x")
        client.hset("{odd}:beats", "future", b"\x09" + bytes(40))
        client.hset("{odd}:gone", "t:short", b"")
    store.flush(frame(b"y"))
    assert [entry.data for entry in store.read_since(cursor)] == [b"y"]
    assert store.dropped == 1
    assert set(store.roster().beats) == {"w1"}
    assert store.dropped == 4
    assert not store.retire("short", lambda beat, retired, taken: b"")


def test_everything_expires_by_itself(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1", keep_s=2))
    store.salt(20_000)
    store.flush(Flush(b"x", [(1, b"blob")], b"1", [b"note"]))
    assert store.retire("w1", lambda beat, retired, taken: b"1")
    keys = server.ask("KEYS", "*")
    assert len(keys) >= 8
    for key in keys:
        left_s = server.ask("TTL", key)
        assert 0 < left_s <= (172_800 if b":salt:" in key else 2), key
    wait_until(lambda: server.ask("DBSIZE") == 1, "only the salt is left")


@pytest.mark.parametrize("has_minid", [True, False])
def test_the_log_is_cut_by_age_and_never_under_a_reader(
    own_valkey: Own, left: Left, monkeypatch: pytest.MonkeyPatch, has_minid: bool
) -> None:
    server = own_valkey()
    if not has_minid:
        # As before Redis 6.2.
        real = Server.send

        def send(self: Server, *commands: Any, **more: Any) -> list[Any]:
            if commands[0][0] == "XTRIM":
                raise StoreError("answers: ERR syntax error")
            return real(self, *commands, **more)

        monkeypatch.setattr(Server, "send", send)
    store = left(RedisStore(server.url, worker="w1", keep_log_s=0.2))
    first = store.load().cursor
    numbers = itertools.count()

    def shrinks() -> bool:
        cursor = store.flush(frame(b"%d" % next(numbers))).cursor
        store.trim(cursor)
        assert store.read_since(cursor) == []
        length: int = server.ask("XLEN", "{realtime-monitor}:log")
        return length < next(numbers) / 4

    wait_until(shrinks, "the log is short")
    with pytest.raises(Gap):
        store.read_since(first)


def test_what_who_hangs_has_in_no_snapshot_yet_stays_in_the_log(
    own_valkey: Own, left: Left
) -> None:
    server = own_valkey()
    hung, other = (left(RedisStore(server.url, worker=w, keep_log_s=0.2)) for w in ("w1", "w2"))
    other.flush(frame(b"before"))
    other.flush(frame())
    hung.flush(frame(b"untold elsewhere"))

    def is_cut() -> bool:
        other.trim(other.flush(frame()).cursor)
        entries = [entry.data for entry in other.load().entries]
        assert b"untold elsewhere" in entries
        return b"before" not in entries

    wait_until(is_cut, "the rest is cut")
    hung.trim(hung.flush(frame()).cursor)
    hung.flush(frame())

    def is_let_go() -> bool:
        other.trim(other.flush(frame()).cursor)
        return b"untold elsewhere" not in [entry.data for entry in other.load().entries]

    wait_until(is_let_go, "it is in a snapshot by now")


def test_a_unix_socket_serves(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    store = left(open_store(f"unix://{quote(server.socket_path)}?db=0", worker="w1"))
    store.flush(frame())
    assert store.load().entries[0].data == b"x"


@pytest.mark.parametrize("scheme", ["valkey", "redis", "redis+cluster", "valkey+cluster"])
def test_every_scheme_reaches_the_server(valkey_url: str, left: Left, scheme: str) -> None:
    url = valkey_url.replace("redis:", f"{scheme}:")
    store = left(open_store(url, worker="w1", prefix=scheme))
    store.flush(frame())
    assert store.shown_url.startswith(f"{scheme}://")


@pytest.mark.usefixtures("each_client")
def test_either_client_serves(valkey_url: str, left: Left) -> None:
    store = left(open_store(valkey_url, worker="w1", prefix=secrets.token_hex(4)))
    store.flush(frame())
    assert store.retire("w1", lambda beat, retired, taken: b"1")
    assert store.load().entries[0].data == b"x"
    dead = left(open_store("redis://127.0.0.1:1", worker="w1"))
    assert "cannot be reached" in refused(dead)[0]


def test_without_a_client_the_app_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("redis", "valkey"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'Flask-Realtime-Monitor[redis]'")):
        open_store("redis://:secret@host")


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://:secret@host:99999", "postgres:x"])
def test_an_address_that_is_none_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        open_store(url)
    assert "secret" not in str(wrong.value)


def test_an_option_that_the_client_does_not_know_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="not know: 'sokket_timeout'") as wrong:
        open_store("redis://:secret@localhost/0?sokket_timeout=1")
    assert "secret" not in str(wrong.value)


Answers = Callable[..., str]


@pytest.fixture
def own_answers() -> Iterator[Answers]:
    """Starts a server that answers each command the same, and returns its URL.

    Args:
        answer: with ``%d`` for its port.
        slots: what it says of a cluster's slots; nothing: it hangs up.
    """
    nodes = []

    def start(answer: bytes, slots: bytes = b"") -> str:
        class Node(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        size = int(self.rfile.readline()[1:])
                        words.append(self.rfile.read(size + 2)[:-2].upper())
                    if words[0] == b"CLUSTER":
                        self.wfile.write(slots)
                        if not slots:
                            return
                    elif words[0] in (b"CLIENT", b"SELECT"):
                        self.wfile.write(b"+OK\r\n")
                    else:
                        port = self.server.server_address[1]
                        self.wfile.write(answer.replace(b"%d", b"%d" % port))

        node = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Node)
        node.daemon_threads = True
        nodes.append(node)
        threading.Thread(target=node.serve_forever, daemon=True).start()
        return f"redis://127.0.0.1:{node.server_address[1]}"

    yield start
    for node in nodes:
        node.shutdown()
        node.server_close()


@pytest.mark.usefixtures("each_client")
@pytest.mark.parametrize("slots", [b"-NOPERM not you\r\n", b""])
def test_a_node_that_only_says_where_the_slot_went_is_no_error_of_the_client_s(
    slots: bytes, left: Left, own_answers: Answers
) -> None:
    """It refuses to tell of all nodes, or hangs up when it is asked."""
    store = left(open_store(own_answers(b"-MOVED 1 127.0.0.1:%d\r\n", slots), worker="w1"))
    with pytest.raises(StoreError, match=r"moving our keys|cannot be reached"):
        store.flush(frame())


@pytest.mark.parametrize(
    ("error", "node"),
    [
        (redis.ResponseError("MOVED 8747 127.0.0.1:7001"), ("127.0.0.1", 7001)),
        (redis.ResponseError("MOVED 8747 :7001"), ("", 7001)),
        (redis.ResponseError("MOVED 8747 ?:7001"), ("", 7001)),
        (redis.ResponseError("MOVED 8747 2001:db8::1:7001"), ("2001:db8::1", 7001)),
        (redis.ResponseError("MOVED 8747 [2001:db8::1]:7001"), ("2001:db8::1", 7001)),
        (
            redis.ResponseError("Command # 1 (X) of pipeline caused error: MOVED 1 a.test:7001"),
            ("a.test", 7001),
        ),
        (redis.ResponseError("ERR MOVED 8747 127.0.0.1:7001"), None),
        (redis.ResponseError("MOVED 8747"), None),
        (redis.ResponseError("ASK 8747 127.0.0.1:7001"), None),
    ],
)
def test_where_a_slot_has_gone_is_read_from_the_text(
    error: Exception, node: tuple[str, int] | None
) -> None:
    assert _moved_to(error) == node


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ASK 8747 127.0.0.1:7001", "is moving our keys"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "is moving our keys"),
        ("CLUSTERDOWN Hash slot not served", "is not complete"),
    ],
)
@pytest.mark.usefixtures("each_client")
def test_what_is_wrong_with_a_cluster_is_said(
    text: str, reason: str, left: Left, own_answers: Answers
) -> None:
    store = left(open_store(own_answers(f"-{text}\r\n".encode()), worker="w1"))
    with pytest.raises(StoreError, match=reason):
        store.flush(frame())


def test_a_cluster_is_followed_when_the_slot_moves_and_when_nodes_go(
    cluster: ValkeyCluster, left: Left, each_client: str
) -> None:
    prefixes = [f"{each_client}{number}" for number in range(40)]
    for prefix in prefixes[:6]:
        store = left(open_store(cluster.nodes[1].url, worker="w1", prefix=prefix))
        store.flush(frame())
        assert store.retire("w1", lambda beat, retired, taken: b"1")
        assert store.load().entries[0].data == b"x"
    first, second = cluster.nodes[0], cluster.nodes[1]
    slots = {prefix: first.ask("CLUSTER", "KEYSLOT", prefix) for prefix in prefixes}
    mine = next(prefix for prefix, slot in slots.items() if 6000 < slot < 10_000)
    dead = f"127.0.0.1:1,{first.address}"
    several = left(open_store(f"redis+cluster://{dead}", worker="w1", prefix=mine))
    wait_until(lambda: went_well(several), "another node is asked", DEADLINE_S)
    # An empty slot can be given away at once.
    third = cluster.nodes[2]
    keys = second.ask("KEYS", f"{{{mine}}}:*")
    second.ask("DEL", *keys)
    ids = {node: node.ask("CLUSTER", "MYID").decode() for node in (second, third)}
    # With its state told, the new owner's claim counts more than what the old one still says.
    third.ask("CLUSTER", "SETSLOT", slots[mine], "IMPORTING", ids[second])
    second.ask("CLUSTER", "SETSLOT", slots[mine], "MIGRATING", ids[third])
    for node in (third, second, first):
        node.ask("CLUSTER", "SETSLOT", slots[mine], "NODE", ids[third])
    wait_until(lambda: went_well(several), "the slot is found", DEADLINE_S)
    assert third.ask("KEYS", f"{{{mine}}}:*")


def test_a_reader_that_finds_no_log_has_everything_resent(valkey_url: str, left: Left) -> None:
    one, two = (left(open_store(valkey_url, worker=name, prefix="no log")) for name in ("w1", "w2"))
    epoch = one.flush(frame()).epoch
    with redis.from_url(valkey_url) as client:
        client.delete("{no log}:log")
    assert two.load().epoch != epoch
    assert one.flush(frame()).epoch == two.epoch() != epoch


def test_an_idle_reader_is_not_sent_what_it_has(own_valkey: Own, left: Left) -> None:
    server = own_valkey()
    store = left(open_store(server.url, worker="w1"))
    store.flush(Flush(b"x" * 100_000, [], b"1"))
    cursor = store.load().cursor

    def sent() -> int:
        (line,) = [
            line
            for line in server.ask("INFO", "stats").splitlines()
            if line.startswith(b"total_net_output_bytes:")
        ]
        return int(line.partition(b":")[2])

    before = sent()
    for _ in range(10):
        assert store.read_since(cursor) == []
    assert sent() - before < 50_000


@pytest.mark.parametrize(("size", "goes"), [(10, 4), (2_000, 7)])
def test_small_values_are_asked_for_in_few_goes(
    own_valkey: Own, left: Left, size: int, goes: int
) -> None:
    server, blob = own_valkey(), b"x" * size
    store = left(open_store(server.url, worker="w1"))
    store.flush(Flush(None, [(bucket, blob) for bucket in range(SESSION_BUCKETS)], b"1"))

    loaded = left(open_store(server.url, worker="w2")).load()
    assert sorted(loaded.snapshots) == [("w1", n, blob) for n in range(SESSION_BUCKETS)]
    # 512 buckets, for later releases may have more; and the tails.
    said = server.ask("INFO", "commandstats").decode()
    assert re.findall(r"cmdstat_mget:calls=(\d+)", said) == [str(goes + 1)]


def test_only_so_many_gone_workers_are_remembered(
    valkey_url: str, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_realtime_monitor.stores.redis.MOST_TAKEN", 2)
    one, *gone = (
        left(open_store(valkey_url, worker=name, prefix="many gone"))
        for name in ("w1", "g1", "g2", "g3")
    )
    one.flush(frame())
    for store in gone:
        store.flush(frame())
        assert one.retire(store.worker, lambda beat, retired, taken: b"1")
    assert set(one.roster().taken) == {"g2", "g3"}
