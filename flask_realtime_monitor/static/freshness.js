/** What is said of the connection: one text, one mark and one look for each of its states. */

import { age, clockTime } from "./format.js";

const PATIENCE_MS = 2000; // a cut that is mended by then was none worth a colour
const ENDED = { login: "Signed out", missing: "Access ended", refused: "Access ended" };
const MARKS = new Map([["cut", "(cut off) "], ["ended", "(ended) "], ["asleep", "(asleep) "]]);

/**
 * @param status of the feed: {state, why, since, heardAt, retryAt}, times in ms.
 * @returns {text, look, mark, canTry}: look is "quiet", "live", "catching", "cut", "polling",
 *   "asleep" or "ended"; mark stands before the page's title.
 */
export function described(status, nowMs = Date.now()) {
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
