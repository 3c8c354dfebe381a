/**
 * A tab's end of the line: what the hub knows comes to it, from the shared worker that all tabs of
 * the browser have in common. Where there is none, the tab has a hub of its own.
 */

import { BEAT_MS, Hub } from "./hub.js";

const ANSWER_MS = 2000;
const GRACE_MS = 5000; // a hidden tab keeps a line of its own no longer
const WORKER_URL = new URL("./worker.js", import.meta.url).href;

/** The page's one policy gives one URL, whatever it is asked for. */
const policy = globalThis.trustedTypes?.createPolicy(
  "realtime-monitor", { createScriptURL: () => WORKER_URL });

export class Feed {
  /**
   * @param setup {urls: {stream, api}, role, heartbeatMs, asleepMs}; tabs with another setup, or
   *   of another version of these files, have another worker.
   * @param handlers {snapshot(data), update(data), state()}
   */
  constructor(setup, handlers) {
    this._setup = setup;
    this._handlers = handlers;
    this._port = null; // to the hub in use
    this._shared = null; // to the shared worker's
    this._isAnswered = false; // by the shared worker
    this._due = 0; // the timer of its answer
    this.status = { state: "connecting", why: "", since: Date.now(), heardAt: 0, retryAt: 0 };
  }

  start() {
    document.addEventListener("visibilitychange", () => this._tell());
    addEventListener("pagehide", () => this._say("gone"));
    addEventListener("pageshow", (event) => { if (event.persisted) this._tell(); });
    addEventListener("online", () => this.now());
    setInterval(() => { if (!document.hidden) this._tell(); }, BEAT_MS);
    this._share();
  }

  /** Try at once. */
  now() {
    this._tell(true);
  }

  _tell(now = false) {
    this._say(document.hidden ? "hidden" : "visible", now);
    if (this._port !== this._shared || this.status.state === "ended") return;
    this._due ||= setTimeout(() => {
      this._due = 0;
      if (this._isAnswered) this._share(); // it crashed, perhaps with the tab it was born in
      else this._alone();
    }, ANSWER_MS);
  }

  _say(is, now = false) {
    if (this.status.state === "ended") return;
    const { asleepMs } = this._setup;
    const hasOwn = this._port !== this._shared;
    const setup = { ...this._setup, asleepMs: hasOwn ? Math.min(GRACE_MS, asleepMs) : asleepMs };
    this._port.postMessage({ is, setup, now });
  }

  _share() {
    if (this._port) this._say("gone");
    this._port = null;
    this._isAnswered = false;
    let worker = null;
    try {
      const url = policy ? policy.createScriptURL("") : WORKER_URL;
      worker = new SharedWorker(url, { type: "module", name: JSON.stringify(this._setup) });
    } catch {
      this._shared = null; // there are no such workers here
      this._alone();
      return;
    }
    worker.onerror = () => this._alone();
    this._shared = worker.port;
    this._use(worker.port);
  }

  _alone() {
    if (this._isAnswered || (this._port && this._port !== this._shared)) return;
    clearTimeout(this._due);
    this._due = 0;
    const { port1, port2 } = new MessageChannel();
    new Hub().add(port2);
    this._use(port1);
  }

  _use(port) {
    this._port = port;
    port.onmessage = ({ data }) => this._hear(port, data);
    this._tell();
  }

  _hear(port, { status, event, data }) {
    if (this.status.state === "ended") return;
    if (port === this._shared) {
      clearTimeout(this._due);
      this._due = 0;
      this._isAnswered = true;
      if (port !== this._port) {
        this._say("gone"); // the shared worker is there after all
        this._port = port;
        this._tell();
      }
    } else if (port !== this._port) {
      return;
    }
    if (status.state === "ended") this._say("gone");
    this.status = status;
    if (event) this._handlers[event](data);
    else this._handlers.state();
  }
}
