/** What people do, newest first; new lines wait while somebody reads further down. */

import { MOST } from "../model.js";
import { clockTime, happened, milliseconds, number, person, visible } from "../format.js";
import { bdi, el, hide, keyed, write } from "../dom.js";

const MOST_SHOWN = 300;
const AT_FIRST = 30; // lines, more than the list is high; the others come when somebody scrolls

export function mount(element, page) {
  const list = element.querySelector("ol");
  const scroll = element.querySelector(".scroll");
  const more = element.querySelector("[data-more]");
  const empty = element.querySelector("[data-empty]");
  const foot = element.querySelector("[data-foot]");
  const chips = element.querySelector("[data-chips]");
  let past = null; // who asks the server for older ones, once something is chosen
  let shown = null; // what is held still while somebody reads
  let shownOf = 0; // how many activities had been seen by then
  let shownAt = 0; // and when
  let snapshots = 0;
  let isDown = false; // whether somebody has scrolled down; asked for in a draw, all is laid out
  let isRead = false; // whether somebody reads
  let isWhole = false; // whether all lines are there, or those that can be seen

  /** What matches, newest first, as far as it is known. */
  function linesOf(model) {
    if (page.view.isFiltered) {
      const script = past ? null : page.script("past.js", onMore);
      if (script) past = new script.Past(page, MOST_SHOWN, onMore);
      if (past) return past.lines(model);
    }
    return model.activities.filter(page.showsActivity);
  }

  function onMore() {
    if (page.isPaused) fill(page.live);
    else page.draw();
  }

  function draw(model) {
    const lines = linesOf(model);
    isRead = isDown || isUsed();
    if (shown && isRead) {
      if (snapshots !== model.snapshots) dropGone(model);
      drawMore(lines, model);
    } else {
      shown = lines;
      shownOf = model.seen;
      shownAt = model.asOf;
      hide(more, true);
    }
    render(model);
  }

  /** Paused, older lines that were asked for still come; newer ones wait. */
  function fill(model) {
    if (!shown) return;
    const lines = linesOf(model);
    shown = lines.filter((one) => one.at <= shownAt);
    drawMore(lines, model);
    render(model);
  }

  function render(model) {
    snapshots = model.snapshots;
    isWhole = isRead;
    const there = isWhole ? shown : shown.slice(0, AT_FIRST);
    const here = page.view.href({});
    keyed(list, withGap(there, model), (one) => one.id, create, (line, one) => {
      if (one.gap) write(line, one.gap);
      else drawLine(line, one, page, here);
    });
    hide(foot, shown.length < MOST_SHOWN);
    drawEmpty(model);
  }

  /** Paused, nothing moves, but what came is counted. */
  function hold(model) {
    if (shown) drawMore(linesOf(model), model);
  }

  function drawMore(lines, model) {
    const known = new Set(shown.map((one) => one.id));
    const fresh = lines.filter((one) => !known.has(one.id) && !(one.at < shown.at(-1)?.at)).length;
    const isMore = model.seen - shownOf > MOST; // more than could be kept
    hide(more, fresh === 0);
    write(more, `${number(fresh)}${isMore ? " and more" : ""} new`);
  }

  /**
   * As far back as a snapshot reaches, what came before it is shown only while it is in it, and so
   * is all else of whom something is missing there: somebody may have been erased.
   */
  function dropGone({ activities }) {
    const known = new Set(activities.map((one) => one.id));
    const oldest = activities.length < MOST ? -Infinity : activities.at(-1).at;
    const isGone = (one) => one.at > oldest && !known.has(one.id);
    const whose = (one) => one.user?.id ?? one.session ?? one.id;
    const gone = new Set(shown.filter(isGone).map(whose));
    shown = shown.filter((one) => known.has(one.id) || !(isGone(one) || gone.has(whose(one))));
  }

  /** Why there is nothing; the words for it are loaded first, as they are seldom needed. */
  function drawEmpty(model) {
    const isEmpty = shown.length === 0;
    const words = isEmpty ? page.script("silence.js", onMore) : null;
    if (words) words.sayWhy(empty, model, page, past, onMore);
    hide(empty, !isEmpty || (words === null && empty.hidden)); // the server has said it, perhaps
  }

  function choose(changed) {
    drawChips();
    if (![...changed].some((name) => !["session", "person"].includes(name))) return;
    past?.forget();
    shown = null;
    toTop();
  }

  function toTop() {
    scroll.scrollTop = 0;
    isDown = false;
  }

  /** Whether a line has the focus, or has opened a story. */
  function isUsed() {
    return list.querySelector(":focus, [data-opened]") !== null;
  }

  /** While somebody reads, further down or a line that is used, new lines wait. */
  function look() {
    isDown = scroll.scrollTop > 0;
    isRead = isDown || isUsed();
    if (isRead && !isWhole && shown) render(page.model);
    if (!isRead && !more.hidden && !page.isPaused) page.draw();
  }

  function drawChips() {
    for (const radio of chips.querySelectorAll("input")) {
      const { kind, status } = radio.dataset;
      radio.checked = page.view.get("kind") === kind && page.view.get("status") === status;
    }
  }

  chips.addEventListener("change", (event) => {
    const { kind, status } = event.target.dataset;
    page.view.set({ kind, status });
  });
  more.addEventListener("click", () => {
    if (page.isPaused) page.togglePause();
    toTop();
    scroll.focus();
    page.draw();
  });
  scroll.addEventListener("scroll", look);
  list.addEventListener("focusin", look);
  list.addEventListener("focusout", () => setTimeout(look)); // where it goes is not known yet
  /** A line opens the story that its name links to. */
  list.addEventListener("click", (event) => {
    if (event.target.closest("a, [data-filter]") || getSelection().toString()) return;
    event.target.closest("li")?.querySelector("a")?.click();
  });

  function tick(model) {
    const last = shown?.at(-1);
    if (empty.hidden ? last && model.now() - last.at > page.view.minutes * 60 : shown) page.draw();
  }

  drawChips();
  return { draw, tick, choose, hold };
}

