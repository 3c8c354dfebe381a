/** The last half hour: requests, errors and sessions of each minute; a click looks back that far. */

import { MINUTES, drawMinutes, lastMinutes, top } from "../chart.js";
import { counted, clockTime, least, number } from "../format.js";
import { el, hide, write } from "../dom.js";
import { WINDOWS } from "../view.js";

const STEPS = new Map([
  ["ArrowLeft", -1], ["ArrowDown", -1], ["ArrowRight", 1], ["ArrowUp", 1],
  ["PageDown", -5], ["PageUp", 5], ["Home", -MINUTES], ["End", MINUTES],
]);

export function mount(element, page) {
  const plot = element.querySelector("[data-plot]");
  const reading = element.querySelector("[data-reading]");
  const tops = new Map([...element.querySelectorAll("[data-top]")].map(
    (one) => [one.dataset.top, one]));
  const blank = element.querySelector("[data-blank]");
  const canvas = el("canvas");
  let minutes = [];
  let chosen = null; // the start of the minute that is read, or null
  let dragged = 0; // how far back the pointer draws the window, in minutes; 0: it does not
  let from = -1; // where it was pressed, an index
  let drawn = ""; // what was drawn last
  let looks = {}; // colours and size: asked for only when they may have changed

  function draw(model) {
    minutes = lastMinutes(model);
    if (chosen !== null && indexOf(chosen) < 0) chosen = minutes[0].at; // the one read has gone by
    write(tops.get("requests"), number(top(minutes.map((one) => one.requests))));
    write(tops.get("people"), number(top(minutes.map((one) => one.active_sessions))));
    hide(blank, minutes.every((one) => one.requests !== null));
    if (!canvas.isConnected) begin();
    tell();
    paint();
  }

  /** From the server's picture to one that can be read minute by minute. */
  function begin() {
    plot.replaceChildren(canvas);
    plot.tabIndex = 0;
    for (const [name, value] of Object.entries({
      "role": "slider", "aria-label": "Minute", "aria-valuemin": 1, "aria-valuemax": MINUTES,
      "aria-describedby": "timeline-how",
    })) plot.setAttribute(name, value);
    new ResizeObserver(look).observe(plot);
    new MutationObserver(look).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    new MutationObserver(look).observe(document.body, { attributeFilter: ["data-state"] });
    for (const one of ["prefers-color-scheme: dark", "prefers-contrast: more", "forced-colors: active"]) {
      matchMedia(`(${one})`).addEventListener("change", look);
    }
    addEventListener("resize", look); // another zoom, or another screen
    looks = looksOf(element, canvas);
  }

  function look() {
    looks = looksOf(element, canvas);
    paint();
  }

  /** Draw, when anything that shows has changed. */
  function paint() {
    const all = {
      ...looks, chosen: indexOf(chosen), from: MINUTES - (dragged || page.view.minutes),
    };
    const now = JSON.stringify([minutes, all, devicePixelRatio]);
    if (now === drawn || !looks.width) return;
    drawn = now;
    drawMinutes(canvas, minutes, all);
  }

  function indexOf(at) {
    return minutes.findIndex((one) => one.at === at);
  }

  /** Read a minute out, or the whole window; who listens is told only when it is another one. */
  function read(index) {
    chosen = minutes[index]?.at ?? null;
    tell(true);
    paint();
  }

  function tell(isAsked = false) {
    const index = indexOf(chosen);
    const { model } = page;
    const text = dragged ? `Look back ${dragged} min`
      : index < 0 ? whole(minutes.slice(-page.view.minutes), model)
        : inWords(minutes[index], index === MINUTES - 1);
    write(reading, text);
    if (!isAsked && plot === document.activeElement) return;
    plot.setAttribute("aria-valuenow", (index < 0 ? MINUTES - 1 : index) + 1);
    plot.setAttribute("aria-valuetext", text);
  }

  function at(event) {
    const { left, width } = plot.getBoundingClientRect();
    const index = Math.floor((event.clientX - left) / width * MINUTES);
    return Math.max(0, Math.min(MINUTES - 1, index));
  }

  function lookBack(index) {
    page.view.set({ window: spanned(index) === MINUTES ? "" : spanned(index) });
  }

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !minutes.length) return;
    from = at(event);
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (!minutes.length) return;
    const index = at(event);
    dragged = from < 0 || index === from ? 0 : spanned(Math.min(from, index));
    read(index);
  });
  plot.addEventListener("pointerup", (event) => {
    if (from < 0) return;
    const oldest = Math.min(from, at(event));
    stop();
    lookBack(oldest);
  });
  plot.addEventListener("pointercancel", stop);
  plot.addEventListener("pointerleave", () => { if (from < 0) read(-1); });
  function stop() {
    from = -1;
    dragged = 0;
    read(-1);
  }

  plot.addEventListener("focus", () => {
    if (plot.matches(":focus-visible") && chosen === null) read(MINUTES - 1);
  });
  plot.addEventListener("blur", () => read(-1));
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !minutes.length) return;
    const index = chosen === null ? MINUTES - 1 : indexOf(chosen);
    if (event.key === "Enter" || event.key === " ") lookBack(index);
    else if (STEPS.has(event.key)) {
      read(Math.max(0, Math.min(MINUTES - 1, index + STEPS.get(event.key))));
    } else return;
    event.preventDefault();
  });

  return { draw, tick: draw, choose: () => { if (minutes.length) tell(); } };
}

/** The shortest of the windows that reaches back to a minute. */
function spanned(index) {
  return WINDOWS.find((one) => one >= MINUTES - index) ?? MINUTES;
}

function inWords({ at, requests, errors, active_sessions: sessions }, isNow) {
  const when = `${clockTime(at).slice(0, 5)}${isNow ? ", so far" : ""}`;
  if (requests === null) return `${when}: no data`;
  return `${when}: ${counted(requests, "request")}, ${counted(errors, "error")}, ${counted(sessions, "session")}`;
}

function whole(minutes, model) {
  const sum = (name) => minutes.reduce((all, one) => all + (one[name] ?? 0), 0);
  const crowd = top(minutes.map((one) => one.active_sessions));
  const before = `In ${minutes.length} min: ${least(model.stats.coverage)}`;
  return `${before}${counted(sum("requests"), "request")}, ${counted(sum("errors"), "error")}, `
    + `up to ${counted(crowd, "session")} a minute`;
}

/** The legend's own colours, so that both schemes and the style sheet hold for the canvas. */
function looksOf(element, canvas) {
  const swatch = (name) => getComputedStyle(element.querySelector(`[data-swatch=${name}]`));
  const of = (name) => swatch(name).backgroundColor;
  return {
    width: canvas.clientWidth, height: canvas.clientHeight,
    ground: getComputedStyle(element).backgroundColor,
    mark: getComputedStyle(canvas.parentElement).borderTopColor,
    requests: of("requests"), errors: of("errors"), people: of("people"),
    none: swatch("none").borderBottomColor,
  };
}
