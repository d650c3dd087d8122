// Where the page starts: sign-in, then one shop after the other.

import { Api, Problem } from "./api.js";
import { reportConnection, resetConnection } from "./connection.js";
import { byId } from "./dom.js";
import { Poller } from "./poll.js";
import { Range } from "./range.js";
import { forgetSession, rememberSession, rememberedSession } from "./session.js";
import { ShopView } from "./shop.js";
import { chooseShop, hideSwitcher, listShops, showSwitcher } from "./shops.js";
import { SignIn } from "./signin.js";
import { Terminal } from "./terminal.js";
import { Trend } from "./trend.js";

/** @typedef {import("./shapes.js").Session} Session */
/** @typedef {import("./shapes.js").Tenant} Tenant */

/** @type {ShopView | null} */
let view = null;
/** Ids of shops that the API still listed when it no longer knew them: they are being offboarded. @type {Set<string>} */
const gone = new Set();
/** Asks for the list of shops until it is there. @type {Poller | null} */
let opening = null;

const panels = { range: new Range(() => view?.changeDates()), trend: new Trend(), terminal: new Terminal() };
const signIn = new SignIn((session) => {
  rememberSession(session);
  openDashboard(session);
});

byId("sign-out").addEventListener("click", () => signOut(null));
byId("no-shop-retry").addEventListener("click", () => opening?.soon());
byId("no-shop-origin").textContent = location.origin;

const session = rememberedSession();
if (session) openDashboard(session);
else signIn.show();

/** @param {Session} session */
function openDashboard(session) {
  signIn.hide();
  byId("dashboard").hidden = false;
  resetConnection();
  const api = new Api(session.authorization);
  if (session.kind === "tenant") {
    hideSwitcher();
    openShop(api, null);
  } else {
    findShops(api);
  }
}

/** @param {Api} api */
function findShops(api) {
  closeShop();
  api.shop = null;
  opening = new Poller(
    async () => {
      const shops = (await listShops(api)).filter(({ id }) => !gone.has(id));
      byId("no-shop").hidden = shops.length > 0;
      if (shops.length === 0) return 5000;
      const chosen = chooseShop(shops);
      showSwitcher(shops, chosen, (shop) => openShop(api, shop));
      openShop(api, chosen);
      return 0;
    },
    (problem) => {
      if (!problem || !lost(problem, api)) reportConnection("shops", problem);
    },
  );
  opening.start();
}

/**
 * @param {Api} api
 * @param {Tenant | null} shop
 */
function openShop(api, shop) {
  closeShop();
  api.shop = shop?.shopDomain ?? null;
  byId("shop").hidden = false;
  view = new ShopView(api, shop, panels, (problem) => lost(problem, api));
  view.open();
}

function closeShop() {
  opening?.stop();
  opening = null;
  view?.close();
  view = null;
  byId("shop").hidden = true;
  byId("no-shop").hidden = true;
  resetConnection();
}

/**
 * Deals with what no repetition mends. Returns whether it did.
 *
 * @param {Problem} problem
 * @param {Api} api
 */
function lost(problem, api) {
  if (problem.status === 401) {
    signOut(problem.message);
    return true;
  }
  if (problem.status === 404 && view?.tenant) {
    gone.add(view.tenant.id);
    findShops(api);
    return true;
  }
  return false;
}

/** @param {string | null} problem  why, when it was not asked for */
function signOut(problem) {
  forgetSession();
  closeShop();
  byId("dashboard").hidden = true;
  signIn.show(problem);
}
