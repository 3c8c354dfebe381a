/**
 * The story of one session or of one user, each at a URL: `#session=<id>`, `#person=<user id>`. What
 * tells it is loaded with the first.
 */

import { age, clockTime, visible } from "../format.js";
import { el, write } from "../dom.js";

const ASK_EVERY_MS = 5000; // where the stream does not tell of whom it is about
const ASK_AGAIN_MS = 1000; // where it does
const KINDS = ["session", "person"];

export function mount(element, page) {
  const find = (name) => element.querySelector(`[data-${name}]`);
  const parts = {
    title: element.querySelector("h2"), details: find("details"), sessions: find("sessions"),
    journey: find("journey"), quiet: find("quiet"), why: find("why"),
  };
  const facts = find("facts");
  const empty = find("empty");
  const told = find("told");
  let ending = null; // offers to end it, once the scripts are there
  let story = null;
  let subject = null; // {kind, id}: whose story is open
  let shown = null; // what the server told of it last
  let isOver = false; // it has ended, or left
  let isAsking = false;
  let askedAt = 0;

  /** Show whom the URL names, or nobody. */
  function follow() {
    const kind = KINDS.find((one) => page.view.get(one));
    subject = kind ? { kind, id: page.view.get(kind) } : null;
    shown = null;
    isOver = false;
    ending?.hide();
    if (!subject) {
      if (element.open) element.close();
      return;
    }
    write(parts.title, subject.kind === "session" ? "Session" : visible(subject.id));
    say("Loading");
    if (!element.open) element.showModal();
    ask();
  }

  async function ask() {
    if (isAsking || !subject) return;
    isAsking = true;
    askedAt = Date.now();
    const wanted = subject;
    if (!story && !await load()) return;
    const answer = wanted.kind === "session"
      ? await page.ask(`sessions/${encodeURIComponent(wanted.id)}`)
      : await page.ask("user", new URLSearchParams({ id: wanted.id }));
    isAsking = false;
    if (wanted !== subject) ask();
    else if (answer?.ok) show(answer.data);
    else if (answer?.status === 404) gone(answer.data);
    else if (!shown) say("The server did not answer. It is asked again in a few seconds.");
  }

  /** The scripts for it; they may fail to come, and are asked for again. */
  async function load() {
    try {
      const [told, ended] = await Promise.all([import("../story.js"), import("../ending.js")]);
      story = told;
      ending = new ended.Ending(find("ending"), page, () => ask());
    } catch {
      isAsking = false;
      say("The server did not answer. It is asked again in a few seconds.");
    }
    return story;
  }

  function show(data) {
    shown = data;
    isOver = false;
    delete element.dataset.over;
    if (subject.kind === "session") {
      story.drawSession(parts, data, page);
      ending.offer(data);
    } else {
      story.drawPerson(parts, data, page);
    }
    drawFacts();
    empty.hidden = true;
    told.hidden = false;
  }

  /** It has ended, or never was; what was told of it before stays, marked. */
  function gone({ ended_at: endedAt }) {
    isOver = true;
    ending.hide();
    element.dataset.over = "yes";
    const text = subject.kind === "person"
      ? `${story.nameOf(subject.id, page.model)} is not here now.`
      : endedAt
        ? `This session ended at ${clockTime(endedAt)}.`
        : "There is no such session. It may have ended long ago.";
    if (shown) write(facts, text);
    else say(text, subject.kind === "person" ? lastOf(subject.id) : null);
  }

  /** What the feed still knows of somebody who has left. */
  function lastOf(id) {
    const last = page.model.activities.find((one) => one.user?.id === id);
    return last ? ` Last seen at ${clockTime(last.at)}, on ${visible(last.path ?? "no page")}.` : null;
  }

  function say(text, more = null) {
    write(facts, "");
    told.hidden = true;
    empty.hidden = false;
    empty.replaceChildren(text, ...more ? [more] : [], " ", backToAll());
  }

  function backToAll() {
    return el("a", { href: page.view.href({ session: "", person: "" }), textContent: "Back to all" });
  }

  function drawFacts() {
    const about = shown.user && subject.kind === "person" ? shown.user : shown;
    const now = page.model.isEmpty ? about.last_seen_at : page.model.now();
    const state = about.is_active ? "Active" : "Idle";
    write(facts, `${state}, last seen ${age(now - about.last_seen_at)} ago`);
  }

  function draw(model) {
    if (!subject || isOver) return;
    const list = subject.kind === "session" ? model.sessions : model.users;
    const held = list.get(subject.id);
    const about = subject.kind === "session" ? shown : shown?.user;
    const since = Date.now() - askedAt;
    const hasNews = held && about && (held.last_seen_at !== about.last_seen_at
      || held.requests !== about.requests || held.is_active !== about.is_active);
    if (hasNews ? since > ASK_AGAIN_MS : !held && since > ASK_EVERY_MS) ask();
  }

  function tick(model) {
    if (!subject || isOver) return;
    if (shown) drawFacts();
    draw(model);
    if (!shown && Date.now() - askedAt > ASK_EVERY_MS) ask();
  }

  element.addEventListener("close", () => page.view.set({ session: "", person: "" }));
  find("close").addEventListener("click", () => element.close());
  element.addEventListener("click", (event) => {
    if (event.target === element) element.close(); // the backdrop
  });
  follow();

  return {
    draw, tick,
    choose: (changed) => { if (KINDS.some((one) => changed.has(one))) follow(); },
  };
}
