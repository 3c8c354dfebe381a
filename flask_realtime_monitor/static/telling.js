/** Asks for the story that the drawer is to show, and keeps it up with what the stream tells. */

import { el, write } from "./dom.js";
import { Ending } from "./ending.js";
import { clockTime } from "./format.js";
import * as story from "./story.js";

const ASK_EVERY_MS = 5000; // where the stream does not tell of whom it is about
const ASK_AGAIN_MS = 1000; // where it does
const MOST_LEFT = 50; // activities of who has left

/**
 * @param say called with a text, and with true where nothing more is to come.
 * @returns {tell(subject), stop(), draw(model), tick(model), drawLinks(), session}: a subject is
 *   {kind, id}; `session` is the id of the session that is told of, undefined where none is.
 */
export function begin(element, page, say) {
  const find = (name) => element.querySelector(`[data-${name}]`);
  const parts = {
    title: find("title"), you: find("you"), details: find("details"), sessions: find("sessions"),
    journey: find("journey"), kept: find("kept"), why: find("why"),
  };
  const heading = element.querySelector("h2");
  const told = find("told");
  const line = el("p", { className: "said", role: "status" });
  const ending = new Ending(find("ending"), page, { ended: leaveNow, unclear: ask });
  let subject = null; // {kind, id}: whose story is told
  let shown = null; // what the server told of it last
  let over = ""; // what is said of one that has ended, or left
  let wasHeld = false; // whether the stream told of it
  let isAsking = false;
  let askedAt = 0;
  let timer = 0;

  function tell(wanted) {
    subject = wanted;
    say("Loading");
    ask();
  }

  /** Nothing of one story stays in the next. */
  function stop() {
    subject = null;
    clearTimeout(timer);
    shown = null;
    over = "";
    wasHeld = false;
    told.hidden = true;
    delete element.dataset.over;
    parts.you.hidden = true;
    ending.hide();
    story.clear(parts);
  }

  async function ask() {
    if (isAsking || !subject || !element.isConnected) return;
    isAsking = true;
    askedAt = Date.now();
    clearTimeout(timer);
    const wanted = subject;
    const answer = await answerFor(wanted);
    isAsking = false;
    if (!element.isConnected) return; // the viewer may not watch any more
    if (wanted !== subject) ask();
    else if (answer?.ok) show(answer.data);
    else if (answer?.status === 404) leave(answer.data.ended_at, answer.left);
    else wait(answer);
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
    drawStory();
  }

  function drawStory() {
    if (subject.kind === "session") story.drawSession(parts, shown, page, over);
    else story.drawPerson(parts, shown, page, over);
    told.hidden = false;
    if (over || subject.kind === "person") ending.hide();
    else ending.offer(shown);
  }

  /** It has ended, or never was; what was told of it before stays, marked. */
  function leave(endedAt, left = []) {
    const isPerson = subject.kind === "person";
    over = isPerson ? "not here now" : endedAt ? `ended ${story.dayTime(endedAt)}` : "ended";
    element.dataset.over = "";
    if (shown) {
      say(isPerson ? "Not here now." : `This session ${over}.`);
      const isEnding = find("ending").contains(document.activeElement); // its buttons go
      drawStory();
      if (isEnding) heading.focus();
      return;
    }
    if (left.length) {
      story.drawLeft(parts, subject, left, page);
      told.hidden = false;
    }
    const last = left.length ? ` Last seen at ${story.dayTime(left[0].at)}.` : "";
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
    say(shown ? `${fault} at ${clockTime(page.live.now())}; this is what it told before. Asking again every 5 s.`
      : `${fault}. It is asked again every 5 s.`);
    later();
  }

  function later() {
    timer = setTimeout(() => (document.hidden ? later() : ask()), ASK_EVERY_MS);
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
    if (shown && !over) story.drawTimes(parts, shown, page);
    draw(model);
  }

  /** What the strip says of the line stands behind the story, on a phone where nobody sees it. */
  function drawLine() {
    const { state } = document.body.dataset;
    write(line, state === "cut" ? `Cut off since ${clockTime(page.line.since / 1000)}; this is what was known then.`
      : state === "polling" ? "Not live: the server is asked now and then." : "");
    line.hidden = !line.textContent;
  }

  find("said").before(line);
  new MutationObserver(drawLine).observe(document.body, { attributeFilter: ["data-state"] });
  drawLine();

  return {
    tell, stop, draw, tick,
    drawLinks() { if (shown) drawStory(); }, // they hold what is chosen
    get session() { return shown?.id; },
  };
}
