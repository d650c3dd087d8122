// Elements made of text. Nothing here or elsewhere turns a string into markup: shoppers choose many of these strings.

/**
 * A new element. Children that are strings become text.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null | undefined>} attributes  null, undefined and false are left out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

/**
 * The element of the page with this id. The template and the scripts are one release: a missing one is a mistake.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind = /** @type {any} */ (HTMLElement)) {
  const node = document.getElementById(id);
  if (!(node instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}`);
  return node;
}

/**
 * Text in a shape of its own: its writing direction, and any override in it, ends where it ends.
 *
 * @param {string} text
 * @param {{ class?: string, title?: string }} attributes
 */
export function foreignText(text, attributes = {}) {
  return element("bdi", attributes, text);
}

/**
 * Shows `text` in a message line, or hides the line when there is none.
 *
 * @param {HTMLElement} line
 * @param {string | null} text
 */
export function say(line, text) {
  if (line.textContent !== (text ?? "")) line.textContent = text ?? "";
  line.hidden = text === null;
}

/**
 * @param {string} title
 * @param {string} advice
 */
export function emptyState(title, advice) {
  return element("div", { class: "empty" }, element("strong", {}, title), element("span", {}, advice));
}
