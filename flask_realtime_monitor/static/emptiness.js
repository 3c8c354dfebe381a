/** Why there is nobody to be seen: each case in its own words, with what to do about it. */

import { age, chosen, counted, number, person } from "./format.js";
import { el } from "./dom.js";

/** Say it, in the place for it. */
export function emptyWords(place, page) {
  const [text, ...more] = wordsFor(page);
  const said = place.querySelector("span");
  if (said?.textContent === text) return; // a button in it may have the focus
  place.replaceChildren(el("span", { textContent: text }), ...more.flatMap((one) => [" ", one]));
}

function wordsFor(page) {
  const { model, view, me } = page;
  const { stats } = model;
  const total = number(stats.total_sessions);
  if (stats.total_sessions && view.isFiltered) {
    const by = view.filters().map((one) => chosen(one, model.users)).join(", ");
    return [`0 of ${total} match: ${by}.`, ...guests(view), button("Show all", () => view.clear())];
  }
  if (stats.total_sessions && view.get("mine")) {
    const isOwn = [...model.sessions.values()].every((one) => one.user?.id === me);
    if (isOwn) {
      return ["Only you are here, and your own rows are hidden.",
        button("Show my own", () => view.set({ mine: "" }))];
    }
  }
  if (stats.total_sessions) {
    return [`Nobody was seen in the last ${view.minutes} min; ${total} ${stats.total_sessions === 1 ? "was" : "were"} before.`,
      button("Look back 30 min", () => view.set({ window: "" }))];
  }
  return nobody(page);
}

/** A guest's name is this page's own, so no search finds it: offer what is meant by it. */
function guests(view) {
  const meant = /^guest\s*([0-9a-f]{0,4})$/i.exec(view.get("q"));
  if (!meant || view.get("who")) return [];
  const [, signs] = meant;
  const text = signs ? `Show guest ${signs.toUpperCase()}` : "Show guests";
  return [button(text, () => view.set({ q: signs, who: "guests" }))];
}

function nobody({ model }) {
  const { stats } = model;
  if (stats.requests_total) {
    const last = model.activities.find((one) => one.kind === "request");
    if (!last) return ["Nobody is here."];
    return [`Nobody is here. The last request was ${age(model.now() - last.at)} ago, by `
      + `${person(last.user, last.session)}.`];
  }
  if (stats.in_flight) return ["Listening. The first request is being answered."];
  const since = age(model.now() - stats.since_at);
  const { app } = document.body.dataset;
  const hidden = stats.excluded
    ? ` ${counted(stats.excluded, "request")} ${stats.excluded === 1 ? "is" : "are"} left out by rule: `
      + "files, probes, this page's own." : "";
  return [`Listening. Nobody has asked for a page in the ${since} since the start.${hidden}`,
    el("a", { href: app, textContent: "Open the app in another tab", target: "_blank",
      rel: "noopener" })];
}

function button(text, does) {
  const made = el("button", { type: "button", textContent: text });
  made.addEventListener("click", () => {
    does();
    document.getElementById("people-title").focus({ preventScroll: true }); // the button goes
  });
  return made;
}
