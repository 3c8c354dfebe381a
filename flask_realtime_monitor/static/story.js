/** What the drawer tells of a session or a user: facts, a journey, and why it is shown. */

import { age, clockTime, device, milliseconds, number, person, visible } from "./format.js";
import { bdi, el, keyed, write } from "./dom.js";
import { isMine } from "./matching.js";
import { what } from "./cards/activity.js";

const GAP_S = 60; // a shorter pause is none
const LEAST_GAP_REM = 1.6;
const MOST_GAP_REM = 6;
const COPIED_MS = 1500;
const RULES = new Map([
  ["identify", "The app's own identify function named this user."],
  ["flask_login", "Flask-Login's user id named this user."],
  ["session_id", "The id of a server-side session tells it from others."],
  ["visitor", "Nobody has signed in: it is known by its address and its browser."],
]);
const ADDRESSES = new Map([
  ["full", "Addresses are kept in full."], ["masked", "Of an address only the network is kept."],
  ["off", "No address is kept."],
]);

/** @param parts {title, details, sessions, journey, quiet, why}: where it is told. */
export function drawSession(parts, session, page) {
  const { user, agent } = session;
  write(parts.title, person(user, session.id) + (isMine(user, page.me) ? " (you)" : ""));
  drawDetails(parts.details, [
    user
      ? { name: "User", text: user.id, href: only(page, { person: user.id }), copies: user.id }
      : { name: "User", text: "not signed in", href: only(page, { who: "guests" }) },
    { name: "Session", text: session.id, copies: session.id },
    { name: "Page now", text: session.path ?? session.endpoint, more: session.title,
      href: session.endpoint && only(page, { endpoint: session.endpoint }) },
    { name: "Device", text: device(agent),
      href: agent.browser && only(page, { browser: agent.browser, os: agent.os ?? "" }) },
    { name: "Address", text: session.ip ?? "not kept" },
    { name: "Here since", text: new Date(session.first_seen_at * 1000).toLocaleString() },
    { name: "Requests", text: `${number(session.requests)}, ${number(session.errors)} failed` },
    { name: "Host", text: session.host, href: only(page, { host: session.host }) },
    { name: "Worker", text: session.worker, href: only(page, { worker: session.worker }) },
  ]);
  parts.sessions.hidden = true;
  drawJourney(parts, session.activities);
  drawWhy(parts.why, session, page.model);
}

export function drawPerson(parts, { user, sessions, activities }, page) {
  write(parts.title, visible(user.name || user.id) + (isMine(user, page.me) ? " (you)" : ""));
  drawDetails(parts.details, [
    { name: "User", text: user.id, href: only(page, { user: user.id }), copies: user.id },
    { name: "Page now", text: user.path ?? user.endpoint,
      href: user.endpoint && only(page, { endpoint: user.endpoint }) },
    { name: "Here since", text: new Date(user.first_seen_at * 1000).toLocaleString() },
    { name: "Requests", text: `${number(user.requests)}, ${number(user.errors)} failed` },
  ]);
  parts.sessions.hidden = false;
  const now = page.model.isEmpty ? user.last_seen_at : page.model.now();
  keyed(parts.sessions.querySelector("ul"), sessions, (one) => one.id,
    (one) => el("li", {}, el("a", { href: page.view.href({ person: "", session: one.id }) }, bdi("")),
      " ", el("span", { className: "quiet" })),
    (row, one) => {
      write(row.querySelector("bdi"), `${device(one.agent)}, ${visible(one.path ?? "no page")}`);
      write(row.querySelector(".quiet"),
        `${one.is_active ? "active" : "idle"}, ${age(now - one.last_seen_at)} ago`);
    });
  drawJourney(parts, activities);
  parts.why.hidden = true;
}

/** What somebody is called whom only the id is known of. */
export function nameOf(id, model) {
  const known = model.activities.find((one) => one.user?.id === id)?.user;
  return visible(known?.name || id);
}

/** Everything with one value, and no story any more. */
function only(page, changes) {
  return page.view.href({ session: "", person: "", ...changes });
}

// -- facts ----------------------------------------------------------------------------------

