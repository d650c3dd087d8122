// Who is signed in: an Authorization header, kept for this tab alone and never part of an address.

/** @typedef {import("./shapes.js").Session} Session */

const KEY = "shopstream.session";

/**
 * @param {string} username
 * @param {string} password
 * @returns {Session}
 */
export function adminSession(username, password) {
  // btoa takes bytes, and a password may hold any letter.
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return { kind: "admin", authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

/**
 * @param {string} token
 * @returns {Session}
 */
export function tenantSession(token) {
  return { kind: "tenant", authorization: `Bearer ${token}` };
}

/** @returns {Session | null} */
export function rememberedSession() {
  try {
    const session = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    return typeof session?.authorization === "string" ? session : null;
  } catch {
    return null; // no storage here, or not ours: sign in again
  }
}

/** @param {Session} session */
export function rememberSession(session) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Without storage the session lasts until the page is reloaded.
  }
}

export function forgetSession() {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept either.
  }
}
