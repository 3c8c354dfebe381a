/**
 * Server-Sent Events over fetch. EventSource hides comments, status codes and Retry-After, and
 * an honest connection state needs all three.
 *
 * Format: WHATWG HTML, "Server-sent events", "Interpreting an event stream".
 */

/** Thrown where the server answered, but with no stream. */
export class Refused extends Error {
  constructor(response) {
    super(`refused with ${response.status}`);
    this.status = response.status;
    this.isRedirect = response.type === "opaqueredirect"; // to where one signs in, most likely
    this.retryAfterMs = Number(response.headers.get("Retry-After")) * 1000 || 0;
  }
}

/** Splits text into events; feed it pieces of any size. */
export class Parser {
  constructor(onEvent) {
    this._onEvent = onEvent;
    this._rest = "";
    this._clear();
    this.lastId = "";
    this.retry = null;
  }

  _clear() {
    this._event = "message";
    this._data = [];
  }

  feed(text) {
    const lines = (this._rest + text).split("\n");
    this._rest = lines.pop();
    for (const line of lines) this._line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  _line(line) {
    if (line === "") {
      if (this._data.length) this._onEvent(this._event, JSON.parse(this._data.join("\n")));
      this._clear();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment: the heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this._event = value;
    else if (field === "data") this._data.push(value);
    else if (field === "id" && !value.includes("\0")) this.lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}

/**
 * Read one stream to its end.
 *
 * @param parser takes it in; its `lastId` says where to go on, "" is for a snapshot.
 * @param heard called whenever anything came, a heartbeat too.
 * @throws {Refused} on any answer but a stream; what the signal says, or a TypeError, where the
 *   line is cut.
 */
export async function read(url, parser, signal, heard) {
  const headers = { Accept: "text/event-stream" };
  if (parser.lastId) headers["Last-Event-ID"] = parser.lastId;
  const response = await fetch(url, { headers, signal, cache: "no-store", redirect: "manual" });
  const type = response.headers.get("Content-Type") ?? "";
  if (!response.ok || !type.startsWith("text/event-stream")) throw new Refused(response);
  heard();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    parser.feed(value);
  }
}
