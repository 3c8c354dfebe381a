/**
 * Brings the cards to life. One that fails says so in its own place, and on the console once; the
 * others live on.
 */

import { el } from "./dom.js";

const FAILED = "This card failed; the browser's console says why.";

/** Each card joins the others when its script has come; one whose script hangs holds up none. */
export function mountCards(page, cards) {
  for (const element of document.querySelectorAll("[data-card]:not([data-failed])")) {
    mount(element, page).then((card) => {
      if (!card) return;
      cards.push(card);
      page.draw();
    });
  }
}

async function mount(element, page) {
  try {
    const module = await import(`./cards/${element.dataset.card}.js`);
    return contained(element, await module.mount(element, page) ?? {});
  } catch (error) {
    fail(element, error);
    return null;
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
