// Repeated requests: one in flight, slower while they fail, none while nobody looks.

import { Problem } from "./api.js";

/** The longest pause between two tries, in milliseconds. */
const LONGEST_PAUSE = 30_000;

export class Poller {
  #failures = 0;
  #timer = 0;
  #running = false;
  #isWanted = false;
  #again = false;
  /** @type {AbortController} */
  #stopped = new AbortController();

  /**
   * @param {(signal: AbortSignal) => Promise<number>} task  returns the milliseconds until it wants to run again
   * @param {(problem: Problem | null) => void} report  told of every end: null when it went well
   */
  constructor(task, report) {
    this.task = task;
    this.report = report;
  }

  start() {
    this.#isWanted = true;
    this.#failures = 0;
    this.#stopped = new AbortController();
    document.addEventListener("visibilitychange", this.#onVisibility);
    void this.#run();
  }

  stop() {
    this.#isWanted = false;
    clearTimeout(this.#timer);
    this.#stopped.abort();
    document.removeEventListener("visibilitychange", this.#onVisibility);
  }

  /** Drops the request in flight, if any, and asks anew. */
  restart() {
    this.stop();
    this.start();
  }

  /** Runs now, or once more right after the request that is in flight. A pause after a failure is kept. */
  soon() {
    if (!this.#isWanted || this.#failures > 0) return;
    if (this.#running) this.#again = true;
    else void this.#run();
  }

  #onVisibility = () => {
    if (document.hidden) clearTimeout(this.#timer);
    else if (!this.#running) void this.#run();
  };

  async #run() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    this.#running = true;
    this.#again = false;
    const { signal } = this.#stopped;
    let pause = 0;
    try {
      pause = await this.task(signal);
      if (signal.aborted) return;
      this.#failures = 0;
      this.report(null);
    } catch (error) {
      if (signal.aborted) return;
      // Anything but a Problem is a mistake of this page's: it belongs in the console, and polling goes on.
      if (!(error instanceof Problem)) console.error(error);
      const problem = error instanceof Problem ? error : new Problem(0, "This page could not show an answer. Please reload it.");
      pause = backoff(this.#failures++, problem.retryAfter * 1000);
      this.report(problem);
    } finally {
      if (signal === this.#stopped.signal) this.#running = false;
    }
    if (signal.aborted) return;
    if (this.#again && this.#failures === 0) pause = 0;
    if (!document.hidden) this.#timer = setTimeout(() => void this.#run(), pause);
  }
}

/**
 * Milliseconds to wait after the given number of earlier failures; never less than the server asked for. The jitter keeps
 * many open pages from coming back in the same instant.
 *
 * @param {number} failures
 * @param {number} asked
 */
function backoff(failures, asked) {
  const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** Math.min(failures, 10));
  return Math.max(asked, pause * (0.75 + Math.random() / 2));
}
