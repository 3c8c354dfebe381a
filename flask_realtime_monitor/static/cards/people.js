/** Who is here: the first hundred live, more when asked for, and the server's answer to filters. */

import { counted, least, number } from "../format.js";
import { hide, write } from "../dom.js";
import { Names, createRow, drawRow, drawTimes, inRows } from "../rows.js";
import { VirtualRows } from "../virtual.js";

const REORDER_MS = 2000;
const ASK_AFTER_MS = 300;
const ASK_AGAIN_MS = 5000;
const MOST = 1000;
const FEW = 20; // on a phone, where what stands below is far away otherwise
const SHOWS = ["q", "state", "who", "user", "endpoint", "path", "browser", "os", "device", "host",
  "worker"];

export function mount(element, page) {
  const table = element.querySelector("table");
  const count = element.querySelector("[data-count]");
  const more = element.querySelector("[data-all]");
  const empty = element.querySelector("[data-empty]");
  const canHover = matchMedia("(hover: hover)").matches;
  const phone = matchMedia("(max-width: 640px)");
  const names = new Names();
  const open = new Set(); // users whose sessions are unfolded
  let order = [];
  let orderedAt = 0;
  let isStale = false; // rows wait for their new places
  let wantsAll = false;
  let found = null; // what the server told: {params, items, total}
  let timer = 0;
  let snapshots = 0;

  const rows = new VirtualRows(table, {
    key: (row) => row.id,
    create: (row, spare) => createRow(row, page, spare),
    update: (tr, row) => drawRow(tr, row, page),
  });

  /** Rows move at most every two seconds, and never under the pointer. */
  function inOrder(sessions) {
    const wanted = [...sessions.values()].sort(newestFirst).map((one) => one.id);
    const now = Date.now();
    const isHeld = canHover && rows.body.matches(":hover");
    if (now - orderedAt >= REORDER_MS && !isHeld) {
      order = wanted;
      orderedAt = now;
      isStale = false;
      return order;
    }
    const known = new Set(order);
    order = [...order.filter((id) => sessions.has(id)), ...wanted.filter((id) => !known.has(id))];
    isStale = order.some((id, index) => id !== wanted[index]);
    return order;
  }

  /** What is to be shown, and how many there are of that in all, or at least. */
  function chosen(model) {
    const { view } = page;
    const held = model.sessions;
    const params = String(wide());
    const isNarrow = isNarrowed();
    const isWanted = isNarrow || wantsAll; // what was on its way may come when it no longer is
    const isWide = isWanted && found?.params === params;
    const hasMore = model.stats.total_sessions > held.size && !reachesBack(model);
    const all = new Map((isWide ? found.items : []).map((one) => [one.id, one]));
    for (const one of held.values()) all.set(one.id, one);
    const sessions = new Map([...all].filter(([, one]) => page.shows(one)));
    if (snapshots !== model.snapshots) askAnew(model);
    if (hasMore && isWanted) ask(isWide ? ASK_AGAIN_MS : ASK_AFTER_MS);
    const isAll = !hasMore || (isWide && found.items.length === found.total);
    // Of the newest sessions that match; those that only the page leaves out are counted, too.
    const isTold = isWide && !view.get("window") && !view.get("mine");
    const total = isNarrow ? (isTold && !isAll ? found.total : sessions.size) : model.stats.total_sessions;
    return { sessions, total, isNarrow, isPart: isNarrow && !isAll && !isTold };
  }

  /** Whether what is older than the first hundred is older than what is looked back to. */
  function reachesBack(model) {
    const oldest = Math.min(...[...model.sessions.values()].map((one) => one.last_seen_at));
    return model.now() - oldest > page.view.minutes * 60;
  }

  function isNarrowed() {
    const { view } = page;
    return wide().size > 1 || Boolean(view.get("window") || view.get("mine"));
  }

  function wide() {
    const params = page.view.params(SHOWS);
    if (page.view.get("status") === "5xx") params.set("status", "5xx");
    params.set("limit", MOST);
    return params;
  }

  function draw(model) {
    const { sessions, total, isNarrow, isPart } = chosen(model);
    const waiting = new Map(model.waiting().reverse().flatMap(
      ({ session, user, started_at: at }) => [[session, at], [`u${user?.id}`, at]]));
    const all = inRows(inOrder(sessions).map((id) => sessions.get(id)),
      { names, open, users: model.users, waiting, isNarrow });
    const lines = phone.matches && !wantsAll ? all.slice(0, FEW) : all;
    table.dataset.hosts = model.stats.coverage.hosts > 1 ? "many" : "one";
    hide(table, lines.length === 0);
    rows.show(lines);
    const shown = lines.reduce((before, one) => before + one.known, 0);
    const whole = `${least(model.stats.coverage)}${counted(model.stats.total_sessions, "session")}`;
    write(count, isNarrow ? `${isPart ? "at least " : ""}${number(total)} of ${whole} match`
      : total > shown ? `${number(shown)} of ${whole} shown` : "");
    drawMore(shown, total, isPart);
    drawEmpty();
  }

  /** Why there is nobody; the words for it are loaded first, as they are seldom needed. */
  function drawEmpty() {
    const words = table.hidden ? page.script("emptiness.js", drawEmpty) : null;
    if (words) words.emptyWords(empty, page);
    else if (words === false) write(empty, "Nobody is shown. Why did not come from the server; it is tried again every 5 s.");
    hide(empty, !table.hidden || (words === null && empty.hidden)); // the server has said it, perhaps
  }

  /** While it is a part that is known the button stays as it is, for there may be more. */
  function drawMore(shown, total, isPart) {
    const hasMore = Math.min(total, MOST) > shown || (isPart && shown < MOST && !more.hidden);
    hide(more, !hasMore && !wantsAll);
    if (more.hidden) return;
    write(more, wantsAll ? "Show fewer"
      : `Show ${isPart || total > MOST ? `the first ${number(MOST)}` : `all ${number(total)}`}`);
  }

  /** All has begun anew, perhaps because somebody was erased: what was found before may be old. */
  function askAnew(model) {
    snapshots = model.snapshots;
    if (!found) return;
    clearTimeout(timer);
    timer = 0;
    ask(0);
  }

  /** The stream tells of the first hundred; the server knows all. */
  function ask(delay) {
    if (timer) return;
    timer = setTimeout(async () => {
      const params = wide();
      const answer = document.hidden || page.isPaused ? null : await page.ask("sessions", params);
      timer = 0;
      if (!answer?.ok || String(params) !== String(wide())) return;
      found = { params: String(params), ...answer.data };
      page.draw();
    }, delay);
  }

  function tick(model) {
    if (isStale || ((wantsAll || isNarrowed()) && !timer)) page.draw();
    for (const row of rows.body.rows) drawTimes(row, model.now());
  }

  function choose(changed) {
    if (["session", "person"].some((name) => changed.has(name)) && changed.size === 1) return;
    orderedAt = 0;
    clearTimeout(timer);
    timer = 0;
  }

  function move(step) {
    rows.focus(Math.max(0, rows.focused() + step));
  }

  rows.body.addEventListener("click", ({ target }) => {
    if (!target.matches(".fold")) return;
    const { group } = target.closest("tr").dataset;
    if (!open.delete(group)) open.add(group);
    page.draw();
  });

  more.addEventListener("click", () => {
    wantsAll = !wantsAll;
    if (!wantsAll) found = null;
    page.draw();
  });

  return { draw, finish: () => rows.finish(), tick, choose, move };
}

function newestFirst(a, b) {
  return b.last_seen_at - a.last_seen_at || (a.id < b.id ? -1 : 1);
}
