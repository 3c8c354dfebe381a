/**
 * Keeps one line to the server, and says honestly how fresh it is. Knows of no document: a worker
 * runs it as well.
 *
 * States: connecting, live, catching-up, reconnecting, polling, asleep, ended. `why` says more:
 * polling is "full" or "bounded", ended is "refused", "missing" or "login".
 */

import { Parser, Refused, read } from "./sse.js";

const FIRST_WAIT_MS = 1000; // where no server has said how long, and half of it to three times
const LONGEST_WAIT_MS = 30000;
const POLL_MS = 10000;
const ASK_AGAIN_MS = 60000; // a server that cannot stream may be replaced by one that can
const WAIT_MS = 10000;
const SETTLED_MS = 250;
const STREAMING_MS = 2000; // a bounded answer is over by then
const ASLEEP = "asleep";
const FINAL = { 401: "refused", 403: "refused", 404: "missing" };
const CUT = new Set(["catching-up", "reconnecting"]);
const LISTS = {
  users: "users", sessions: "sessions", activities: "activities", endpoints: "endpoints",
  in_flight: "in-flight", workers: "workers",
};

export class Connection {
  /**
   * @param urls {stream, api}
   * @param heartbeatMs silence of two of these is a cut line.
   * @param handlers {snapshot(data), update(data), state(), heard()}
   */
  constructor(urls, heartbeatMs, handlers) {
    this._urls = urls;
    this._silenceMs = heartbeatMs * 2;
    this._handlers = handlers;
    this.state = "connecting";
    this.why = "";
    this.since = Date.now();
    this.heardAt = 0;
    this.retryAt = 0;
    this._isWanted = true;
    this._retryMs = FIRST_WAIT_MS * (0.5 + Math.random() * 2.5);
    this._nextMs = 0;
    this._failures = 0;
    this._doubts = 0;
    this._polledAt = 0;
    this._askStreamAt = 0;
    this._lastId = "";
    this._abort = null;
    this._wake = null;
  }

  /** What there is to say of it. */
  status() {
    const { state, why, since, heardAt, retryAt } = this;
    return { state, why, since, heardAt, retryAt };
  }

  /** Connect, and come back whenever the line is cut, until the server says no for good. */
  async run() {
    const watching = setInterval(() => this._watch(), 1000);
    while (this.state !== "ended") {
      if (this._isWanted) await this._once();
      if (this.state !== "ended") await this._pause();
    }
    clearInterval(watching);
  }

  /** Try at once. */
  now() {
    this._failures = 0;
    this._askStreamAt = 0;
    this._wake?.();
  }

  /** Nobody looks: let the line go. */
  sleep() {
    if (!this._isWanted) return;
    this._set("asleep");
    this._isWanted = false;
    this._abort?.abort(ASLEEP);
    this._wake?.();
  }

  /** Somebody looks again; everything may have changed, so a snapshot is due. */
  wake() {
    if (this._isWanted) return;
    this._isWanted = true;
    this._lastId = "";
    this._nextMs = 0;
    this._set("connecting");
    this.now();
  }

  _set(state, why = "") {
    if (!this._isWanted) return; // what was under way comes too late
    if (this.state === "ended" || (state === this.state && why === this.why)) return;
    if (!CUT.has(state) || !CUT.has(this.state)) this.since = Date.now();
    this.state = state;
    this.why = why;
    this._handlers.state();
  }

  _heard() {
    this.heardAt = Date.now();
    if (this.state === "reconnecting") {
      this._set("catching-up");
      // Going on from where it was cut off, with nothing missed, there may be no event for long.
      if (this._lastId) setTimeout(() => this._settle(), SETTLED_MS);
    }
    this._openedAt ||= this.heardAt;
    if (this.why === "bounded" && this.heardAt - this._openedAt > STREAMING_MS) this._set("live");
    this._handlers.heard();
  }

  _settle() {
    if (this.state === "catching-up" && this._isReading) this._set("live");
  }

