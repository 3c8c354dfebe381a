/** Where people are now; a click shows only those who are there. */

import { counted, milliseconds, number, visible } from "../format.js";
import { bdi, el, hide, keyed, write } from "../dom.js";

const MOST = 8;

export function mount(element, page) {
  const list = element.querySelector("ul");
  const empty = element.querySelector("[data-empty]");
  const all = element.querySelector("[data-all]");
  const inUse = matchMedia("(hover: hover)").matches ? ":hover, :has(:focus-visible)" : ":has(:focus-visible)";
  let isWhole = false;
  let order = [];

  /** None changes its place while somebody is about to choose one. */
  function inOrder(busy) {
    if (list.matches(inUse)) {
      const places = new Map(order.map((name, place) => [name, place]));
      const place = ({ endpoint }) => places.get(endpoint) ?? order.length;
      busy.sort((a, b) => place(a) - place(b));
    }
    order = busy.map((one) => one.endpoint);
    return isWhole ? busy : busy.slice(0, MOST);
  }

  function draw(model) {
    const busy = model.busyEndpoints();
    const most = busy.length ? busy[0].active_sessions : 1;
    keyed(list, inOrder(busy), (one) => one.endpoint, create, (row, one) => {
      const meter = row.querySelector("meter");
      meter.max = most;
      meter.value = one.active_sessions;
      write(row.querySelector("[data-people]"), number(one.active_sessions));
      write(row.querySelector(".sub"), troubles(one));
      row.firstElementChild.setAttribute("aria-pressed", String(isChosen(one.endpoint)));
    });
    hide(empty, busy.length > 0);
    hide(all, busy.length <= MOST);
    all.setAttribute("aria-expanded", String(isWhole));
    write(all, isWhole ? `Show the first ${MOST}` : `Show all ${number(busy.length)}`);
  }

  function isChosen(endpoint) {
    return page.view.get("endpoint") === endpoint && page.view.get("state") === "active";
  }

  /** The number is of active people: these alone are shown, so that it is that of the rows. */
  list.addEventListener("click", (event) => {
    const row = event.target.closest("li");
    if (!row) return;
    const { key } = row.dataset;
    page.view.set(isChosen(key) ? { endpoint: "", state: "" } : { endpoint: key, state: "active" });
  });
  all.addEventListener("click", () => {
    isWhole = !isWhole;
    page.draw();
  });

  return { draw };
}

function create(one) {
  return el("li", {}, el("button", { type: "button" },
    bdi(visible(one.endpoint), "name"), " ", el("meter", { min: 0, "aria-hidden": "true" }), " ",
    el("span", { className: "num" }, el("span", { "data-people": "" }),
      el("span", { className: "hidden", textContent: " active" })), " ",
    el("span", { className: "sub" })));
}

/** "2 errors, 95 % within 340 ms", as far as there are any. */
function troubles({ errors, latency_ms: { p95 } }) {
  const slow = p95 === null ? "" : `95 % within ${milliseconds(p95)}`;
  return [errors ? counted(errors, "error") : "", slow].filter(Boolean).join(", ");
}
