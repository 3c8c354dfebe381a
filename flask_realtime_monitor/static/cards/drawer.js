/**
 * The story of one session or of one user, each at a URL: `#session=<id>`, `#person=<user id>`.
 * Here it opens and closes; what tells it is loaded with the first.
 */

import { visible } from "../format.js";
import { el, focusHeading, write } from "../dom.js";

const KINDS = ["session", "person"];

export function mount(element, page) {
  const find = (name) => element.querySelector(`[data-${name}]`);
  const heading = element.querySelector("h2");
  let teller = null; // once its script is there
  let subject = null; // {kind, id}: whose story is open
  let opener = null; // what it was opened from: an item of a list, which is never made another's
  let card = null; // whose list that is
  let isPressedOutside = false;

  /** Show whom the URL names, or nobody. */
  function follow() {
    const kind = KINDS.find((one) => page.view.get(one));
    const last = subject && (teller?.session ?? subject.id);
    subject = kind ? { kind, id: page.view.get(kind) } : null;
    teller?.stop();
    if (!subject) {
      if (element.open) element.close();
      if (last) giveFocusBack(last);
      return;
    }
    const known = kind === "person" && page.role !== "view" ? visible(subject.id) : "";
    write(find("title"), known || (kind === "person" ? "User" : "Session"));
    if (!element.open) {
      opener = document.activeElement?.closest("[data-key]");
      card = opener?.closest("[data-card]");
      if (opener) opener.dataset.opened = "";
      element.showModal();
    }
    heading.focus(); // a link in what was told before is gone
    element.scrollTop = 0;
    tell();
  }

  /** The script may fail to come, and is asked for again. */
  function tell() {
    const script = page.script("telling.js", tell);
    if (script) teller ??= script.begin(element, page, say);
    if (!subject) return;
    if (teller) teller.tell(subject);
    else say(script === null ? "Loading" : "The server did not answer. It is asked again every 5 s.");
  }

  function say(text, isEnd = false) {
    const said = find("said");
    if (said.dataset.text === text) return; // it would be read out again
    said.dataset.text = text;
    said.hidden = !text;
    const back = el("a", { href: page.view.href({ session: "", person: "" }), textContent: "Back to all" });
    said.replaceChildren(text, ...isEnd ? [" ", back] : []);
  }

  /** To where it was opened; the browser does so itself, where that is still there. */
  function giveFocusBack(id) {
    if (opener) delete opener.dataset.opened;
    const now = document.activeElement;
    if (now !== document.body && !element.contains(now)) return;
    const main = document.getElementById("main");
    const row = main.querySelector(`tr a[href$="session=${CSS.escape(id)}"], [data-key="u${CSS.escape(id)}"] a`);
    if (row) row.focus({ preventScroll: true });
    else if (!focusHeading(card)) main.focus({ preventScroll: true });
  }

  function isOutside({ target, clientX }) {
    return target === element && clientX < element.getBoundingClientRect().left;
  }

  element.addEventListener("close", () => {
    if (!element.open) page.view.set({ session: "", person: "" }); // else the next story is open
  });
  find("close").addEventListener("click", () => element.close());
  element.addEventListener("pointerdown", (event) => { isPressedOutside = isOutside(event); });
  element.addEventListener("click", (event) => {
    if (isPressedOutside && isOutside(event)) element.close();
  });
  follow();

  return {
    draw: (model) => { if (subject) teller?.draw(model); },
    tick: (model) => { if (subject) teller?.tick(model); },
    choose(changed) {
      if (KINDS.some((one) => changed.has(one))) follow();
      else if (subject) teller?.drawLinks();
    },
  };
}
