/**
 * Brings the cards to life. One that fails says so in its own place, and on the console once; the
 * others live on.
 */

import { el } from "./dom.js";

export const AGAIN_MS = 5000; // until a script that did not come is asked for again
const FAILED = "This card failed; the browser's console says why.";
const LATE = "Not live: this card's script did not come; it is asked for every 5 s.";

/** A script, at another URL each time: some browsers remember that one failed. */
export function script(name, tries) {
  return import(pathOf(name, tries));
}

/** Each card joins the others when it is there; the answer comes when all but the app's own are. */
export function mountCards(page, cards) {
  const elements = document.querySelectorAll("[data-card]:not([data-failed])");
  return Promise.all([...elements].map((element) => {
    const joined = join(element, page, cards);
    return element.dataset.own === undefined ? joined : null;
  }));
}

async function join(element, page, cards) {
  const card = await mount(element, page);
  if (!card) return;
  cards.push(card);
  page.draw();
}

async function mount(element, page) {
  try {
    const module = await asked(element);
    return contained(element, await module.mount(element, page) ?? {});
  } catch (error) {
    fail(element, error);
    return null;
  }
}

/** A card's script; one that does not come, but is no faulty one, is asked for again. */
async function asked(element) {
  const late = el("p", { className: "empty", textContent: LATE });
  const name = `cards/${element.dataset.card}.js`;
  for (let tries = 0; ; tries += 1) {
    try {
      const module = await script(name, tries);
      late.remove();
      return module;
    } catch (error) {
      if (!(error instanceof TypeError) || (tries && await isThere(name, tries))) throw error;
      element.append(late);
      await new Promise((then) => { setTimeout(then, AGAIN_MS); });
    }
  }
}

function pathOf(name, tries) {
  return `./${name}${tries ? `?${tries}` : ""}`;
}

async function isThere(name, tries) {
  try {
    return (await fetch(new URL(pathOf(name, tries), import.meta.url), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** A card none of whose calls throws; after the first that would, it is called no more. */
function contained(element, card) {
  return new Proxy({}, { // not of the card itself: one that is frozen may answer only for itself
    get(_, name) {
      const call = card[name];
      return typeof call === "function" ? (...given) => guarded(element, () => call.apply(card, given)) : call;
    },
  });
}

function guarded(element, call) {
  if (element.dataset.failed !== undefined) return undefined;
  try {
    const answer = call();
    if (answer instanceof Promise) answer.catch((error) => fail(element, error));
    return answer;
  } catch (error) {
    return fail(element, error);
  }
}

function fail(element, error) {
  if (element.dataset.failed !== undefined) return;
  element.dataset.failed = "";
  console.error(`The card "${element.dataset.card}" failed:`, error);
  const heading = element.querySelector(":scope > h2");
  element.replaceChildren(...[heading, el("p", { className: "empty", textContent: FAILED })].filter(Boolean));
}
