"""The questions that merchants ask, answered from the totals: DESIGN §4, "What counts"."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from sqlmodel import Session

from models import proofs, quarantine, sync_runs, watermarks
from models.columns import now
from models.database import sql
from models.resources import TABLES
from models.sync_runs import Ended, RunStatus
from models.tenants import Tenant, TenantStatus

#: A shop that cannot be reached for so long may have changed without our knowing.
AWAY = timedelta(hours=1)

#: ISO 4217: currencies whose minor unit is not a hundredth.
_DECIMALS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}


@dataclass(frozen=True, slots=True)
class CurrencySales:
    currency: str
    revenue: Decimal
    orders: int

    @property
    def average_order_value(self) -> Decimal:
        """Revenue by orders, rounded half up to the currency's minor unit; 0 without orders."""
        return in_minor_units(self.revenue / self.orders if self.orders else Decimal(0), self.currency)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The days that the figures stand on, and whether they hold everything that the store had."""

    first_day: date | None
    last_day: date | None
    is_complete: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """``currency`` is the shop's, None before anything is known of it; ``orders`` are of all currencies."""

    currency: str | None
    by_currency: Sequence[CurrencySales]
    orders: int
    customers: int
    products: int
    coverage: Coverage
    last_updated_at: datetime | None

    @property
    def own(self) -> CurrencySales:
        own = [sales for sales in self.by_currency if sales.currency == self.currency]
        return own[0] if own else CurrencySales(self.currency or "", Decimal(0), 0)


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    orders: int
    revenue: Decimal


@dataclass(frozen=True, slots=True)
class Trend:
    timezone: str
    currency: str | None
    days: Sequence[Day]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class TopCustomer:
    id: uuid.UUID
    shopify_id: int
    first_name: str | None
    last_name: str | None
    email: str | None
    orders_count: int
    total_spent: Decimal
    currency: str


def in_minor_units(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-_DECIMALS.get(currency, 2)), rounding=ROUND_HALF_UP)


def exact(amount: Decimal, currency: str | None) -> str:
    """A decimal string with at least the currency's minor units, and every further digit that the amount has."""
    decimals = _DECIMALS.get(currency or "", 2)
    exponent = amount.normalize().as_tuple().exponent
    return f"{amount:.{max(decimals, -int(exponent))}f}"


_BY_CURRENCY = """
select currency, sum(revenue) as revenue, sum(orders)::bigint as orders
from daily_sales
where tenant_id = :tenant_id
  and (cast(:first as date) is null or day >= :first) and (cast(:last as date) is null or day <= :last)
group by currency
having sum(orders) <> 0
order by sum(orders) desc, currency
"""


def stats(session: Session, tenant: Tenant, *, first: date | None = None, last: date | None = None) -> Stats:
    """Sales of the shop's own days from ``first`` to ``last``, both inclusive; customers and products of today."""
    sales = [
        CurrencySales(row.currency, row.revenue, row.orders)
        for row in session.execute(sql(_BY_CURRENCY), {"tenant_id": tenant.id, "first": first, "last": last})
    ]
    totals = {
        row.resource: row
        for row in session.execute(
            sql("select resource, live, updated_at from resource_totals where tenant_id = :tenant_id"),
            {"tenant_id": tenant.id},
        )
    }
    currency = currency_of(session, tenant)
    sales.sort(key=lambda each: each.currency != currency)
    return Stats(
        currency=currency,
        by_currency=sales,
        orders=sum(each.orders for each in sales),
        customers=totals["customers"].live if "customers" in totals else 0,
        products=totals["products"].live if "products" in totals else 0,
        coverage=coverage(session, tenant),
        last_updated_at=max((row.updated_at for row in totals.values()), default=None),
    )


_MAIN_CURRENCY = """
select currency from daily_sales where tenant_id = :tenant_id
group by currency having sum(orders) > 0 order by sum(orders) desc, currency limit 1
"""


def currency_of(session: Session, tenant: Tenant) -> str | None:
    """The shop's own currency; until the shop has been read, the one that most of its orders are in."""
    if tenant.currency is not None:
        return tenant.currency
    found: str | None = session.execute(sql(_MAIN_CURRENCY), {"tenant_id": tenant.id}).scalar_one_or_none()
    return found


_TREND = """
with range as (
    select coalesce(cast(:first as date), min(day)) as first, greatest(coalesce(cast(:last as date), max(day)), cast(:first as date)) as last
    from daily_sales where tenant_id = :tenant_id and orders <> 0
)
select cast(calendar.day as date) as day,
       coalesce(sum(sales.orders), 0)::bigint as orders,
       coalesce(sum(sales.revenue) filter (where sales.currency = :currency), 0) as revenue
from range
cross join lateral generate_series(range.first::timestamp, range.last::timestamp, interval '1 day') as calendar (day)
left join daily_sales as sales on sales.tenant_id = :tenant_id and sales.day = cast(calendar.day as date)
group by calendar.day
order by calendar.day
"""


