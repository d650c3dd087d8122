// The sign-in form: the administrator's password or one shop's token.

import { Api, Problem } from "./api.js";
import { byId, say } from "./dom.js";
import { adminSession, tenantSession } from "./session.js";

/** @typedef {import("./shapes.js").Session} Session */

export class SignIn {
  /** @param {(session: Session) => void} onSuccess */
  constructor(onSuccess) {
    this.onSuccess = onSuccess;
    this.form = byId("sign-in-form", HTMLFormElement);
    this.button = byId("sign-in-button", HTMLButtonElement);
    this.form.addEventListener("change", () => this.#showFields());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
  }

  /** @param {string | null} problem */
  show(problem = null) {
    document.title = "Sign in – Shopstream";
    byId("sign-in").hidden = false;
    say(byId("sign-in-problem"), problem);
    this.#showFields();
    this.#field(this.#kind === "admin" ? "username" : "token").focus();
  }

  hide() {
    byId("sign-in").hidden = true;
    this.form.reset(); // no password stays in the page
  }

  get #kind() {
    return /** @type {RadioNodeList} */ (this.form.elements.namedItem("kind")).value;
  }

  /** @param {string} name */
  #field(name) {
    return /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
  }

  #showFields() {
    byId("admin-fields").hidden = this.#kind !== "admin";
    byId("tenant-fields").hidden = this.#kind !== "tenant";
  }

  async #submit() {
    const session = this.#read();
    if (typeof session === "string") {
      say(byId("sign-in-problem"), session);
      return;
    }
    say(byId("sign-in-problem"), null);
    this.button.disabled = true;
    this.button.textContent = "Signing in …";
    try {
      await accepted(session);
      this.onSuccess(session);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      say(byId("sign-in-problem"), error.message);
    } finally {
      this.button.disabled = false;
      this.button.textContent = "Sign in";
    }
  }

  /** @returns {Session | string} the session to try, or what is missing */
  #read() {
    if (this.#kind === "admin") {
      const username = this.#field("username").value;
      const password = this.#field("password").value;
      return username && password ? adminSession(username, password) : "Please enter the username and the password.";
    }
    const token = this.#field("token").value.trim();
    // Other letters can't stand in a header, and none of our tokens has them.
    return /^[\x21-\x7e]+$/.test(token) ? tenantSession(token) : "Please enter the shop’s API token.";
  }
}

/**
 * Throws a Problem unless the API takes this sign-in.
 *
 * @param {Session} session
 */
async function accepted({ kind, authorization }) {
  const api = new Api(authorization);
  await (kind === "admin" ? api.get("/api/tenants", { limit: 1 }) : api.get("/api/sync-status", { limit: 1 }));
}
