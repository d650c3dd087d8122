// The administrator's list of shops, and which of them is looked at.

import { readAddress, changeAddress } from "./address.js";
import { byId, element } from "./dom.js";

/** @typedef {import("./shapes.js").Tenant} Tenant */

/**
 * Every shop, page by page to the end.
 *
 * @param {import("./api.js").Api} api
 * @returns {Promise<Tenant[]>}
 */
export async function listShops(api) {
  const shops = [];
  let after = null;
  do {
    /** @type {import("./shapes.js").TenantList} */
    const page = await api.get("/api/tenants", { after });
    shops.push(...page.tenants);
    after = page.next ?? null;
  } while (after !== null);
  return shops;
}

/**
 * The shop that the address names, else the one where something happened last, else the first.
 *
 * @param {Tenant[]} shops  at least one
 * @returns {Tenant}
 */
export function chooseShop(shops) {
  const named = shops.find((shop) => shop.shopDomain === readAddress().shop);
  return named ?? shops.reduce((best, shop) => (lastWebhook(shop) > lastWebhook(best) ? shop : best));
}

/** @param {Tenant} shop */
function lastWebhook(shop) {
  return shop.lastWebhookAt ? Date.parse(shop.lastWebhookAt) : -Infinity;
}

/** @param {Tenant} shop */
export function shopTitle(shop) {
  return shop.name || shop.shopDomain.replace(/\.myshopify\.com$/, "");
}

/**
 * Fills the switcher.
 *
 * @param {Tenant[]} shops
 * @param {Tenant} chosen
 * @param {(shop: Tenant) => void} onChoice
 */
export function showSwitcher(shops, chosen, onChoice) {
  const select = byId("shop-select", HTMLSelectElement);
  const options = shops.map((shop) => {
    const title = shopTitle(shop);
    return element("option", { value: shop.shopDomain }, shop.name ? `${title} (${shop.shopDomain})` : shop.shopDomain);
  });
  select.replaceChildren(...options);
  select.value = chosen.shopDomain;
  select.onchange = () => {
    const shop = shops.find((each) => each.shopDomain === select.value);
    if (!shop) return;
    changeAddress({ shop: shop.shopDomain });
    onChoice(shop);
  };
  byId("shop-switcher").hidden = false;
}

export function hideSwitcher() {
  byId("shop-switcher").hidden = true;
}
