"""The scripts that know of no document: what holds the stream, merges it and hands it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Site, Watch, module_of


@pytest.fixture
def connecting(site: Site, watch: Watch) -> Callable[..., Any]:
    """Runs a connection against answers made up for it; returns its states and waits.

    One that is hurried asks for the stream whenever it may, and tells by what URL.
    """
    page = watch(site)
    module = module_of(page, "connection.js")

    def run(answers: list[Any], rounds: int = 99, is_hurried: bool = False) -> Any:
        return page.evaluate(
            """async ([module, answers, rounds, isHurried]) => {
                const { Connection } = await import(module);
                const { fetch } = window;
                const told = { states: [], waits: [], polls: 0 };
                if (isHurried) told.asked = [];
                let connection = null;
                const respond = ({ status = 200, headers = {}, body = "" }) => new Response(
                    body, { status, headers: { "Content-Type": "text/event-stream", ...headers } });
                window.fetch = async (url) => {
                    if (!url.startsWith("stream")) {
                        told.polls += 1;
                        return new Response('{"as_of": 1, "items": []}');
                    }
                    told.asked?.push(url);
                    if (!answers.length) connection._set("ended", "over");
                    const answer = answers.shift() ?? { status: 403 };
                    if (answer.status === 0) throw new TypeError("cut");
                    return respond(answer);
                };
                connection = new Connection({ stream: "stream", api: "api" }, 1000, {
                    snapshot() {}, update() {}, heard() {},
                    state() { told.states.push([connection.state, connection.why]); },
                });
                connection._pause = async () => {
                    told.waits.push(connection._nextMs);
                    if (isHurried) connection.now();
                    if (told.waits.length === rounds) connection._set("ended", "over");
                };
                await connection.run();
                window.fetch = fetch;
                return told;
            }""",
            [module, answers, rounds, is_hurried],
        )

    return run


def test_cut_off_it_waits_what_the_server_said_then_longer_and_longer(
    connecting: Callable[..., Any],
) -> None:
    snapshot = 'retry: 2345\n\nid: e-1.1\nevent: snapshot\ndata: {"as_of": 1}\n\n'
    waits = connecting([{"body": snapshot}, *({"status": 0} for _ in range(8))])["waits"]
    assert waits[0] == 2345
    for number, wait in enumerate(waits[1:], 1):
        middle = min(2345 * 2**number, 30_000)
        assert middle * 0.75 <= wait <= middle * 1.25
    assert len(set(waits)) == len(waits)  # all jittered


def test_after_a_bye_it_waits_what_that_said_and_stays_live(
    connecting: Callable[..., Any],
) -> None:
    snapshot = 'id: e-1.1\nevent: snapshot\ndata: {"as_of": 1}\n\n'
    bye = 'event: bye\ndata: {"reason": "restart", "retry_ms": 321}\n\n'
    told = connecting([{"body": snapshot + bye}])
    assert told["waits"] == [321]
    assert told["states"][0] == ["live", ""]
    assert "reconnecting" not in [state for state, _ in told["states"]]


def test_unauthorized_once_is_asked_again_and_twice_is_the_end(
    connecting: Callable[..., Any],
) -> None:
    bye = 'event: bye\ndata: {"reason": "unauthorized", "retry_ms": 5}\n\n'
    told = connecting([{"body": bye}, {"body": bye}, {"body": bye}])
    assert told == {"states": [["ended", "refused"]], "waits": [5], "polls": 0}


def test_without_a_place_it_waits_as_told_and_asks_the_api_meanwhile(
    connecting: Callable[..., Any],
) -> None:
    full = {"status": 503, "headers": {"Retry-After": "4"}}
    told = connecting([full, full, full])
    assert told["states"] == [["polling", "full"], ["ended", "over"]]
    assert told["polls"] == 7  # once in ten seconds
    assert all(4000 <= wait <= 6000 for wait in told["waits"][:3])
    assert len(set(told["waits"][:3])) == 3  # all jittered


def test_a_bounded_answer_is_no_stream_and_not_asked_for_again_at_once(
    connecting: Callable[..., Any],
) -> None:
    snapshot = 'id: e-1.1\nevent: snapshot\ndata: {"as_of": 1}\n\n'
    bye = 'event: bye\ndata: {"reason": "limit", "retry_ms": 1000}\n\n'
    told = connecting([{"body": snapshot + bye}], rounds=3)
    assert told["states"] == [["live", ""], ["polling", "bounded"], ["ended", "over"]]
    assert told["polls"] == 14  # its own snapshot was the first
    assert told["waits"] == [10_000] * 3


def test_who_comes_back_after_a_bounded_answer_says_so(connecting: Callable[..., Any]) -> None:
    snapshot = 'id: e-1.1\nevent: snapshot\ndata: {"as_of": 1}\n\n'
    bye = 'event: bye\ndata: {"reason": "limit", "retry_ms": 1000}\n\n'
    told = connecting([{"body": snapshot + bye}] * 2, rounds=2, is_hurried=True)
    assert told["asked"] == ["stream", "stream?after=limit"]


@pytest.mark.parametrize(("status", "why"), [(401, "refused"), (403, "refused"), (404, "missing")])
def test_a_no_is_final(connecting: Callable[..., Any], status: int, why: str) -> None:
    assert connecting([{"status": status}]) == {"states": [["ended", why]], "waits": [], "polls": 0}


def test_a_visible_tab_that_falls_silent_no_longer_holds_the_stream(
    site: Site, watch: Watch
) -> None:
    page = watch(site)
    tabs, sizes = page.evaluate(
        """async (module) => {
            const { Hub } = await import(module);
            const now = Date.now;
            const hub = new Hub();
            hub._connect = () => ({ state: "live", sleep() { tabs.push("asleep"); }, status() {} });
            const [tabs, sizes] = [[], []];
            const port = { postMessage() {} };
            hub._hear(port, { is: "visible", setup: { asleepMs: 0 } });
            for (const laterMs of [14000, 16000]) {
                Date.now = () => now() + laterMs;
                hub._dropSilent();
                sizes.push(hub._tabs.size);
            }
            hub._hear(port, { is: "visible", setup: { asleepMs: 0 } }); // it was only busy
            sizes.push(hub._tabs.size);
            Date.now = now;
            return [tabs, sizes];
        }""",
        module_of(page, "hub.js"),
    )
    assert (tabs, sizes) == (["asleep"], [1, 0, 1])


def test_a_page_of_another_role_gets_no_picture_that_was_made_for_the_first(
    site: Site, watch: Watch
) -> None:
    page = watch(site)
    told = page.evaluate(
        """async (module) => {
            const { Hub } = await import(module);
            const hub = new Hub();
            const told = [];
            hub._connect = ({ role }) => {
                told.push(`connect ${role}`);
                hub._role = role;
                return { state: "live", sleep() { told.push("sleep"); }, status() {}, now() {} };
            };
            hub._message = (event) => event ?? "status";
            const tab = (role) => hub._hear(
                { postMessage: (message) => told.push(message) },
                { is: "visible", setup: { role, asleepMs: 1000 } });
            tab("view");
            hub._model = { isEmpty: false, whole() {} };
            tab("view");
            hub._role = "reveal"; // the cookies were another person's when it came back
            hub._connect = ((connect) => (setup) => {
                hub._model = { isEmpty: true };
                return connect(setup);
            })(hub._connect);
            tab("view");
            return told;
        }""",
        module_of(page, "hub.js"),
    )
    assert told == ["connect view", "status", "snapshot", "sleep", "connect view", "status"]


def test_a_model_handed_on_keeps_the_clock_and_the_order(site: Site, watch: Watch) -> None:
    page = watch(site)
    module = module_of(page, "model.js")
    empty = {"users": [], "endpoints": [], "in_flight": [], "workers": [], "sessions": []}
    snapshot = {
        **empty,
        "as_of": 1.5,
        "stats": {"coverage": {"workers": 2, "workers_reporting": 1, "oldest_report_s": 3}},
        "activities": [{"id": "x"}, {"id": "w"}],
    }
    seen = page.evaluate(
        """async ([module, snapshot]) => {
            const { Model } = await import(module);
            const [first, second] = [new Model(), new Model()];
            first.snapshot(snapshot);
            first.offset += 60; // no news for a minute
            second.snapshot(structuredClone(first.whole()));
            second.snapshot({ ...first.whole(), activities: [{ id: "y" }, { id: "x" }] });
            return [
                second.offset - first.offset, second.asOf, second.seen,
                second.oldestReport() - first.oldestReport(),
            ];
        }""",
        [module, snapshot],
    )
    assert seen[:3] == [0, 1.5, 1]
    assert abs(seen[3]) < 1


def test_the_model_merges_as_the_reference_says(site: Site, watch: Watch) -> None:
    page = watch(site)
    module = module_of(page, "model.js")
    minutes = [{"at": 60 * n, "requests": 0} for n in range(60)]
    snapshot = {
        "as_of": 1.5,
        "stats": {"requests_total": 1, "history": minutes},
        "users": [],
        "endpoints": [],
        "in_flight": [],
        "workers": [],
        "sessions": [{"id": "a", "path": "/1", "requests": 1}, {"id": "b"}],
        "activities": [{"id": "x"}],
    }
    update = {
        "as_of": 2.5,
        "stats": {"requests_total": 3, "history": [{"at": 3600, "requests": 2}]},
        "sessions": [{"id": "a", "path": "/2"}, {"id": "c"}],
        "removed": {"sessions": ["b"]},
        "activities": [{"id": "x"}, {"id": "y"}, {"id": "z"}],
    }
    merged = page.evaluate(
        """async ([module, snapshot, update]) => {
            const model = new (await import(module)).Model();
            model.snapshot(snapshot);
            model.update(update);
            return JSON.stringify({
                sessions: [...model.sessions.values()],
                activities: model.activities.map((one) => one.id),
                total: model.stats.requests_total,
                minutes: [model.stats.history.length, model.stats.history.at(-1).requests],
                first: model.stats.history[0].at,
            });
        }""",
        [module, snapshot, update],
    )
    assert json.loads(merged) == {
        "sessions": [{"id": "a", "path": "/2", "requests": 1}, {"id": "c"}],
        "activities": ["z", "y", "x"],
        "total": 3,
        "minutes": [60, 2],
        "first": 60,
    }
