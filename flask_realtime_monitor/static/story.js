/** What the drawer tells of a session or a user: facts, a journey, and why it is shown. */

import { age, clockTime, counted, device, number, person, visible } from "./format.js";
import { bdi, el, keyed, write } from "./dom.js";
import { drawJourney } from "./journey.js";
import { isMine } from "./matching.js";

const COPIED_MS = 2000;
const RULES = new Map([
  ["identify", "The app’s own identify function named this user."],
  ["flask_login", "Flask-Login’s user id named this user."],
  ["visitor", "Nobody has signed in: it is known by its address and its browser, taken together."],
]);
const ADDRESSES = new Map([
  ["full", "Addresses are kept in full."], ["masked", "Of an address only the network is kept."],
  ["off", "No address is kept."],
]);

/**
 * @param parts {title, you, details, sessions, journey, kept, why}: where it is told.
 * @param over what is said of one that has ended; "" of one that goes on.
 */
export function drawSession(parts, session, page, over) {
  const { user, agent, activities } = session;
  drawTitle(parts, user, person(user, session.id), page);
  drawDetails(parts.details, [
    ["User", user ? { text: user.id, href: only(page, { person: user.id }), copies: "user" }
      : { text: "not signed in", href: only(page, { who: "guests" }) }],
    ["Session", { text: session.id, copies: "session" }],
    ["State", ...stateOf(session, page, over)],
    ...placeOf(session, page),
    ["Device", ...deviceOf(agent, page)],
    ["Address", { text: session.ip ?? (page.role === "view" ? "not shown to your role" : "not kept") }],
    ["Here since", { text: dayTime(session.first_seen_at) }],
    ["Requests", ...requestsOf(session, page)],
    ["Worker", { text: session.worker, href: only(page, { worker: session.worker }) }],
    ["Host", { text: session.host, href: only(page, { host: session.host }) }],
  ]);
  parts.sessions.hidden = true;
  drawJourney(parts.journey, activities, page);
  drawKept(parts.kept, activities, session.requests);
  drawWhy(parts.why, session, page, over);
}

export function drawPerson(parts, { user, sessions, activities }, page, over) {
  drawTitle(parts, user, person(user), page);
  drawDetails(parts.details, [
    ["User", { text: user.id, href: only(page, { user: user.id }), copies: "user" }],
    ["State", ...stateOf(user, page, over)],
    ...placeOf(user, page),
    ["Devices", [...new Set(sessions.map((one) => device(one.agent)))].join(", ")],
    ["Here since", { text: dayTime(user.first_seen_at) }],
    ["Requests", ...requestsOf({ ...user, user }, page)],
  ]);
  drawSessions(parts.sessions, user, sessions, page, over);
  const all = sessions.length > 1 ? new Map(sessions.map((one) => [one.id, one])) : new Map();
  drawJourney(parts.journey, activities, page, all);
  drawKept(parts.kept, activities, user.requests);
  parts.why.hidden = true;
}

/** What is still known of who has left: only the feed tells. */
export function drawLeft(parts, { kind, id }, activities, page) {
  const user = activities.find((one) => one.user)?.user ?? null;
  const session = kind === "session" ? id : null;
  drawTitle(parts, user, person(user, session), page);
  drawDetails(parts.details, [
    ...user ? [["User", { text: user.id, href: only(page, { user: user.id }), copies: "user" }]] : [],
    ...session ? [["Session", { text: id, copies: "session" }]] : [],
  ]);
  parts.sessions.hidden = true;
  parts.why.hidden = true;
  drawJourney(parts.journey, activities, page);
  write(parts.kept, "This much of it is still in the feed.");
}

/** What only the clock moves. */
export function drawTimes(parts, shown, page) {
  const about = shown.sessions ? shown.user : shown;
  write(parts.details.querySelector("[data-key=State] .quiet bdi"), seenWords(about, page.live));
  if (shown.sessions) drawSessions(parts.sessions, about, shown.sessions, page, "");
  else drawWhy(parts.why, shown, page, "");
}

export function clear(parts) {
  for (const list of [parts.details, parts.journey, ...parts.sessions.querySelectorAll("ul")]) {
    list.replaceChildren();
  }
  parts.why.open = false;
}

/** Everything with one value, and no story any more. */
function only(page, changes) {
  return page.view.href({ session: "", person: "", ...changes });
}

function drawTitle({ title, you }, user, name, page) {
  write(title, name);
  you.hidden = !isMine(user, page.me);
}

// -- facts ----------------------------------------------------------------------------------

function stateOf(about, page, over) {
  if (over) return [{ text: over }];
  const state = about.is_active ? "active" : "idle";
  return [{ text: state, href: only(page, { state }) }, { text: seenWords(about, page.live), isQuiet: true }];
}

function seenWords({ id, agent, last_seen_at: at }, model) {
  const now = model.isEmpty ? at : model.now();
  const waits = model.waiting().find((one) => (agent ? one.session : one.user?.id) === id);
  return waits ? `waiting for an answer for ${age(now - waits.started_at)}` : `last seen ${age(now - at)} ago`;
}

function placeOf({ endpoint, path, title }, page) {
  return [
    ["Page now", ...title ? [{ text: title }] : [], path === null
      ? { text: title ? null : "not known" } : { text: path, href: only(page, { path }) }],
    ["Endpoint", { text: endpoint, href: only(page, { endpoint }) }],
  ];
}

function deviceOf(agent, page) {
  const known = ["browser", "os", "device"].filter((name) => agent[name])
    .map((name) => ({ text: agent[name], href: only(page, { [name]: agent[name] }) }));
  if (agent.is_bot) known.push({ text: "a bot, it says", isQuiet: true });
  return known.length ? known : ["Unknown"];
}

