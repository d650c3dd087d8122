"""Order, LineItem, ShippingLine, discounts and taxes."""

# ruff: noqa: ARG001, ARG005 - every field is called alike, whether it needs the run or not

from dataclasses import dataclass
from typing import Any

from scripts.store import arithmetic
from scripts.store.identity import sibling
from scripts.store.money import Money, zero
from scripts.store.paging import Slice, list_slice
from scripts.store.records import Allocation, DiscountApplication, Fulfillment, Line, Order, ShippingLine, TaxLine
from scripts.store.run import Run

from .reference import Reference

FULFILLMENT = {None: "UNFULFILLED", "partial": "PARTIALLY_FULFILLED", "fulfilled": "FULFILLED"}
SUMS = {
    "originalTotalPriceSet": "original_total",
    "totalPriceSet": "total",
    "currentTotalPriceSet": "current_total",
    "subtotalPriceSet": "subtotal",
    "currentSubtotalPriceSet": "current_subtotal",
    "totalDiscountsSet": "discounts",
    "currentTotalDiscountsSet": "current_discounts",
    "totalTaxSet": "tax",
    "currentTotalTaxSet": "current_tax",
    "totalShippingPriceSet": "shipping",
    "currentShippingPriceSet": "current_shipping",
    "totalReceivedSet": "received",
    "totalRefundedSet": "refunded",
    "totalRefundedShippingSet": "refunded_shipping",
    "netPaymentSet": "net_payment",
    "totalOutstandingSet": "outstanding",
    "refundDiscrepancySet": "discrepancy",
}


def discounted_total(line: Line) -> Money:
    """Line discounts only: order-level ones are left out, and all of ours are the order's."""
    return line.price.times(line.quantity)


def unit_price(line: Line) -> Money:
    return arithmetic.line_subtotal(line).share(1, line.quantity)


def current_shipping(line: ShippingLine) -> Money:
    return arithmetic.shipping_price(line).minus(line.refunded)


def currency_zero(order: Order) -> Money:
    return zero(order.currencies)


def restored_customer(order: Order, run: Run) -> Any:
    return None if order.customer_id is None else run.shop.customers.get(order.customer_id)


def address(order: Order, run: Run) -> Any:
    customer = restored_customer(order, run)
    return customer and customer.address


