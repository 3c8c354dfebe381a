/**
 * What the viewer has chosen to see. All of it is in the URL's fragment, so that a link shows the
 * same and no server log does; nothing else is kept.
 */

/** What narrows the lists down, by the names the API has for it. */
const FILTERS = [
  "q", "state", "who", "user", "endpoint", "path", "browser", "os", "device", "host", "worker",
  "kind", "status",
];
/** `window`: minutes looked back; `mine`: "hide"; `session` and `person`: whose story is open. */
const OTHERS = ["window", "mine", "session", "person"];
const KNOWN = new Set([...FILTERS, ...OTHERS]);
/** Kinds by this page's own names; the API does not know them. */
const OWN_KINDS = new Set(["page", "api", "sign-in"]);
export const WINDOWS = [5, 15, 30];
const LONGEST = 4000; // characters of a value; nothing that is shown has as many

export class View {
  /** @param onChange called with the names of what has changed, after it has. */
  constructor(onChange) {
    this._onChange = onChange;
    this._values = parsed(location.hash);
    this._rest = null; // the fragment without any story
    this.isTyping = false; // whether the last choice was one of somebody who goes on typing
    const turned = () => {
      this.isTyping = false;
      this._follow();
    };
    addEventListener("hashchange", turned);
    addEventListener("popstate", turned);
  }

  /** What is chosen for a name; "" where nothing is. */
  get(name) {
    return this._values.get(name) ?? "";
  }

  /** How far back the lists and the timeline look, in minutes. */
  get minutes() {
    const chosen = Number(this.get("window"));
    return WINDOWS.includes(chosen) ? chosen : WINDOWS.at(-1);
  }

  /** Whether anything narrows the lists down. */
  get isFiltered() {
    return this.filters().length > 0;
  }

  /** The filters that are set, as [name, value]. */
  filters() {
    return FILTERS.filter((name) => this._values.has(name)).map((name) => [name, this.get(name)]);
  }

  /** The filters as the API takes them; it knows nothing of some kinds. */
  params(names = FILTERS) {
    return new URLSearchParams(this.filters().filter(
      ([name, value]) => names.includes(name) && !(name === "kind" && OWN_KINDS.has(value))));
  }

  /** The fragment that would show the same with the story of a session. */
  story(session) {
    this._rest ??= this.href({ session: "", person: "" });
    return `${this._rest}${this._rest === "#" ? "" : "&"}session=${encodeURIComponent(session)}`;
  }

  /** The fragment that would show the same with some changes: {name: value, or "" for none}. */
  href(changes) {
    const values = new Map(this._values);
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || value === null) values.delete(name);
      else values.set(name, String(value));
    }
    return `#${new URLSearchParams([...values])}`;
  }

  /**
   * Choose: {name: value, or "" for none}.
   * @param isPassing typing: the browser's history keeps what was before, and the end of it.
   */
  set(changes, isPassing = false) {
    const href = this.href(changes);
    if (href === this.href({})) return;
    const url = href === "#" ? location.pathname + location.search : href;
    if (isPassing && this.isTyping) history.replaceState(null, "", url);
    else history.pushState(null, "", url);
    this.isTyping = isPassing;
    this._follow();
  }

  /** Choose a value, or no longer when it is chosen already. */
  toggle(name, value) {
    this.set({ [name]: this.get(name) === String(value) ? "" : value });
  }

  /** Show everything again. */
  clear() {
    this.set(Object.fromEntries(FILTERS.map((name) => [name, ""])));
  }

  _follow() {
    const before = this._values;
    this._values = parsed(location.hash);
    this._rest = null;
    const changed = [...KNOWN].filter((name) => before.get(name) !== this._values.get(name));
    if (changed.length) this._onChange(new Set(changed));
  }
}

function parsed(hash) {
  const values = new Map();
  for (const [name, value] of new URLSearchParams(hash.slice(1))) {
    const kept = (name === "q" ? value.trim() : value).slice(0, LONGEST);
    if (KNOWN.has(name) && kept) values.set(name, kept);
  }
  return values;
}
