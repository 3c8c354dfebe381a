/** Whether the monitor itself is well; folded to one line when it is. */

import { age, covered, number, visible, written } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

const ASK_EVERY_MS = 15000;
/* A worker that hangs may hold several of the browser's connections: each is given up in turn. */
const WAIT_MS = 2000;

export function mount(element, page) {
  const details = element.querySelector("details");
  const summary = element.querySelector("[data-summary]");
  const problems = element.querySelector("[data-problems]");
  const store = element.querySelector("[data-store]");
  const limits = element.querySelector("[data-limits]");
  const body = element.querySelector("tbody");
  let health = null;
  let askedAt = Date.now();
  let wasWell = summary.dataset.well === "yes";
  let wasComplete = true; // until the first coverage

  function draw(model) {
    const workers = [...model.workers.values()];
    keyed(body, workers, (one) => one.id, createRow, (row, one) => {
      const cells = row.cells;
      row.className = one.is_reporting ? "reporting" : "silent";
      row.dataset.at = one.last_report_at;
      write(cells[1], one.is_reporting ? "reporting" : silence(one.last_report_at, model));
      write(cells[2], number(one.sessions));
      write(cells[3], number(one.viewers));
      write(cells[4], `${number(one.record_us.p50)} µs`);
      write(cells[5], one.rss_bytes ? `${number(Math.round(one.rss_bytes / 1048576))} MB` : "–");
      write(cells[6], number(Object.values(one.dropped).reduce((sum, n) => sum + n, 0)));
    });
    drawSummary(model);
    if (Date.now() - askedAt > ASK_EVERY_MS) ask();
  }

  function drawSummary(model) {
    const { coverage } = model.stats;
    const isWell = coverage.complete && (health ? health.status === "ok" : wasWell);
    const told = covered(coverage, model.oldestReport(), model.silent());
    summary.dataset.well = isWell ? "yes" : "no";
    write(summary, `${isWell ? "All well" : "Degraded"}: ${told}`);
    if (wasWell && !isWell) details.open = true;
    if (coverage.complete !== wasComplete) ask(); // the problems in words are others now
    wasWell = isWell;
    wasComplete = coverage.complete;
  }

  async function ask() {
    askedAt = Date.now();
    try {
      const signal = AbortSignal.timeout(WAIT_MS);
      const response = await fetch(`${page.api}/health`, { cache: "no-store", signal });
      if (!response.ok) return;
      health = await response.json();
    } catch {
      askedAt = 0; // again with the next tick
      return;
    }
    problems.replaceChildren(...health.problems.map((one) => el("li", { textContent: visible(one) })));
    store.replaceChildren("Store: ", bdi(visible(health.store.url)), written(health.store));
    keyed(limits, health.limits, (one) => one.name, createLimit, (row, one) => {
      const meter = row.querySelector("meter");
      meter.max = one.limit;
      meter.value = one.used;
      write(row.querySelector(".num"), `${number(one.used)} of ${number(one.limit)}`);
    });
    page.draw();
  }

  function tick(model) {
    drawSummary(model);
    for (const row of body.querySelectorAll(".silent")) {
      write(row.cells[1], silence(Number(row.dataset.at), model));
    }
    if (Date.now() - askedAt > ASK_EVERY_MS) ask();
  }

  return { draw, tick };
}

function silence(reportedAt, model) {
  return `silent for ${age(model.now() - reportedAt)}`;
}

function createRow(one) {
  const cells = Array.from({ length: 6 }, (_, index) =>
    el("td", { className: index ? "num" : "age" }));
  return el("tr", {}, el("th", { scope: "row" }, bdi(visible(one.host)), `:${one.pid}`), ...cells);
}

function createLimit(one) {
  return el("li", {}, el("span", { className: "name", textContent: one.name }), " ",
    el("meter", { min: 0, "aria-hidden": "true" }), " ", el("span", { className: "num" }));
}