  async _once() {
    if (this.why === "bounded" && Date.now() < this._askStreamAt) {
      await this._poll("bounded", POLL_MS);
      return;
    }
    this._abort = new AbortController();
    const { signal } = this._abort;
    const parser = new Parser((event, data) => this._onEvent(event, data, parser.lastId));
    parser.lastId = this._lastId;
    this._begunAt = Date.now();
    this._openedAt = 0;
    this._isReading = true;
    this._bye = null; // the last event of a stream that the server ends
    let fault = null;
    try {
      // Coming back is no opening of the stream, of which the app keeps a log.
      const back = this.why === "bounded" ? "?after=limit" : "";
      await read(this._urls.stream + back, parser, signal, () => this._heard());
    } catch (error) {
      fault = error;
    }
    this._isReading = false;
    this._retryMs = parser.retry ?? this._retryMs;
    if (signal.reason === ASLEEP) this._nextMs = 0;
    else if (fault instanceof Refused) await this._onRefused(fault);
    else this._after();
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
    this._failures = 0;
    // Of a server that could not stream a snapshot alone proves nothing new.
    if (event === "update" || this.why !== "bounded") this._set("live");
  }

  /** A stream came to its end: by the server's will, or it was cut. */
  _after() {
    const bye = this._bye;
    if (!bye) {
      this._lost();
    } else if (bye.reason === "limit") {
      this._askStreamAt = Date.now() + ASK_AGAIN_MS;
      this._lastId = "";
      this._nextMs = POLL_MS;
      this._set("polling", "bounded");
    } else if (bye.reason === "unauthorized" && this._doubts++ > 0) {
      this._set("ended", "refused");
    } else {
      // Renewed cookies or another worker: nothing is lost, so nothing is said for now.
      this._nextMs = bye.retry_ms ?? this._retryMs;
    }
  }

  async _onRefused(refused) {
    if (this._isFinal(refused)) return;
    if (refused.status !== 503) {
      this._lost(refused.retryAfterMs);
      return;
    }
    const nextMs = (refused.retryAfterMs || POLL_MS) * (1 + Math.random() / 2);
    this._nextMs = nextMs;
    if (Date.now() - this._polledAt >= POLL_MS) await this._poll("full", nextMs);
  }

  _isFinal({ isRedirect, status }) {
    const why = isRedirect ? "login" : FINAL[status];
    if (why) this._set("ended", why);
    return Boolean(why);
  }

  /** The server has spread the first wait over all who watch; later ones we spread ourselves. */
  _lost(atLeastMs = 0) {
    this._set("reconnecting");
    const spread = this._failures ? 0.75 + Math.random() / 2 : 1;
    const waitMs = Math.min(this._retryMs * 2 ** this._failures, LONGEST_WAIT_MS) * spread;
    this._nextMs = Math.max(waitMs, atLeastMs);
    this._failures += 1;
  }

  /** No stream to be had: ask for everything instead. */
  async _poll(why, nextMs) {
    try {
      const data = { stats: await this._get("stats") };
      data.as_of = data.stats.as_of;
      for (const [name, path] of Object.entries(LISTS)) {
        data[name] = (await this._get(`${path}?limit=100`)).items;
      }
      if (!this._isWanted) return;
      data.in_flight = data.in_flight.filter((one) => one.age_s > 1);
      this._polledAt = this.heardAt = Date.now();
      this._failures = 0;
      this._lastId = "";
      this._nextMs = nextMs;
      this._handlers.snapshot(data);
      this._set("polling", why);
    } catch (error) {
      if (!(error instanceof Refused && this._isFinal(error))) this._lost();
    }
  }

  async _get(path) {
    const signal = AbortSignal.timeout(WAIT_MS); // a worker that hangs may hold the connection
    const response = await fetch(
      `${this._urls.api}/${path}`, { cache: "no-store", redirect: "manual", signal });
    if (!response.ok) throw new Refused(response);
    return response.json();
  }

  async _pause() {
    this.retryAt = Date.now() + this._nextMs;
    this._handlers.heard();
    await new Promise((wake) => {
      const timer = this._isWanted ? setTimeout(wake, this._nextMs) : 0;
      this._wake = () => { clearTimeout(timer); wake(); };
    });
    this._wake = null;
  }

  /** Nothing for two heartbeats is a cut line, whatever the socket thinks. */
  _watch() {
    const quiet = Date.now() - Math.max(this.heardAt, this._begunAt);
    if (this._isReading && quiet > this._silenceMs) this._abort.abort();
  }
}
