"""Lists and counts of orders, customers and products: sort keys, search fields, and what the token may see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from scripts.store import clock
from scripts.store.paging import Slice, Sort, table_slice
from scripts.store.run import Run
from scripts.store.search import Bounds, Field, Filter, Wanted, parse_search
from scripts.store.shop import Shop
from scripts.store.table import CustomerRow, OrderRow, ProductRow, Table

#: read_orders alone sees so much; read_all_orders sees everything.
DAYS_SEEN = 60

ID, CREATED, UPDATED = 0, 1, 2
ORDER_SORTS = {
    "ID": Sort(ID),
    "CREATED_AT": Sort(CREATED, is_date=True),
    "UPDATED_AT": Sort(UPDATED, is_date=True),
    "PROCESSED_AT": Sort(3, is_date=True),
    "ORDER_NUMBER": Sort(4),
    "TOTAL_PRICE": Sort(6),
    "CURRENT_TOTAL_PRICE": Sort(6),
    "FINANCIAL_STATUS": Sort(11, is_number=False),
    "FULFILLMENT_STATUS": Sort(12, is_number=False),
}
CUSTOMER_SORTS = {
    "ID": Sort(ID),
    "CREATED_AT": Sort(CREATED, is_date=True),
    "UPDATED_AT": Sort(UPDATED, is_date=True),
    "NAME": Sort(3, is_number=False),
}
PRODUCT_SORTS = {
    "ID": Sort(ID),
    "CREATED_AT": Sort(CREATED, is_date=True),
    "UPDATED_AT": Sort(UPDATED, is_date=True),
    "PUBLISHED_AT": Sort(3, is_date=True),
    "TITLE": Sort(4, is_number=False),
    "VENDOR": Sort(6, is_number=False),
    "PRODUCT_TYPE": Sort(7, is_number=False),
    "INVENTORY_TOTAL": Sort(8),
}


def _dates(**columns: int) -> dict[str, Field]:
    return {name: Field("date", itemgetter(column), column) for name, column in columns.items()}


def _order_status(row: OrderRow) -> list[str]:
    state = "cancelled" if row.cancelled else "closed" if row.closed else "open"
    return [state, "any", *(["not_closed"] if state == "open" else [])]


ORDER_FIELDS: dict[str, Field] = {
    **_dates(created_at=CREATED, updated_at=UPDATED, processed_at=3),
    "id": Field("id", lambda row: row.id, ID),
    "status": Field("text", _order_status),
    "financial_status": Field("text", lambda row: row.financial_status),
    "fulfillment_status": Field("text", lambda row: row.fulfillment_status),
    "test": Field("flag", lambda row: row.test),
    "customer_id": Field("id", lambda row: row.customer_id),
    "name": Field("text", lambda row: [f"#{row.number}", str(row.number)]),
    "order_number": Field("number", lambda row: row.number),
    "total_price": Field("text", lambda row: f"{row.total / 100:.2f}"),
}
CUSTOMER_FIELDS: dict[str, Field] = {
    **_dates(created_at=CREATED, updated_at=UPDATED, customer_date=CREATED),
    "id": Field("id", lambda row: row.id, ID),
    "email": Field("text", lambda row: row.email),
    "state": Field("text", lambda row: row.state),
    "first_name": Field("text", lambda row: row.name.partition(", ")[2]),
    "last_name": Field("text", lambda row: row.name.partition(", ")[0]),
}
PRODUCT_FIELDS: dict[str, Field] = {
    **_dates(created_at=CREATED, updated_at=UPDATED, published_at=3),
    "id": Field("id", lambda row: row.id, ID),
    "status": Field("text", lambda row: row.status),
    "vendor": Field("text", lambda row: row.vendor),
    "product_type": Field("text", lambda row: row.product_type),
    "title": Field("text", lambda row: row.title),
    "inventory_total": Field("number", lambda row: row.inventory),
}
#: customersCount ignores everything else (and says so in a warning only).
CUSTOMER_COUNT_FIELDS = {name: CUSTOMER_FIELDS[name] for name in ("created_at", "id", "updated_at")}


def _order_words(row: OrderRow) -> str:
    return f"#{row.number} {row.financial_status}"


def _customer_words(row: CustomerRow) -> str:
    return f"{row.name} {row.email or ''}"


def _product_words(row: ProductRow) -> str:
    return f"{row.title} {row.vendor} {row.product_type}"


def _filter(run: Run, arguments: Mapping[str, Any], known: Mapping[str, Field], words: Any) -> Filter:
    search = parse_search(arguments.get("query"), known, words=words)
    run.warn_search(arguments["path"], arguments.get("query") or "", search.warnings)
    return search


def horizon(run: Run) -> int | None:
    """The creation time before which orders are hidden from this token, None when it may see all."""
    if run.shop.allows("read_all_orders"):
        return None
    return clock.now() - DAYS_SEEN * clock.DAY


def _hidden(run: Run) -> Wanted | None:
    since = horizon(run)
    return None if since is None else lambda row: row.created_at >= since


@dataclass(frozen=True)
class Listing:
    """A list of one of the shop's tables: how it is sorted, searched, and what of it the token may see."""

    table: Callable[[Shop], Table[Any, Any]]
    sorts: Mapping[str, Sort]
    usual_sort: str
    fields: Mapping[str, Field]
    words: Callable[[Any], str]
    hidden: Callable[[Run], Wanted | None] = lambda _: None

    def sort(self, arguments: Mapping[str, Any]) -> Sort:
        return self.sorts.get(arguments.get("sortKey") or self.usual_sort, self.sorts["ID"])

    def search(self, run: Run, arguments: Mapping[str, Any]) -> Filter:
        return _filter(run, arguments, self.fields, self.words)

    def page(self, _: object, run: Run, arguments: dict[str, Any]) -> Slice:
        search = self.search(run, arguments)
        with run.shop.lock:
            return table_slice(self.table(run.shop), arguments, self.sort(arguments), search, also=self.hidden(run))


