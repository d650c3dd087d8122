// The JSON API's answers, as types for the other modules. Money is a decimal string, a time ISO 8601 in UTC.

/**
 * @typedef {{
 *   id: string, shopDomain: string, status: string, name?: string | null, currency?: string | null,
 *   timezone?: string | null, lastWebhookAt?: string | null, lastSyncAt?: string | null,
 * }} Tenant
 * @typedef {{ tenants: Tenant[], next?: string | null }} TenantList
 *
 * @typedef {{ from: string | null, to: string | null, complete: boolean, reason?: string | null }} Coverage
 * @typedef {{ currency: string, revenue: string, orders: number, averageOrderValue: string | null }} CurrencyFigures
 * @typedef {{
 *   currency: string | null, totalRevenue: string, totalOrders: number, totalCustomers: number, totalProducts: number,
 *   averageOrderValue: string | null, byCurrency: CurrencyFigures[], coverage: Coverage, lastUpdatedAt: string | null,
 * }} Stats
 *
 * @typedef {{ date: string, orders: number, revenue: string }} Day  `date` is YYYY-MM-DD, a day of the shop's own
 * @typedef {{ timezone: string, currency: string | null, days: Day[], coverage?: Coverage }} OrdersTrend
 *
 * @typedef {{
 *   id: string, shopifyId: string, name: string | null, email: string | null, ordersCount: number,
 *   totalSpent: string, currency: string | null,
 * }} TopCustomer
 *
 * @typedef {{ resource: string, status: string, done: number, total: number | null, reason?: string | null }} ResourceProgress
 * @typedef {{
 *   id: string, status: string, mode: string, startedAt: string | null, finishedAt: string | null,
 *   error: string | null, resources: ResourceProgress[],
 * }} Run
 * @typedef {{ id: number, level: string, source: string, message: string, createdAt: string }} LogLine
 * @typedef {{ runs: Run[], logs: LogLine[] }} SyncStatus
 *
 * @typedef {{ kind: "admin" | "tenant", authorization: string }} Session
 * @typedef {{ from?: string, to?: string }} Dates  inclusive days, YYYY-MM-DD; absent: unbounded
 */

export {};
