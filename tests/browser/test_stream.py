"""The stream in a real browser's own EventSource, and what the page makes of odd answers.

The numbers in brackets are the lines of the list of what a stream has to be.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("playwright", reason="no playwright; it comes with the test extra")
from playwright.sync_api import expect

from tests.support.merging import comparable, merged
from tests.support.streaming import ADMIN, StreamingServer
from tests.support.viewer import Viewer
from tests.support.waiting import DEADLINE_S, wait_until
from tests.support.whatwg import Message
from tests.test_whatwg import CASES

from .conftest import Site

Own = Callable[..., StreamingServer]
Watch = Callable[..., Any]

#: Opens a source and notes everything that it does.
LISTEN = """([name, url]) => {
  const seen = { states: [], events: [], errors: 0 };
  const source = new EventSource(url);
  const note = () => {
    if (seen.states.at(-1) !== source.readyState) seen.states.push(source.readyState);
  };
  const keep = (event) => {
    note();
    seen.events.push([event.type, event.lastEventId, event.data]);
  };
  note();
  source.onopen = note;
  source.onerror = () => { seen.errors += 1; note(); };
  for (const type of ["message", "snapshot", "update", "bye", "a"]) {
    source.addEventListener(type, keep);
  }
  (window.sources ??= {})[name] = { seen, source };
}"""
CONNECTING, OPEN, CLOSED = 0, 1, 2


class Source:
    """An EventSource in a page."""

    def __init__(self, page: Any, url: str = "/monitor/stream", name: str = "one") -> None:
        self.page, self._name = page, name
        page.evaluate(LISTEN, [name, url])

    def _seen(self) -> Any:
        return self.page.evaluate("(name) => window.sources[name].seen", self._name)

    @property
    def states(self) -> list[int]:
        states: list[int] = self._seen()["states"]
        return states

    @property
    def errors(self) -> int:
        return int(self._seen()["errors"])

    @property
    def events(self) -> list[tuple[str, str, Any]]:
        return [(type, id, json.loads(data)) for type, id, data in self._seen()["events"]]

    @property
    def messages(self) -> list[Message]:
        return [Message(type, data, id) for type, id, data in self._seen()["events"]]

    def paths(self) -> list[str]:
        """Return the paths of the activities that updates brought, in their order."""
        return [
            one["path"]
            for type, _, data in self.events
            if type == "update"
            for one in data.get("activities", ())
        ]

    def wait_for(self, what: str) -> None:
        """Wait until something is in what came."""
        wait_until(lambda: what in json.dumps(self.events), f"{what} in {self.states}")

    def wait_for_state(self, state: int) -> None:
        wait_until(lambda: self.states[-1] == state, f"state {state}")


@pytest.fixture(scope="module")
def shared() -> Iterator[StreamingServer]:
    made = StreamingServer()
    yield made
    made.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """A page of the app's own origin, of an admin; an error in it fails the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def opened(server: StreamingServer, role: str = "admin") -> Any:
        context = browser.new_context()
        contexts.append(context)
        context.add_cookies([{"name": "role", "value": role, "url": server.url}])
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/test-page")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def asked(page: Any) -> list[str]:
    """Return the list that every request for a stream will be put in."""
    found: list[str] = []
    page.on("request", lambda one: found.append(one.url) if "/stream" in one.url else None)
    return found


Open = Callable[..., Any]


def test_it_opens_and_its_named_events_arrive(shared: StreamingServer, open_page: Open) -> None:
    """[1, 17, 19, 38, 44]; packed, as every browser asks for, and read while it goes on."""
    page = open_page(shared)
    with page.expect_response("**/monitor/stream") as answer:
        source = Source(page)
    source.wait_for_state(OPEN)
    assert answer.value.header_value("content-encoding") == "gzip"
    assert answer.value.request.header_value("accept") == "text/event-stream"
    source.wait_for('"role"')
    for number in range(3):
        shared.ask(f"/page/named-{number}")
        source.wait_for(f"/page/named-{number}")
    types = [type for type, _, _ in source.events]
    assert types[0] == "snapshot"
    assert set(types[1:]) == {"update"}
    ids = [id for _, id, _ in source.events]
    assert len(set(ids)) == len(ids)
    assert source.states == [CONNECTING, OPEN]
    assert source.errors == 0


