/** The page: connects the feed, the model, what the viewer chose, and the cards. */

import { el } from "./dom.js";
import { Feed } from "./feed.js";
import { listenToKeys } from "./keys.js";
import { activityMatches, sessionMatches } from "./matching.js";
import { Model } from "./model.js";
import { AGAIN_MS, mountCards, script } from "./mounting.js";
import { Strip } from "./strip.js";
import { View } from "./view.js";

const SLICE_MS = 2; // of script in a frame: to lay it out and paint it takes several times as long
const LEAST_MS = 250; // between two draws for news: nobody reads faster
const PATIENCE_MS = 3000; // for the cards' scripts: then the stream begins without the rest
const WAIT_MS = 8000; // a worker that hangs may hold the connection
const scripts = new Map(); // those loaded on first use, by name
const find = (id) => document.getElementById(id);
const { api, asleepAfter, heartbeat, home, me, role, stream, token } = document.body.dataset;

/** What a card may use. */
const page = {
  model: new Model(), // what is drawn
  live: null, // what is known: paused, what is drawn stays as it was
  view: new View((changed) => choose(changed)),
  api,
  role,
  me, // the viewer's own user id as it is shown here, "" where unknown
  token, // for what may be done, undefined where nothing may
  isPaused: false,
  held: 0, // activities that came while paused

  /** How fresh it is: {state, why, since, heardAt, retryAt}, times in ms. */
  get line() {
    return feed.status;
  },

  /** Draw everything with the next frame. */
  draw,

  /** Hold the page still, or go on. */
  togglePause,

  /** Whether a session is among what the viewer chose to see. */
  shows: (session) => sessionMatches(session, page.view, me, page.model.now()),

  /** Likewise an activity. */
  showsActivity: (one) => activityMatches(
    one, page.model.sessions.get(one.session), page.view, me, page.model.now()),

  /**
   * A script that most views never need: null while it is on its way, false where it did not come;
   * then it is asked for again. `then` is called when that changes.
   */
  script(name, then) {
    if (!scripts.has(name)) load(name, then);
    return scripts.get(name);
  },

  /**
   * Ask the API; null where there is no answer.
   * @param params {name: value}, a URLSearchParams, or null.
   * @returns {status, ok, data}
   */
  async ask(path, params = null, options = {}) {
    const query = String(new URLSearchParams(params ?? ""));
    const url = `${api}/${path}${query && `?${query}`}`;
    const signal = AbortSignal.timeout(WAIT_MS);
    try {
      const response = await fetch(url, { cache: "no-store", redirect: "manual", signal, ...options });
      return { status: response.status, ok: response.ok, data: await response.json() };
    } catch {
      return null;
    }
  },
};

page.live = page.model;

const cards = []; // as their scripts come

const feed = new Feed(
  { urls: { api, stream }, role, heartbeatMs: heartbeat * 1000, asleepMs: asleepAfter * 1000 },
  {
    snapshot: (data) => take(() => page.live.snapshot(data, isCatchingUp(), feed.status.state === "polling")),
    update: (data) => take(() => page.live.update(data)),
    state: () => {
      if (feed.status.state === "ended") end();
      strip.drawConnection();
    },
  });
const strip = new Strip(page, feed, { pause: togglePause });

let isDrawing = false;
let isStale = false; // something came while some of it was drawn already
let due = []; // calls that draw what is still to be drawn
let drawing = 0; // the timer of the next draw for news
let drawnAt = 0;

function load(name, then, tries = 0) {
  scripts.set(name, tries ? false : null);
  script(name, tries).then((module) => {
    scripts.set(name, module);
    then();
  }, () => {
    scripts.set(name, false);
    then();
    setTimeout(() => { if (!isEnded()) load(name, then, tries + 1); }, AGAIN_MS);
  });
}

function isCatchingUp() {
  return ["catching-up", "reconnecting"].includes(feed.status.state);
}

