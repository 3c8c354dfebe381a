/**
 * A table body that is as high as all its rows, and of very many holds only those near the
 * viewport. All rows are equally high; the page scrolls, not the table.
 */

import { hide, keyed } from "./dom.js";

const FEW = 40; // so many are all there, to be found and printed
const BEYOND = 12; // rows kept on each side, so that scrolling finds them there
const STEP = 6; // rows scrolled by until others are brought

export class VirtualRows {
  /**
   * @param table with three bodies: room above, the rows, room below.
   * @param draws {key(item), create(item, spare), update(row, item)}
   */
  constructor(table, draws) {
    [this._above, this.body, this._below] = table.tBodies;
    this._table = table;
    this._draws = draws;
    this._items = [];
    this._rowPx = 0;
    this._topPx = null; // where the first of all rows would begin, from the viewport's top
    this._viewPx = 0; // how high the viewport is
    this._first = 0; // the place of the first row near the viewport
    this._skipped = 0; // rows above those that are there
    this._last = 0; // and the place behind the last
    this._later = new Map(); // rows that nobody sees yet, with what is to be drawn into them
    const moved = () => { this._measure(); this._drawNear(true); };
    addEventListener("scroll", moved, { passive: true });
    addEventListener("resize", () => { this._measure(); this._rowPx = 0; this._drawNear(); });
    new ResizeObserver(moved).observe(document.body); // what stands above has grown, perhaps
  }

  /** Show these items, in this order; those beyond the viewport when it is said to finish. */
  show(items) {
    this._items = items;
    this._table.setAttribute("aria-rowcount", items.length + 1);
    this._drawNear();
  }

  finish() {
    for (const [row, item] of this._later) this._draws.update(row, item);
    this._later.clear();
  }

  /** Give the focus to a row's link, wherever it is. */
  focus(index) {
    const item = this._items[index];
    if (!item) return;
    const find = () => [...this.body.rows].find((row) => row.dataset.key === this._draws.key(item));
    if (!find()) {
      this._measure();
      scrollBy(0, this._topPx + index * this._rowPx - this._viewPx / 2);
      this._measure();
      this._drawNear();
    }
    find()?.querySelector("a").focus();
  }

  /** The place of the row that has the focus, or has opened a story; -1 where none has. */
  focused() {
    const row = this.body.querySelector("tr:focus-within, [data-opened]");
    return row ? this._items.findIndex((one) => this._draws.key(one) === row.dataset.key) : -1;
  }

  /** @param isMoved only the place has changed: where the same rows are near, nothing is to do. */
  _drawNear(isMoved = false) {
    const { length } = this._items;
    if (isMoved && length <= FEW) return;
    const isAll = length <= FEW;
    this._rowPx ||= this._measured();
    if (this._topPx === null) this._measure();
    const seen = Math.floor(-this._topPx / this._rowPx);
    const unseen = Math.ceil((this._viewPx - this._topPx) / this._rowPx);
    const first = isAll ? 0 : Math.max(0, Math.min(length - BEYOND, seen - BEYOND));
    const last = isAll ? length : Math.min(length, unseen + BEYOND);
    const { key, create, update } = this._draws;
    const end = Math.max(last, first + BEYOND);
    if (isMoved && Math.abs(first - this._first) < STEP && Math.abs(end - this._last) < STEP) return;
    this._first = first;
    this._last = end;
    this._later.clear();
    const places = [...this._items.keys()].slice(first, end);
    const used = this.focused(); // it stays, next to the others where it is far from them
    if (used >= end) places.push(used);
    this._skipped = first;
    if (used >= 0 && used < first) {
      places.unshift(used);
      this._skipped -= 1;
    }
    let next = 0;
    keyed(this.body, places.map((place) => this._items[place]), key, create, (row, item) => {
      const place = places[next];
      if (isMoved || (place >= seen - 1 && place <= unseen)) update(row, item);
      else this._later.set(row, item);
      next += 1;
      if (row.ariaRowIndex !== String(place + 2)) row.ariaRowIndex = place + 2; // the head is the first
    });
    this._room(this._above, this._skipped);
    this._room(this._below, length - this._skipped - this.body.rows.length);
  }

  /** Where all is, kept: asked while something is being drawn, it would be laid out twice. */
  _measure() {
    this._viewPx = innerHeight;
    this._topPx = this.body.getBoundingClientRect().top - this._skipped * this._rowPx;
  }

  _room(body, rows) {
    const height = `${Math.max(0, rows) * this._rowPx}px`;
    const { style } = body.rows[0].cells[0];
    if (style.height !== height) style.height = height;
    hide(body, rows <= 0);
  }

  _measured() {
    if (!this.body.rows.length) {
      const { key, create, update } = this._draws;
      keyed(this.body, this._items.slice(0, 1), key, create, update);
    }
    return this.body.rows[0]?.getBoundingClientRect().height || 1;
  }
}
