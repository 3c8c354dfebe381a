/** Building the page: text only ever becomes text, never markup. */

/** An element with properties (`data-…` and `aria-…` as attributes) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((one) => one !== null));
  return made;
}

/** Text that may run right to left without turning its neighbours around. */
export function bdi(text, className = "") {
  return el("bdi", { textContent: text, className });
}

/** Change a text only when it differs, so that a selection in it survives. */
export function write(node, text) {
  if (node.textContent === text) return;
  const { firstChild } = node;
  // The one text node with other signs in it: no style has to be found anew.
  if (text && firstChild?.nodeName === "#text" && node.lastChild === firstChild) firstChild.data = text;
  else node.textContent = text;
}

/** Hide or show; set again, `hidden` has the browser find the element's style again. */
export function hide(node, isHidden) {
  if (node.hidden !== isHidden) node.hidden = isHidden;
}

/**
 * Make a parent's children one per item, in order; a child with the same key stays the same
 * element, what the server rendered (`data-key`) too, so that focus and selection stay.
 *
 * The child that holds the focus is never moved, since that would blur it: the others go around
 * it. Where it goes, the heading of its card gets the focus, for a neighbour may be somebody else;
 * where there is no card its neighbour does.
 *
 * @param create called with (item, spare); it makes a child. It may return the spare instead, one
 *   whose item is gone, or undefined: where `update` draws all there is, that costs the browser
 *   far less than a new one, and least of all where it can stay in its place.
 * @param update called with (child, item); it draws the item into the child.
 */
export function keyed(parent, items, key, create, update) {
  const { known, spares } = sorted(parent, new Set(items.map(key)));
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = known.get(name);
    if (child) {
      while (spares.has(next)) next = next.nextElementSibling;
    } else {
      const [last] = spares;
      child = create(item, spares.has(next) ? next : last);
      child.dataset.key = name;
      spares.delete(child);
    }
    update(child, item);
    if (child !== next && child.contains(document.activeElement)) {
      while (next !== child) {
        const later = next; // its turn is still to come
        next = next.nextElementSibling;
        parent.append(later);
      }
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  for (const spare of spares) spare.remove();
}

/** The children by key, and apart those that may go, the last first. */
function sorted(parent, wanted) {
  const known = new Map();
  const spares = [];
  for (const child of [...parent.children]) {
    const { key } = child.dataset;
    if (wanted.has(key)) known.set(key, child);
    // What has the focus, is just pressed or has opened a story must not become another thing.
    else if (key === undefined || child.matches(":focus-within, :active, [data-opened]")) remove(child);
    else spares.unshift(child);
  }
  return { known, spares: new Set(spares) };
}

function remove(child) {
  const hasFocus = child.contains(document.activeElement);
  const card = child.closest("[data-card]");
  const heir = child.nextElementSibling ?? child.previousElementSibling;
  child.remove();
  if (hasFocus && !focusHeading(card)) heir?.querySelector("a, button")?.focus({ preventScroll: true });
}

/** Give the focus to a card's heading, so that it is nobody's; tell whether there is one. */
export function focusHeading(card) {
  const heading = card?.querySelector("h2");
  if (!heading) return false;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  return true;
}
