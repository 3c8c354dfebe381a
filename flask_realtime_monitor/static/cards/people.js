/** Who is here: a user's sessions below each other, guests by themselves. */

import { age, device, least, number, person, visible } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

const REORDER_MS = 2000;
const ASK_AFTER_MS = 300;
const ASK_AGAIN_MS = 5000;

export function mount(element, page) {
  const body = element.querySelector("tbody");
  const count = element.querySelector("[data-count]");
  const empty = element.querySelector("[data-empty]");
  let order = [];
  let orderedAt = 0;
  let isStale = false; // rows wait for their new places
  let found = null; // what the server found for a search: {query, items, total}
  let timer = 0;

  /** Rows move at most every two seconds, and never under the pointer. */
  function inOrder(sessions) {
    const now = Date.now();
    if (now - orderedAt >= REORDER_MS && !body.matches(":hover")) {
      order = grouped(sessions);
      orderedAt = now;
      isStale = false;
      return order.map((id) => sessions.get(id));
    }
    const wanted = grouped(sessions);
    const known = new Set(order);
    const later = wanted.filter((id) => !known.has(id));
    order = [...order.filter((id) => sessions.has(id)), ...later];
    isStale = order.some((id, index) => id !== wanted[index]);
    return order.map((id) => sessions.get(id));
  }

  function draw(model) {
    const held = new Map(model.sessionsInOrder().map((one) => [one.id, one]));
    let sessions = held;
    let total = model.stats.total_sessions;
    const query = page.view.get("q");
    if (query) {
      const wide = found?.query === query ? found : null;
      const items = wide ? wide.items : [...held.values()].filter(page.shows);
      sessions = new Map(items.map((one) => [one.id, held.get(one.id) ?? one]));
      total = wide ? wide.total : items.length;
      if (model.stats.total_sessions > held.size) ask(wide ? ASK_AGAIN_MS : ASK_AFTER_MS);
    }
    const rows = inOrder(sessions);
    let previous = null;
    keyed(body, rows, (one) => one.id, createRow, (row, one) => {
      const group = one.user ? `u${one.user.id}` : one.id;
      drawRow(row, one, group === previous, model);
      previous = group;
    });
    write(count, said(rows.length, total, query, model));
    empty.hidden = rows.length > 0;
    if (!rows.length) drawEmpty(model);
  }

  function drawEmpty(model) {
    const query = page.view.get("q");
    if (query) {
      const clear = el("button", { type: "button", textContent: "Show all" });
      clear.addEventListener("click", () => page.view.clear());
      empty.replaceChildren(`0 of ${number(model.stats.total_sessions)} match “${visible(query)}”. `, clear);
    } else if (model.stats.requests_total) {
      const last = model.activities.find((one) => one.kind === "request");
      write(empty, last
        ? `Nobody is here. The last request was ${age(model.now() - last.at)} ago.`
        : "Nobody is here.");
    } else {
      const since = model.now() - model.stats.since_at;
      write(empty, `Listening. Nobody has asked for a page in the ${age(since)} since the start.`);
    }
  }

  /** The page holds the first hundred; the server searches all. */
  function ask(delay) {
    if (timer) return;
    timer = setTimeout(async () => {
      timer = 0;
      const query = page.view.get("q");
      if (!query) return;
      const response = await fetch(
        `${page.api}/sessions?limit=100&q=${encodeURIComponent(query)}`, { cache: "no-store" })
        .catch(() => null);
      if (!response?.ok || query !== page.view.get("q")) return;
      found = { query, ...await response.json() };
      page.draw();
    }, delay);
  }

  function tick(model) {
    if (isStale) page.draw();
    const now = model.now();
    for (const row of body.children) {
      const at = Number(row.dataset.at);
      if (at) write(row.cells[2], age(now - at));
    }
  }

  function choose() {
    found = null;
    orderedAt = 0;
    clearTimeout(timer);
    timer = 0;
  }

  return { draw, tick, choose };
}

function said(shown, total, query, model) {
  const before = least(model.stats.coverage);
  if (query) return `${number(total)} of ${before}${number(model.stats.total_sessions)} match`;
  return total > shown ? `${number(shown)} of ${before}${number(total)} shown` : "";
}

/** Ids with those of one user together, where the user's newest is. */
function grouped(sessions) {
  const groups = new Map();
  for (const one of sessions.values()) {
    const key = one.user ? `u${one.user.id}` : one.id;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one.id);
  }
  return [...groups.values()].flat();
}

function createRow(session) {
  const link = el("a", { href: `#session=${session.id}` }, bdi(""));
  return el("tr", {},
    el("th", { scope: "row" }, link, " ", el("span", { className: "state" })),
    el("td", { className: "place" }, el("b", {}, bdi("")), bdi("", "path")),
    el("td", { className: "age" }), el("td", { className: "wide" }),
    el("td", { className: "num" }), el("td", { className: "num" }));
}

function drawRow(row, session, isNested, model) {
  const [who, place, seen, agent, requests, errors] = row.cells;
  const state = session.is_active ? "active" : "idle";
  row.className = state + (isNested ? " nested" : "");
  row.dataset.at = session.last_seen_at;
  write(who.querySelector("bdi"), isNested ? "another session" : person(session.user, session.id));
  write(who.querySelector(".state"), state);
  write(place.querySelector("b bdi"), session.title ? visible(session.title) : "");
  write(place.querySelector(".path"), visible(session.path ?? ""));
  write(seen, age(model.now() - session.last_seen_at));
  write(agent, device(session.agent));
  write(requests, number(session.requests));
  write(errors, number(session.errors));
  errors.classList.toggle("bad", session.errors > 0);
}