def test_it_reads_what_our_parsers_read(shared: StreamingServer, open_page: Open) -> None:
    """[10 to 16] The same texts, the same ids, the same state in the end."""
    source = Source(open_page(shared))
    with Viewer(shared, **ADMIN) as viewer:
        held: Any = viewer.next("snapshot").data
        source.wait_for('"role"')
        for text in (
            "data: x",
            "\n\nid: 1\n\n",
            "\r\rretry: 1",
            "\u2028\x85",
            "\U0001f600",
            "\ud800",
        ):
            shared.ask("/page/x", X_User="u", X_Name=quote(text, safe="", errors="surrogatepass"))
        shared.ask("/page/same-end")
        while "same-end" not in str(viewer.events[-1].data):
            held = merged(held, viewer.next("update").data)
    source.wait_for("/page/same-end")
    ours = [(one.event, one.id, one.data) for one in viewer.events[1:]]
    theirs = [one for one in source.events if one[1] in {id for _, id, _ in ours}]
    assert theirs == ours
    snapshot, *updates = [data for _, _, data in source.events]
    for update in updates[: [id for _, id, _ in source.events].index(ours[-1][1])]:
        snapshot = merged(snapshot, update)
    assert comparable(snapshot) == comparable(held)


def test_two_streams_in_one_page_are_two_viewers(shared: StreamingServer, open_page: Open) -> None:
    """[39]."""
    page = open_page(shared)
    before = shared.viewers
    one, other = Source(page, name="one"), Source(page, name="other")
    for source in (one, other):
        source.wait_for('"role"')
    wait_until(lambda: shared.viewers >= before + 2, "both watch")
    shared.ask("/page/for-two")
    for source in (one, other):
        source.wait_for("/page/for-two")
    ids = {id for _, id, _ in one.events} & {id for _, id, _ in other.events}
    assert ids
    page.evaluate("() => window.sources.one.source.close()")
    shared.ask("/page/for-one")
    other.wait_for("/page/for-one")
    assert "/page/for-one" not in json.dumps(one.events)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_over_the_end_of_its_worker_it_comes_back(
    own: Own, open_page: Open, how: signal.Signals
) -> None:
    """[34, 40] By itself, going on where it was, without an error in the page."""
    server = own()
    source = Source(open_page(server))
    source.wait_for('"role"')
    server.ask("/page/before-the-end")
    source.wait_for("/page/before-the-end")
    wait_until(lambda: server.json("health", **ADMIN)["store"]["lag_s"] < 1, "it is written")
    os.kill(server.workers()[0], how)
    back = [CONNECTING, OPEN, CONNECTING, OPEN]
    # One that comes while the old worker is still there is told to come again.
    wait_until(lambda: source.states[:4] == back and source.states[-1] == OPEN, "it is back")
    server.ask("/page/after-the-end")
    source.wait_for("/page/after-the-end")
    types = [type for type, _, _ in source.events]
    assert ("bye" in types) == (how == signal.SIGTERM)
    assert CLOSED not in source.states
    assert source.paths().count("/page/before-the-end") <= 1


def test_asked_to_renew_it_misses_nothing_and_sees_nothing_twice(own: Own, open_page: Open) -> None:
    """[20, 26]."""
    server = own(STREAM_MAX_AGE=1)
    source = Source(open_page(server))
    source.wait_for('"role"')
    for number in range(12):
        server.ask(f"/page/renewed-{number}")
        source.wait_for(f"/page/renewed-{number}")
    wait_until(lambda: len(source.states) >= 4, "it was renewed at least once")
    paths = [path for path in source.paths() if "renewed" in path]
    assert paths == [f"/page/renewed-{number}" for number in range(12)]
    assert [type for type, _, _ in source.events].count("snapshot") == 1


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_ends_it_for_good(own: Own, open_page: Open, status: int) -> None:
    """[30, 31, 32] EventSource asks once, and never again: what the page's own reader is for."""
    server = own(has_gate=status != 404, MAX_VIEWERS=1)
    page = open_page(server, role="nobody" if status == 403 else "admin")
    requests = asked(page)
    first = Viewer(server, **ADMIN)
    with page.expect_response("**/monitor/stream") as answer:
        source = Source(page)
    source.wait_for_state(CLOSED)
    first.close()
    assert answer.value.status == status
    assert source.states == [CONNECTING, CLOSED]
    assert (source.errors, len(requests)) == (1, 1)


