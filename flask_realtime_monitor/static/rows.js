/** The rows of the people table: one per person, with their further sessions below when unfolded. */

import { age, device, number, person, visible } from "./format.js";
import { bdi, el, hide, write } from "./dom.js";
import { isMine } from "./matching.js";

const HUES = 24;

/**
 * Rows in order: [{id, key, session, known, count, requests, errors, isActive, at, since, isOpen,
 * isNested}], a person's sessions together where the first of them is. A person's row has the
 * figures of all of them, of which `known` of `count` are here; `session` is the newest.
 * @param sessions in order.
 * @param by {names, open, users, waiting, isNarrow}: a Names; keys of those whose sessions are
 *   unfolded; users by id; when the oldest request of each key or session began; whether only
 *   what is here counts.
 */
export function inRows(sessions, { names, open, users, waiting, isNarrow }) {
  const groups = new Map();
  for (const one of sessions) {
    const key = one.user ? `u${one.user.id}` : one.id;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  names.note(groups);
  const rows = [];
  for (const [key, group] of groups) {
    const user = users.get(group[0].user?.id);
    const isOpen = open.has(key);
    rows.push({
      id: names.of(key), key, session: group.reduce((a, b) => (b.last_seen_at > a.last_seen_at ? b : a)),
      known: group.length, count: Math.max(group.length, user?.sessions ?? 0),
      since: waiting.get(key), isOpen, isNested: false, ...figures(user && !isNarrow ? [user] : group),
    });
    if (!isOpen) continue;
    for (const session of group) {
      rows.push({
        id: `n${session.id}`, key, session, known: 0, count: 1, since: waiting.get(session.id),
        isOpen, isNested: true, ...figures([session]),
      });
    }
  }
  return rows;
}

function figures(all) {
  const sum = (name) => all.reduce((before, one) => before + one[name], 0);
  return {
    requests: sum("requests"), errors: sum("errors"), isActive: all.some((one) => one.is_active),
    at: Math.max(...all.map((one) => one.last_seen_at)),
  };
}

/** What rows are called: a guest who signs in keeps the row, and whoever has the focus on it, too. */
export class Names {
  constructor() {
    this._names = new Map(); // by key of a group
    this._guests = []; // sessions that were nobody's
  }

  /** Take note of groups of sessions, by key. */
  note(groups) {
    const gone = this._guests.filter((one) => !groups.has(one.id));
    const names = new Map();
    for (const [key, [one]] of groups) {
      // What a guest did before signing in is part of the user's session: it began as early.
      const was = gone.find((guest) => guest.first_seen_at === one.first_seen_at && guest.ip === one.ip);
      const name = this._names.get(key) ?? was?.id;
      names.set(key, name && !groups.has(name) ? name : key);
    }
    this._names = names;
    this._guests = [...groups.values()].map(([one]) => one).filter((one) => !one.user);
  }

  of(key) {
    return this._names.get(key);
  }
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

export function drawRow(element, row, page) {
  const { session } = row;
  const { drawn } = element;
  element.dataset.group = row.key;
  element.dataset.at = row.at;
  element.dataset.since = row.since ?? "";
  const href = page.view.story(session.id);
  const link = element.querySelector("a");
  if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  if (drawn && Object.keys(row).every((name) => drawn[name] === row[name])) return;
  element.drawn = row;
  const [who, place, , agent, host, requests, errors] = element.cells;
  element.className = `${row.isActive ? "active" : "idle"}${row.isNested ? " nested" : ""}`;
  drawWho(who, row, page);
  drawFold(who.querySelector(".fold"), row, link);
  place.dataset.value = session.endpoint ?? "";
  write(place.querySelector("b bdi"), session.title ? visible(session.title) : "");
  write(place.querySelector(".path"), visible(session.path ?? session.endpoint ?? ""));
  place.title = place.textContent;
  agent.dataset.value = session.agent.browser ?? "";
  write(agent, device(session.agent));
  agent.title = agent.textContent;
  host.dataset.value = session.host;
  write(host.firstElementChild, visible(session.host));
  write(requests, number(row.requests));
  write(errors, number(row.errors));
  errors.classList.toggle("bad", row.errors > 0);
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
  const name = isNested ? `Session ${session.id.slice(0, 4).toUpperCase()}` : person(user, session.id);
  write(who.querySelector("a bdi"), name);
  const hasId = !isNested && user && user.name && user.name !== user.id && page.role !== "view";
  write(who.querySelector(".id"), hasId ? visible(user.id) : "");
  hide(who.querySelector(".you"), isNested || !isMine(user, page.me));
  who.title = `${name} ${hasId ? user.id : ""}`.trim();
  const avatar = who.querySelector(".avatar");
  write(avatar, isNested ? "" : initials(name));
  avatar.style.setProperty("--hue", hueOf(user?.id ?? session.id));
}

function drawFold(button, { known, count, isOpen }, link) {
  const isAlone = count < 2;
  if (isAlone && button === document.activeElement) link.focus({ preventScroll: true });
  hide(button, isAlone);
  write(button, `${known < count ? `${known} of ` : ""}${count} sessions`);
  button.setAttribute("aria-expanded", String(isOpen));
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
