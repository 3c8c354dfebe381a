/** The rows of the people table: one per person, with their further sessions below when unfolded. */

import { age, device, number, person, visible } from "./format.js";
import { bdi, el, hide, write } from "./dom.js";
import { isMine } from "./matching.js";

const HUES = 24;

/**
 * Rows in order: [{id, session, count, isOpen, isNested}], a user's sessions together where the
 * newest of them is.
 * @param ids of sessions in order.
 * @param open keys of the users whose sessions are unfolded.
 */
export function inRows(ids, sessions, open) {
  const groups = new Map();
  for (const id of ids) {
    const session = sessions.get(id);
    if (!session) continue;
    const key = session.user ? `u${session.user.id}` : id;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(session);
  }
  const rows = [];
  for (const [key, [session, ...others]] of groups) {
    const isOpen = open.has(key);
    rows.push({ id: session.id, key, session, count: others.length + 1, isOpen, isNested: false });
    if (!isOpen) continue;
    for (const one of others) rows.push({ id: one.id, key, session: one, count: 1, isNested: true });
  }
  return rows;
}

/** A row, new or one that somebody else has left: `drawRow` draws all that it says. */
export function createRow({ session }, page, spare) {
  if (spare) return spare;
  return el("tr", {},
    el("th", { scope: "row" }, el("div", {},
      el("span", { className: "avatar", "aria-hidden": "true" }),
      el("a", { href: page.view.story(session.id) }, bdi("")),
      el("bdi", { className: "id" }), el("span", { className: "you", textContent: "you" }),
      el("span", { className: "state", "data-filter": "state" }),
      el("button", { type: "button", className: "fold" }))),
    el("td", { className: "place", "data-filter": "endpoint" },
      el("b", {}, bdi("")), bdi("", "path")),
    el("td", { className: "age" }),
    el("td", { className: "wide", "data-filter": "browser" }),
    el("td", { className: "host", "data-filter": "host" }, bdi("")),
    el("td", { className: "num" }), el("td", { className: "num" }));
}

/** @param waiting when the oldest request of a session began, by session. */
export function drawRow(element, row, page, waiting) {
  const { session, count, isOpen, isNested } = row;
  const since = waiting.get(session.id);
  const drawn = element.drawn;
  element.dataset.group = row.key;
  element.dataset.at = session.last_seen_at;
  element.dataset.since = since ?? "";
  const href = page.view.story(session.id);
  const link = element.querySelector("a");
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  if (drawn && drawn.session === session && drawn.count === count && drawn.isOpen === isOpen
    && drawn.isNested === isNested && drawn.since === since) return;
  element.drawn = { ...row, since };
  const [who, place, , agent, host, requests, errors] = element.cells;
  element.className = `${session.is_active ? "active" : "idle"}${isNested ? " nested" : ""}`;
  drawWho(who, row, page);
  drawFold(who.querySelector(".fold"), row);
  place.dataset.value = session.endpoint ?? "";
  write(place.querySelector("b bdi"), session.title ? visible(session.title) : "");
  write(place.querySelector(".path"), visible(session.path ?? session.endpoint ?? ""));
  place.title = place.textContent;
  agent.dataset.value = session.agent.browser ?? "";
  write(agent, device(session.agent));
  agent.title = agent.textContent;
  host.dataset.value = session.host;
  write(host.firstElementChild, visible(session.host));
  write(requests, number(session.requests));
  write(errors, number(session.errors));
  errors.classList.toggle("bad", session.errors > 0);
  drawTimes(element, page.model.now());
}

/** What only the clock moves. */
export function drawTimes(element, now) {
  const at = Number(element.dataset.at);
  if (!at) return;
  write(element.cells[2], age(now - at));
  const { since } = element.dataset;
  const state = element.querySelector(".state");
  const isActive = element.classList.contains("active");
  state.dataset.value = isActive ? "active" : "idle";
  state.classList.toggle("waits", Boolean(since));
  write(state, since ? `waiting ${age(now - Number(since))}` : state.dataset.value);
}

function drawWho(who, { session, isNested }, page) {
  const { user } = session;
  const name = isNested ? "another session" : person(user, session.id);
  write(who.querySelector("a bdi"), name);
  const hasId = !isNested && user && user.name && user.name !== user.id && page.role !== "view";
  write(who.querySelector(".id"), hasId ? visible(user.id) : "");
  hide(who.querySelector(".you"), isNested || !isMine(user, page.me));
  who.title = `${name} ${hasId ? user.id : ""}`.trim();
  const avatar = who.querySelector(".avatar");
  write(avatar, isNested ? "" : initials(name));
  avatar.style.setProperty("--hue", hueOf(user?.id ?? session.id));
}

function drawFold(button, { count, isOpen }) {
  hide(button, count < 2);
  write(button, `${count} sessions`);
  button.setAttribute("aria-expanded", String(Boolean(isOpen)));
}

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const [first] = words;
  const last = words.length > 1 ? words.at(-1) : "";
  return `${[...first ?? ""][0] ?? ""}${[...last][0] ?? ""}`.toUpperCase();
}

/** A colour that stays with somebody; the name beside it tells who it is. */
function hueOf(id) {
  let sum = 0;
  for (const sign of id) sum = (sum * 31 + sign.codePointAt(0)) % 9973;
  return (sum % HUES) * (360 / HUES);
}
