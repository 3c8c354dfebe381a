/**
 * Keeps the page fed and says honestly how fresh it is.
 *
 * States: connecting, live, catching-up, reconnecting, polling, asleep, ended.
 */

import { Refused, read } from "./sse.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;
const POLL_MS = 10000;
const WAIT_MS = 10000;
const ASLEEP_AFTER_MS = 300000;
// 0 is what a redirect shows: the app sends those it does not know to sign in.
const FINAL = new Set([0, 401, 403, 404]);
const LISTS = {
  users: "users", sessions: "sessions", activities: "activities", endpoints: "endpoints",
  in_flight: "in-flight", workers: "workers",
};

export class Connection {
  /**
   * @param urls {stream, api}
   * @param heartbeatMs silence of two of these is a cut line.
   * @param handlers {snapshot(data), update(data), state()}
   */
  constructor(urls, heartbeatMs, handlers) {
    this._urls = urls;
    this._silenceMs = heartbeatMs * 2;
    this._handlers = handlers;
    this.state = "connecting";
    this.since = Date.now();
    this.heardAt = 0;
    this.retryAt = 0;
    this._lastId = "";
    this._waitMs = FIRST_WAIT_MS;
    this._abort = null;
    this._wake = null;
    this._doubts = 0;
    this._hidden = null;
    addEventListener("online", () => this.now());
    document.addEventListener("visibilitychange", () => this._onVisibility());
    setInterval(() => this._watch(), 1000);
  }

  /** Connect, and come back whenever the line is cut, until the server says no for good. */
  async run() {
    for (;;) {
      await this._once();
      if (this.state === "ended") return;
      await this._pause();
    }
  }

  /** Try at once. */
  now() {
    this._waitMs = FIRST_WAIT_MS;
    this._wake?.();
  }

  _set(state) {
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    this._handlers.state();
  }

  _heard() {
    this.heardAt = Date.now();
    // Going on from where it was cut off, with nothing missed: there may be no event for long.
    if (this._lastId && this.state !== "ended") this._set("live");
  }

  async _once() {
    this._abort = new AbortController();
    this._begunAt = Date.now();
    this._isReading = true;
    if (this.state === "reconnecting") this._set("catching-up");
    this._bye = null; // the last event of a stream that the server ends
    try {
      const retry = await read(
        this._urls.stream, this._lastId, this._abort.signal, () => this._heard(),
        (event, data, id) => this._onEvent(event, data, id));
      this._isReading = false;
      this._after(retry);
    } catch (error) {
      this._isReading = false;
      if (error instanceof Refused) await this._onRefused(error);
      else if (this.state !== "asleep") this._lost();
    }
  }

  _onEvent(event, data, id) {
    this._lastId = id;
    if (event === "bye") {
      this._bye = data;
      return;
    }
    if (event === "snapshot") this._handlers.snapshot(data);
    else if (event === "update") this._handlers.update(data);
    this._doubts = 0;
    this._waitMs = FIRST_WAIT_MS;
    this._set("live");
  }

  /** A stream came to its end by the server's will. */
  _after(retry) {
    const bye = this._bye;
    if (bye?.reason === "limit") {
      this._poll(POLL_MS);
    } else if (bye?.reason === "unauthorized" && this._doubts++ > 0) {
      this._set("ended");
    } else if (bye) {
      // Renewed cookies or another worker: nothing is lost, so nothing is said for now.
      this._nextMs = bye.retry_ms ?? retry ?? FIRST_WAIT_MS;
    } else {
      this._lost();
    }
  }

  async _onRefused(refused) {
    if (FINAL.has(refused.status)) {
      this._set("ended");
    } else if (refused.status === 503) {
      await this._poll(Math.max(POLL_MS, refused.retryAfter * 1000));
    } else {
      this._lost();
    }
  }

  _lost() {
    this._set("reconnecting");
    this._nextMs = this._waitMs * (0.75 + Math.random() / 2);
    this._waitMs = Math.min(this._waitMs * 2, LONGEST_WAIT_MS);
  }

  /** No place for a stream: ask for everything instead, and for a place again later. */
  async _poll(nextMs) {
    try {
      const data = { stats: await this._get("stats") };
      data.as_of = data.stats.as_of;
      for (const [name, path] of Object.entries(LISTS)) {
        data[name] = (await this._get(`${path}?limit=100`)).items;
      }
      data.in_flight = data.in_flight.filter((one) => one.age_s > 1);
      this._heard();
      this._handlers.snapshot(data);
      this._lastId = "";
      this._nextMs = nextMs;
      this._set("polling");
    } catch (error) {
      if (error instanceof Refused && FINAL.has(error.status)) this._set("ended");
      else this._lost();
    }
  }

  async _get(path) {
    const signal = AbortSignal.timeout(WAIT_MS); // a worker that hangs may hold the connection
    const options = { cache: "no-store", redirect: "manual", signal };
    const response = await fetch(`${this._urls.api}/${path}`, options);
    if (!response.ok) throw new Refused(response);
    return response.json();
  }

  async _pause() {
    if (this.state === "asleep") {
      await new Promise((wake) => { this._wake = wake; });
    } else {
      this.retryAt = Date.now() + this._nextMs;
      await new Promise((wake) => {
        const timer = setTimeout(wake, this._nextMs);
        this._wake = () => { clearTimeout(timer); wake(); };
      });
    }
    this._wake = null;
  }

  /** Nothing for two heartbeats is a cut line, whatever the socket thinks. */
  _watch() {
    const quiet = Date.now() - Math.max(this.heardAt, this._begunAt);
    if (this._isReading && quiet > this._silenceMs) this._abort.abort();
  }

  _onVisibility() {
    clearTimeout(this._hidden);
    if (document.hidden) {
      this._hidden = setTimeout(() => this._sleep(), ASLEEP_AFTER_MS);
    } else if (this.state === "asleep") {
      this._set("connecting");
      this._lastId = "";
      this.now();
    } else if (this.state === "reconnecting") {
      this.now();
    }
  }

  _sleep() {
    if (this.state === "ended") return;
    this._set("asleep");
    this._abort.abort();
  }
}