def trend(session: Session, tenant: Tenant, *, first: date | None = None, last: date | None = None) -> Trend:
    """Every day of the range, the shop's own days: by default from its first day with an order to its last."""
    currency = currency_of(session, tenant)
    rows = session.execute(sql(_TREND), {"tenant_id": tenant.id, "first": first, "last": last, "currency": currency})
    return Trend(
        timezone=tenant.timezone,
        currency=currency,
        days=[Day(row.day, row.orders, row.revenue) for row in rows],
        coverage=coverage(session, tenant),
    )


_TOP_CUSTOMERS = """
select customers.id, customers.shopify_id, first_name, last_name, email, orders_count, total_spent, sales.currency
from customer_sales as sales
join customers on customers.tenant_id = sales.tenant_id and customers.shopify_id = sales.customer_shopify_id
where sales.tenant_id = :tenant_id and sales.currency = :currency and sales.orders_count > 0
  and customers.deleted_at is null and customers.updated_at is not null
order by total_spent desc, sales.customer_shopify_id
limit :limit
"""


def top_customers(session: Session, tenant: Tenant, *, limit: int) -> list[TopCustomer]:
    """Those who spent most on orders that count, in the shop's own currency."""
    currency = currency_of(session, tenant)
    if currency is None:
        return []
    rows = session.execute(sql(_TOP_CUSTOMERS), {"tenant_id": tenant.id, "currency": currency, "limit": limit})
    return [TopCustomer(*row) for row in rows]


_DAYS = "select min(day), max(day) from daily_sales where tenant_id = :tenant_id and orders <> 0"


def coverage(session: Session, tenant: Tenant) -> Coverage:
    """What the figures stand on: complete once a sync over everything, or every day's count since, agreed with the store's.

    It is no more while the store's counts differ from ours for long, or while nothing is read of the shop.
    """
    first_day, last_day = session.execute(sql(_DAYS), {"tenant_id": tenant.id}).one()
    ended = sync_runs.latest_full(session, tenant.id)
    running = sync_runs.running(session, tenant.id)
    never = "has not been synced yet" if running is None else "is being synced"
    held = quarantine.unresolved(session, tenant.id)
    proved = _proved(session, tenant, ended)
    lacks = [
        lack
        for name, table in TABLES.items()
        if table.is_in_figures
        for lack in _lacks(name, ended.get(name), held.get(name, 0), is_proved=name in proved, never=never)
    ]
    lacks += _differences(session, tenant)
    lacks += _not_read(session, tenant)
    return Coverage(first_day, last_day, is_complete=not lacks, reason="; ".join(lacks) or None)


def _proved(session: Session, tenant: Tenant, ended: Mapping[str, Ended]) -> set[str]:
    """Resources whose latest sync proved nothing and whose days have all been counted since, and agree."""
    lacking = {name: each for name, each in ended.items() if each.status != RunStatus.COMPLETED}
    return {
        name
        for name, each in lacking.items()
        if each.at is not None and proofs.is_proved(session, tenant.id, name, since=each.at)
    }


def _differences(session: Session, tenant: Tenant) -> Iterator[str]:
    for resource, days in proofs.differing(session, tenant.id).items():
        yield f"{resource}: the store's count of {days} day{'s' if days > 1 else ''} differs from ours"


def _not_read(session: Session, tenant: Tenant) -> Iterator[str]:
    if tenant.status != TenantStatus.ACTIVE:
        yield f"the shop is {tenant.status}, and nothing is read"
    elif tenant.unauthorized_since is not None:
        yield f"the shop refuses our credentials since {tenant.unauthorized_since:%Y-%m-%d %H:%M} UTC"
    elif tenant.unreachable_since is not None and tenant.unreachable_since < now() - AWAY:
        yield f"the shop cannot be reached since {tenant.unreachable_since:%Y-%m-%d %H:%M} UTC"
    for mark in watermarks.of(session, tenant.id):
        if mark.error is not None and TABLES[mark.resource].is_in_figures:
            yield f"{mark.resource}: what was updated cannot be read: {mark.error}"


def _lacks(resource: str, ended: Ended | None, held: int, *, is_proved: bool, never: str) -> Iterator[str]:
    if ended is None:
        yield f"{resource}: the history {never}"
    elif ended.status != RunStatus.COMPLETED and not is_proved:
        yield f"{resource}: the latest sync ended {ended.status}{f', {ended.reason}' if ended.reason else ''}"
    if held:
        yield f"{resource}: {held} could not be stored and {'is' if held == 1 else 'are'} quarantined"
