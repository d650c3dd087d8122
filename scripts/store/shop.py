"""One shop: its settings, its three tables and its journal; the one place where its state changes."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from . import clock
from .bucket import PLANS, Bucket
from .bulk.operations import BulkOperations
from .faults import Faults
from .identity import KINDS as ID_KINDS
from .identity import make_id, place_of, salt_of
from .inventory import Inventory
from .journal import Journal
from .records import Customer, Order, Product, Record, plain, restored
from .rows import customer_row, order_row, product_row
from .subscriptions import Subscription
from .table import CustomerRow, OrderRow, Table

READ_SCOPES = ["read_all_orders", "read_customers", "read_orders", "read_products"]
KINDS: dict[str, type] = {"order": Order, "customer": Customer, "product": Product}


@dataclass
class ShopSettings:
    """What makes a shop; kept in ``shops.json``. Tokens map to the instant at which they expire, None for never."""

    domain: str
    name: str
    kind: str  # cdnow, generated
    currency: str
    timezone: str
    plan: str
    anchor: int  # the instant at which the base ends
    client_id: str
    client_secret: str
    webhook_secret: str
    access_token: str
    tokens: dict[str, int | None]
    #: Client secrets that are good besides ``client_secret``, newest first: an app's secret is being rotated.
    former_secrets: list[str] = field(default_factory=list)
    #: What each belongs to: ``access``, ``expiresAt``, ``secret`` that minted it, ``scope``.
    refresh_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=lambda: list(READ_SCOPES))
    seed: int = 1
    orders: int = 0
    customers: int = 0
    products: int = 0
    days: int = 365
    presentment_currency: str | None = None
    is_live: bool = True  # whether live traffic goes here unasked
    restore_rate: float | None = None  # overrides the plan's
    bucket_size: float | None = None

    @property
    def client_secrets(self) -> list[str]:
        """Newest first."""
        return [self.client_secret, *self.former_secrets]


class Source(Protocol):
    """The base of a shop: everything before the first change, made from its seed."""

    products: list[Product]

    def order_rows(self) -> dict[int, OrderRow]: ...
    def customer_rows(self) -> dict[int, CustomerRow]: ...
    def order(self, number: int) -> Order: ...
    def customer(self, number: int) -> Customer: ...


@dataclass
class Spending:
    """What a customer's orders come to: Shopify's numberOfOrders and amountSpent (minor units)."""

    orders: int = 0
    spent: int = 0


class Shop:
    """``lock`` is held around every change and every walk over a table."""

    def __init__(self, settings: ShopSettings, source: Source, directory: Path) -> None:
        self.settings = settings
        self.domain = settings.domain
        self.salt = salt_of(settings.domain)
        self.id = 10_000_000_000 + self.salt * 1_000_003
        self.lock = threading.RLock()
        self.faults = Faults()
        #: Those of the OAuth endpoint; ``cut`` and ``drop`` strike when the grant has been made.
        self.oauth_faults = Faults()
        orders, customers = source.order_rows(), source.customer_rows()
        products = {product.id: product_row(product) for product in source.products}
        self.orders = Table(orders, source.order)
        self.customers = Table(customers, source.customer, keep=True)
        self.products = Table(products, {product.id: product for product in source.products}.__getitem__, keep=True)
        self.subscriptions: dict[int, Subscription] = {}
        self.events: list[tuple[int, int, str]] = []  # deletions: at, subject id, subject kind
        self._bucket = Bucket(PLANS[settings.plan])
        self._apply_plan()
        self._spending: dict[int, Spending] | None = None
        self._next = {"order": len(orders), "customer": _after(customers), "product": _after(products)}
        self._latest = settings.anchor
        self.journal = Journal(directory / f"{settings.domain}.journal")
        first = ID_KINDS["BulkOperation"] + self.salt * 1_000_000
        self.bulk = BulkOperations(directory / "bulk" / settings.domain, first, self._keep_bulk)
        self.inventory = Inventory(self, self._keep_inventory)
        self._replay()

    def _replay(self) -> None:
        for kind, number, value in self.journal.entries():
            if kind == "subscription":
                if value is not None:
                    self.subscriptions[int(number)] = Subscription(**value)
            elif kind == "bulk":
                if value is not None:
                    self.bulk.restore(value)
            elif kind == "inventory":
                self.inventory.restore(int(number), value)
            elif isinstance(value, dict):
                self._store(restored(KINDS[kind], value))
            else:
                self._remove(kind, int(number), value)

    # What changes

    def commit(self, *records: Record, deleted: Iterable[Record] = (), at: int | None = None) -> None:
        """Store new states and deletions: journal first, then the tables, in one step for every reader."""
        gone = [(_kind(record), record.id) for record in deleted]
        when = at or clock.now()
        entries: list[tuple[str, str, Any]] = [(_kind(record), str(record.id), plain(record)) for record in records]
        entries += [(kind, str(number), when) for kind, number in gone]
        with self.lock:
            self.journal.append(entries)
            for record in records:
                self._store(record)
            for kind, number in gone:
                self._remove(kind, number, when)

    def _store(self, record: Record) -> None:
        self._next[_kind(record)] = max(self._next[_kind(record)], place_of(record.id) + 1)
        self._latest = max(self._latest, record.updated_at)
        if isinstance(record, Order):
            self._count(self.orders.put(record, order_row(record)), -1)
            self._count(self.orders.rows[record.id], 1)
        elif isinstance(record, Customer):
            self.customers.put(record, customer_row(record))
        else:
            self.products.put(record, product_row(record))

    def _remove(self, kind: str, number: int, at: int) -> None:
        self._next[kind] = max(self._next[kind], place_of(number) + 1)
        self.events.append((at, number, kind))
        if kind == "order":
            self._count(self.orders.delete(number, at), -1)
        else:
            table: Table[Any, Any] = self.customers if kind == "customer" else self.products
            table.delete(number, at)

    def keep_subscription(self, number: int, subscription: Subscription | None) -> None:
        with self.lock:
            self.journal.append([("subscription", str(number), subscription.plain() if subscription else None)])
            if subscription:
                self.subscriptions[number] = subscription
            else:
                self.subscriptions.pop(number, None)

    def _keep_bulk(self, number: int, operation: dict[str, Any] | None) -> None:
        with self.lock:
            self.journal.append([("bulk", str(number), operation)])

    def _keep_inventory(self, number: int, item: dict[str, Any]) -> None:
        with self.lock:
            self.journal.append([("inventory", str(number), item)])

    def new_id(self, kind: str) -> int:
        """The id of the next order, customer or product (``kind`` as in the journal)."""
        with self.lock:
            place = self._next[kind]
            self._next[kind] = place + 1
            return make_id({"order": "Order", "customer": "Customer", "product": "Product"}[kind], self.salt, place)

    # What is derived

    def spending(self, customer_id: int) -> Spending:
        with self.lock:
            if self._spending is None:
                self._spending = {}
                for row in self.orders.rows.values():
                    self._count(row, 1)
            return self._spending.get(customer_id) or Spending()

    def _count(self, row: OrderRow | None, sign: int) -> None:
        if row is None or self._spending is None or row.customer_id is None or row.test:
            return
        spending = self._spending.setdefault(row.customer_id, Spending())
        spending.orders += sign
        spending.spent += sign * row.paid

    def bucket(self) -> Bucket:
        """The bucket of the app: all tokens here are one app's."""
        return self._bucket

    def set_plan(self, plan: str, *, restore_rate: float | None = None, bucket_size: float | None = None) -> None:
        """Raises KeyError for a plan that Shopify does not sell."""
        PLANS[plan]
        self.settings.plan = plan
        self.settings.restore_rate = restore_rate
        self.settings.bucket_size = bucket_size
        self._apply_plan()

    def _apply_plan(self) -> None:
        self._bucket.set_rate(self.settings.restore_rate or PLANS[self.settings.plan], self.settings.bucket_size)

    def allows(self, scope: str) -> bool:
        """A write scope implies the read scope."""
        scopes = self.settings.scopes
        return scope in scopes or (scope.startswith("read_") and scope.replace("read_", "write_") in scopes)


def _kind(record: Record) -> str:
    return type(record).__name__.lower()


def _after(rows: Iterable[int]) -> int:
    return max((place_of(number) for number in rows), default=-1) + 1
