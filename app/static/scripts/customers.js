// The customers who spent most. Their names and addresses are their own words: text, whatever they look like.

import { byId, element, emptyState, foreignText } from "./dom.js";
import { count, money } from "./format.js";

/** @typedef {import("./shapes.js").TopCustomer} TopCustomer */

export function clearCustomers() {
  const body = byId("top-customers-body");
  body.setAttribute("aria-busy", "true");
  body.replaceChildren(element("div", { class: "empty skeleton" }, "\u00a0"));
}

/** @param {TopCustomer[]} customers */
export function showCustomers(customers) {
  const body = byId("top-customers-body");
  body.setAttribute("aria-busy", "false");
  if (customers.length === 0) {
    body.replaceChildren(emptyState("No customers yet", "The first order brings the first one."));
    return;
  }
  const head = element("tr", {},
    element("th", { scope: "col" }, "Customer"),
    element("th", { scope: "col", class: "number column-orders" }, "Orders"),
    element("th", { scope: "col", class: "number column-spent" }, "Spent"),
  );
  body.replaceChildren(
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...customers.map(row))),
  );
}

/** @param {TopCustomer} customer */
function row(customer) {
  const name = customer.name?.trim() || customer.email || `Customer ${customer.shopifyId}`;
  const person = element("div", { class: "person" }, foreignText(name, { class: "name", title: name }));
  if (customer.email && customer.email !== name) person.append(foreignText(customer.email, { class: "email", title: customer.email }));
  return element("tr", {},
    element("td", {}, person),
    element("td", { class: "number" }, count(customer.ordersCount)),
    element("td", { class: "number" }, money(customer.totalSpent, customer.currency)),
  );
}
