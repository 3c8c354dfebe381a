/**
 * The story of one session or of one user, each at a URL: `#session=<id>`, `#person=<user id>`.
 * What tells it is loaded with the first.
 */

import { clockTime, visible } from "../format.js";
import { el, write } from "../dom.js";

const ASK_EVERY_MS = 5000; // where the stream does not tell of whom it is about
const ASK_AGAIN_MS = 1000; // where it does
const KINDS = ["session", "person"];
const MOST_LEFT = 50; // activities of who has left

export function mount(element, page) {
  const find = (name) => element.querySelector(`[data-${name}]`);
  const parts = {
    title: find("title"), you: find("you"), details: find("details"), sessions: find("sessions"),
    journey: find("journey"), kept: find("kept"), why: find("why"),
  };
  const heading = element.querySelector("h2");
  const told = find("told");
  let story = null; // the scripts that tell it, once they are there
  let ending = null;
  let subject = null; // {kind, id}: whose story is open
  let shown = null; // what the server told of it last
  let over = ""; // what is said of one that has ended, or left
  let wasHeld = false; // whether the stream told of it
  let isAsking = false;
  let askedAt = 0;
  let timer = 0;
  let isPressedOutside = false;

  /** Show whom the URL names, or nobody. */
  function follow() {
    const kind = KINDS.find((one) => page.view.get(one));
    const last = subject;
    subject = kind ? { kind, id: page.view.get(kind) } : null;
    clearTimeout(timer);
    forget();
    if (!subject) {
      if (element.open) element.close();
      if (last) giveFocusBack(last);
      return;
    }
    const known = kind === "person" && page.role !== "view" ? visible(subject.id) : "";
    write(parts.title, known || (kind === "person" ? "User" : "Session"));
    say("Loading");
    if (!element.open) element.showModal();
    heading.focus(); // a link in what was told before is gone
    element.scrollTop = 0;
    ask();
  }

  /** Nothing of one story stays in the next. */
  function forget() {
    shown = null;
    over = "";
    wasHeld = false;
    told.hidden = true;
    delete element.dataset.over;
    parts.you.hidden = true;
    ending?.hide();
    story?.clear(parts);
  }

  async function ask() {
    if (isAsking || !subject) return;
    isAsking = true;
    askedAt = Date.now();
    clearTimeout(timer);
    const wanted = subject;
    const answer = await load() ? await answerFor(wanted) : null;
    isAsking = false;
    if (!element.isConnected) return; // the viewer may not watch any more
    if (wanted !== subject) ask();
    else if (answer?.ok) show(answer.data);
    else if (answer?.status === 404) leave(answer.data.ended_at, answer.left);
    else wait(answer);
  }

  /** The scripts; they may fail to come, and are asked for again. */
  async function load() {
    if (story) return true;
    try {
      const [first, second] = await Promise.all([import("../story.js"), import("../ending.js")]);
      ending = new second.Ending(find("ending"), page, { ended: leaveNow, unclear: ask });
      story = first;
      return true;
    } catch {
      return false;
    }
  }

  /** @returns {status, ok, data, left}: `left` is what is still known of who is not here. */
  async function answerFor({ kind, id }) {
    const answer = kind === "session"
      ? await page.ask(`sessions/${encodeURIComponent(id)}`)
      : await page.ask("user", { id });
    if (answer?.status !== 404 || shown) return answer;
    const name = kind === "session" ? "session" : "user";
    const feed = await page.ask("activities", { [name]: id, limit: MOST_LEFT });
    return { ...answer, left: feed?.ok ? feed.data.items : [] };
  }

  function show(data) {
    shown = data;
    over = "";
    delete element.dataset.over;
    say("");
    tell();
  }

  function tell() {
    if (subject.kind === "session") story.drawSession(parts, shown, page, over);
    else story.drawPerson(parts, shown, page, over);
    told.hidden = false;
    if (over || subject.kind === "person") ending.hide();
    else ending.offer(shown);
  }

  /** It has ended, or never was; what was told of it before stays, marked. */
  function leave(endedAt, left = []) {
    const isPerson = subject.kind === "person";
    over = isPerson ? "not here now" : endedAt ? `ended ${clockTime(endedAt)}` : "ended";
    element.dataset.over = "";
    if (shown) {
      say(isPerson ? "Not here now." : `This session ${over}.`);
      tell();
      return;
    }
    if (left.length) {
      story.drawLeft(parts, subject, left, page);
      told.hidden = false;
    }
    const last = left.length ? ` Last seen at ${clockTime(left[0].at)}.` : "";
    if (isPerson) say(`Not here now.${last}`, true);
    else if (endedAt) say(`This session ${over}.`, true);
    else say(`There is no such session. It may have ended long ago.${last}`, true);
  }

  function leaveNow(endedAt) {
    leave(endedAt);
    heading.focus(); // the button is gone
    element.scrollTop = 0;
  }

  /** No answer, or none that tells anything: what was told stays, and it is asked again. */
  function wait(answer) {
    const fault = answer ? `The server answered ${answer.status}` : "The server did not answer";
    say(shown ? `${fault} at ${clockTime(page.model.now())}; this is what it told before. Asking again every 5 s.`
      : `${fault}. It is asked again every 5 s.`);
    later();
  }

  function later() {
    timer = setTimeout(() => (document.hidden ? later() : ask()), ASK_EVERY_MS);
  }

  function say(text, isEnd = false) {
    const said = find("said");
    if (said.dataset.text === text) return; // it would be read out again
    said.dataset.text = text;
    said.hidden = !text;
    const back = el("a", { href: page.view.href({ session: "", person: "" }), textContent: "Back to all" });
    said.replaceChildren(text, ...isEnd ? [" ", back] : []);
  }

  /** The stream tells when there is news of it, or that it is gone; else the server is asked. */
  function draw(model) {
    if (!subject || isAsking) return;
    const isSession = subject.kind === "session";
    const held = isSession ? model.sessions.get(shown?.id ?? subject.id) : model.users.get(subject.id);
    const since = Date.now() - askedAt;
    const hasGone = wasHeld && !held;
    wasHeld = Boolean(held);
    if (over && !held && isSession) return;
    const isDue = held ? isNews(held) : hasGone || since > ASK_EVERY_MS;
    if (isDue && since > ASK_AGAIN_MS) ask();
    else if (hasGone) wasHeld = true; // asked with the next look
  }

  function isNews(held) {
    const about = subject.kind === "session" ? shown : shown?.user;
    return Boolean(over) || (about && (held.last_seen_at !== about.last_seen_at
      || held.requests !== about.requests || held.is_active !== about.is_active));
  }

  function tick(model) {
    if (!subject) return;
    if (shown && !over) story.drawTimes(parts, shown, page);
    draw(model);
  }

  /** To where it was opened; the browser does so itself, where that is still there. */
  function giveFocusBack({ id }) {
    const now = document.activeElement;
    if (now !== document.body && !element.contains(now)) return;
    const row = document.querySelector(`main tr[data-key="${CSS.escape(id)}"] a`);
    (row ?? document.getElementById("main"))?.focus({ preventScroll: true });
  }

  function isOutside({ target, clientX }) {
    return target === element && clientX < element.getBoundingClientRect().left;
  }

  element.addEventListener("close", () => {
    if (!element.open) page.view.set({ session: "", person: "" }); // else the next story is open
  });
  find("close").addEventListener("click", () => element.close());
  element.addEventListener("pointerdown", (event) => { isPressedOutside = isOutside(event); });
  element.addEventListener("click", (event) => {
    if (isPressedOutside && isOutside(event)) element.close();
  });
  follow();

  return {
    draw, tick,
    choose(changed) {
      if (KINDS.some((one) => changed.has(one))) follow();
      else if (shown) tell(); // its links hold what is chosen
    },
  };
}
