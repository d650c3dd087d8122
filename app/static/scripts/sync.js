// How far the history is, run by run, with the buttons to start a run and to cancel it.

import { Problem } from "./api.js";
import { byId, element, emptyState, say } from "./dom.js";
import { ago, count, duration, moment } from "./format.js";

/** @typedef {import("./shapes.js").Run} Run */
/** @typedef {import("./shapes.js").ResourceProgress} ResourceProgress */

/** @type {Record<string, string>} */
const TONES = { running: "busy", completed: "good", incomplete: "warning", failed: "bad" };
/** Runs listed below the newest. */
const EARLIER_RUNS = 5;

export class SyncPanel {
  /** @type {Run | null} */
  #running = null;
  #isBusy = false;

  /**
   * @param {import("./api.js").Api} api
   * @param {() => void} onChange  called after a run was started or cancelled
   */
  constructor(api, onChange) {
    this.api = api;
    this.onChange = onChange;
    this.startButton = byId("sync-start", HTMLButtonElement);
    this.cancelButton = byId("sync-cancel", HTMLButtonElement);
    this.startButton.onclick = () => this.#ask(() => this.#start());
    this.cancelButton.onclick = () => this.#ask(() => this.#cancel());
    say(byId("sync-problem"), null);
    byId("sync-body").replaceChildren(element("div", { class: "empty skeleton" }, "\u00a0"));
  }

  /** @param {Run[]} runs  newest first */
  show(runs) {
    const wasRunning = this.#running !== null;
    this.#running = runs.find(({ status }) => status === "running") ?? null;
    if (wasRunning && !this.#running) say(byId("sync-problem"), null);
    this.#showButtons();
    const body = byId("sync-body");
    body.setAttribute("aria-busy", "false");
    const newest = this.#running ?? runs[0];
    if (!newest) {
      body.replaceChildren(emptyState("Never synced", "A sync fetches the shop’s history; webhooks arrive without it."));
      return;
    }
    const isOpen = body.querySelector("details")?.open ?? false;
    const earlier = runs.filter((run) => run !== newest).slice(0, EARLIER_RUNS);
    body.replaceChildren(runDetails(newest), ...(earlier.length ? [earlierRuns(earlier, isOpen)] : []));
  }

  #showButtons() {
    this.startButton.disabled = this.#isBusy;
    this.startButton.hidden = this.#running !== null;
    this.cancelButton.disabled = this.#isBusy;
    this.cancelButton.hidden = this.#running === null;
  }

  /** @param {() => Promise<void>} request */
  async #ask(request) {
    this.#isBusy = true;
    this.#showButtons();
    say(byId("sync-problem"), null);
    try {
      await request();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      say(byId("sync-problem"), error.message);
    } finally {
      this.#isBusy = false;
      this.#showButtons();
    }
    this.onChange();
  }

  async #start() {
    try {
      await this.api.post("/api/sync", {});
    } catch (error) {
      if (!(error instanceof Problem && error.status === 409)) throw error;
      // Someone else started one: the next answer shows it.
      say(byId("sync-problem"), error.message);
    }
  }

  async #cancel() {
    if (this.#running) await this.api.delete(`/api/sync/${encodeURIComponent(this.#running.id)}`);
  }
}

/** @param {Run} run */
function runDetails(run) {
  const facts = element("p", { class: "run-facts" }, badge(run.status));
  if (run.startedAt) {
    facts.append(element("span", { title: moment(run.startedAt) }, `started ${ago(run.startedAt)}`));
    if (run.finishedAt) facts.append(element("span", {}, `took ${duration(run.startedAt, run.finishedAt)}`));
  }
  facts.append(element("span", {}, `${run.mode} mode`));
  const details = element("div", { class: "run" }, facts, ...run.resources.map((each) => progressOf(each, run)));
  if (run.error) details.append(element("p", { class: "run-error" }, run.error));
  return details;
}

/**
 * @param {ResourceProgress} resource
 * @param {Run} run
 */
function progressOf({ resource, status, done, total, reason }, run) {
  const isOver = run.status !== "running" || status === "completed";
  const name = resource.replaceAll("_", " ");
  const amount = total === null ? count(done) : `${count(done)} of ${count(total)}`;
  const bar = element("progress", { "aria-label": `${name}: ${amount}`, "data-tone": TONES[status] ?? null });
  // Without a total the bar only says that something is going on; an ended one is full or empty.
  if (total !== null && total > 0) {
    bar.max = total;
    bar.value = Math.min(done, total);
  } else if (isOver) {
    bar.max = 1;
    bar.value = status === "completed" ? 1 : 0;
  }
  return element("div", { class: "resource" },
    element("span", { class: "name" }, name),
    element("span", { class: "amount" }, amount),
    bar,
    reason ? element("p", { class: "reason" }, reason) : "",
  );
}

/**
 * @param {Run[]} runs
 * @param {boolean} isOpen
 */
function earlierRuns(runs, isOpen) {
  const items = runs.map((run) =>
    element("li", {},
      badge(run.status),
      run.startedAt ? element("span", { title: moment(run.startedAt) }, ago(run.startedAt)) : "",
      run.error ? element("span", {}, run.error) : "",
    ),
  );
  return element("details", { class: "earlier", open: isOpen },
    element("summary", {}, "Earlier runs"), element("ul", {}, ...items));
}

/** @param {string} status */
function badge(status) {
  return element("span", { class: "badge", "data-tone": TONES[status] ?? null }, status);
}
