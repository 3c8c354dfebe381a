/** A journey: what was done, newest first, with the pauses in between drawn to scale. */

import { age, clockTime, device, milliseconds } from "./format.js";
import { bdi, el, keyed, write } from "./dom.js";
import { what } from "./cards/activity.js";

const GAP_S = 60; // a shorter pause is none
const LEAST_GAP_REM = 1.6;
const MOST_GAP_REM = 6;
const A_DOUBLING_REM = 0.5;

/** @param sessions by id, where there are several: each line then tells whose it is. */
export function drawJourney(list, activities, page, sessions = new Map()) {
  const slowest = Math.max(1, ...activities.map((one) => one.duration_ms ?? 0));
  let later = null;
  const lines = activities.map((one) => {
    const gap = later === null ? 0 : later - one.at;
    later = one.at;
    return { ...one, gap };
  });
  keyed(list, lines, (one) => one.id, create, (line, one) => {
    const gap = line.querySelector(".gap");
    gap.hidden = one.gap < GAP_S;
    gap.style.height = `${gapRem(one.gap)}rem`;
    write(gap, `${age(one.gap)} earlier`);
    const meter = line.querySelector("meter");
    meter.hidden = one.duration_ms === null;
    meter.max = slowest;
    meter.value = one.duration_ms ?? 0;
    drawOf(line.querySelector(".of"), sessions.get(one.session), page);
  });
}

/** A pause to scale: each doubling is as much longer, so that an hour does not hide the rest. */
function gapRem(seconds) {
  const doublings = Math.log2(Math.max(GAP_S, seconds) / GAP_S);
  return Math.min(MOST_GAP_REM, LEAST_GAP_REM + A_DOUBLING_REM * doublings);
}

function drawOf(link, session, page) {
  link.hidden = !session;
  if (!session) return;
  link.href = page.view.href({ person: "", session: session.id });
  write(link.firstElementChild, device(session.agent));
}

function create(one) {
  const at = new Date(one.at * 1000);
  return el("li", { "data-kind": one.kind, "data-class": Math.floor((one.status ?? 0) / 100) },
    el("p", { className: "gap", hidden: true }),
    el("time", { textContent: clockTime(one.at), title: at.toLocaleString(), dateTime: at.toISOString() }),
    " ", el("span", { className: "status", textContent: one.status ?? "–" }), " ",
    el("span", { className: "did" }, what(one), " ", el("a", { className: "of", hidden: true }, bdi(""))), " ",
    el("span", { className: "num" },
      el("span", { textContent: one.duration_ms === null ? "" : milliseconds(one.duration_ms) }),
      el("meter", { min: 0, "aria-hidden": "true" })));
}
