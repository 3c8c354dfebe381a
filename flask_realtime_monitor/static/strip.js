/** The strip at the top: how fresh all this is, and what the viewer chose to see of it. */

import { bdi, el, hide, keyed, write } from "./dom.js";
import { age, chosen, clockTime, counted, covered, least, number } from "./format.js";

const SPOKEN_EVERY_MS = 10000;
const TYPING_MS = 150;
const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "realtime-monitor-theme";
const PATIENCE_MS = 2000; // a cut that is mended by then was none worth a colour
const ENDED = { login: "Signed out", missing: "Access ended", refused: "Access ended" };
const MARKS = new Map([["cut", "(cut off) "], ["ended", "(ended) "], ["asleep", "(asleep) "]]);

const find = (id) => document.getElementById(id);

export class Strip {
  /** @param does {pause} */
  constructor(page, feed, does) {
    this._page = page;
    this._feed = feed;
    this._title = document.title;
    this._icon = document.querySelector("link[rel=icon]");
    this._icons = { ...this._icon.dataset, live: this._icon.href };
    find("pause").addEventListener("click", does.pause);
    find("connection-now").addEventListener("click", () => feed.now());
    find("window").addEventListener("change", (event) =>
      page.view.set({ window: event.target.value === "30" ? "" : event.target.value }));
    find("mine").addEventListener("change", (event) =>
      page.view.set({ mine: event.target.checked ? "" : "hide" }));
    find("clear").addEventListener("click", () => page.view.clear());
    find("help-open").addEventListener("click", () => find("help").showModal());
    this._typed = find("search").value; // by somebody who was faster than this script
    this._timer = 0; // until what is typed is chosen
    this._listenToSearch();
    this._listenToTheme();
    keepClear(document.querySelector(".strip"));
    setInterval(() => this._speak(), SPOKEN_EVERY_MS);
  }

  draw() {
    this.drawCoverage();
    this._drawChips(this._page.view.filters()); // who was an id is known by name by now
  }

  drawCoverage() {
    const { model } = this._page;
    const { coverage } = model.stats;
    find("coverage").dataset.complete = coverage.complete ? "yes" : "no";
    write(find("coverage"), covered(coverage, model.oldestReport(), model.silent()));
  }

  drawConnection() {
    const { text, look, mark, canTry } = described(this._feed.status);
    write(find("connection-text"), text);
    if (!canTry) leave(find("connection-now"));
    hide(find("connection-now"), !canTry);
    if (document.body.dataset.state === look) return;
    const { style, offsetHeight } = document.querySelector(".strip");
    style.minHeight = MARKS.has(look) ? `${offsetHeight}px` : ""; // the page below is not to move
    find("connection").dataset.state = look;
    document.body.dataset.state = look;
    document.title = `${mark}${this._title}`;
    this._icon.href = this._icons[look] ?? this._icons.live;
  }

  drawPause() {
    const { isPaused, held } = this._page;
    find("pause").setAttribute("aria-pressed", String(isPaused));
    write(find("pause"), isPaused ? `Paused, ${held} new: go on` : "Pause");
    document.body.dataset.paused = isPaused ? "yes" : "no";
  }

  /** What the viewer chose: the fields, and a chip for each filter. */
  drawChoice() {
    const { view, me } = this._page;
    const search = find("search");
    const typed = this._typed.trim();
    this._typed = "";
    if (typed) view.set({ q: typed }, true);
    const isTyped = this._timer || (document.activeElement === search && view.isTyping);
    if (!isTyped) search.value = view.get("q");
    find("window").value = String(view.minutes);
    find("mine").checked = view.get("mine") !== "hide";
    find("mine").closest("label").hidden = !me;
    const chips = view.filters();
    if (!chips.length) leave(find("choice"));
    this._drawChips(chips);
    find("choice").hidden = chips.length === 0;
  }

  _drawChips(chips) {
    keyed(find("chips"), chips, ([name]) => name, (chip) => this._chip(chip),
      (item, chip) => write(item.querySelector("bdi"), chosen(chip, this._page.model.users)));
  }

