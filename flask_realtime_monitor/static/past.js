/**
 * The activities of what a viewer chose to see; loaded once something is chosen. The stream holds
 * the newest hundred; of what matches a filter the server is asked for older ones. Nothing here
 * touches the document.
 */

import { activityMatches } from "./matching.js";

const ALL = 1000; // the most the server answers, and by default all it keeps
const TYPING_MS = 300;
const AGAIN_MS = 5000;
/** Told by the session, which the page may not know: there the server's answer is believed. */
const OF_SESSION = new Set(["state", "browser", "os", "device"]);
/** Of these the page knows only where a session was last. */
const OF_PLACE = new Set(["host", "worker"]);
/** What this page calls some kinds: the API's, of which the page takes a part. */
const KINDS = new Map([["page", ["request"]], ["api", ["request"]], ["sign-in", ["login", "logout"]]]);

export class Past {
  /**
   * @param page what a card gets.
   * @param most how many of them are shown.
   * @param onAnswer called when the server has told of more.
   */
  constructor(page, most, onAnswer) {
    this._page = page;
    this._most = most;
    this._onAnswer = onAnswer;
    this._timer = 0;
    this.forget();
  }

  /** What is chosen is another thing now. */
  forget() {
    this._kept = new Map(); // id: activity
    this._answered = new Set(); // ids that the server says match
    this._isWhole = false; // the server has answered
    this._seen = 0;
    this._snapshots = 0;
    this._askedAt = 0;
    clearTimeout(this._timer);
    this._timer = 0;
    this._asked = null; // what an answer that still comes is to
  }

  /** Whether the server may know of more than is here. */
  get isAsking() {
    return !this._isWhole;
  }

  /** Take in what the stream told, and return what matches, newest first. */
  lines(model) {
    const isNew = model.snapshots !== this._snapshots;
    const hasHole = model.seen - this._seen > model.activities.length;
    if (isNew) this._kept = new Map();
    if (isNew || hasHole || this._isBlind(model)) this._ask(this._snapshots ? AGAIN_MS : TYPING_MS);
    this._snapshots = model.snapshots;
    this._seen = model.seen;
    const all = [...model.activities, ...this._kept.values()];
    this._kept = new Map(all.slice(0, 2 * ALL).map((one) => [one.id, one]));
    const now = model.now();
    return [...this._kept.values()].filter((one) => this._shows(one, model, now))
      .sort((a, b) => b.at - a.at).slice(0, this._most);
  }

  /** Whether there is news that the page itself cannot judge. */
  _isBlind(model) {
    return model.seen !== this._seen
      && this._page.view.filters().some(([name]) => OF_SESSION.has(name) || OF_PLACE.has(name));
  }

  _shows(one, model, now) {
    if (this._page.showsActivity(one)) return true;
    if (!this._answered.has(one.id)) return false;
    const { view, me } = this._page;
    const session = model.sessions.get(one.session);
    const isOpen = ([name]) => !OF_PLACE.has(name) && (session || !OF_SESSION.has(name));
    return activityMatches(one, session, {
      get: (name) => view.get(name), minutes: view.minutes,
      filters: () => view.filters().filter(isOpen),
    }, me, now);
  }

  /** Ask soon, and not too often. */
  _ask(pause) {
    if (this._timer || this._asked) return;
    const wait = Math.max(TYPING_MS, this._askedAt + pause - Date.now());
    this._timer = setTimeout(() => this._fetch(), wait);
  }

  async _fetch() {
    this._timer = 0;
    this._askedAt = Date.now();
    const asked = this._asked = {};
    const { view } = this._page;
    const own = KINDS.get(view.get("kind"));
    const answers = await Promise.all((own ?? [view.get("kind")]).map((kind) => {
      const params = view.params();
      if (kind) params.set("kind", kind);
      params.set("limit", own ? ALL : this._most);
      return this._page.ask("activities", params);
    }));
    if (asked !== this._asked) return; // something else is chosen by now
    this._asked = null;
    if (!answers.every((one) => one?.ok)) {
      this._ask(AGAIN_MS);
      return;
    }
    const items = answers.flatMap((one) => one.data.items);
    this._answered = new Set(items.map((one) => one.id));
    this._kept = new Map(items.map((one) => [one.id, one]));
    this._isWhole = true;
    this._onAnswer();
  }
}
