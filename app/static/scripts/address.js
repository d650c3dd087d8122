// What of the page's state stands in its address, so that it can be kept and shared: the shop and the dates. Nothing secret.

const NAMES = /** @type {const} */ (["shop", "period", "from", "to"]);

/** @typedef {Partial<Record<typeof NAMES[number], string>>} Address */

/** @returns {Address} */
export function readAddress() {
  const search = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.flatMap((name) => (search.has(name) ? [[name, search.get(name)]] : [])));
}

/**
 * Changes the given parts; undefined removes one. Anything else in the address is dropped.
 *
 * @param {Address} changes
 */
export function changeAddress(changes) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...readAddress(), ...changes })) {
    if (value !== undefined) search.set(name, value);
  }
  history.replaceState(null, "", search.size ? `?${search}` : location.pathname);
}
