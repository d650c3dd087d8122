// The daily trend as a picture, drawn by uPlot: revenue as a line, orders as bars behind it.

import { element } from "./dom.js";
import { count, money, shortMoney, weekday } from "./format.js";

/** @typedef {import("./shapes.js").OrdersTrend} OrdersTrend */

const DAY = 86_400; // seconds
const MONTH = 30 * DAY; // uPlot steps by the calendar from here on
const YEAR = 365 * DAY;
const STEPS = [DAY, 2 * DAY, 3 * DAY, 7 * DAY, 14 * DAY, MONTH, 2 * MONTH, 3 * MONTH, 6 * MONTH, YEAR, 2 * YEAR];
/** More days than this want a thinner line. */
const MANY_DAYS = 200;
/** The bars keep to the lower part, below the line. */
const HEADROOM_OF_ORDERS = 2;

const dayLabel = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const monthLabel = new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric", timeZone: "UTC" });

/**
 * The chart library, or null where it is not installed or cannot be fetched.
 *
 * @returns {Promise<any>}
 */
export async function loadChartLibrary() {
  const address = document.querySelector("meta[name=chart-library]")?.getAttribute("content");
  if (!address) return null;
  try {
    return (await import(address)).default;
  } catch (error) {
    console.error(error);
    return null;
  }
}

export class Chart {
  /** @type {OrdersTrend} */
  #trend = { timezone: "UTC", currency: null, days: [] };
  /** @type {any} */
  #plot = null;

  /**
   * @param {any} uPlot
   * @param {HTMLElement} host
   */
  constructor(uPlot, host) {
    this.uPlot = uPlot;
    this.host = host;
    this.tip = element("div", { class: "chart-tip", hidden: true });
    new ResizeObserver(() => this.#resize()).observe(host);
    document.documentElement.addEventListener("themechange", () => this.#plot?.redraw());
  }

  /** @param {OrdersTrend} trend */
  show(trend) {
    this.#trend = trend;
    const { days } = trend;
    const data = [
      days.map(({ date }) => Date.parse(`${date}T00:00:00Z`) / 1000),
      days.map(({ orders }) => orders),
      days.map(({ revenue }) => Number(revenue)), // for the eye: what is read is formatted from the string
    ];
    this.#plot ??= this.#draw();
    this.#plot.series[2].width = days.length > MANY_DAYS ? 1.25 : 2;
    this.#plot.setData(data);
  }

  #draw() {
    const plot = new this.uPlot(this.#options(), [[], [], []], this.host);
    plot.over.append(this.tip);
    return plot;
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (this.#plot && width > 0) this.#plot.setSize({ width, height });
  }

  #options() {
    const colour = (/** @type {string} */ name) => () => this.#colour(name);
    const axis = { stroke: colour("--text-muted"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const { paths, rangeNum, tzDate } = this.uPlot;
    return {
      width: this.host.clientWidth,
      height: this.host.clientHeight,
      padding: [8, 0, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 9 } },
      tzDate: (/** @type {number} */ seconds) => tzDate(new Date(seconds * 1000), "Etc/UTC"),
      hooks: { setCursor: [() => this.#showTip()] },
      scales: {
        x: { time: true, range: (/** @type {any} */ _, /** @type {number} */ first, /** @type {number} */ last) => [first - DAY / 2, last + DAY / 2] },
        orders: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, Math.max(1, most) * HEADROOM_OF_ORDERS] },
        revenue: {
          range: (/** @type {any} */ _, /** @type {number} */ least, /** @type {number} */ most) =>
            [Math.min(0, least), most > 0 ? rangeNum(0, most, 0.1, true)[1] : 1],
        },
      },
      series: [
        {},
        {
          scale: "orders", fill: colour("--chart-orders"), stroke: colour("--chart-orders"), width: 0,
          paths: paths.bars({ size: [0.7, 48] }), points: { show: false },
        },
        {
          scale: "revenue", stroke: colour("--chart-revenue"), fill: colour("--chart-revenue-fill"),
          points: { show: false },
        },
      ],
      axes: [
        { ...axis, size: 32, grid: { show: false }, incrs: STEPS, space: 72, values: labels },
        {
          ...axis, scale: "orders", side: 1, size: 40, grid: { show: false }, space: 44,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000],
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((value) => count(value)),
        },
        {
          ...axis, scale: "revenue", side: 3, size: 60, grid: { stroke: colour("--chart-grid"), width: 1 }, space: 44,
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((value) => shortMoney(value, this.#trend.currency)),
        },
      ],
    };
  }

  /**
   * The colour that a token has in the present theme, as the canvas understands it.
   *
   * @param {string} token
   */
  #colour(token) {
    this.host.style.color = `var(${token})`;
    const { color } = getComputedStyle(this.host);
    this.host.style.color = "";
    return color;
  }

  #showTip() {
    const { idx, left } = this.#plot.cursor;
    const day = idx === null || idx === undefined || left < 0 ? null : this.#trend.days[idx];
    this.tip.hidden = !day;
    if (!day) return;
    this.tip.replaceChildren(
      element("strong", {}, weekday(day.date)),
      element("span", {}, money(day.revenue, this.#trend.currency)),
      element("span", {}, `${count(day.orders)} ${day.orders === 1 ? "order" : "orders"}`),
    );
    const room = this.#plot.over.clientWidth - this.tip.offsetWidth;
    const beside = left + 14 <= room ? left + 14 : left - 14 - this.tip.offsetWidth;
    this.tip.style.transform = `translateX(${Math.max(0, Math.min(room, beside))}px)`;
  }
}

/**
 * @param {any} _
 * @param {number[]} splits  seconds
 * @param {number} __
 * @param {number} ___
 * @param {number} step  seconds
 */
function labels(_, splits, __, ___, step) {
  const format = step >= MONTH ? monthLabel : dayLabel;
  return splits.map((seconds) => format.format(new Date(seconds * 1000)));
}
