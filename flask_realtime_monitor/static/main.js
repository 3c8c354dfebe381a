/** The page: connects the feed, the model and the cards. */

import { el, write } from "./dom.js";
import { Feed } from "./feed.js";
import { age, clockTime, covered, least } from "./format.js";
import { Model } from "./model.js";

const SPOKEN_EVERY_MS = 10000;
const find = (id) => document.getElementById(id);

const page = {
  model: new Model(),
  api: document.body.dataset.api,
  query: "",
  isPaused: false,
  held: 0, // activities that came while paused
  draw,
};

const cards = await Promise.all([...document.querySelectorAll("[data-card]")].map(
  async (element) => (await import(`./cards/${element.dataset.card}.js`)).mount(element, page)));

const { api, asleepAfter, heartbeat, home, role, stream } = document.body.dataset;
const feed = new Feed(
  { urls: { api, stream }, role, heartbeatMs: heartbeat * 1000, asleepMs: asleepAfter * 1000 },
  {
    snapshot: (data) => take(() => page.model.snapshot(data)),
    update: (data) => take(() => page.model.update(data)),
    state: () => { if (feed.status.state === "ended") end(); showConnection(); },
  });

let isDrawing = false;

/** Merge what came, and draw it with the next frame. */
function take(merge) {
  const before = page.model.seen;
  merge();
  if (page.isPaused) page.held += page.model.seen - before;
  showConnection();
  if (page.isPaused) showPause();
  else draw();
}

function draw() {
  if (isDrawing || page.model.isEmpty || document.hidden) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (page.model.isEmpty) return;
    for (const card of cards) card.draw?.(page.model);
    showCoverage();
  });
}

function showCoverage() {
  const { model } = page;
  const { coverage } = model.stats;
  find("coverage").dataset.complete = coverage.complete ? "yes" : "no";
  write(find("coverage"), covered(coverage, model.oldestReport(), model.silent()));
}

function showConnection() {
  const { state } = feed.status;
  const chip = find("connection");
  chip.dataset.state = state;
  document.body.dataset.state = state;
  write(find("connection-text"), words());
  find("connection-now").hidden = state !== "reconnecting" && state !== "polling";
  document.title = `${TITLE_MARKS[state] ?? ""}${title}`;
}

const title = document.title;
const TITLE_MARKS = { reconnecting: "(cut off) ", ended: "(ended) ", asleep: "(asleep) " };

function words() {
  const { state, why, since, heardAt, retryAt } = feed.status;
  const now = Date.now();
  const quiet = Math.max(0, now - heardAt) / 1000;
  const next = Math.ceil((retryAt - now) / 1000);
  switch (state) {
    case "live": return `Live, ${quiet < 1 ? "now" : `heard ${age(quiet)} ago`}`;
    case "catching-up": return "Catching up";
    case "reconnecting":
      return `Cut off since ${clockTime(since / 1000)}, ${next > 0 ? `next try in ${next} s` : "trying now"}`;
    case "polling":
      if (why === "bounded") return "This server cannot stream; asked every 10 s";
      return `No free place for a live view: asking again ${next > 0 ? `in ${next} s` : "now"}`;
    case "asleep": return "Asleep while hidden";
    case "ended": return why === "login" ? "Signed out" : "Access ended";
    default: return "Connecting";
  }
}

const ENDINGS = {
  login: "The app asks who you are. ",
  missing: "The monitor is not here any more, or you may no longer watch it. ",
  refused: "You may no longer watch here. ",
};

/** The server says no: what was shown goes too. */
function end() {
  page.model = new Model();
  find("main").replaceChildren();
  const notice = find("notice");
  notice.hidden = false;
  notice.replaceChildren(
    ENDINGS[feed.status.why], el("a", { href: home, textContent: "Sign in again" }),
    ", then watch on.");
}

// -- pause and search -----------------------------------------------------------------------

function showPause() {
  const button = find("pause");
  button.setAttribute("aria-pressed", String(page.isPaused));
  write(button, page.isPaused ? `Paused, ${page.held} new: go on` : "Pause");
  document.body.dataset.paused = page.isPaused ? "yes" : "no";
}

function togglePause() {
  page.isPaused = !page.isPaused;
  page.held = 0;
  showPause();
  draw();
}

function search(text) {
  find("search").value = text;
  page.query = text.trim().toLowerCase();
  for (const card of cards) card.search?.(page.query);
  draw();
}

page.clearSearch = () => search("");
find("pause").addEventListener("click", togglePause);
find("search").addEventListener("input", (event) => search(event.target.value));
find("connection-now").addEventListener("click", () => feed.now());

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "Escape" && isTyping) {
    search("");
    event.target.blur();
  } else if (isTyping || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (event.key === "/") {
    event.preventDefault();
    find("search").focus();
  } else if (event.key === "p") {
    togglePause();
  } else if (event.key === "Escape" && page.query && !document.querySelector("dialog[open]")) {
    search("");
  }
});

// -- time goes on ---------------------------------------------------------------------------

document.addEventListener("visibilitychange", () => { if (!page.isPaused) draw(); });
setInterval(() => {
  if (document.hidden) return;
  showConnection();
  if (page.isPaused || page.model.isEmpty) return;
  for (const card of cards) card.tick?.(page.model);
  showCoverage();
}, 1000);
setInterval(() => {
  if (page.model.isEmpty || document.hidden) return;
  const { active_sessions: active, in_flight: flying, coverage } = page.model.stats;
  write(find("spoken"), `${least(coverage)}${active} active now, ${flying} requests in flight. ${words()}`);
}, SPOKEN_EVERY_MS);

showConnection();
feed.start();
