/** The numbers at the top, each with its last half hour. */

import { age, least, milliseconds, number } from "../format.js";
import { write } from "../dom.js";

const SVG = "http://www.w3.org/2000/svg";
const BARS = 30;

export function mount(element) {
  const tiles = {};
  for (const tile of element.querySelectorAll("[data-tile]")) {
    tiles[tile.dataset.tile] = {
      least: tile.querySelector(".least"), figure: tile.querySelector("[data-value]"),
      sub: tile.querySelector(".sub"), tile,
    };
  }
  const sparks = {
    active: spark(tiles.active.tile), requests: spark(tiles.requests.tile),
    errors: spark(tiles.errors.tile),
  };

  function show(name, before, figure, sub) {
    write(tiles[name].least, before);
    write(tiles[name].figure, figure);
    write(tiles[name].sub, sub);
  }

  function draw(model) {
    const { stats } = model;
    const atLeast = least(stats.coverage);
    const flying = model.waiting();
    const errors = model.rate("errors_per_s");
    const requests = model.rate("requests_per_s");
    show("active", atLeast, number(stats.active_sessions),
      `${atLeast}${number(stats.active_users)} signed in, ${number(stats.total_sessions)} not yet gone`);
    show("requests", atLeast, number(Math.round(requests * 60)),
      `${atLeast}${number(stats.requests_total)} in all`);
    show("in-flight", atLeast, number(stats.in_flight), flying.length
      ? `oldest ${age(model.now() - flying[0].started_at)}` : `${atLeast ? "none known" : "none"} over a second`);
    show("errors", atLeast, number(Math.round(errors * 60)), requests > 0
      ? `${number(Math.round(1000 * errors / requests) / 10)} % of requests`
      : `${atLeast}${number(stats.errors_total)} in all`);
    show("latency", "", milliseconds(stats.latency_ms.p95),
      `95 of 100; half in ${milliseconds(stats.latency_ms.p50)}`);
    tiles.errors.tile.dataset.bad = errors > 0 ? "yes" : "no";
    const minutes = stats.history.slice(-BARS);
    sparks.active(minutes.map((one) => one.active_sessions));
    sparks.requests(minutes.map((one) => one.requests));
    sparks.errors(minutes.map((one) => one.errors));
  }

  return { draw, tick: draw };
}

/** Bars for the last minutes, in a tile; returns what sets their heights. */
function spark(tile) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${BARS * 4} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  const bars = Array.from({ length: BARS }, (_, index) => {
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("x", index * 4);
    bar.setAttribute("width", 3);
    svg.append(bar);
    return bar;
  });
  tile.append(svg);
  return (values) => {
    const top = Math.max(1, ...values);
    bars.forEach((bar, index) => {
      const value = values[index] ?? 0;
      const height = value ? Math.max(2, 24 * value / top) : 1;
      bar.setAttribute("y", 24 - height);
      bar.setAttribute("height", height);
    });
  };
}