NAMES = {
    "FULFILLMENT": FULFILLMENT,
    "discounted_total": discounted_total,
    "unit_price": unit_price,
    "current_shipping": current_shipping,
    "currency_zero": currency_zero,
    "line_discount": arithmetic.line_discount,
    "line_subtotal": arithmetic.line_subtotal,
    "shipping_price": arithmetic.shipping_price,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """A discount application at its place in the order."""

    index: int
    application: DiscountApplication
    currencies: str

    @property
    def typename(self) -> str:
        kinds = {"discount_code": "DiscountCodeApplication", "automatic": "AutomaticDiscountApplication"}
        return kinds.get(self.application.kind, "ManualDiscountApplication")


@dataclass(frozen=True, slots=True)
class Percentage:
    percentage: float
    typename: str = "PricingPercentageValue"


@dataclass(frozen=True, slots=True)
class FixedAmount:
    amount: str
    currency: str
    typename: str = "MoneyV2"


def discount_value(applied: Applied, run: Run) -> Any:
    if applied.application.value_type == "percentage":
        return Percentage(float(applied.application.value))
    return FixedAmount(applied.application.value, applied.currencies.partition("/")[0])


def discount_applications(order: Order, run: Run, arguments: dict[str, Any]) -> Slice:
    return list_slice([Applied(i, item, order.currencies) for i, item in enumerate(order.discounts)], arguments)


def allocated_application(allocation: Allocation, run: Run) -> Applied:
    application = DiscountApplication("discount_code", "", "0.0", "percentage")
    return Applied(allocation.index, application, allocation.amount.currencies)


def first_of(items: list[Any], arguments: dict[str, Any]) -> list[Any]:
    first = arguments.get("first")
    return items if first is None else items[:first]


def shipping_lines(order: Order, run: Run, arguments: dict[str, Any]) -> Slice:
    lines = order.shipping_lines
    if not arguments.get("includeRemovals"):
        lines = [line for line in lines if not line.removed]
    return list_slice(lines, arguments)


def current_tax_lines(order: Order, run: Run) -> list[TaxLine]:
    lines = order_tax_lines(order, run)
    sums = arithmetic.totals(order)
    return [
        TaxLine(line.title, line.rate, line.amount.share(sums.current_tax.shop, sums.tax.shop))
        for line in lines
        if sums.tax.shop
    ]


def order_tax_lines(order: Order, run: Run) -> list[TaxLine]:
    """One tax line for each title and rate, summed over lines and shipping."""
    found: dict[tuple[str, float], Money] = {}
    for tax_lines in [*(line.tax_lines for line in order.lines), *(line.tax_lines for line in order.shipping_lines)]:
        for tax in tax_lines:
            key = (tax.title, tax.rate)
            found[key] = found[key].plus(tax.amount) if key in found else tax.amount
    return [TaxLine(title, rate, amount) for (title, rate), amount in found.items()]


def fulfillments(order: Order, run: Run, arguments: dict[str, Any]) -> list[Fulfillment]:
    return first_of(order.fulfillments, arguments)


def line_exists(run: Run, number: int | None) -> bool:
    return number is not None and number in run.shop.products.rows


def variant_exists(run: Run, number: int | None) -> bool:
    return number is not None and sibling("Product", number) in run.shop.products.rows


def load_variant(line: Line, run: Run) -> Any:
    if line.variant_id is None:
        return None
    product = run.shop.products.get(sibling("Product", line.variant_id))
    return product and next((variant for variant in product.variants if variant.id == line.variant_id), None)


PLAIN = {
    "Order": {
        "id": "f'gid://shopify/Order/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "name": "o.name",
        "number": "o.number",
        "email": "o.email",
        "phone": "o.phone",
        "note": "o.note",
        "createdAt": "utc(o.created_at)",
        "processedAt": "utc(o.processed_at)",
        "updatedAt": "utc(o.updated_at)",
        "cancelledAt": "utc(o.cancelled_at)",
        "cancelReason": "o.cancel_reason and o.cancel_reason.upper()",
        "closedAt": "utc(o.closed_at)",
        "closed": "o.closed_at is not None",
        "test": "o.test",
        "confirmed": "o.confirmed",
        "edited": "o.edited",
        "taxesIncluded": "o.taxes_included",
        "taxExempt": "False",
        "dutiesIncluded": "False",
        "currencyCode": "o.currency",
        "presentmentCurrencyCode": "o.presentment_currency",
        "displayFinancialStatus": "financial_status(o).upper()",
        "displayFulfillmentStatus": "FULFILLMENT[o.fulfillment_status]",
        "returnStatus": "'RETURNED' if any(p.restock_type == 'return' for f in o.refunds for p in f.lines) else 'NO_RETURN'",
        "tags": "o.tags",
        "sourceName": "o.source_name",
        "sourceIdentifier": "None",
        "discountCode": "next((d.title for d in o.discounts if d.kind == 'discount_code'), None)",
        "discountCodes": "[d.title for d in o.discounts if d.kind == 'discount_code']",
        "paymentGatewayNames": "[o.gateway]",
        "fullyPaid": "totals(o).outstanding.shop <= 0",
        "unpaid": "totals(o).received.shop == 0",
        "customerLocale": "'en'",
        "poNumber": "None",
        "statusPageUrl": "f'https://checkout.example.com/orders/{o.id}'",
        "subtotalLineItemsQuantity": "sum(line.quantity for line in o.lines)",
        "currentSubtotalLineItemsQuantity": "sum(line.current_quantity for line in o.lines)",
        "customAttributes": "()",
        "totalTipReceivedSet": "currency_zero(o)",
        "totalCapturableSet": "currency_zero(o)",
        "currentTotalDutiesSet": "None",
        "originalTotalDutiesSet": "None",
        "currentCartDiscountAmountSet": "(o.totals or totals(o)).current_discounts",
        "shippingLine": "next((line for line in o.shipping_lines if not line.removed), None)",
        "transactionsCount": "(len(o.transactions), 'EXACT')",
        **{field: f"(o.totals or totals(o)).{name}" for field, name in SUMS.items()},
    },
    "LineItem": {
        "id": "f'gid://shopify/LineItem/{o.id}'",
        "name": "f'{o.title} - {o.variant_title}' if o.variant_title else o.title",
        "title": "o.title",
        "variantTitle": "o.variant_title",
        "sku": "o.sku",
        "vendor": "o.vendor",
        "quantity": "o.quantity",
        "currentQuantity": "o.current_quantity",
        "refundableQuantity": "o.current_quantity",
        "unfulfilledQuantity": "max(0, o.current_quantity - o.fulfilled)",
        "nonFulfillableQuantity": "o.quantity - o.current_quantity",
        "isGiftCard": "o.gift_card",
        "taxable": "o.taxable",
        "requiresShipping": "o.requires_shipping",
        "restockable": "o.product_id is not None",
        "merchantEditable": "True",
        "customAttributes": "()",
        "duties": "()",
        "originalUnitPriceSet": "o.price",
        "originalTotalSet": "o.price.times(o.quantity)",
        "discountedUnitPriceSet": "o.price",
        "totalDiscountSet": "currency_zero(o.price)",
        "unfulfilledDiscountedTotalSet": "o.price.times(max(0, o.current_quantity - o.fulfilled))",
        "discountAllocations": "o.allocations",
    },
    "ShippingLine": {
        "id": "f'gid://shopify/ShippingLine/{o.id}'",
        "title": "o.title",
        "code": "o.title",
        "source": "'shopify'",
        "carrierIdentifier": "None",
        "isRemoved": "o.removed",
        "custom": "False",
        "originalPriceSet": "o.price",
        "discountedPriceSet": "shipping_price(o)",
        "currentDiscountedPriceSet": "current_shipping(o)",
        "taxLines": "o.tax_lines",
        "discountAllocations": "o.allocations",
    },
    "TaxLine": {
        "title": "o.title",
        "rate": "o.rate",
        "ratePercentage": "o.rate * 100",
        "price": "graphql_amount(o.amount.shop, o.amount.currency)",
        "priceSet": "o.amount",
        "source": "'Shopify'",
        "channelLiable": "None",
    },
    "DiscountAllocation": {"allocatedAmountSet": "o.amount"},
    "Attribute": {"key": "o[0]", "value": "o[1]"},
    "PricingPercentageValue": {"percentage": "o.percentage"},
    "MoneyV2": {"amount": "o.amount", "currencyCode": "o.currency"},
    "Duty": {"id": "None", "price": "None", "harmonizedSystemCode": "None", "countryCodeOfOrigin": "None"},
    "Fulfillment": {
        "id": "f'gid://shopify/Fulfillment/{o.id}'",
        "createdAt": "utc(o.at)",
        "updatedAt": "utc(o.at)",
        "status": "'SUCCESS'",
        "displayStatus": "'FULFILLED'",
        "totalQuantity": "o.quantity",
    },
    **{
        kind: {
            "index": "o.index",
            "allocationMethod": "'ACROSS'",
            "targetSelection": "'ALL'",
            "targetType": "o.application.target_type.upper()",
            "code": "o.application.title",
            "title": "o.application.title",
            "description": "o.application.title",
        }
        for kind in ("DiscountCodeApplication", "AutomaticDiscountApplication", "ManualDiscountApplication")
    },
}

CALLS: dict[str, dict[str, Any]] = {
    "Order": {
        "lineItems": lambda o, r, arguments: list_slice(o.lines, arguments),
        "shippingLines": shipping_lines,
        "discountApplications": discount_applications,
        "refunds": lambda o, r, arguments: first_of(o.refunds, arguments),
        "transactions": lambda o, r, arguments: first_of(o.transactions, arguments),
        "fulfillments": fulfillments,
        "taxLines": order_tax_lines,
        "currentTaxLines": current_tax_lines,
        "billingAddress": address,
        "shippingAddress": address,
    },
    "LineItem": {
        "taxLines": lambda o, r, arguments: first_of(o.tax_lines, arguments),
        "discountedTotalSet": lambda o, r, arguments: (
            arithmetic.line_subtotal(o) if arguments.get("withCodeDiscounts") else discounted_total(o)
        ),
    },
    "DiscountAllocation": {"discountApplication": allocated_application},
    **{
        kind: {"value": discount_value}
        for kind in ("DiscountCodeApplication", "AutomaticDiscountApplication", "ManualDiscountApplication")
    },
}

REFERENCES = {
    ("Order", "customer"): Reference(
        "o.customer_id", lambda r, number: number is not None and number in r.shop.customers.rows, restored_customer
    ),
    ("LineItem", "product"): Reference(
        "o.product_id", line_exists, lambda o, r: o.product_id and r.shop.products.get(o.product_id)
    ),
    ("LineItem", "variant"): Reference("o.variant_id", variant_exists, load_variant),
}

SCOPES = {
    ("Order", "customer"): "read_customers",
    ("LineItem", "product"): "read_products",
    ("LineItem", "variant"): "read_products",
}

TYPES = {Order: "Order", Line: "LineItem", ShippingLine: "ShippingLine"}