ORDERS = Listing(lambda shop: shop.orders, ORDER_SORTS, "PROCESSED_AT", ORDER_FIELDS, _order_words, _hidden)
CUSTOMERS = Listing(lambda shop: shop.customers, CUSTOMER_SORTS, "ID", CUSTOMER_FIELDS, _customer_words)
PRODUCTS = Listing(lambda shop: shop.products, PRODUCT_SORTS, "ID", PRODUCT_FIELDS, _product_words)


def orders_of(customer_id: int, run: Run, arguments: dict[str, Any]) -> Slice:
    """The orders of one customer."""
    search = ORDERS.search(run, arguments)
    search.wanted.append(lambda row: row.customer_id == customer_id)
    with run.shop.lock:
        return table_slice(run.shop.orders, arguments, ORDERS.sort(arguments), search, also=_hidden(run))


def orders_count(_: object, run: Run, arguments: dict[str, Any]) -> tuple[int, str]:
    search = _filter(run, arguments, ORDER_FIELDS, _order_words)
    hidden = horizon(run)
    if hidden is not None:
        search.bounds.setdefault(CREATED, Bounds()).narrow((hidden, -1), None)
    with run.shop.lock:
        return limited(count(run.shop.orders, search), arguments)


def customers_count(_: object, run: Run, arguments: dict[str, Any]) -> tuple[int, str]:
    search = _filter(run, arguments, CUSTOMER_COUNT_FIELDS, _customer_words)
    with run.shop.lock:
        return limited(count(run.shop.customers, search), arguments)


def products_count(_: object, run: Run, arguments: dict[str, Any]) -> tuple[int, str]:
    search = _filter(run, arguments, PRODUCT_FIELDS, _product_words)
    with run.shop.lock:
        return limited(count(run.shop.products, search), arguments)


def count(table: Table[Any, Any], search: Filter) -> int:
    """How many rows the filter lets through."""
    if not search.wanted and len(search.bounds) <= 1:
        for column, bounds in search.bounds.items():
            return table.span(column, bounds.low, bounds.high)
        return len(table.rows)
    column = next(iter(search.bounds), ID)
    bounds = search.bounds.get(column) or Bounds()
    wanted = search.test_beside(column)
    return sum(1 for _ in table.scan(column, low=bounds.low, high=bounds.high, wanted=wanted))


def limited(found: int, arguments: Mapping[str, Any]) -> tuple[int, str]:
    """A count stops at the limit (10,000 unless null is asked for) and then says AT_LEAST."""
    limit = arguments.get("limit")
    if limit is not None and found >= limit:
        return limit, "AT_LEAST"
    return found, "EXACT"
