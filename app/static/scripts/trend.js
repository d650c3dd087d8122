// The daily trend: a chart, and the same as a table for those who prefer it or have no chart library.

import { Chart, loadChartLibrary } from "./chart.js";
import { byId, element, emptyState, say } from "./dom.js";
import { count, day, money, weekday } from "./format.js";

/** @typedef {import("./shapes.js").OrdersTrend} OrdersTrend */

export class Trend {
  /** @type {OrdersTrend | null} */
  #trend = null;
  /** @type {Chart | null} */
  #chart = null;
  #isTable = false;

  constructor() {
    this.toggle = byId("trend-toggle", HTMLButtonElement);
    this.toggle.addEventListener("click", () => {
      this.#isTable = !this.#isTable;
      this.#render();
    });
    this.ready = this.#prepare();
  }

  async #prepare() {
    const uPlot = await loadChartLibrary();
    if (uPlot) {
      this.#chart = new Chart(uPlot, byId("trend-chart"));
    } else {
      this.#isTable = true;
      this.toggle.hidden = true;
      byId("trend-legend").hidden = true;
      say(byId("trend-without-charts"), "Shown as a table: the chart library uPlot is not installed on this server (npm ci).");
    }
    this.#render();
  }

  clear() {
    this.#trend = null;
    this.#render();
  }

  /** @param {OrdersTrend} trend */
  show(trend) {
    this.#trend = trend;
    this.#render();
  }

  #render() {
    const trend = this.#trend;
    const isEmpty = trend !== null && !trend.days.some(({ orders }) => orders > 0);
    byId("trend-body").classList.toggle("skeleton", trend === null);
    byId("trend-body").setAttribute("aria-busy", String(trend === null));
    byId("trend-chart").hidden = trend === null || isEmpty || this.#isTable;
    byId("trend-table").hidden = trend === null || isEmpty || !this.#isTable;
    byId("trend-empty").hidden = !isEmpty;
    this.toggle.setAttribute("aria-pressed", String(this.#isTable));
    this.toggle.textContent = this.#isTable ? "Show as chart" : "Show as table";
    byId("trend-summary").textContent = trend === null || isEmpty ? "" : summary(trend);
    if (trend === null) return;
    if (isEmpty) {
      byId("trend-empty").replaceChildren(...emptyState("No orders in these days", "They appear here as soon as they arrive.").childNodes);
    } else if (this.#isTable) {
      byId("trend-table").replaceChildren(table(trend));
    } else {
      this.#chart?.show(trend);
    }
  }
}

/** @param {OrdersTrend} trend */
function table({ days, currency, timezone }) {
  const rows = days.toReversed().map(({ date, orders, revenue }) =>
    element("tr", {},
      element("td", {}, element("time", { datetime: date }, weekday(date))),
      element("td", { class: "number" }, count(orders)),
      element("td", { class: "number" }, money(revenue, currency)),
    ),
  );
  return element("table", {},
    element("caption", { class: "visually-hidden" }, `Orders and revenue per day, newest first; days of the time zone ${timezone}`),
    element("thead", {}, element("tr", {},
      element("th", { scope: "col" }, "Day"),
      element("th", { scope: "col", class: "number" }, "Orders"),
      element("th", { scope: "col", class: "number" }, "Revenue"),
    )),
    element("tbody", {}, ...rows),
  );
}

/**
 * The chart in a sentence, for those who cannot see it.
 *
 * @param {OrdersTrend} trend
 */
function summary({ days, currency }) {
  const best = days.reduce((top, each) => (Number(each.revenue) > Number(top.revenue) ? each : top));
  const orders = days.reduce((sum, each) => sum + each.orders, 0);
  return `${count(orders)} orders in ${count(days.length)} days, ${day(days[0].date)} to ${day(days[days.length - 1].date)}. `
    + `The best day was ${day(best.date)} with ${money(best.revenue, currency)}.`;
}
