/** Whether the monitor itself is well; folded to one line when it is. */

import { age, clockTime, counted, covered, number, visible, well, written } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

const ASK_EVERY_MS = 15000;
/* A worker that hangs may hold several of the browser's connections: each is given up in turn. */
const WAIT_MS = 2000;
const LONG_S = 30; // of silence: no hiccup any more
/** Whose files these are: the hash in their URL. */
const [VERSION] = new URL("..", import.meta.url).pathname.split("/").slice(-2);

export function mount(element, page) {
  const details = element.querySelector("details");
  const summary = element.querySelector("[data-summary]");
  const problems = element.querySelector("[data-problems]");
  const last = element.querySelector("[data-last]");
  const store = element.querySelector("[data-store]");
  const dropped = element.querySelector("[data-dropped]");
  const limits = element.querySelector("[data-limits]");
  const body = element.querySelector("tbody");
  let health = null;
  let askedAt = Date.now();
  let wasWell = summary.dataset.well === "yes";
  let wasComplete = true; // until the first coverage

  function draw(model) {
    const workers = [...model.workers.values()];
    keyed(body, workers, (one) => one.id, createRow, (row, one) => drawRow(row, one, page));
    write(dropped, thrownAway(model.stats));
    drawSummary(model);
    if (Date.now() - askedAt > ASK_EVERY_MS) ask();
  }

  function drawSummary(model) {
    const { coverage } = model.stats;
    const isWell = coverage.complete && (health ? health.status === "ok" : wasWell);
    summary.dataset.well = isWell ? "yes" : "no";
    write(summary, isWell ? well(coverage, [...model.workers.values()])
      : `Degraded: ${covered(coverage, model.oldestReport(), model.silent())}`);
    if (wasWell && !isWell) details.open = true;
    if (coverage.complete !== wasComplete) ask(); // the problems in words are others now
    wasWell = isWell;
    wasComplete = coverage.complete;
  }

  async function ask() {
    askedAt = Date.now();
    const answer = await page.ask("health", null, { signal: AbortSignal.timeout(WAIT_MS) });
    if (!answer) askedAt = 0; // again with the next tick
    if (!answer?.ok) return;
    const before = health?.problems ?? [];
    health = answer.data;
    drawProblems(before);
    store.replaceChildren("Store: ", bdi(visible(health.store.url)), written(health.store));
    keyed(limits, health.limits, (one) => one.name, createLimit, (row, one) => {
      const meter = row.querySelector("meter");
      meter.max = one.limit;
      meter.value = one.used;
      write(row.querySelector(".num"), `${number(one.used)} of ${number(one.limit)}`);
    });
    drawVersion(health.page ?? VERSION);
    page.draw();
  }

  /** What is wrong and what to do about it; the last of it stays to be read. */
  function drawProblems(before) {
    const now = health.problems;
    if (now.join() !== before.join() || !before.length) {
      problems.replaceChildren(...now.map((one) => el("li", { textContent: visible(one) })));
    }
    if (now.length) last.hidden = true;
    else if (before.length) {
      last.hidden = false;
      write(last, `Well again since ${clockTime(Date.now() / 1000)}. Before that: ${visible(before.at(-1))}`);
    }
  }

  function tick(model) {
    drawSummary(model);
    for (const row of body.querySelectorAll(".silent")) drawSilence(row, model);
    if (Date.now() - askedAt > ASK_EVERY_MS) ask();
  }

  return { draw, tick };
}

/** Say quietly that there is a newer page; never load it by itself. */
function drawVersion(version) {
  const shown = document.getElementById("older");
  if (version === VERSION) shown?.remove();
  if (version === VERSION || shown) return;
  const button = el("button", { type: "button", textContent: "load it again" });
  button.addEventListener("click", () => location.reload());
  document.getElementById("main").before(el("p", { id: "older", className: "notice", role: "status" },
    "This page is of an older version: ", button));
}

function drawRow(row, one, page) {
  const [who, seen, sessions, viewers, cost, memory, lost] = row.cells;
  row.className = one.is_reporting ? "reporting" : "silent";
  if (row.dataset.at !== String(one.last_report_at)) {
    row.dataset.at = one.last_report_at;
    row.dataset.age = Math.max(0, page.model.asOf - one.last_report_at);
  }
  who.firstElementChild.setAttribute("aria-pressed", String(page.view.get("worker") === one.id));
  // That of one that reports is told every 10 s only, and does not grow in between.
  if (one.is_reporting) write(seen, `${age(Number(row.dataset.age))} ago`);
  else drawSilence(row, page.model);
  write(sessions, number(one.sessions));
  write(viewers, number(one.viewers));
  write(cost, `${number(one.record_us.p50)} / ${number(one.record_us.p99)} µs`);
  write(memory, one.rss_bytes ? `${number(Math.round(one.rss_bytes / 1048576))} MB` : "–");
  write(lost, number(Object.values(one.dropped).reduce((sum, n) => sum + n, 0)));
}

function drawSilence(row, model) {
  const silence = model.now() - Number(row.dataset.at);
  write(row.cells[1], `silent for ${age(silence)}`);
  row.classList.toggle("long", silence > LONG_S);
}

function thrownAway({ dropped, excluded }) {
  return `Thrown away at a limit: ${counted(dropped.sessions, "session")}, `
    + `${dropped.activities === 1 ? "1 activity" : `${number(dropped.activities)} activities`}, `
    + `${counted(dropped.events, "event")} of slow viewers. Left out by rule: ${counted(excluded, "request")}.`;
}

function createRow(one) {
  const cells = Array.from({ length: 6 }, (_, index) =>
    el("td", { className: index ? "num" : "age" }));
  const name = el("button", {
    type: "button", className: "worker", "data-filter": "worker", "data-value": one.id,
  }, bdi(visible(one.host)), `:${one.pid}`);
  const version = one.version
    ? el("span", { className: "quiet", textContent: ` ${visible(one.version)}` }) : null;
  return el("tr", {}, el("th", { scope: "row" }, name, version), ...cells);
}

function createLimit(one) {
  return el("li", {}, el("span", { className: "name", textContent: one.name }), " ",
    el("meter", { min: 0, "aria-hidden": "true" }), " ", el("span", { className: "num" }));
}