def test_a_redirect_to_sign_in_ends_it(own: Own, open_page: Open) -> None:
    """[33]."""
    server = own()
    server.ask("/doors/signed_in/shut", "POST")
    source = Source(open_page(server))
    source.wait_for_state(CLOSED)
    assert source.states == [CONNECTING, CLOSED]


def test_shown_out_it_asks_once_more_and_ends(own: Own, open_page: Open) -> None:
    """[30] A goodbye, then a 403."""
    server = own()
    source = Source(open_page(server))
    source.wait_for('"role"')
    server.ask("/doors/open/shut", "POST")
    source.wait_for_state(CLOSED)
    assert [data["reason"] for type, _, data in source.events if type == "bye"] == ["unauthorized"]


def test_a_page_that_is_left_is_no_viewer_any_more(own: Own, open_page: Open) -> None:
    server = own()
    page = open_page(server)
    source = Source(page)
    source.wait_for('"role"')
    wait_until(lambda: server.viewers == 1, "it watches")
    page.goto("about:blank")
    wait_until(lambda: server.viewers == 0, "it has left")


@pytest.mark.parametrize("name", CASES)
def test_the_second_parser_reads_as_a_browser_does(
    shared: StreamingServer, open_page: Open, name: str
) -> None:
    """[46] The very bytes, given to a browser: what our tests believe is what it does."""
    data, expected = CASES[name]
    page = open_page(shared)
    body = b"retry: 600000\n\n" + data
    if data.startswith(b"\xef\xbb\xbf"):
        body = data + b"\n\nretry: 600000\n\n"
    head = {"Content-Type": "text/event-stream"}
    page.route("**/case", lambda route: route.fulfill(body=body, headers=head))
    source = Source(page, "/case")
    wait_until(lambda: source.errors, "all is read")
    assert source.messages == [Message(*one) for one in expected]


# -- the page's own reader -----------------------------------------------------------------------


def text_of(page: Any) -> Any:
    return page.locator("#connection-text")


def test_an_event_of_a_later_release_disturbs_no_page(site: Site, watch: Watch) -> None:
    """[18]."""
    novelty = b'retry: 200\n\nid: x\nevent: novelty\ndata: {"as_of":1,"new":true}\n\n'
    asked: list[str] = []

    def prepare(page: Any) -> None:
        # Routes see what a page asks for, not what a worker does.
        page.add_init_script("delete window.SharedWorker")

        def answer(route: Any) -> None:
            asked.append(route.request.url)
            if len(asked) == 1:
                route.fulfill(body=novelty, headers={"Content-Type": "text/event-stream"})
            else:
                route.continue_()

        page.route("**/monitor/stream", answer)

    page = watch(site, prepare=prepare)
    expect(text_of(page)).to_have_text(re.compile("^Live"))
    assert len(asked) > 1


def test_a_line_that_is_dead_without_a_word_is_noticed(own: Own, watch: Watch) -> None:
    """[41] As after a sleep: the connection stands, and nothing comes. EventSource would wait."""
    server = own()
    page = watch(server)
    expect(text_of(page)).to_have_text(re.compile("^Live"))
    pid = server.workers()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        expect(text_of(page)).to_have_text(re.compile("^(Cut off since|Catching up)"))
    finally:
        os.kill(pid, signal.SIGCONT)
    expect(text_of(page)).to_have_text(re.compile("^Live"))
    server.ask("/page/awake", X_User="u-awake", X_Name="Anna Awake")
    expect(page.locator(".people tr", has_text="Anna Awake")).to_be_visible()
