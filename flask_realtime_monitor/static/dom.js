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
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Make a parent's children one per item, in order; a child with the same key stays the same
 * element, what the server rendered (`data-key`) too, so that focus and selection stay.
 *
 * The child that holds the focus is never moved, since that would blur it: the others go around
 * it. Where it goes, its neighbour gets the focus.
 *
 * @param update called with (child, item); it draws the item into the child.
 */
export function keyed(parent, items, key, create, update) {
  const known = new Map();
  for (const child of [...parent.children]) {
    if (child.dataset.key === undefined) child.remove();
    else known.set(child.dataset.key, child);
  }
  const wanted = new Set(items.map(key));
  for (const [name, child] of known) {
    if (wanted.has(name)) continue;
    known.delete(name);
    remove(child);
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = known.get(name);
    if (child) {
      known.delete(name);
    } else {
      child = create(item);
      child.dataset.key = name;
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
}

function remove(child) {
  const hasFocus = child.contains(document.activeElement);
  const heir = child.nextElementSibling ?? child.previousElementSibling;
  child.remove();
  if (hasFocus) heir?.querySelector("a, button")?.focus({ preventScroll: true });
}