/** The lines, with one in between for what was missed while the page was cut off. */
function withGap(lines, { gap, activities }) {
  if (!gap) return lines;
  const index = lines.findIndex((one) => one.id === gap.after || one.at <= gap.from);
  const reachesBack = activities.length < MOST || activities.at(-1).at <= gap.to;
  if (index < 0 && !reachesBack) return lines;
  const at = index < 0 ? lines.length : index;
  return [...lines.slice(0, at), { id: "gap", gap: gapText(gap) }, ...lines.slice(at)];
}

function gapText({ from, to, missed }) {
  const what = missed === null ? "how much was missed is not known"
    : missed === 0 ? "nothing missed" : `${number(missed)} not shown`;
  return `Cut off ${clockTime(from)} to ${clockTime(to)}, ${what}`;
}

/** A line, new or the spare one whose activity is gone. */
function create(one, spare) {
  if (one.gap) return el("li", { className: "gap" });
  const shape = shapeOf(one);
  if (shape && spare?.shape === shape) return rewritten(spare, one);
  const status = el("span", { className: "status", textContent: one.status ?? "–" });
  if (one.status) Object.assign(status.dataset, { filter: "status", value: one.status });
  const did = what(one);
  const path = one.endpoint && did.querySelector(".path");
  if (path) Object.assign(path.dataset, { filter: "endpoint", value: one.endpoint });
  const name = bdi(person(one.user, one.session));
  const who = el("span", { className: "who" }, one.session || one.user ? el("a", {}, name) : name);
  if (one.user) {
    who.append(" ", el("span", { className: "only", textContent: "only",
      "data-filter": "user", "data-value": one.user.id, "aria-hidden": "true" }));
  }
  const line = el("li", { "data-kind": one.kind, "data-class": classOf(one) },
    el("time"), " ", status, " ", did, " ", who, " ",
    el("span", { className: "num", textContent: took(one) }));
  return Object.assign(line, { shape });
}

/** Requests of one shape differ in their texts alone; of what is rare each is as it is. */
function shapeOf({ kind, error, title, endpoint, status, session, user }) {
  if (kind !== "request" || error || !endpoint || !status) return "";
  return [title, session, user].map(Boolean).join();
}

/** The line of a request, for another one of its shape. */
function rewritten(line, one) {
  const [time, status, did, who, num] = line.children;
  time.title = "";
  line.here = null;
  line.dataset.class = classOf(one);
  write(status, String(one.status));
  status.dataset.value = one.status;
  write(did.querySelector(".method"), one.method ?? "");
  if (one.title) write(did.querySelector("b bdi"), visible(one.title));
  const path = did.querySelector(".path");
  write(path, visible(one.path ?? one.endpoint));
  path.dataset.value = one.endpoint;
  write(who.querySelector("bdi"), person(one.user, one.session));
  if (one.user) who.querySelector(".only").dataset.value = one.user.id;
  write(num, took(one));
  return line;
}

function classOf({ status }) {
  return Math.floor((status ?? 0) / 100);
}

function took({ duration_ms: duration }) {
  return duration === null ? "" : milliseconds(duration);
}

/** What was done never changes; where its line leads does, and the server gave the time in UTC. */
function drawLine(line, one, page, here) {
  const time = line.firstElementChild;
  if (!time.title) {
    write(time, clockTime(one.at));
    time.title = new Date(one.at * 1000).toLocaleString();
  }
  if (line.here === here) return;
  line.here = here;
  const link = line.querySelector("a");
  if (!link) return;
  link.href = page.view.href(one.session
    ? { session: one.session, person: "" } : { person: one.user.id, session: "" });
}

/** What was done: a request, or something else by its name. */
export function what(one) {
  const said = el("span", { className: "what" });
  if (one.kind === "request") {
    said.append(el("span", { className: "method", textContent: one.method ?? "" }), " ");
    if (one.title) said.append(el("b", {}, bdi(visible(one.title))), " ");
    said.append(bdi(visible(one.path ?? one.endpoint ?? ""), "path"));
  } else {
    said.append(el("b", {}, bdi(happened(one))));
    for (const [name, value] of Object.entries(one.data ?? {})) {
      said.append(" ", el("span", { className: "datum" }, bdi(`${visible(name)}: ${visible(value)}`)));
    }
  }
  if (one.error) said.append(" ", el("span", { className: "error" }, bdi(visible(one.error))));
  return said;
}
