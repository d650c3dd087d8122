"""What a shop holds: orders with their parts, customers, products. Instants are microseconds, see clock.py.

A stored record is never changed in place: a change works on a copy, so that whoever reads holds one state.
"""

import pickle
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from .money import Money

T = TypeVar("T")


@dataclass(slots=True)
class TaxLine:
    title: str
    rate: float
    amount: Money


@dataclass(slots=True)
class Allocation:
    """A part of the discount application at ``index`` of the order."""

    index: int
    amount: Money


@dataclass(slots=True)
class DiscountApplication:
    kind: str  # discount_code, automatic, manual
    title: str
    value: str  # "10.0"
    value_type: str  # percentage, fixed_amount
    target_type: str = "line_item"


@dataclass(slots=True)
class Line:
    """``quantity`` never shrinks; ``removed_*`` is what refunds and edits took off."""

    id: int
    product_id: int | None
    variant_id: int | None
    title: str
    variant_title: str | None
    sku: str | None
    vendor: str | None
    quantity: int
    current_quantity: int
    price: Money
    removed_subtotal: Money
    removed_tax: Money
    removed_discount: Money
    allocations: list[Allocation] = field(default_factory=list)
    tax_lines: list[TaxLine] = field(default_factory=list)
    fulfilled: int = 0
    gift_card: bool = False
    taxable: bool = True
    requires_shipping: bool = True


@dataclass(slots=True)
class ShippingLine:
    id: int
    title: str
    price: Money
    refunded: Money
    refunded_tax: Money
    tax_lines: list[TaxLine] = field(default_factory=list)
    allocations: list[Allocation] = field(default_factory=list)
    removed: bool = False


@dataclass(slots=True)
class RefundLine:
    id: int
    line_id: int
    quantity: int
    restock_type: str  # no_restock, cancel, return
    subtotal: Money
    tax: Money


@dataclass(slots=True)
class RefundShipping:
    id: int
    shipping_line_id: int
    subtotal: Money
    tax: Money


@dataclass(slots=True)
class Adjustment:
    """Negative: more went to the customer than the lines justify; positive: withheld."""

    id: int
    reason: str  # refund_discrepancy, pending_refund_discrepancy
    amount: Money
    tax: Money


@dataclass(slots=True)
class Refund:
    id: int
    created_at: int
    processed_at: int
    note: str | None
    lines: list[RefundLine] = field(default_factory=list)
    shipping: list[RefundShipping] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    transaction_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Transaction:
    id: int
    kind: str  # authorization, capture, sale, void, refund
    status: str  # pending, failure, success, error
    gateway: str
    amount: Money
    created_at: int
    processed_at: int | None
    parent_id: int | None = None
    error_code: str | None = None


@dataclass(slots=True)
class Fulfillment:
    id: int
    at: int
    line_ids: dict[str, int]  # units by line id (text, as JSON has it)

    @property
    def quantity(self) -> int:
        return sum(self.line_ids.values())


@dataclass(slots=True)
class Order:
    id: int
    number: int
    email: str | None
    phone: str | None
    customer_id: int | None
    currencies: str
    created_at: int
    processed_at: int
    updated_at: int
    lines: list[Line]
    shipping_lines: list[ShippingLine] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    discounts: list[DiscountApplication] = field(default_factory=list)
    fulfillments: list[Fulfillment] = field(default_factory=list)
    original_total: Money | None = None
    cancelled_at: int | None = None
    cancel_reason: str | None = None
    closed_at: int | None = None
    test: bool = False
    confirmed: bool = True
    edited: bool = False
    taxes_included: bool = False
    fulfillment_status: str | None = None  # None, partial, fulfilled
    note: str | None = None
    tags: list[str] = field(default_factory=list)
    source_name: str = "web"
    gateway: str = "shopify_payments"
    parts: int = 0  # of the ids that parts of this order took
    #: arithmetic.Totals, remembered; never stored.
    totals: Any = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"#{self.number}"

    @property
    def currency(self) -> str:
        return self.currencies.partition("/")[0]

    @property
    def presentment_currency(self) -> str:
        return self.currencies.partition("/")[2]


@dataclass(slots=True)
class Address:
    id: int
    first_name: str
    last_name: str
    address1: str
    city: str
    province_code: str | None
    country_code: str
    zip: str


@dataclass(slots=True)
class Customer:
    id: int
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    created_at: int
    updated_at: int
    state: str = "disabled"  # disabled, invited, enabled, declined
    verified_email: bool = True
    note: str | None = None
    tags: list[str] = field(default_factory=list)
    address: Address | None = None

    @property
    def display_name(self) -> str:
        return " ".join(name for name in (self.first_name, self.last_name) if name) or self.email or ""


@dataclass(slots=True)
class Variant:
    id: int
    product_id: int
    title: str
    sku: str
    price: int  # minor units of the shop's currency
    compare_at_price: int | None
    position: int
    inventory_quantity: int
    created_at: int
    updated_at: int


@dataclass(slots=True)
class Product:
    id: int
    title: str
    handle: str
    vendor: str
    product_type: str
    created_at: int
    updated_at: int
    published_at: int | None
    variants: list[Variant]
    status: str = "active"  # active, archived, draft, unlisted
    tags: list[str] = field(default_factory=list)
    description: str = ""
    option: str = "Title"


Record = Order | Customer | Product

#: The class of a field's elements, where they are records themselves.
PARTS: dict[type, dict[str, type]] = {
    Line: {"allocations": Allocation, "tax_lines": TaxLine},
    ShippingLine: {"allocations": Allocation, "tax_lines": TaxLine},
    Refund: {"lines": RefundLine, "shipping": RefundShipping, "adjustments": Adjustment},
    Order: {
        "lines": Line,
        "shipping_lines": ShippingLine,
        "refunds": Refund,
        "transactions": Transaction,
        "discounts": DiscountApplication,
        "fulfillments": Fulfillment,
    },
    Customer: {"address": Address},
    Product: {"variants": Variant},
}


def plain(record: object) -> dict[str, Any]:
    """The record as JSON knows it."""
    return {item.name: _plain_value(getattr(record, item.name)) for item in fields(record) if item.name != "totals"}  # type: ignore[arg-type]


def _plain_value(value: Any) -> Any:
    if isinstance(value, Money):
        return list(value)
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return plain(value)
    return value


def restored(kind: type[T], stored: dict[str, Any]) -> T:
    """The record that ``plain`` was given. Fields it does not know are ignored, so old journals stay readable."""
    parts = PARTS.get(kind, {})
    values: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        if item.name in stored:
            values[item.name] = _restored_value(parts.get(item.name), item.type, stored[item.name])
    return kind(**values)


def _restored_value(part: type | None, declared: Any, value: Any) -> Any:
    if part is not None:
        return [restored(part, item) for item in value] if isinstance(value, list) else value and restored(part, value)
    if value is not None and declared in {Money, Money | None}:
        return Money(*value)
    return value


def copied(record: T) -> T:
    """A copy that shares nothing changeable (pickle is the quickest way there)."""
    return pickle.loads(pickle.dumps(record, pickle.HIGHEST_PROTOCOL))  # type: ignore[no-any-return]  # noqa: S301
