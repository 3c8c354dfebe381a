/** The numbers at the top, some with their last half hour; a click shows only what they count. */

import { age, counted, least, milliseconds, number, visible } from "../format.js";
import { isHeard, lastMinutes, sparkPath } from "../chart.js";
import { write } from "../dom.js";

const FLASH_MS = 300;
const SPARKS = new Map(
  [["active", "active_sessions"], ["requests", "requests"], ["errors", "errors"]]);

export function mount(element, page) {
  const few = Number(element.dataset.few);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const tiles = new Map([...element.querySelectorAll("[data-tile]")].map(
    (tile) => [tile.dataset.tile, {
      tile, least: tile.querySelector(".least"), figure: tile.querySelector("[data-value]"),
      sub: tile.querySelector(".sub"), spark: tile.querySelector(".spark path"),
    }]));
  let isFirst = true; // what the server rendered may be some seconds old

  function show(name, before, text, sub) {
    const { figure, ...tile } = tiles.get(name);
    if (!isFirst && !still.matches && figure.textContent !== text) {
      figure.animate([{ color: "var(--link)" }, { color: "var(--link)" }], FLASH_MS);
    }
    write(tile.least, before);
    write(figure, text);
    write(tile.sub, sub);
  }

  function draw(model) {
    const { stats } = model;
    const atLeast = least(stats.coverage);
    const [oldest] = model.waiting();
    const aMinute = (name) => Math.round(60 * model.rate(name, isHeard()));
    const errors = aMinute("errors_per_s");
    const requests = aMinute("requests_per_s");
    const idle = Math.max(0, stats.total_sessions - stats.active_sessions);
    show("active", atLeast, number(stats.active_sessions),
      `${atLeast}${counted(stats.active_users, "user")} signed in, ${number(idle)} idle`);
    show("requests", atLeast, number(requests),
      `${atLeast}${number(stats.requests_total)} in all`);
    show("in-flight", atLeast, number(stats.in_flight), oldest
      ? `oldest ${age(model.now() - oldest.started_at)}` : `${atLeast ? "none known" : "none"} over a second`);
    show("errors", atLeast, number(errors), requests > 0
      ? `${number(Math.round(1000 * errors / requests) / 10)} % of requests`
      : `${atLeast}${number(stats.errors_total)} in all`);
    tiles.get("errors").tile.dataset.bad = errors > 0 ? "yes" : "no";
    drawSlowest(model);
    const minutes = lastMinutes(model);
    for (const [name, field] of SPARKS) {
      const path = sparkPath(minutes.map((one) => one[field]));
      const { spark } = tiles.get(name);
      if (spark.getAttribute("d") !== path) spark.setAttribute("d", path);
    }
    press();
    isFirst = false;
  }

  function drawSlowest(model) {
    const one = model.slowestEndpoint(few);
    const { tile } = tiles.get("slowest");
    show("slowest", "", milliseconds(one?.latency_ms.p95),
      one ? visible(one.endpoint) : "none asked for often enough");
    if (one) {
      tile.dataset.filter = "endpoint";
      tile.dataset.value = one.endpoint;
    } else {
      delete tile.dataset.filter;
    }
  }

  function press() {
    for (const { tile } of tiles.values()) {
      const { filter, value } = tile.dataset;
      if (filter) tile.setAttribute("aria-pressed", String(page.view.get(filter) === value));
      else tile.removeAttribute("aria-pressed");
    }
  }

  tiles.get("in-flight").tile.addEventListener("click", () => {
    const waiting = document.querySelector("[data-card=waiting]");
    if (waiting && !waiting.hidden) {
      waiting.scrollIntoView({ block: "center", behavior: still.matches ? "auto" : "smooth" });
      waiting.focus({ preventScroll: true });
      return;
    }
    const { sub } = tiles.get("in-flight");
    write(document.getElementById("spoken"), "Nobody waits for over a second.");
    write(sub, "nobody waits over a second");
    if (!still.matches) sub.animate([{ color: "var(--link)" }, { color: "var(--link)" }], FLASH_MS);
  });

  press();
  return { draw, tick: draw, choose: press };
}