/** A guest's failures cannot be asked for: nobody but the story tells guests apart. */
function requestsOf({ requests, errors, user }, page) {
  const failed = { text: `${number(errors)} failed` };
  if (errors && user) failed.href = only(page, { user: user.id, status: "5xx" });
  return [{ text: number(requests) }, failed];
}

/** @param details [[name, ...values]]; a value is a text or {text, href, copies, isQuiet}. */
function drawDetails(list, details) {
  const known = details
    .map(([name, ...values]) => ({ name, values: values.map(valueOf).filter((one) => one.text) }))
    .filter((one) => one.values.length);
  keyed(list, known, (one) => one.name,
    ({ name }) => el("div", {}, el("dt", { textContent: name }), el("dd")),
    (row, { values }) => drawValues(row.lastElementChild, values));
}

function valueOf(value) {
  return typeof value === "string" ? { text: value } : value;
}

function drawValues(place, values) {
  const [first] = values;
  const shown = values.map((one, index) => ({ ...one, key: `${index}${one.href ? " leads" : ""}` }));
  if (first.copies) shown.push({ ...first, key: "copy", isCopy: true });
  keyed(place, shown, (one) => one.key, createValue, (element, one) => {
    if (one.isCopy) {
      element.value = one.text;
      return;
    }
    element.classList.toggle("quiet", Boolean(one.isQuiet));
    write(element.querySelector("bdi"), visible(one.text));
    if (one.href) element.href = one.href;
  });
}

function createValue({ href, copies, isCopy }) {
  if (isCopy) return copyButton(copies);
  return el(href ? "a" : "span", {}, bdi(""));
}

function copyButton(what) {
  const said = el("span", { textContent: "Copy", "aria-live": "polite" });
  const button = el("button", { type: "button", className: "copy" }, said,
    el("span", { className: "hidden", textContent: ` the id of the ${what}` }));
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.value);
      write(said, "Copied");
    } catch {
      // Without TLS a browser has no clipboard for us.
      getSelection().selectAllChildren(button.parentElement.querySelector("bdi"));
      write(said, "Selected: copy it by keyboard");
    }
    setTimeout(() => write(said, "Copy"), COPIED_MS);
  });
  return button;
}

/** A point in time: the day is only told when it is another. */
export function dayTime(at) {
  const day = new Date(at * 1000);
  const isToday = day.toDateString() === new Date().toDateString();
  return isToday ? clockTime(at) : day.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

// -- the sessions of a user -----------------------------------------------------------------

function drawSessions(element, user, sessions, page, over) {
  element.hidden = false;
  const isPart = user.sessions > sessions.length;
  write(element.querySelector("h3"), isPart ? `The last ${sessions.length} of ${number(user.sessions)} sessions`
    : counted(sessions.length, "session"));
  const now = page.live.isEmpty ? user.last_seen_at : page.live.now();
  keyed(element.querySelector("ul"), sessions, (one) => one.id,
    () => el("li", {}, el("a", {}, bdi("")), " ", bdi("", "path"), " ", el("span", { className: "quiet" })),
    (row, one) => {
      row.querySelector("a").href = page.view.href({ person: "", session: one.id });
      write(row.querySelector("a bdi"), device(one.agent));
      write(row.querySelector(".path"), visible(one.path ?? one.endpoint ?? ""));
      write(row.querySelector(".quiet"), over ? `last seen ${dayTime(one.last_seen_at)}`
        : `${one.is_active ? "active" : "idle"}, ${age(now - one.last_seen_at)} ago`);
    });
}

// -- the journey ----------------------------------------------------------------------------

/** How much of it is told. */
function drawKept(element, activities, requests) {
  const shown = activities.filter((one) => one.kind === "request").length;
  write(element, !activities.length ? "Nothing of what it did is kept any more."
    : requests > shown ? `The newest ${number(activities.length)}; older ones are not kept here.` : "");
}

// -- why ------------------------------------------------------------------------------------

function drawWhy(element, { why, user }, { live }, over) {
  element.hidden = !why;
  if (!why) return;
  keyed(element.querySelector("ul"), reasons(why, user, live, over), ([name]) => name,
    () => el("li", {}, bdi("")), (row, [, text]) => write(row.querySelector("bdi"), text));
}

function reasons(why, user, model, over) {
  const found = [["rule", RULES.get(why.rule)
    ?? "What named this user is not set up any more; it was when this began."]];
  if (user) {
    found.push(["joined", why.joined ? "What the guest did here before signing in is part of it."
      : "No guest’s doings are part of it."]);
  }
  for (const one of why.workers ?? []) {
    const isFirst = one.id === why.first_by && why.workers.length > 1;
    found.push([`worker ${one.id}`, `Worker ${visible(one.id)} on ${visible(one.host)} saw `
      + `${counted(one.requests, "request")} of it, ${isFirst ? "the first among them, " : ""}`
      + `the last at ${dayTime(one.last_seen_at)}.`]);
  }
  if (!over) found.push(["ends", endText(why.ends_at, model)]);
  if (ADDRESSES.has(why.ip_kept)) found.push(["address", ADDRESSES.get(why.ip_kept)]);
  found.push(["unknown", "Not known: what told each single request apart. The rule above is the one "
    + "that is in force now."]);
  return found;
}

function endText(endsAt, model) {
  if (!endsAt) return "It does not end while a request of it is being answered.";
  const left = model.isEmpty ? null : Math.max(0, endsAt - model.now());
  const within = left === null ? "" : `, in ${countdown(left)}`;
  return `It ends at ${dayTime(endsAt)}${within}, if nothing more comes.`;
}

function countdown(seconds) {
  if (seconds < 60 || seconds >= 3600) return age(seconds);
  return `${age(seconds)} ${age(seconds % 60)}`;
}
