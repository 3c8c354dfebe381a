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
    this._first = 0; // the place of the first row that is there
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

  /** The place of the row that has the focus; -1 where none has. */
  focused() {
    const key = document.activeElement?.closest?.("tr")?.dataset.key;
    return key ? this._items.findIndex((one) => this._draws.key(one) === key) : -1;
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
    let place = first;
    keyed(this.body, this._items.slice(first, end), key, create, (row, item) => {
      if (isMoved || (place >= seen - 1 && place <= unseen)) update(row, item);
      else this._later.set(row, item);
      place += 1;
      if (row.ariaRowIndex !== String(place + 1)) row.ariaRowIndex = place + 1; // the head is the first
    });
    this._room(this._above, first);
    this._room(this._below, length - first - this.body.rows.length);
  }

  /** Where all is, kept: asked while something is being drawn, it would be laid out twice. */
  _measure() {
    this._viewPx = innerHeight;
    this._topPx = this.body.getBoundingClientRect().top - this._first * this._rowPx;
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
