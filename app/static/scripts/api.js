// Requests to the JSON API, and what can go wrong with them in words for a person.

/** How long an answer may take, in milliseconds. */
const DEADLINE = 20_000;

/** What went wrong with a request. `status` is 0 when there was no answer at all. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} text  for a person
   * @param {{ retryAfter?: number, body?: any }} rest  retryAfter in seconds
   */
  constructor(status, text, { retryAfter = 0, body = null } = {}) {
    super(text);
    this.name = "Problem";
    this.status = status;
    this.retryAfter = retryAfter;
    this.body = body;
  }
}

export class Api {
  /** The shop that the administrator looks at; a tenant's token names its own. @type {string | null} */
  shop = null;
  /** @type {string} */
  #authorization;

  /** @param {string} authorization */
  constructor(authorization) {
    this.#authorization = authorization;
  }

  /**
   * @param {string} path
   * @param {Record<string, string | number | null | undefined>} query
   * @param {AbortSignal} [signal]
   */
  get(path, query = {}, signal) {
    return this.#request("GET", path, query, undefined, signal);
  }

  /**
   * @param {string} path
   * @param {object} body
   */
  post(path, body) {
    return this.#request("POST", path, {}, body);
  }

  /** @param {string} path */
  delete(path) {
    return this.#request("DELETE", path, {});
  }

  /**
   * The answer's JSON. Throws a Problem, or an AbortError when `signal` ended it.
   *
   * @param {string} method
   * @param {string} path
   * @param {Record<string, string | number | null | undefined>} query
   * @param {object} [body]
   * @param {AbortSignal} [signal]
   */
  async #request(method, path, query, body, signal) {
    const address = new URL(path, location.origin);
    for (const [name, value] of Object.entries({ shop: this.shop, ...query })) {
      if (value !== null && value !== undefined) address.searchParams.set(name, String(value));
    }
    const deadline = AbortSignal.timeout(DEADLINE);
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json", Authorization: this.#authorization };
    // Requests that change something are JSON, also an empty one: no form of another site can send that.
    if (method !== "GET") headers["Content-Type"] = "application/json";
    let response, answer;
    try {
      response = await fetch(address, {
        method,
        headers,
        body: method === "GET" ? undefined : JSON.stringify(body ?? {}),
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      });
      answer = await response.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, deadline.aborted ? "Shopstream takes too long to answer." : "Shopstream cannot be reached. Is it running, and are you online?");
    }
    const json = parsed(answer);
    if (!response.ok) throw problemOf(response, json);
    return json;
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param {Response} response
 * @param {any} body  a problem document (RFC 9457), if the answer was one
 */
function problemOf(response, body) {
  const said = [body?.detail, body?.title].find((text) => typeof text === "string" && text) ?? null;
  const retryAfter = Math.max(0, Number(response.headers.get("Retry-After")) || 0);
  return new Problem(response.status, words(response.status, said, retryAfter), { retryAfter, body });
}

/**
 * @param {number} status
 * @param {string | null} said
 * @param {number} retryAfter  seconds
 */
function words(status, said, retryAfter) {
  const wait = retryAfter ? ` Please wait ${retryAfter} s.` : "";
  if (status === 401) return said ?? "The sign-in is not accepted.";
  if (status === 429) return `Too many requests at once.${wait || " Please wait a moment."}`;
  if (status === 503) return `Shopstream cannot answer right now. ${said ? sentence(said) : ""}${wait}`;
  if (status >= 500) return `Something went wrong in Shopstream (${status}). ${said ? sentence(said) : ""}`;
  return said ?? `Shopstream answered ${status}.`;
}

/** @param {string} text */
function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
