/** Requests in flight for over a second; the card is only there when there are any. */

import { age, person, visible } from "../format.js";
import { bdi, el, hide, keyed, write } from "../dom.js";

export function mount(element, page) {
  const list = element.querySelector("ul");
  const canHover = matchMedia("(hover: hover)").matches;

  function draw(model) {
    const waiting = model.waiting();
    // What stands below keeps its place under the pointer.
    const isHeld = canHover && document.querySelector(".activity:hover") !== null;
    if (isHeld) element.style.height ||= `${element.getBoundingClientRect().height}px`;
    else {
      element.style.height = "";
      hide(element, waiting.length === 0);
    }
    keyed(list, waiting, (one) => one.id, create, (row, one) => {
      const link = row.querySelector(".who a");
      write(link.firstElementChild, person(one.user, one.session));
      aim(link, one);
      write(row.querySelector(".num"), age(model.now() - one.started_at));
    });
  }

  /** To the story of who waits; a first request's visitor has none before it ends. */
  function aim(link, { user, session }) {
    if (session) link.href = page.view.href({ session, person: "" });
    else if (user) link.href = page.view.href({ person: user.id, session: "" });
    else link.removeAttribute("href");
  }

  return { draw, tick: draw };
}

function create(one) {
  const path = bdi(visible(one.path ?? one.endpoint ?? "–"), "path");
  if (one.endpoint) Object.assign(path.dataset, { filter: "endpoint", value: one.endpoint });
  return el("li", {}, el("span", { className: "method", textContent: one.method ?? "" }), " ", path,
    " ", el("span", { className: "who" }, el("a", {}, bdi(""))), " ",
    el("span", { className: "host quiet", title: "Where it is answered" }, bdi(visible(one.host))), " ",
    el("span", { className: "num" }));
}