/** @param details [{name, text, more, href, copies}], shown in that order. */
function drawDetails(list, details) {
  const known = details.filter((one) => one.text !== null && one.text !== undefined);
  keyed(list, known, (one) => one.name, createDetail, (row, one) => {
    write(row.querySelector("[data-value-text]"), visible(one.text));
    write(row.querySelector("[data-value-more]"), one.more ? visible(one.more) : "");
    const link = row.querySelector("a");
    if (!link) return;
    if (one.href) link.href = one.href;
    else link.removeAttribute("href");
  });
}

function createDetail({ name, href, copies }) {
  const text = el("bdi", { "data-value-text": "" });
  const value = href === undefined ? text : el("a", {}, text);
  return el("div", {},
    el("dt", { textContent: name }),
    el("dd", {}, value, " ", el("bdi", { className: "quiet", "data-value-more": "" }),
      copies ? copyButton(name, copies) : null));
}

function copyButton(name, text) {
  const said = el("span", { textContent: "Copy" });
  const button = el("button", { type: "button", className: "copy" }, said,
    el("span", { className: "hidden", textContent: ` the id: ${name}` }));
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      write(said, "Copied");
    } catch {
      // Without TLS a browser has no clipboard for us.
      getSelection().selectAllChildren(button.parentElement.querySelector("[data-value-text]"));
      write(said, "Selected: Ctrl+C copies it");
    }
    setTimeout(() => write(said, "Copy"), COPIED_MS);
  });
  return button;
}

// -- the journey ----------------------------------------------------------------------------

function drawJourney({ journey, quiet }, activities) {
  const slowest = Math.max(1, ...activities.map((one) => one.duration_ms ?? 0));
  let later = null;
  const lines = activities.map((one) => {
    const gap = later === null ? 0 : later - one.at;
    later = one.at;
    return { ...one, gap };
  });
  keyed(journey, lines, (one) => one.id, createLine, (line, one) => {
    const gap = line.querySelector(".gap");
    gap.hidden = one.gap < GAP_S;
    gap.style.height = `${gapRem(one.gap)}rem`;
    write(gap, `${age(one.gap)} earlier`);
    const meter = line.querySelector("meter");
    meter.max = slowest;
    meter.value = one.duration_ms ?? 0;
  });
  quiet.hidden = lines.length > 0;
}

/** A pause to scale: each doubling is as much longer, so that an hour does not hide the rest. */
function gapRem(seconds) {
  const doublings = Math.log2(Math.max(GAP_S, seconds) / GAP_S);
  return Math.min(MOST_GAP_REM, LEAST_GAP_REM + 0.5 * doublings);
}

function createLine(one) {
  return el("li", { "data-kind": one.kind, "data-class": Math.floor((one.status ?? 0) / 100) },
    el("p", { className: "gap", hidden: true }),
    el("time", { textContent: clockTime(one.at), title: new Date(one.at * 1000).toLocaleString() }),
    el("span", { className: "status", textContent: one.status ?? "–" }), what(one),
    el("span", { className: "num" },
      el("meter", { min: 0, "aria-hidden": "true" }),
      el("span", { textContent: one.duration_ms === null ? "" : milliseconds(one.duration_ms) })));
}

// -- why ------------------------------------------------------------------------------------

function drawWhy(element, { why }, model) {
  element.hidden = !why;
  if (!why) return;
  keyed(element.querySelector("ul"), reasons(why, model), ([name]) => name,
    () => el("li", {}, bdi("")), (row, [, text]) => write(row.querySelector("bdi"), text));
}

function reasons(why, model) {
  const rule = RULES.get(why.rule)
    ?? "What named this user is not set up any more; it was when this began.";
  const found = [["rule", rule]];
  if (why.joined) found.push(["joined", "What the guest did before signing in is part of it."]);
  for (const one of why.workers ?? []) {
    found.push([`worker ${one.id}`, `Worker ${visible(one.id)} on ${visible(one.host)} saw `
      + `${number(one.requests)} of its requests, the last at ${clockTime(one.last_seen_at)}.`]);
  }
  if (why.ends_at) {
    const left = model.isEmpty ? null : why.ends_at - model.now();
    const within = left === null ? "" : `, in ${age(left)}`;
    found.push(["ends", `It ends at ${clockTime(why.ends_at)}${within}, if nothing more comes.`]);
  } else {
    found.push(["ends", "It does not end while a request of it is being answered."]);
  }
  if (ADDRESSES.has(why.ip_kept)) found.push(["address", ADDRESSES.get(why.ip_kept)]);
  return found;
}
