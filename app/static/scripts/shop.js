// One shop on the screen: asks for its figures, its events and its runs for as long as it is looked at.

import { Problem } from "./api.js";
import { clearCustomers, showCustomers } from "./customers.js";
import { reportConnection } from "./connection.js";
import { byId } from "./dom.js";
import { clearFigures, showFigures } from "./figures.js";
import { Poller } from "./poll.js";
import { shopTitle } from "./shops.js";
import { SyncPanel } from "./sync.js";

/** @typedef {import("./shapes.js").Tenant} Tenant */
/** @typedef {import("./shapes.js").Stats} Stats */
/** @typedef {{ range: import("./range.js").Range, trend: import("./trend.js").Trend, terminal: import("./terminal.js").Terminal }} Panels */

/** Pauses between two questions, in milliseconds. */
const EVENTS_PAUSE = 2000;
const EVENTS_PAUSE_IN_SYNC = 1000;
const FIGURES_PAUSE = 5000;
const FACTS_PAUSE = 20_000;
/** The first lines of the terminal, and the most that one later answer may bring. */
const LOG_LIMIT = 200;

/** @type {Record<string, string>} */
const STATUS_TONES = { active: "good", paused: "warning", unreachable: "warning" };

export class ShopView {
  /** What the trend and the customers were last fetched for. */
  #shown = "";

  /**
   * @param {import("./api.js").Api} api
   * @param {Tenant | null} tenant  null where the API does not say more than figures
   * @param {Panels} panels
   * @param {(problem: Problem) => boolean} onLost  told when the sign-in or the shop is gone; true: this view has ended
   */
  constructor(api, tenant, panels, onLost) {
    this.api = api;
    this.tenant = tenant;
    this.panels = panels;
    const report = (/** @type {string} */ subject) => (/** @type {Problem | null} */ problem) => {
      if (!problem || !onLost(problem)) reportConnection(subject, problem);
    };
    this.figures = new Poller((signal) => this.#refreshFigures(signal), report("figures"));
    this.events = new Poller((signal) => this.#refreshEvents(signal), report("events"));
    this.facts = new Poller((signal) => this.#refreshFacts(signal), report("shop"));
    this.sync = new SyncPanel(api, () => this.events.soon());
  }

  open() {
    clearFigures();
    clearCustomers();
    this.panels.trend.clear();
    this.panels.terminal.clear();
    if (this.tenant?.timezone) this.panels.range.timezone = this.tenant.timezone;
    showHeading(this.tenant);
    this.figures.start();
    this.events.start();
    if (this.tenant) this.facts.start();
  }

  close() {
    this.figures.stop();
    this.events.stop();
    this.facts.stop();
  }

  changeDates() {
    this.#shown = "";
    this.panels.trend.clear();
    this.figures.restart();
  }

  /** @param {AbortSignal} signal */
  async #refreshFigures(signal) {
    const { range, trend } = this.panels;
    const dates = range.dates();
    /** @type {Stats} */
    const stats = await this.api.get("/api/stats", dates, signal);
    showFigures(stats, range.inWords());
    // The longer answers are asked for only when they can have changed.
    const { lastUpdatedAt, totalOrders, totalRevenue } = stats;
    const state = JSON.stringify([dates, lastUpdatedAt, totalOrders, totalRevenue]);
    if (state !== this.#shown) {
      const [days, top] = await Promise.all([
        this.api.get("/api/orders-trend", dates, signal),
        this.api.get("/api/top-customers", { limit: 6 }, signal),
      ]);
      trend.show(days);
      showCustomers(top.customers);
      this.#shown = state;
      if (days.timezone && days.timezone !== range.timezone) {
        range.timezone = days.timezone; // a tenant learns its own time zone here; its today may be another day
        return 0;
      }
    }
    return FIGURES_PAUSE;
  }

  /** @param {AbortSignal} signal */
  async #refreshEvents(signal) {
    const { terminal } = this.panels;
    /** @type {import("./shapes.js").SyncStatus} */
    const { runs, logs } = await this.api.get("/api/sync-status", { after: terminal.lastId, limit: LOG_LIMIT }, signal);
    const isFirst = terminal.lastId === null;
    this.sync.show(runs);
    if (terminal.add(logs) && !isFirst) this.figures.soon();
    if (!isFirst && logs.length >= LOG_LIMIT) return 0; // more are waiting
    return runs.some(({ status }) => status === "running") ? EVENTS_PAUSE_IN_SYNC : EVENTS_PAUSE;
  }

  /** @param {AbortSignal} signal */
  async #refreshFacts(signal) {
    if (this.tenant) {
      this.tenant = /** @type {Tenant} */ (await this.api.get(`/api/tenants/${this.tenant.id}`, {}, signal));
      showHeading(this.tenant);
    }
    return FACTS_PAUSE;
  }
}

/** @param {Tenant | null} tenant */
function showHeading(tenant) {
  const title = tenant ? shopTitle(tenant) : "Your shop";
  byId("shop-title").textContent = title;
  document.title = `${title} – Shopstream`;
  byId("shop-domain").textContent = tenant?.shopDomain ?? "";
  const status = byId("shop-status");
  status.hidden = !tenant;
  status.textContent = (tenant?.status ?? "").replaceAll("_", " ");
  status.dataset.tone = STATUS_TONES[tenant?.status ?? ""] ?? "bad";
}
