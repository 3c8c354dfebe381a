/** Why the feed has nothing: each case in its own words, with what to do about it. */

import { age, chosen, counted, number } from "./format.js";
import { el } from "./dom.js";

/**
 * Say it, in the place for it.
 * @param past who asks the server for older ones, null where nobody does yet.
 * @param onPast called when that changes.
 */
export function sayWhy(place, model, page, past, onPast) {
  const [text, does, changes] = reason(model, page, past, onPast);
  if (place.firstChild?.textContent === text) return; // a button in it may have the focus
  place.replaceChildren(text);
  if (!does) return;
  const button = el("button", { type: "button", textContent: does });
  button.addEventListener("click", () => (changes ? page.view.set(changes) : page.view.clear()));
  place.append(" ", button);
}

/** @returns [text, a button's text, what it sets]. */
function reason(model, page, past, onPast) {
  const [last] = model.activities;
  const { view } = page;
  if (view.isFiltered) {
    const all = view.filters().map((one) => chosen(one, model.users)).join(", ");
    const none = `None of the newest ${number(model.activities.length)} match: ${all}`;
    if (page.script("past.js", onPast) === false) {
      return [`${none}. What asks for older ones did not come from the server; it is tried again every 5 s.`];
    }
    return !past || past.isAsking ? [`${none}; looking further back.`]
      : [`Nothing in the last ${view.minutes} min matches: ${all}.`, "Show all"];
  }
  if (!last) {
    const { excluded } = model.stats;
    const rest = ` Left out by rule: ${counted(excluded, "request")}, this page’s own among them.`;
    return [`Nothing has happened yet. The first request will stand here.${excluded ? rest : ""}`];
  }
  const ago = model.now() - last.at;
  if (ago <= view.minutes * 60) {
    return ["Only your own doing, and that is hidden.", "Show it", { mine: "" }];
  }
  const text = `Nothing in the last ${view.minutes} min. The last was ${age(ago)} ago.`;
  return ago <= 1800 ? [text, "Look back 30 min", { window: "" }] : [text];
}
