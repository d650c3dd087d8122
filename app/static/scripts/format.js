// Figures, money and times as people read them, in the browser's language.

/** @type {Map<string, Intl.NumberFormat>} */
const moneyFormats = new Map();
const counts = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const weekdays = new Intl.DateTimeFormat(undefined, {
  weekday: "short", day: "numeric", month: "short", year: "numeric", timeZone: "UTC",
});
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/**
 * An amount in its currency. The decimal string goes to Intl as it is, which reads it exactly: no float in between.
 *
 * @param {string | null} amount
 * @param {string | null} currency  ISO 4217; another code is written behind the amount
 */
export function money(amount, currency) {
  if (amount === null) return "–";
  return moneyFormat(currency, "standard").format(/** @type {any} */ (amount)) + unusual(currency);
}

/**
 * A short amount for a chart's axis, where a float will do.
 *
 * @param {number} amount
 * @param {string | null} currency
 */
export function shortMoney(amount, currency) {
  return moneyFormat(currency, "compact").format(amount);
}

/**
 * @param {string | null} currency
 * @param {"standard" | "compact"} notation
 */
function moneyFormat(currency, notation) {
  const key = `${notation} ${currency}`;
  let format = moneyFormats.get(key);
  if (!format) {
    /** @type {Intl.NumberFormatOptions} */
    const options = unusual(currency) || currency === null ? { minimumFractionDigits: notation === "compact" ? 0 : 2 } : { style: "currency", currency };
    // "$" of the shop's own country is clearer than "US$" only where the two can't be confused, so Intl may decide.
    if (notation === "compact") Object.assign(options, { notation, minimumFractionDigits: 0, maximumFractionDigits: 1 });
    format = new Intl.NumberFormat(undefined, options);
    moneyFormats.set(key, format);
  }
  return format;
}

/**
 * What to write behind an amount whose currency Intl can't take.
 *
 * @param {string | null} currency
 */
function unusual(currency) {
  return currency === null || /^[A-Z]{3}$/.test(currency) ? "" : ` ${currency}`;
}

/** @param {number} number */
export function count(number) {
  return counts.format(number);
}

/**
 * A day of the shop's, such as "Mar 1, 2026". A date has no time zone: it is read and written as UTC.
 *
 * @param {string} date  YYYY-MM-DD
 */
export function day(date) {
  return days.format(new Date(`${date}T00:00:00Z`));
}

/** @param {string} date  YYYY-MM-DD */
export function weekday(date) {
  return weekdays.format(new Date(`${date}T00:00:00Z`));
}

/** @param {string} time */
export function timeOfDay(time) {
  return clock.format(new Date(time));
}

/** @param {string} time */
export function moment(time) {
  return moments.format(new Date(time));
}

/**
 * "3 minutes ago". A clock that is ahead of ours must not make the past a future.
 *
 * @param {string} time
 * @param {number} now  milliseconds
 */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 60) return relative.format(-seconds, "second");
  if (seconds < 3600) return relative.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return relative.format(-Math.round(seconds / 3600), "hour");
  return relative.format(-Math.round(seconds / 86_400), "day");
}

/**
 * "4 s", "3 min 20 s", "2 h 5 min".
 *
 * @param {string} from
 * @param {string} to
 */
export function duration(from, to) {
  const seconds = Math.max(0, Math.round((Date.parse(to) - Date.parse(from)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
