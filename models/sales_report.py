"""A shop's sales, day by day, as Shopify reports them: gross, discounts, returns, net, shipping, taxes, duties, total.

What the orders of a day came to counts on that day, whatever became of them (pending, cancelled); what was taken back
counts on the day on which its refund was processed. Test and deleted orders are left out, and gift cards, which are
money owed and no sale. Tips are no sale either. Currencies are never added.

Where Shopify does not say how it reckons, this is how we do:

- What an edit removes is a return on the edit's day, as its record among the refunds has it. What an edit adds counts on
  the order's day: only Shopify's ledger tells when it was added.
- With taxes included in prices, a line's tax is taken out of its price, and a refunded line's out of its subtotal, so that
  discounts and discrepancies are the only amounts that hold tax. The same goes for shipping.
- A removed shipping line counts as far as refunds take it back; without such a record it never was.
- Money on its way back is a return from the day of its refund (``shopify.resources.orders.refunds``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal

from sqlmodel import Session

from models import refetches
from models.analytics import Coverage, coverage, currency_of
from models.database import sql
from models.tenants import Tenant

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Sales:
    """``discounts`` and ``returns`` are zero or negative, as a rule; all others are signed alike: plus is income."""

    gross: Decimal = ZERO
    discounts: Decimal = ZERO
    returns: Decimal = ZERO
    shipping: Decimal = ZERO
    taxes: Decimal = ZERO
    duties: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        return self.gross + self.discounts + self.returns

    @property
    def total(self) -> Decimal:
        return self.net + self.shipping + self.taxes + self.duties

    def plus(self, other: "Sales") -> "Sales":
        return Sales(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class SalesDay:
    date: date
    sales: Sales


@dataclass(frozen=True, slots=True)
class SalesReport:
    """Every day of the range, the shop's own days, in its own currency. ``currency`` is None while nothing is known of it."""

    timezone: str
    currency: str | None
    days: Sequence[SalesDay]
    totals: Sales
    coverage: Coverage


#: Both ends, like every figure's, are days of the shop's own. What is read is what happened within: indexes lead to it.
_REPORT = """
with sold as (
    select shopify_id, day, coalesce(taxes_included, false) as taxes_included,
           coalesce(total_tax, 0) as taxes, coalesce(original_total_duties, 0) as duties
    from orders
    where tenant_id = :tenant_id and day between :first and :last and currency = :currency
      and not coalesce(test, false) and deleted_at is null
),
sold_lines as (
    select sold.day,
           sum(price * quantity - case when taxes_included then coalesce(lines.total_tax, 0) else 0 end) as gross,
           sum(coalesce(allocated_discount, total_discount, 0)) as discounts
    from sold
    join line_items as lines on lines.tenant_id = :tenant_id and lines.order_shopify_id = sold.shopify_id
    where not coalesce(gift_card, false) and price is not null and quantity is not null
    group by sold.day
),
sold_shipping as (
    select sold.day,
           sum(coalesce(discounted_price, price, 0)
               - case when taxes_included then coalesce(total_tax, 0) else 0 end) as shipping
    from sold
    join shipping_lines as lines on lines.tenant_id = :tenant_id and lines.order_shopify_id = sold.shopify_id
    where not coalesce(is_removed, false)
    group by sold.day
),
removed_shipping as (  -- of each order: few have any
    select sold.day, sold.shopify_id,
           sum(coalesce(discounted_price, price, 0)
               - case when taxes_included then coalesce(total_tax, 0) else 0 end) as removed
    from sold
    join shipping_lines as lines on lines.tenant_id = :tenant_id and lines.order_shopify_id = sold.shopify_id
    where is_removed
    group by sold.day, sold.shopify_id
),
taken_back as (
    select refunds.shopify_id, refunds.order_shopify_id,
           cast(refunds.processed_at at time zone :timezone as date) as day,
           coalesce(taxes_included, false) as taxes_included,
           coalesce(shipping, 0) as shipping, coalesce(shipping_tax, 0) as shipping_tax, coalesce(duties, 0) as duties,
           coalesce(discrepancy, 0) as discrepancy, coalesce(discrepancy_tax, 0) as discrepancy_tax
    from refunds
    join orders on orders.tenant_id = :tenant_id and orders.shopify_id = refunds.order_shopify_id
    where refunds.tenant_id = :tenant_id
      and refunds.processed_at >= cast(:first as timestamp) at time zone :timezone
      and refunds.processed_at < cast(cast(:last as date) + 1 as timestamp) at time zone :timezone
      and currency = :currency and not coalesce(test, false) and deleted_at is null
),
taken_back_lines as (
    select taken_back.day,
           coalesce(sum(
               coalesce(lines.subtotal, 0) - case when taxes_included then coalesce(lines.total_tax, 0) else 0 end
           ) filter (where not coalesce(line_items.gift_card, false)), 0) as returns,
           sum(coalesce(lines.total_tax, 0)) as taxes
    from taken_back
    join refund_line_items as lines
        on lines.tenant_id = :tenant_id and lines.order_shopify_id = taken_back.order_shopify_id
        and lines.refund_shopify_id = taken_back.shopify_id
    left join line_items
        on line_items.tenant_id = :tenant_id and line_items.shopify_id = lines.line_item_shopify_id
    group by taken_back.day
),
booked (day, gross, discounts, returns, shipping, taxes, duties) as (
    select day, gross, -discounts, 0, 0, 0, 0 from sold_lines
    union all
    select day, 0, 0, 0, 0, sum(taxes), sum(duties) from sold group by day
    union all
    select day, 0, 0, 0, shipping, 0, 0 from sold_shipping
    union all
    select day, 0, 0, 0, least(removed, greatest(0, refunded.shipping - left_lines.taken_off)), 0, 0
    from removed_shipping
    cross join lateral (
        select coalesce(sum(shipping), 0) as shipping from refunds
        where refunds.tenant_id = :tenant_id and refunds.order_shopify_id = removed_shipping.shopify_id
    ) as refunded
    cross join lateral (
        select coalesce(sum(discounted_price - current_discounted_price), 0) as taken_off from shipping_lines as lines
        where lines.tenant_id = :tenant_id and lines.order_shopify_id = removed_shipping.shopify_id
          and not coalesce(is_removed, false)
    ) as left_lines
    union all
    select day, 0, 0, -returns, 0, -taxes, 0 from taken_back_lines
    union all
    select day, 0, 0, discrepancy,
           case when taxes_included then shipping_tax else 0 end - shipping,
           discrepancy_tax - shipping_tax, -duties
    from taken_back
)
select cast(calendar.day as date) as day,
       coalesce(sum(gross), 0) as gross, coalesce(sum(discounts), 0) as discounts, coalesce(sum(returns), 0) as returns,
       coalesce(sum(shipping), 0) as shipping, coalesce(sum(taxes), 0) as taxes, coalesce(sum(duties), 0) as duties
from generate_series(cast(:first as timestamp), cast(:last as timestamp), interval '1 day') as calendar (day)
left join booked on booked.day = cast(calendar.day as date)
group by calendar.day
order by calendar.day
"""

