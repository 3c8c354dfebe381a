/**
 * What the page knows: one snapshot with all later updates merged, by the stream's rules.
 * Nothing here touches the document.
 */

export const MOST = 100;
const MINUTES = 60;
const KEYS = { users: "id", sessions: "id", endpoints: "endpoint", in_flight: "id", workers: "id" };
const RATE_WINDOW_S = 60;

export class Model {
  constructor() {
    this.isEmpty = true;
    this.stats = null;
    this.activities = [];
    for (const name of Object.keys(KEYS)) this[name] = new Map();
    this.offset = 0; // seconds the server's clock is ahead of ours
    this.snapshots = 0; // taken: what came before one may be of somebody who was erased since
    this.seen = 0; // activities that came since the first snapshot
    /** What was missed while cut off: {from, to, missed, after}, or null. */
    this.gap = null;
  }

  /**
   * Take a snapshot, or what another model holds, for all there is.
   * @param isAfterCut whether the line was cut before: then what was missed is a gap.
   * @param isAsked whether there is no line, but snapshots one by one: a gap is what was missed.
   */
  snapshot(data, isAfterCut = false, isAsked = false) {
    if (!this.isEmpty) {
      const fresh = this._fresh(data.activities);
      this.seen += fresh.length;
      const gap = isAfterCut || isAsked ? this._gapBefore(data, fresh) : null;
      if (gap && (isAfterCut || gap.missed !== 0)) this.gap = gap;
    }
    this.isEmpty = false;
    this.snapshots += 1;
    this.stats = data.stats;
    this._coveredAt = data.covered_at ?? data.as_of;
    this.activities = data.activities.slice(0, MOST);
    for (const [name, key] of Object.entries(KEYS)) {
      this[name] = new Map(data[name].map((item) => [item[key], item]));
    }
    this._set(data.as_of);
    // Handed on it is older than it says: no news may have come since, for minutes.
    this.offset = data.offset ?? this.offset;
  }

  /** Everything, for another model to begin with. */
  whole() {
    const { asOf: as_of, _coveredAt: covered_at, offset, stats, activities } = this;
    const lists = Object.keys(KEYS).map((name) => [name, [...this[name].values()]]);
    return { as_of, covered_at, offset, stats, activities, ...Object.fromEntries(lists) };
  }

  /** The same as it is now: it stays so, and its clock stands. */
  still() {
    const now = this.now();
    const copy = Object.assign(new Model(), this, { stats: { ...this.stats }, now: () => now });
    for (const name of Object.keys(KEYS)) copy[name] = new Map(this[name]);
    return copy;
  }

  /** Merge an update over what there is. */
  update(data) {
    for (const [name, key] of Object.entries(KEYS)) {
      const held = this[name];
      for (const gone of data.removed?.[name] ?? []) held.delete(gone);
      for (const item of data[name] ?? []) {
        held.set(item[key], { ...held.get(item[key]), ...item });
      }
    }
    const fresh = this._fresh(data.activities ?? []).reverse();
    // What other workers saw comes a little later than what happened after it here.
    this.activities = [...fresh, ...this.activities].sort((a, b) => b.at - a.at).slice(0, MOST);
    this.seen += fresh.length;
    if (data.stats) {
      const { history, ...rest } = data.stats;
      Object.assign(this.stats, rest);
      if (rest.coverage) this._coveredAt = data.as_of;
      if (history) this.stats.history = merged(this.stats.history, history);
    }
    this._set(data.as_of);
  }

  /**
   * What stands between the last news and a snapshot that comes after a cut: from when to when (s),
   * how many activities are not shown (null: not known), and the id of the newest one before.
   */
  _gapBefore(data, fresh) {
    const isWhole = fresh.length < data.activities.length; // it reaches back to what is known
    const missed = data.stats.requests_total - this.stats.requests_total - fresh.length;
    const isSamePicture = data.stats.since_at === this.stats.since_at;
    return {
      from: this.asOf, to: data.as_of, after: this.activities[0]?.id ?? null,
      missed: isWhole ? 0 : isSamePicture ? Math.max(0, missed) : null,
    };
  }

  _fresh(activities) {
    const known = new Set(this.activities.map((one) => one.id));
    return activities.filter((one) => !known.has(one.id));
  }

  _set(asOf) {
    this.asOf = asOf;
    this.offset = asOf - Date.now() / 1000;
  }

  /** The server's clock, as far as we can tell. */
  now() {
    return Date.now() / 1000 + this.offset;
  }

  /**
   * A rate; it falls to nothing where no news has come for as long as it looks back.
   * @param isUp whether the line is: what was told last stays while nothing can be.
   */
  rate(name, isUp = true) {
    return isUp && this.now() - this.asOf > RATE_WINDOW_S ? 0 : this.stats[name];
  }

  /** Seconds since the oldest report; only that of a silent worker grows older by itself. */
  oldestReport() {
    const { workers, workers_reporting: reporting, oldest_report_s: age } = this.stats.coverage;
    return reporting < workers ? age + Math.max(0, this.now() - this._coveredAt) : age;
  }

  /** Workers that have not reported lately. */
  silent() {
    return [...this.workers.values()].filter((one) => !one.is_reporting).sort(
      (a, b) => a.started_at - b.started_at || compare(a.id, b.id));
  }

  /** Sessions, last seen first, then by id. */
  sessionsInOrder() {
    return [...this.sessions.values()].sort(
      (a, b) => b.last_seen_at - a.last_seen_at || compare(a.id, b.id));
  }

  /** Endpoints with somebody on them, the fullest first. */
  busyEndpoints() {
    return [...this.endpoints.values()].filter((one) => one.active_sessions).sort(
      (a, b) => b.active_sessions - a.active_sessions || compare(a.endpoint, b.endpoint));
  }

  /**
   * The endpoint that keeps the slowest 1 in 20 of its requests waiting longest, of those asked
   * for in the last 5 min and `few` times in all; undefined where there is none.
   */
  slowestEndpoint(few) {
    return [...this.endpoints.values()]
      .filter((one) => one.requests >= few && one.latency_ms.p95 !== null)
      .sort((a, b) => b.latency_ms.p95 - a.latency_ms.p95 || b.requests - a.requests
        || compare(a.endpoint, b.endpoint))[0];
  }

  /** Requests that somebody waits for, oldest first. */
  waiting() {
    return [...this.in_flight.values()].sort(
      (a, b) => a.started_at - b.started_at || compare(a.id, b.id));
  }
}

/** Minutes keyed by their start, the newest sixty. */
function merged(before, changed) {
  const minutes = new Map([...before, ...changed].map((one) => [one.at, one]));
  return [...minutes.values()].sort((a, b) => a.at - b.at).slice(-MINUTES);
}

function compare(a, b) {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