  _chip([name]) {
    const button = el("button", { type: "button", className: "chip" },
      el("span", { className: "hidden", textContent: "No longer only " }), bdi(""), " ×");
    button.addEventListener("click", () => this._page.view.set({ [name]: "" }));
    return el("li", {}, button);
  }

  _listenToSearch() {
    const { view } = this._page;
    const search = find("search");
    const choose = () => {
      clearTimeout(this._timer);
      this._timer = 0;
      view.set({ q: search.value.trim() }, true);
    };
    search.addEventListener("input", () => {
      clearTimeout(this._timer);
      this._timer = setTimeout(choose, TYPING_MS);
    });
    search.addEventListener("change", () => {
      choose();
      view.isTyping = false;
    });
  }

  _listenToTheme() {
    const button = find("theme");
    const show = (theme) => {
      document.documentElement.dataset.theme = theme;
      write(button.querySelector("[data-theme-name]"), theme);
    };
    show(document.documentElement.dataset.theme ?? "auto");
    button.addEventListener("click", () => {
      const next = (THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length;
      show(THEMES[next]);
      try {
        localStorage.setItem(THEME_KEY, THEMES[next]);
      } catch {
        // No storage here: the choice lasts as long as the page.
      }
    });
  }

  /** One quiet line for who listens. */
  _speak() {
    const { model } = this._page;
    if (model.isEmpty || document.hidden) return;
    const { active_sessions: active, in_flight: flying, coverage } = model.stats;
    const [state] = described(this._feed.status).text.split(/, |: asking/); // without its seconds
    write(find("spoken"), `${least(coverage)}${number(active)} active now, `
      + `${counted(flying, "request")} in flight. ${state}`);
  }
}

/** Before something is hidden: the focus goes on to the people. */
function leave(element) {
  if (!element.contains(document.activeElement)) return;
  (find("people-title") ?? find("main")).focus({ preventScroll: true });
}

/** What gets the focus is not to be below the strip. */
function keepClear(strip) {
  new ResizeObserver(() => {
    document.documentElement.style.scrollPaddingTop = `${strip.offsetHeight + 8}px`;
  }).observe(strip);
}

/**
 * What is said of the connection: one text, one mark and one look for each of its states.
 *
 * @param status of the feed: {state, why, since, heardAt, retryAt}, times in ms.
 * @returns {text, look, mark, canTry}: look is "quiet", "live", "catching", "cut", "polling",
 *   "asleep" or "ended"; mark stands before the page's title.
 */
function described(status, nowMs = Date.now()) {
  const { state } = status;
  const look = lookOf(status, nowMs);
  return {
    text: TEXTS[state](status, nowMs), look, mark: MARKS.get(look) ?? "",
    canTry: state === "reconnecting" || state === "polling",
  };
}

function lookOf({ state, since }, nowMs) {
  switch (state) {
    case "reconnecting": return nowMs - since < PATIENCE_MS ? "quiet" : "cut";
    case "catching-up": return "catching";
    case "connecting": return "quiet";
    default: return state;
  }
}

const TEXTS = {
  "connecting": () => "Connecting",
  "live": ({ heardAt }, now) => {
    const quiet = Math.max(0, now - heardAt) / 1000;
    return `Live, ${quiet < 1 ? "now" : `heard ${age(quiet)} ago`}`;
  },
  "catching-up": () => "Catching up",
  "reconnecting": ({ since, retryAt }, now) =>
    `Cut off since ${clockTime(since / 1000)}, ${nextTry(retryAt, now)}`,
  "polling": ({ why, retryAt }, now) => {
    if (why === "bounded") return "This server cannot stream; asked every 10 s";
    const next = secondsTo(retryAt, now);
    return `No free place for a live view: asking again ${next > 0 ? `in ${next} s` : "now"}`;
  },
  "asleep": () => "Asleep while hidden",
  "ended": ({ why }) => ENDED[why],
};

function nextTry(retryAt, now) {
  const next = secondsTo(retryAt, now);
  return next > 0 ? `next try in ${next} s` : "trying now";
}

function secondsTo(at, now) {
  return Math.ceil((at - now) / 1000);
}
