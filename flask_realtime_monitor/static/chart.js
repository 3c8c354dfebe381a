/** The last half hour, minute by minute, and how it is drawn; what is read of it is the cards'. */

export const MINUTES = 30;
const NOTHING = { requests: null, errors: null, active_users: null, active_sessions: null };
const QUIET = { requests: 0, errors: 0, active_users: 0, active_sessions: 0 };
const HEARD = new Set(["live", "polling"]);

/**
 * The last thirty minutes up to now, oldest first, as the API has them. Where there is no data
 * their numbers are null: before this picture began, and since the line was cut. A quiet app sends
 * no minutes: while the line is up, those that never came saw nobody.
 */
export function lastMinutes(model) {
  const { history, since_at: since } = model.stats;
  const known = new Map(history.map((one) => [one.at, one]));
  const newest = Math.max(minuteOf(model.now()), history.at(-1)?.at ?? 0);
  const later = isHeard() ? QUIET : NOTHING;
  return Array.from({ length: MINUTES }, (_, index) => {
    const at = newest - (MINUTES - 1 - index) * 60;
    if (at + 60 <= since) return { at, ...NOTHING };
    return known.get(at) ?? { at, ...(at <= minuteOf(model.asOf) ? QUIET : later) };
  });
}

/** Whether the line is up, so that no news is news of nothing. */
export function isHeard() {
  return HEARD.has(document.body.dataset.state);
}

function minuteOf(at) {
  return Math.floor(at / 60) * 60;
}

/** The largest of some numbers; nulls do not count. */
export function top(values) {
  return Math.max(0, ...values);
}

/** The path of a spark's bars, 120 wide and 24 high; a minute without data has none. */
export function sparkPath(values) {
  const most = Math.max(1, top(values));
  return values.map((value, index) => {
    if (value === null) return "";
    const height = value ? Math.max(2, 24 * value / most) : 1;
    return `M${index * 4} ${(24 - height).toFixed(1)}h3V24h-3z`;
  }).join("");
}

/**
 * Draw minutes on a canvas: requests as bars, errors hatched at their foot, people as a line; those
 * without data are dashed.
 * @param looks {requests, errors, people, none, ground, mark}: colours; `width` and `height`;
 *   `chosen`: the index that is read, or -1; `from`: the first index that is looked back to.
 */
export function drawMinutes(canvas, minutes, looks) {
  const ratio = devicePixelRatio || 1;
  const { width, height } = looks;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const slot = width / minutes.length;
  const scale = { slot, height, width: Math.max(1, slot * .72) };
  if (looks.chosen >= 0) {
    context.fillStyle = looks.mark;
    context.fillRect(looks.chosen * slot, 0, slot, height);
  }
  const most = Math.max(1, top(minutes.map((one) => one.requests)));
  minutes.forEach((one, index) => {
    context.globalAlpha = index < looks.from ? .35 : 1;
    drawBar(context, one, index, { ...scale, most }, looks);
  });
  context.globalAlpha = 1;
  drawLine(context, minutes.map((one) => one.active_sessions), scale, looks.people);
}

function drawBar(context, { requests, errors }, index, scale, looks) {
  const { slot, width, height, most } = scale;
  if (requests === null) {
    context.fillStyle = looks.none;
    const first = Math.ceil(index * slot / 10) * 10; // one row of dashes through all of them
    for (let x = first; x < (index + 1) * slot; x += 10) context.fillRect(x, height - 2, 4, 2);
    return;
  }
  const left = index * slot + (slot - width) / 2;
  const room = height - 4;
  const tall = requests ? Math.max(2, room * requests / most) : 1;
  context.fillStyle = looks.requests;
  context.fillRect(left, height - tall, width, tall);
  if (!errors) return;
  const bad = Math.min(tall, Math.max(4, room * errors / most));
  context.fillStyle = looks.errors;
  context.fillRect(left, height - bad, width, bad);
  context.save(); // hatched: it is another thing for those who see no red, too
  context.beginPath();
  context.rect(left, height - bad, width, bad);
  context.clip();
  context.strokeStyle = looks.ground;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let x = left - bad - height % 6; x < left + width; x += 6) {
    context.moveTo(x, height);
    context.lineTo(x + bad + 6, height - bad - 6);
  }
  context.stroke();
  context.restore();
}

/** A line through the middles of the minutes, with a dot at its end; no data breaks it. */
function drawLine(context, values, { slot, height }, colour) {
  const most = Math.max(1, top(values));
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  values.forEach((value, index) => {
    if (value === null) return;
    const x = (index + .5) * slot;
    const y = height - 4 - (height - 8) * value / most;
    if ((values[index - 1] ?? null) === null) context.moveTo(x, y);
    else context.lineTo(x, y);
    if ((values[index + 1] ?? null) !== null) return;
    context.fillRect(x - 2.5, y - 2.5, 5, 5);
  });
  context.stroke();
}
