"""The questions that merchants ask: totals, top customers, the daily trend."""

from datetime import UTC, date, datetime, timedelta

from flask_openapi3.blueprint import APIBlueprint

from app import auth, schemas
from app.problems import Refusal, documented
from models import analytics, sales_report
from models.analytics import exact
from models.database import transaction
from models.tenants import Tenant

blueprint = APIBlueprint(
    "figures",
    __name__,
    url_prefix="/api",
    abp_security=auth.FOR_ANYONE_KNOWN,
    abp_responses=documented(400, 401, 403, 404, 429, 503),
)
blueprint.before_request(auth.require_sign_in)


@blueprint.get("/stats", responses={200: schemas.Stats})
@auth.of_shop
def stats(tenant: Tenant, query: schemas.DateRange) -> schemas.Stats:
    """Revenue and orders of a range of days, all of them by default; customers and products as of now.

    Amounts are in the shop's own currency; what was sold in others stands in `byCurrency` and is never added to it.
    """
    with transaction() as session:
        found = analytics.stats(session, tenant, first=query.first, last=query.last)
    return schemas.Stats(
        currency=found.currency,
        total_revenue=exact(found.own.revenue, found.currency),
        total_orders=found.orders,
        total_customers=found.customers,
        total_products=found.products,
        average_order_value=exact(found.own.average_order_value, found.currency),
        by_currency=[_currency_sales(each) for each in found.by_currency],
        coverage=_coverage(found.coverage),
        last_updated_at=found.last_updated_at,
    )


@blueprint.get("/top-customers", responses={200: schemas.TopCustomers})
@auth.of_shop
def top_customers(tenant: Tenant, query: schemas.TopCustomersQuery) -> schemas.TopCustomers:
    """Those who spent most, in the shop's own currency."""
    with transaction() as session:
        found = analytics.top_customers(session, tenant, limit=query.limit)
    return schemas.TopCustomers(customers=[_customer(each) for each in found])


@blueprint.get("/orders-trend", responses={200: schemas.OrdersTrend})
@auth.of_shop
def orders_trend(tenant: Tenant, query: schemas.DateRange) -> schemas.OrdersTrend:
    """Orders and revenue of every day of a range, in the shop's own time zone and currency.

    By default from the first day with an order to the last; of a longer history, its last ten years.
    """
    with transaction() as session:
        known = analytics.coverage(session, tenant)
        first, last = _ten_years_at_most(query, known.first_day, known.last_day)
        found = analytics.trend(session, tenant, first=first, last=last)
    return schemas.OrdersTrend(
        timezone=found.timezone,
        currency=found.currency,
        days=[
            schemas.TrendDay(date=day.date, orders=day.orders, revenue=exact(day.revenue, found.currency))
            for day in found.days
        ],
        coverage=_coverage(found.coverage),
    )


@blueprint.get("/sales", responses={200: schemas.SalesReport})
@auth.of_shop
def sales(tenant: Tenant, query: schemas.DateRange) -> schemas.SalesReport:
    """Sales of every day of a range as Shopify reports them, in the shop's own time zone and currency.

    Orders count on their own day, cancelled ones too; what was taken back counts on the day its refund was processed,
    and is negative as discounts are. Test and deleted orders, gift cards and tips are left out. By default from the first
    day with an order to the last with an order or a refund; of a longer history, its last ten years.
    """
    with transaction() as session:
        known_first, known_last = sales_report.span(session, tenant)
        first, last = _ten_years_at_most(query, known_first, known_last)
        first, last = first or known_first, last or max((day for day in (known_last, first) if day), default=None)
        found = sales_report.report(session, tenant, first=first, last=last)
    return schemas.SalesReport(
        timezone=found.timezone,
        currency=found.currency,
        days=[schemas.SalesDay(date=day.date, **_amounts(day.sales, found.currency)) for day in found.days],
        totals=schemas.Sales(**_amounts(found.totals, found.currency)),
        coverage=_coverage(found.coverage),
    )


def _amounts(sales: sales_report.Sales, currency: str | None) -> dict[str, str]:
    return {
        "gross_sales": exact(sales.gross, currency),
        "discounts": exact(sales.discounts, currency),
        "returns": exact(sales.returns, currency),
        "net_sales": exact(sales.net, currency),
        "shipping": exact(sales.shipping, currency),
        "taxes": exact(sales.taxes, currency),
        "duties": exact(sales.duties, currency),
        "total_sales": exact(sales.total, currency),
    }


def _ten_years_at_most(
    query: schemas.DateRange, first_day: date | None, last_day: date | None
) -> tuple[date | None, date | None]:
    """The range that is asked for. One order with an absurd date must not make it a million days."""
    first, last = query.first or first_day, query.last or last_day
    if first is None or last is None or (last - first).days <= schemas.TEN_YEARS:
        return query.first, query.last
    if query.first is not None or query.last is not None:
        raise Refusal(400, "from and to may be ten years apart at most: give both")
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)  # where the day is furthest ahead
    last = min(last, tomorrow)
    return max(first, last - timedelta(days=schemas.TEN_YEARS)), last


def _currency_sales(sales: analytics.CurrencySales) -> schemas.CurrencySales:
    return schemas.CurrencySales(
        currency=sales.currency,
        revenue=exact(sales.revenue, sales.currency),
        orders=sales.orders,
        average_order_value=exact(sales.average_order_value, sales.currency),
    )


def _customer(customer: analytics.TopCustomer) -> schemas.TopCustomer:
    return schemas.TopCustomer(
        id=customer.id,
        shopify_id=str(customer.shopify_id),
        name=" ".join(part for part in (customer.first_name, customer.last_name) if part) or None,
        email=customer.email,
        orders_count=customer.orders_count,
        total_spent=exact(customer.total_spent, customer.currency),
        currency=customer.currency,
    )


def _coverage(coverage: analytics.Coverage) -> schemas.Coverage:
    return schemas.Coverage(
        first=coverage.first_day, last=coverage.last_day, complete=coverage.is_complete, reason=coverage.reason
    )
