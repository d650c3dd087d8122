// The dates that are shown: a period that ends today, all, or two days of one's own.

import { changeAddress, readAddress } from "./address.js";
import { byId, say } from "./dom.js";
import { day } from "./format.js";

/** @typedef {import("./shapes.js").Dates} Dates */

const PERIODS = ["7", "30", "90", "365", "all", "custom"];
const DATE = /^\d{4}-\d{2}-\d{2}$/;

export class Range {
  /** The shop's own time zone: its today may not be ours. */
  timezone = "UTC";

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.form = byId("range", HTMLFormElement);
    this.from = /** @type {HTMLInputElement} */ (this.form.elements.namedItem("from"));
    this.to = /** @type {HTMLInputElement} */ (this.form.elements.namedItem("to"));
    this.#restore();
    this.form.addEventListener("change", (event) => this.#change(event));
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  get period() {
    return /** @type {RadioNodeList} */ (this.form.elements.namedItem("period")).value;
  }

  /** @returns {Dates} */
  dates() {
    if (this.period === "all") return {};
    if (this.period === "custom") return { from: this.from.value || undefined, to: this.to.value || undefined };
    const to = today(this.timezone);
    return { from: plusDays(to, 1 - Number(this.period)), to };
  }

  /** The dates in words. */
  inWords() {
    const { from, to } = this.dates();
    if (this.period === "365") return "Last year";
    if (this.period !== "custom" && this.period !== "all") return `Last ${this.period} days`;
    if (from && to) return from === to ? day(from) : `${day(from)} – ${day(to)}`;
    if (from) return `Since ${day(from)}`;
    return to ? `Until ${day(to)}` : "All time";
  }

  #restore() {
    const { period, from, to } = readAddress();
    const known = PERIODS.includes(period ?? "") ? /** @type {string} */ (period) : "all";
    /** @type {RadioNodeList} */ (this.form.elements.namedItem("period")).value = known;
    if (from && DATE.test(from)) this.from.value = from;
    if (to && DATE.test(to)) this.to.value = to;
    byId("custom-range").hidden = this.period !== "custom";
  }

  /** @param {Event} event */
  #change(event) {
    const isCustom = this.period === "custom";
    if (isCustom && event.target instanceof HTMLInputElement && event.target.name === "period" && !this.from.value) {
      this.to.value = today(this.timezone);
      this.from.value = plusDays(this.to.value, -29);
    }
    byId("custom-range").hidden = !isCustom;
    const isBackwards = isCustom && this.from.value !== "" && this.to.value !== "" && this.from.value > this.to.value;
    this.from.setAttribute("aria-invalid", String(isBackwards));
    say(byId("range-problem"), isBackwards ? "The first day is after the last." : null);
    if (isBackwards) return;
    changeAddress({
      period: this.period === "all" ? undefined : this.period,
      from: isCustom ? this.from.value || undefined : undefined,
      to: isCustom ? this.to.value || undefined : undefined,
    });
    this.onChange();
  }
}

/**
 * Today's date, YYYY-MM-DD, in a time zone.
 *
 * @param {string} timezone
 */
function today(timezone) {
  const parts = { timeZone: timezone, year: "numeric", month: "2-digit", day: "2-digit" };
  try {
    return new Intl.DateTimeFormat("en-CA", /** @type {Intl.DateTimeFormatOptions} */ (parts)).format();
  } catch {
    return new Date().toISOString().slice(0, 10); // a zone that this browser does not know
  }
}

/**
 * @param {string} date  YYYY-MM-DD
 * @param {number} days
 */
function plusDays(date, days) {
  const moved = new Date(`${date}T00:00:00Z`);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}