/** Merge what came, and draw it with the next frame. */
function take(merge) {
  const before = page.live.seen;
  merge();
  if (page.isPaused) page.held += page.live.seen - before;
  strip.drawConnection();
  if (page.isPaused) {
    strip.drawPause();
    for (const card of cards) card.hold?.(page.live);
  } else {
    drawSoon();
  }
}

/** Draw what came; of much that comes at once, a few times a second. */
function drawSoon() {
  drawing ||= setTimeout(() => {
    drawing = 0;
    if (!page.isPaused) draw();
  }, Math.max(0, drawnAt + LEAST_MS - performance.now()));
}

function draw() {
  isStale = isDrawing;
  if (isDrawing || page.model.isEmpty || document.hidden) return;
  isDrawing = true;
  drawnAt = performance.now();
  due = [
    ...[...cards, strip].map((card) => () => card.draw?.(page.model)),
    ...cards.map((card) => () => card.finish?.(page.model)), // what nobody sees yet comes last
  ];
  requestAnimationFrame(drawSome);
}

/** Draw cards for a few milliseconds, and the rest with the next frame: none comes late. */
function drawSome() {
  const until = performance.now() + SLICE_MS;
  if (page.model.isEmpty) due = [];
  try {
    while (due.length && performance.now() < until) due.shift()();
  } finally { // a fault in one must not stop the page for good
    isDrawing = due.length > 0;
    if (isDrawing) requestAnimationFrame(drawSome);
  }
  if (!isDrawing && isStale) draw();
}

/** The viewer chose something else to see. */
function choose(changed) {
  if (isEnded()) return;
  for (const card of cards) card.choose?.(changed);
  strip.drawChoice();
  draw();
}

function togglePause() {
  page.isPaused = !page.isPaused;
  page.model = page.isPaused && !page.live.isEmpty ? page.live.still() : page.live;
  page.held = 0;
  strip.drawPause();
  draw();
}

const ENDINGS = {
  login: "The app asks who you are. ",
  missing: "The monitor is not here any more, or you may no longer watch it. ",
  refused: "You may no longer watch here. ",
};

function isEnded() {
  return feed.status.state === "ended";
}

/** The server says no: what was shown goes too, and nothing that is left does anything about it. */
function end() {
  page.model = page.live = new Model();
  page.isPaused = false;
  strip.drawPause();
  cards.length = 0;
  find("main").replaceChildren();
  for (const name of ["coverage", "spoken"]) find(name).replaceChildren();
  for (const one of document.querySelectorAll(
    "dialog:not(#help), #choice, .search, label:has(#window), .mine, #pause")) one.remove();
  find("help").close(); // it names nobody, and its key and button are still there
  const notice = find("notice");
  notice.hidden = false;
  notice.replaceChildren(
    ENDINGS[feed.status.why], el("a", { href: home, textContent: "Sign in again" }),
    ", then watch on.");
}

const unlessEnded = (act) => (...given) => { if (!isEnded()) act(...given); };
listenToKeys({
  pause: unlessEnded(togglePause),
  search: unlessEnded(() => find("search").focus()),
  clear: unlessEnded(() => page.view.clear()),
  errors: unlessEnded(() => page.view.toggle("status", "5xx")),
  move: unlessEnded((step) => cards.find((card) => card.move)?.move(step)),
  help: () => find("help").showModal(),
});

/** A click on a value shows only what has it; those who cannot click find it in the drawer. */
document.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-filter]");
  if (!chosen?.dataset.value) return;
  if (getSelection().toString() && !chosen.matches("button")) return; // somebody marks a text
  page.view.toggle(chosen.dataset.filter, chosen.dataset.value);
});

document.addEventListener("visibilitychange", () => { if (!page.isPaused) draw(); });
setInterval(() => {
  if (document.hidden) return;
  strip.drawConnection();
  if (page.isPaused || page.model.isEmpty) return;
  for (const card of cards) card.tick?.(page.model);
  strip.drawCoverage();
}, 1000);

strip.drawConnection();
strip.drawChoice();
await Promise.race([mountCards(page, cards), new Promise((then) => { setTimeout(then, PATIENCE_MS); })]);
feed.start();
