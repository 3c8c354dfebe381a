/** How values read. `wording.py` and `words.html` say the same for the page's first sight. */

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];
// What is hidden is the last group; the others shape letters (Arabic to Sinhala), emoji and flags.
const INVISIBLE = /\u{1F3F4}[\u{E0030}-\u{E007A}]{3,6}\u{E007F}|(?<=[\u0620-\u0DFF])[\u200C\u200D](?=[\u0620-\u0DFF])|(?<=[\u2190-\u2BFF\uFE0F\u{1F000}-\u{1FAFF}])\u200D(?=[\u2190-\u2BFF\u{1F000}-\u{1FAFF}])|([\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}])/gu;
const CHOSEN = new Map([["q", "text"], ["who", ""], ["state", ""], ["endpoint", "page"]]);
const KINDS = { login: "signed in", logout: "signed out" };

/** How long ago something was: "12 s", "3 min". */
export function age(seconds) {
  for (const [size, unit] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A number with its thousands apart; a dash where there is none. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value) && value >= 0 && value < 1000) return String(value);
  return (Number.isInteger(value) || Math.abs(value) >= 100 ? WHOLE : TENTHS).format(value);
}

/** A duration: "0.4 ms", "12 ms", "3.1 s", "2 min"; the unit is that of the number when rounded. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 59950) return age(Math.round(value / 1000));
  if (value >= 999.5) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value >= 9.95 ? 0 : 1)} ms`;
}

/** The viewer's own time of day. */
export function clockTime(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

/** Text with its invisible characters spelled out, so that no name can hide itself. */
export function visible(text) {
  return String(text).replace(INVISIBLE, (one, hidden) => (hidden
    ? `[U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]` : one));
}

/** What a person is called: name, else id, else "Guest" and a few signs to tell guests apart. */
export function person(user, session) {
  if (user) return visible(user.name || user.id);
  return session ? `Guest ${session.slice(0, 4).toUpperCase()}` : "Guest";
}

/** How a filter reads, given as [name, value]; a user by the name where it is known. */
export function chosen([name, value], users) {
  const before = CHOSEN.get(name) ?? name;
  const known = name === "user" ? users.get(value)?.name : null;
  return `${before}${before ? " " : ""}${visible(known || value)}`;
}

/** A browser and its system. */
export function device(agent) {
  const known = [agent.browser, agent.os].filter(Boolean).map(visible).join(" on ");
  if (agent.is_bot) return known ? `Bot: ${known}` : "Bot";
  return known || "Unknown";
}

/** "2 of 2 workers, 1 host, oldest report 0 s ago", and who is missing. */
export function covered(coverage, oldestReport, silent) {
  const { complete, workers, workers_reporting: reporting, hosts } = coverage;
  if (!workers && complete) return "No worker has served a request yet";
  const whole = `${number(reporting)} of ${counted(workers, "worker")}, ${counted(hosts, "host")}`
    + `, oldest report ${age(oldestReport)} ago`;
  if (silent.length) {
    const [{ host, pid }] = silent;
    const are = silent.length > 1 ? `and ${silent.length - 1} more are` : "is";
    return `${whole}: ${visible(host)}:${pid} ${are} silent`;
  }
  return complete ? whole : `${whole}: this may be a part only`;
}

/** What stands before a total: workers that are not heard of may know of more. */
export function least(coverage) {
  return coverage.complete ? "" : "at least ";
}

/** A number of things: "1 request", "1,200 requests". */
export function counted(n, one) {
  return `${number(n)} ${one}${n === 1 ? "" : "s"}`;
}

/** The one line of a monitor that is well: "All 4 workers reporting, cost 38 µs a request". */
export function well(coverage, workers) {
  if (!coverage.workers) return "No worker has served a request yet";
  const all = coverage.workers === 1 ? "The only worker is" : `All ${number(coverage.workers)} workers`;
  const cost = Math.max(0, ...workers.map((one) => one.record_us.p50));
  return `${all} reporting${cost ? `, cost ${number(Math.round(cost))} µs a request` : ""}`;
}

/** Where a worker's own part is kept, and how fresh it is there. */
export function written(store) {
  if (store.lag_s !== null) return `, written ${milliseconds(store.lag_s * 1000)} ago`;
  if (store.url === "memory:") return ", in this process alone";
  return ", not yet written by the worker that tells this";
}

/** What an activity that is no request is called. */
export function happened(activity) {
  return KINDS[activity.kind] || visible(activity.name || activity.kind);
}
