/** Requests in flight for over a second; the card is only there when there are any. */

import { age, person, visible } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

export function mount(element) {
  const list = element.querySelector("ul");

  function draw(model) {
    const waiting = model.waiting();
    element.hidden = waiting.length === 0;
    keyed(list, waiting, (one) => one.id, create, (row, one) => {
      write(row.querySelector(".who bdi"), person(one.user, one.session));
      write(row.querySelector(".num"), age(model.now() - one.started_at));
    });
  }

  return { draw, tick: draw };
}

function create(one) {
  return el("li", {}, el("span", { className: "method", textContent: one.method ?? "" }), " ",
    bdi(visible(one.path ?? ""), "path"), el("span", { className: "who" }, bdi("")),
    el("span", { className: "num" }));
}
