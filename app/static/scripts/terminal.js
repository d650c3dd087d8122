// The live events: a terminal that follows its end, unless someone scrolled up to read.

import { byId, element, foreignText } from "./dom.js";
import { count, moment, timeOfDay } from "./format.js";

/** @typedef {import("./shapes.js").LogLine} LogLine */

/** Lines kept; the oldest go first. */
const LINES = 1000;
/** How near to the end, in pixels, still counts as being at it. */
const AT_END = 24;
const LEVELS = ["debug", "info", "warning", "error"];

export class Terminal {
  /** The id of the newest line: the next question asks for what comes after it. @type {number | null} */
  lastId = null;
  #isFollowing = true;
  #unseen = 0;
  /** @type {Map<string, HTMLElement>} */
  #counts = new Map();

  constructor() {
    this.screen = byId("terminal");
    this.jump = byId("jump", HTMLButtonElement);
    this.screen.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    this.jump.addEventListener("click", () => {
      this.#scrollToEnd();
      this.screen.focus();
    });
    byId("event-levels").replaceChildren(...LEVELS.map((level) => this.#chip(level)));
    new ResizeObserver(() => this.#isFollowing && this.#scrollToEnd()).observe(this.screen);
  }

  clear() {
    this.lastId = null;
    this.screen.replaceChildren();
    this.#isFollowing = true;
    this.#afterChange();
  }

  /**
   * Appends lines, oldest first. Those already here are skipped.
   *
   * @param {LogLine[]} lines
   * @returns {boolean} whether anything was new
   */
  add(lines) {
    const fresh = lines.filter(({ id }) => this.lastId === null || id > this.lastId);
    if (fresh.length === 0) return false;
    this.lastId = fresh[fresh.length - 1].id;
    this.screen.append(...fresh.slice(-LINES).map(lineOf));
    if (!this.#isFollowing) this.#unseen += fresh.length;
    this.#trim();
    this.#afterChange();
    return true;
  }

  #trim() {
    const excess = this.screen.children.length - LINES;
    if (excess <= 0) return;
    const before = this.screen.scrollHeight;
    for (const line of [...this.screen.children].slice(0, excess)) line.remove();
    // What is being read stays where it is.
    if (!this.#isFollowing) this.screen.scrollTop -= before - this.screen.scrollHeight;
  }

  #afterChange() {
    byId("terminal-empty").hidden = this.screen.children.length > 0;
    for (const [level, label] of this.#counts) {
      label.textContent = count(this.screen.querySelectorAll(`[data-level="${level}"]`).length);
    }
    if (this.#isFollowing) this.#scrollToEnd();
    this.#showJump();
  }

  #scrollToEnd() {
    this.screen.scrollTop = this.screen.scrollHeight;
  }

  #noticeScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.screen;
    this.#isFollowing = scrollHeight - scrollTop - clientHeight <= AT_END;
    if (this.#isFollowing) this.#unseen = 0;
    this.#showJump();
  }

  #showJump() {
    this.jump.hidden = this.#isFollowing;
    this.jump.textContent = this.#unseen ? `Jump to newest (${count(this.#unseen)} new)` : "Jump to newest";
  }

  /** @param {string} level */
  #chip(level) {
    const label = element("span", { class: "count" }, "0");
    this.#counts.set(level, label);
    const chip = element("button", { class: "chip", type: "button", "data-level": level, "aria-pressed": "true" }, level, label);
    chip.addEventListener("click", () => {
      const isShown = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(isShown));
      this.screen.toggleAttribute(`data-hide-${level}`, !isShown);
      if (this.#isFollowing) this.#scrollToEnd();
    });
    return chip;
  }
}

/** @param {LogLine} line */
function lineOf({ level, source, message, createdAt }) {
  const known = LEVELS.includes(level) ? level : "info";
  return element("div", { class: "line", "data-level": known },
    element("time", { class: "time", datetime: createdAt, title: moment(createdAt) }, timeOfDay(createdAt)),
    element("span", { class: "level" }, level === "warning" ? "warn" : level),
    element("span", { class: "text" }, element("span", { class: "source" }, source), " ", foreignText(message)),
  );
}
