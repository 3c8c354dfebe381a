/**
 * One connection and one model for all tabs of a browser. It runs in a shared worker, or in a page
 * that has no such worker, for that page alone.
 *
 * A tab says `{is, setup, now}` through its port: `is` "visible", "hidden" or "gone"; while it is
 * visible again every BEAT_MS. The hub answers each with `{status}`. Those visible also get
 * `{status, event, data}`; one that becomes visible first gets all there is.
 */

import { Connection } from "./connection.js";
import { Model } from "./model.js";

export const BEAT_MS = 5000;
const SILENT_MS = 3 * BEAT_MS;

export class Hub {
  constructor() {
    this._tabs = new Map(); // port -> {isVisible, heardAt}
    this._model = new Model();
    this._connection = null;
    this._role = "";
    this._asleepMs = 0;
    this._falling = 0; // the timer of falling asleep
    setInterval(() => this._dropSilent(), BEAT_MS);
  }

  /** A tab has come, visible or not as it will say. */
  add(port) {
    port.onmessage = ({ data }) => this._hear(port, data);
  }

  _hear(port, { is, setup, now }) {
    if (is === "gone") {
      this._tabs.delete(port);
      this._attend();
      return;
    }
    const known = this._tabs.get(port);
    if (!known && this._connection && this._isOutdated(setup)) this._connection = null;
    this._connection ??= this._connect(setup);
    this._asleepMs = setup.asleepMs;
    const isVisible = is === "visible";
    this._tabs.set(port, { isVisible, heardAt: Date.now() });
    this._attend();
    const isShown = isVisible && !known?.isVisible;
    if (now || (isShown && this._connection.state === "reconnecting")) this._connection.now();
    port.postMessage(isShown && !this._model.isEmpty
      ? this._message("snapshot", this._model.whole()) : this._message());
  }

  /** The gate has just let a new tab's page in, whatever it said of the others before. */
  _isOutdated({ role }) {
    if (this._connection.state === "ended") return true;
    if (this._model.isEmpty || role === this._role) return false;
    this._connection.sleep();
    return true;
  }

  _connect({ urls, heartbeatMs, role }) {
    this._model = new Model();
    this._role = role;
    const connection = new Connection(urls, heartbeatMs, {
      snapshot: (data) => {
        this._role = data.role ?? this._role;
        this._model.snapshot(data);
        this._show("snapshot", data);
      },
      update: (data) => {
        this._model.update(data);
        this._show("update", data);
      },
      heard: () => this._show(),
      state: () => {
        if (connection.state === "ended") this._model = new Model();
        this._send(this._tabs.keys());
      },
    });
    connection.run();
    return connection;
  }

  _message(event, data) {
    return { status: this._connection.status(), event, data };
  }

  /** Hidden tabs have nothing to do, so they are told of new states alone. */
  _show(event, data) {
    const visible = [...this._tabs].filter(([, tab]) => tab.isVisible).map(([port]) => port);
    this._send(visible, event, data);
  }

  _send(ports, event, data) {
    for (const port of ports) port.postMessage(this._message(event, data));
  }

  /** Hold the line while anybody looks; let it go some time later, and at once with the last tab. */
  _attend() {
    const isWatched = [...this._tabs.values()].some((tab) => tab.isVisible);
    if (isWatched || !this._tabs.size) {
      clearTimeout(this._falling);
      this._falling = 0;
    }
    if (isWatched) {
      this._rouse();
    } else if (!this._tabs.size) {
      this._connection?.sleep();
    } else if (!this._falling) {
      this._falling = setTimeout(() => this._connection.sleep(), this._asleepMs);
    }
  }

  _rouse() {
    if (this._connection.state !== "asleep") return;
    this._model = new Model(); // nobody is to see what it was then
    this._connection.wake();
  }

  /** A tab that crashed said no word of leaving. */
  _dropSilent() {
    for (const [port, tab] of this._tabs) {
      if (tab.isVisible && Date.now() - tab.heardAt > SILENT_MS) this._tabs.delete(port);
    }
    if (this._connection) this._attend();
  }
}
