/** One session's story, at a URL of its own: `#session=<id>`. */

import { age, clockTime, device, number, person, milliseconds, visible } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";
import { what } from "./activity.js";

const GAP_S = 60;
const ASK_EVERY_MS = 5000; // where the stream does not tell of this session

export function mount(element, page) {
  const title = element.querySelector("h2");
  const facts = element.querySelector("[data-facts]");
  const details = element.querySelector("[data-details]");
  const story = element.querySelector("[data-story]");
  const empty = element.querySelector("[data-empty]");
  let id = "";
  let seenAt = 0; // last_seen_at of what is shown
  let isAsking = false;
  let askedAt = 0;

  /** Show the session that the URL names, or none. */
  function follow() {
    id = page.view.get("session");
    if (!id) {
      if (element.open) element.close();
      return;
    }
    seenAt = 0;
    say("Loading");
    if (!element.open) element.showModal();
    ask();
  }

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    askedAt = Date.now();
    const wanted = id;
    const response = await fetch(`${page.api}/sessions/${wanted}`, { cache: "no-store" })
      .catch(() => null);
    isAsking = false;
    if (wanted !== id) {
      if (id) ask();
      return;
    }
    if (response?.ok) show(await response.json());
    else if (response?.status === 404) gone(await response.json());
    else say("The server did not answer. It is asked again with the next change.");
  }

  function show(session) {
    seenAt = session.last_seen_at;
    write(title, person(session.user, session.id));
    const now = page.model.isEmpty ? session.last_seen_at : page.model.now();
    write(facts, `${session.is_active ? "Active" : "Idle"}, last seen ${age(now - session.last_seen_at)} ago`);
    facts.dataset.at = session.last_seen_at;
    facts.dataset.state = session.is_active ? "Active" : "Idle";
    const known = [
      ["User", session.user ? visible(session.user.id) : "not signed in"],
      ["Device", device(session.agent)],
      ["Address", session.ip ? visible(session.ip) : "not kept"],
      ["Here since", new Date(session.first_seen_at * 1000).toLocaleString()],
      ["Requests", `${number(session.requests)}, ${number(session.errors)} failed`],
      ["Worker", `${visible(session.host)}, ${visible(session.worker)}`],
    ];
    details.replaceChildren(...known.flatMap(([name, value]) =>
      [el("dt", { textContent: name }), el("dd", {}, bdi(value))]));
    let later = null;
    const lines = session.activities.map((one) => {
      const gap = later === null ? 0 : later - one.at;
      later = one.at;
      return { ...one, gap };
    });
    keyed(story, lines, (one) => one.id, createLine, (line, one) => {
      const gap = line.querySelector(".gap");
      gap.hidden = one.gap < GAP_S;
      write(gap, `${age(one.gap)} earlier`);
    });
    empty.hidden = true;
  }

  /** The session has ended, or never was. */
  function gone(answer) {
    if (answer.ended_at) {
      facts.dataset.at = "";
      const ended = `This session ended at ${clockTime(answer.ended_at)}.`;
      if (seenAt) write(facts, ended);
      else say(ended);
    } else {
      say("There is no such session. It may have ended long ago.");
    }
  }

  function say(text) {
    write(title, "Session");
    write(facts, "");
    facts.dataset.at = "";
    details.replaceChildren();
    story.replaceChildren();
    empty.hidden = false;
    write(empty, text);
  }

  function draw(model) {
    if (!id) return;
    const now = model.sessions.get(id);
    const isDue = Date.now() - askedAt > ASK_EVERY_MS;
    if (now ? now.last_seen_at !== seenAt : facts.dataset.at && isDue) ask();
  }

  function tick(model) {
    const at = Number(facts.dataset.at);
    if (id && at) write(facts, `${facts.dataset.state}, last seen ${age(model.now() - at)} ago`);
  }

  element.addEventListener("close", () => {
    id = "";
    page.view.set({ session: "" });
  });
  element.querySelector("[data-close]").addEventListener("click", () => element.close());
  element.addEventListener("click", (event) => {
    if (event.target === element) element.close(); // the backdrop
  });
  function choose(changed) {
    if (changed.has("session")) follow();
  }

  follow();
  return { draw, tick, choose };
}

function createLine(one) {
  return el("li", { "data-kind": one.kind, "data-class": Math.floor((one.status ?? 0) / 100) },
    el("p", { className: "gap", hidden: true }),
    el("time", { textContent: clockTime(one.at) }),
    el("span", { className: "status", textContent: one.status ?? "–" }), what(one),
    el("span", { className: "num",
      textContent: one.duration_ms === null ? "" : milliseconds(one.duration_ms) }));
}
