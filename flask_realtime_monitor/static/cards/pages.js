/** Where people are now. */

import { number, visible } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

const MOST = 8;

export function mount(element) {
  const list = element.querySelector("ul");
  const empty = element.querySelector("[data-empty]");

  function draw(model) {
    const busy = model.busyEndpoints().slice(0, MOST);
    const most = busy.length ? busy[0].active_sessions : 1;
    keyed(list, busy, (one) => one.endpoint, create, (row, one) => {
      const meter = row.querySelector("meter");
      meter.max = most;
      meter.value = one.active_sessions;
      write(row.querySelector(".num"), number(one.active_sessions));
    });
    empty.hidden = busy.length > 0;
  }

  return { draw };
}

function create(one) {
  return el("li", {}, bdi(visible(one.endpoint), "name"),
    el("meter", { min: 0, "aria-hidden": "true" }), el("span", { className: "num" }));
}
