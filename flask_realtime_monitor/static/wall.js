/** The wall: totals for a screen that many see. It asks for nothing but its own stream. */

import { MINUTES, isHeard, lastMinutes, top } from "./chart.js";
import { Connection } from "./connection.js";
import { el, write } from "./dom.js";
import { age, clockTime, counted, least, milliseconds, number } from "./format.js";
import { Model } from "./model.js";

const MINUTE_S = 60;
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;
const MOST = 9; // characters that the sizes of figures are made for
const NO_LISTS = {
  users: [], sessions: [], activities: [], endpoints: [], in_flight: [], workers: [],
};

/** A line that knows of no API: where no stream is to be had, the stream is asked again later. */
class WallConnection extends Connection {
  async _poll(why, nextMs) {
    this._askStreamAt = 0;
    this._nextMs = why === "bounded" ? 0 : nextMs;
    this._set("polling", why);
  }
}

const { heartbeat, stream } = document.body.dataset;
const find = (id) => document.getElementById(id);
let model = new Model();
const bars = chart(document.querySelector(".last"));

const connection = new WallConnection({ stream }, heartbeat * 1000, {
  snapshot: (data) => { model.snapshot({ ...NO_LISTS, ...data }); draw(); },
  update: (data) => { model.update(data); draw(); },
  heard: () => showConnection(),
  state: () => { if (connection.state === "ended") end(); showConnection(); },
});

// -- numbers --------------------------------------------------------------------------------

function draw() {
  if (model.isEmpty) return;
  const { stats } = model;
  const atLeast = least(stats.coverage);
  const errors = model.rate("errors_per_s", isHeard());
  const aMinute = (rate) => number(Math.round(rate * MINUTE_S));
  show("active", number(stats.active_sessions), atLeast, `${atLeast}${counted(stats.active_users, "user")} signed in`);
  show("requests", aMinute(model.rate("requests_per_s", isHeard())), atLeast);
  show("in-flight", number(stats.in_flight), atLeast);
  show("errors", aMinute(errors), atLeast);
  show("latency", milliseconds(stats.latency_ms.p95), "", "95 of 100");
  tile("errors").dataset.bad = errors > 0 ? "yes" : "no";
  showMinutes();
  showCoverage(stats.coverage);
}

function tile(name) {
  return document.querySelector(`[data-tile="${name}"]`);
}

function show(name, text, atLeast, sub = "") {
  const value = tile(name).querySelector("[data-value]");
  write(value, text);
  value.parentElement.dataset.chars = Math.min(MOST, Math.max(3, text.length + 1 - text.length % 2));
  value.parentElement.toggleAttribute("data-partial", atLeast !== "");
  write(tile(name).querySelector(".least"), atLeast);
  write(tile(name).querySelector(".sub"), sub);
}

/** As on the page: where there is no data, nothing is drawn that would look like calm. */
function showMinutes() {
  const minutes = lastMinutes(model);
  const most = top(minutes.map((one) => one.requests));
  bars(minutes, Math.max(1, most));
  const isWhole = minutes.every((one) => one.requests !== null);
  write(find("most"), `${most ? `at most ${number(most)} in a minute` : "none"}${isWhole ? "" : ", dashes: no data"}`);
}

function showCoverage({ complete, workers, workers_reporting: reporting, hosts }) {
  find("coverage").dataset.complete = complete ? "yes" : "no";
  write(find("coverage"), `${number(reporting)} of ${counted(workers, "worker")}, ${counted(hosts, "host")}`
    + `${complete ? "" : ": the numbers may be a part only"}`);
}

/** Requests as bars, those that failed in red at their foot; returns what draws them. */
function chart(parent) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${MINUTES * 4 - 1} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const pairs = Array.from({ length: MINUTES }, (_, index) => ["requests", "errors"].map((kind) => {
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("x", index * 4);
    bar.setAttribute("width", 3);
    bar.setAttribute("class", kind);
    svg.append(bar);
    return bar;
  }));
  parent.append(svg);
  return (minutes, most) => pairs.forEach(([requests, errors], index) => {
    const minute = minutes[index];
    const isKnown = minute.requests !== null;
    requests.setAttribute("class", isKnown ? "requests" : "none");
    requests.setAttribute("width", isKnown ? 3 : 1.5);
    rise(requests, Math.max(1, HEIGHT * minute.requests / most));
    rise(errors, minute.errors ? Math.max(2, HEIGHT * minute.errors / most) : 0);
  });
}

function rise(bar, height) {
  bar.setAttribute("y", HEIGHT - height);
  bar.setAttribute("height", height);
}

// -- how fresh they are ---------------------------------------------------------------------

function showConnection() {
  // Without a place there is no news at all.
  document.body.dataset.state = connection.why === "full" ? "cut" : connection.state;
  write(find("connection-text"), words());
}

function words() {
  const { state, why, since, heardAt, retryAt } = connection.status();
  const quiet = age(Math.max(0, Date.now() - heardAt) / 1000);
  switch (state) {
    case "live": return quiet === "0 s" ? "Live" : `Live, heard ${quiet} ago`;
    case "catching-up": return "Catching up";
    case "reconnecting": return `Cut off since ${clockTime(since / 1000)}${ofWhen()}`;
    case "polling":
      if (why === "bounded") return `Asked every 10 s${ofWhen()}`;
      return `No free place: asking again in ${age((retryAt - Date.now()) / 1000)}${ofWhen()}`;
    case "ended": return "Closed";
    default: return "Connecting";
  }
}

function ofWhen() {
  return model.isEmpty ? "" : `, numbers ${age(model.now() - model.asOf)} old`;
}

/** The address opens nothing any more: what was shown goes too. */
function end() {
  model = new Model();
  document.querySelector("main").replaceChildren(
    el("p", { className: "ended", textContent: "This address opens the wall no more." }));
  find("coverage").textContent = "";
}

showConnection();
setInterval(() => { showConnection(); draw(); }, 1000);
connection.run();