_SPAN = """
with sold as (
    select min(day) as first, max(day) as last
    from orders where tenant_id = :tenant_id and not coalesce(test, false) and deleted_at is null
),
taken_back as (
    select cast(min(processed_at) at time zone :timezone as date) as first,
           cast(max(processed_at) at time zone :timezone as date) as last
    from refunds where tenant_id = :tenant_id
)
select least(sold.first, taken_back.first), greatest(sold.last, taken_back.last)
from sold cross join taken_back
where sold.first is not null
"""


def span(session: Session, tenant: Tenant) -> tuple[date | None, date | None]:
    """The first and the last day on which anything was sold or taken back; None, None before that."""
    found = session.execute(sql(_SPAN), {"tenant_id": tenant.id, "timezone": tenant.timezone}).one_or_none()
    return (found[0], found[1]) if found is not None else (None, None)


def report(session: Session, tenant: Tenant, *, first: date | None, last: date | None) -> SalesReport:
    """Every day from ``first`` to ``last``, both inclusive; none where there is nothing to tell of."""
    currency = currency_of(session, tenant)
    days: list[SalesDay] = []
    if currency is not None and first is not None and last is not None:
        rows = session.execute(
            sql(_REPORT),
            {
                "tenant_id": tenant.id,
                "timezone": tenant.timezone,
                "currency": currency,
                "first": first,
                "last": last,
            },
        )
        days = [SalesDay(day, Sales(*amounts)) for day, *amounts in rows]
    totals = Sales()
    for each in days:
        totals = totals.plus(each.sales)
    return SalesReport(tenant.timezone, currency, days, totals, _coverage(session, tenant))


def _coverage(session: Session, tenant: Tenant) -> Coverage:
    """As of every figure; besides, of an order that is still to be fetched its refunds may be missing."""
    found = coverage(session, tenant)
    waiting = refetches.outstanding(session, tenant.id, "orders")
    if not waiting:
        return found
    lack = f"orders: {waiting} {'is' if waiting == 1 else 'are'} still to be fetched"
    return replace(found, is_complete=False, reason=f"{found.reason}; {lack}" if found.reason else lack)
