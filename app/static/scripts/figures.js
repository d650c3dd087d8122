// The figures at the top, and how far they can be trusted.

import { byId, element } from "./dom.js";
import { ago, count, day, moment, money } from "./format.js";

/** @typedef {import("./shapes.js").Stats} Stats */

const VALUES = ["revenue", "orders", "average", "customers", "products"];

/** Before the first answer, and while another shop's is awaited. */
export function clearFigures() {
  for (const id of VALUES) {
    const value = byId(id);
    value.textContent = "\u00a0";
    value.classList.add("skeleton");
  }
  for (const id of ["revenue-note", "orders-note", "average-note"]) byId(id).textContent = "\u00a0";
  byId("figures").setAttribute("aria-busy", "true");
  byId("coverage").hidden = true;
  byId("updated").textContent = "";
}

/**
 * @param {Stats} stats
 * @param {string} period  in words
 */
export function showFigures(stats, period) {
  setValue("revenue", money(stats.totalRevenue, stats.currency));
  setValue("orders", count(stats.totalOrders));
  setValue("average", stats.totalOrders > 0 ? money(stats.averageOrderValue, stats.currency) : "–");
  setValue("customers", count(stats.totalCustomers));
  setValue("products", count(stats.totalProducts));
  showOtherCurrencies(stats, period);
  byId("orders-note").textContent = period;
  byId("average-note").textContent = period;
  byId("figures").setAttribute("aria-busy", "false");
  showCoverage(stats);
  showUpdated(stats.lastUpdatedAt);
}

/**
 * @param {string} id
 * @param {string} text
 */
function setValue(id, text) {
  const value = byId(id);
  if (value.textContent === text) return;
  const isFirst = value.classList.contains("skeleton");
  value.textContent = text;
  value.classList.remove("skeleton", "changed");
  if (isFirst) return;
  void value.offsetWidth; // lets the animation start again
  value.classList.add("changed");
}

/**
 * Currencies are never added up, so the others stand beside the shop's own.
 *
 * @param {Stats} stats
 * @param {string} period
 */
function showOtherCurrencies(stats, period) {
  const others = stats.byCurrency.filter((each) => each.currency !== stats.currency && each.orders > 0);
  const amounts = others.map((each) =>
    element("span", { class: "other-currency", title: `${count(each.orders)} orders in ${each.currency}` }, money(each.revenue, each.currency)),
  );
  byId("revenue-note").replaceChildren(...(amounts.length ? [`${period}, and `, ...amounts] : [period]));
}

/** @param {Stats} stats */
function showCoverage({ coverage }) {
  const line = byId("coverage");
  line.dataset.complete = String(coverage.complete);
  if (coverage.complete) {
    line.textContent = coverage.from ? `Complete since ${day(coverage.from.slice(0, 10))}` : "Complete history";
  } else {
    line.textContent = `Not complete yet${coverage.reason ? `: ${coverage.reason}` : ""}`;
  }
  line.hidden = false;
}

/** @param {string | null} time */
function showUpdated(time) {
  const line = byId("updated");
  line.textContent = time ? `Updated ${ago(time)}` : "Nothing received yet";
  line.title = time ? moment(time) : "";
}
