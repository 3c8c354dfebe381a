/** What people do, newest first; new lines wait while somebody reads further down. */

import { clockTime, happened, milliseconds, person, visible } from "../format.js";
import { bdi, el, keyed, write } from "../dom.js";

export function mount(element, page) {
  const list = element.querySelector("ol");
  const scroll = element.querySelector(".scroll");
  const more = element.querySelector("[data-more]");
  const empty = element.querySelector("[data-empty]");
  let shown = null; // what is held still while somebody reads

  function draw(model) {
    const isReading = scroll.scrollTop > 0 && shown !== null;
    if (!isReading) shown = model.activities;
    const known = new Set(shown.map((one) => one.id));
    const fresh = model.activities.filter((one) => !known.has(one.id)).length;
    more.hidden = fresh === 0;
    write(more, `${fresh} new`);
    const query = page.view.get("q");
    const lines = shown.filter(page.showsActivity);
    keyed(list, lines, (one) => one.id, (one) => create(one, page), drawTime);
    empty.hidden = lines.length > 0;
    if (!lines.length) {
      write(empty, query && shown.length
        ? `None of the last ${shown.length} activities matches “${visible(query)}”.`
        : "Nothing has happened yet. The first request will stand here.");
    }
  }

  more.addEventListener("click", () => {
    scroll.scrollTop = 0;
    scroll.focus();
    page.draw();
  });
  scroll.addEventListener("scroll", () => {
    if (scroll.scrollTop === 0 && !more.hidden) page.draw();
  });
  return { draw };
}

/** One line; it never changes, but for the time of day that the server rendered in UTC. */
function create(one, page) {
  const link = one.session
    ? el("a", { href: page.view.href({ session: one.session }) }, bdi(person(one.user, one.session)))
    : bdi(person(one.user, null));
  return el("li", { "data-kind": one.kind, "data-class": Math.floor((one.status ?? 0) / 100) },
    el("time"),
    el("span", { className: "status", textContent: one.status ?? "–" }),
    what(one),
    el("span", { className: "who" }, link),
    el("span", { className: "num",
      textContent: one.duration_ms === null ? "" : milliseconds(one.duration_ms) }));
}

function drawTime(line, one) {
  const time = line.querySelector("time");
  if (time.title) return;
  write(time, clockTime(one.at));
  time.title = new Date(one.at * 1000).toLocaleString();
}

/** What was done: a request, or something else by its name. */
export function what(one) {
  const said = el("span", { className: "what" });
  if (one.kind === "request") {
    said.append(el("span", { className: "method", textContent: one.method ?? "" }), " ");
    if (one.title) said.append(el("b", {}, bdi(visible(one.title))), " ");
    said.append(bdi(visible(one.path ?? ""), "path"));
  } else {
    said.append(el("b", {}, bdi(happened(one))));
    for (const [name, value] of Object.entries(one.data ?? {})) {
      said.append(" ", el("span", { className: "datum" }, bdi(`${visible(name)}: ${visible(value)}`)));
    }
  }
  if (one.error) said.append(" ", el("span", { className: "error" }, bdi(visible(one.error))));
  return said;
}
