// Whether the page is up to date: the light in the top bar and the line under it.

import { byId, say } from "./dom.js";

/** @typedef {import("./api.js").Problem} Problem */

/** @type {Map<string, Problem>} */
const problems = new Map();

/**
 * Notes how the last request for `subject` went.
 *
 * @param {string} subject
 * @param {Problem | null} problem
 */
export function reportConnection(subject, problem) {
  if (problem) problems.set(subject, problem);
  else problems.delete(subject);
  const [first] = problems.values();
  show(first ? "trouble" : "live", first ? "Not up to date" : "Live");
  say(byId("page-notice"), first ? `${first.message} Trying again by itself.` : null);
}

export function resetConnection() {
  problems.clear();
  show("connecting", "Connecting");
  say(byId("page-notice"), null);
}

/**
 * @param {string} state
 * @param {string} text
 */
function show(state, text) {
  byId("connection").dataset.state = state;
  const label = byId("connection-text");
  if (label.textContent !== text) label.textContent = text;
}
