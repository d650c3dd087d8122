"""REST shapes of orders, customers and products: what webhooks carry."""

from typing import Any

from . import clock
from .arithmetic import financial_status, line_discount, shipping_price, totals
from .identity import gid
from .money import Money, rest_amount
from .records import Address, Customer, Line, Order, Product, ShippingLine, TaxLine, Variant
from .refund_payloads import refund_payload
from .rest_money import amount, money_set
from .shop import Shop

#: A product's webhook carries so many variants in full, the others by id.
FULL_VARIANTS = 100


def order_payload(shop: Shop, order: Order) -> dict[str, Any]:
    zone = shop.settings.timezone
    sums = totals(order)
    customer = shop.customers.get(order.customer_id) if order.customer_id else None
    return {
        "id": order.id,
        "admin_graphql_api_id": gid("Order", order.id),
        "app_id": 580111,
        "buyer_accepts_marketing": False,
        "cancel_reason": order.cancel_reason,
        "cancelled_at": clock.local(order.cancelled_at, zone),
        "closed_at": clock.local(order.closed_at if order.closed_at != order.cancelled_at else None, zone),
        "confirmed": order.confirmed,
        "contact_email": order.email,
        "created_at": clock.local(order.created_at, zone),
        "currency": order.currency,
        "current_shipping_price_set": money_set(sums.current_shipping),
        "current_subtotal_price": amount(sums.current_subtotal),
        "current_subtotal_price_set": money_set(sums.current_subtotal),
        "current_total_discounts": amount(sums.current_discounts),
        "current_total_discounts_set": money_set(sums.current_discounts),
        "current_total_price": amount(sums.current_total),
        "current_total_price_set": money_set(sums.current_total),
        "current_total_tax": amount(sums.current_tax),
        "current_total_tax_set": money_set(sums.current_tax),
        "discount_codes": _discount_codes(order),
        "duties_included": False,
        "email": order.email,
        "financial_status": financial_status(order),
        "fulfillment_status": order.fulfillment_status,
        "name": order.name,
        "note": order.note,
        "note_attributes": [],
        "number": order.number - 1000,
        "order_number": order.number,
        "original_total_duties_set": None,
        "payment_gateway_names": [order.gateway],
        "phone": order.phone,
        "presentment_currency": order.presentment_currency,
        "processed_at": clock.local(order.processed_at, zone),
        "source_name": order.source_name,
        "subtotal_price": amount(sums.subtotal),
        "subtotal_price_set": money_set(sums.subtotal),
        "tags": ", ".join(order.tags),
        "taxes_included": order.taxes_included,
        "test": order.test,
        "total_discounts": amount(sums.discounts),
        "total_discounts_set": money_set(sums.discounts),
        "total_line_items_price": amount(sums.line_items),
        "total_line_items_price_set": money_set(sums.line_items),
        "total_outstanding": amount(sums.outstanding),
        "total_price": amount(sums.total),
        "total_price_set": money_set(sums.total),
        "total_shipping_price_set": money_set(sums.shipping),
        "total_tax": amount(sums.tax),
        "total_tax_set": money_set(sums.tax),
        "total_tip_received": "0.00",
        "updated_at": clock.local(order.updated_at, zone),
        "billing_address": customer and customer.address and _address(customer.address),
        "shipping_address": customer and customer.address and _address(customer.address),
        "customer": customer and _embedded_customer(shop, customer),
        "discount_applications": _discount_applications(order),
        "fulfillments": [
            {"id": part.id, "order_id": order.id, "status": "success", "created_at": clock.local(part.at, zone)}
            for part in order.fulfillments
        ],
        "refunds": [refund_payload(shop, order, refund, is_embedded=True) for refund in order.refunds],
        "line_items": [_line(line) for line in order.lines],
        "shipping_lines": [_shipping_line(line) for line in order.shipping_lines],
        "tax_lines": [_tax_line(tax) for line in order.lines for tax in line.tax_lines],
    }


def _discount_codes(order: Order) -> list[dict[str, str]]:
    return [
        {"code": item.title, "amount": amount(totals(order).discounts), "type": item.value_type}
        for item in order.discounts
        if item.kind == "discount_code"
    ]


def _discount_applications(order: Order) -> list[dict[str, str]]:
    return [
        {
            "target_type": item.target_type,
            "type": item.kind,
            "value": item.value,
            "value_type": item.value_type,
            "allocation_method": "across",
            "target_selection": "all",
            "code": item.title,
        }
        for item in order.discounts
    ]


def _line(line: Line) -> dict[str, Any]:
    nothing = Money(0, 0, line.price.currencies)
    return {
        "id": line.id,
        "admin_graphql_api_id": gid("LineItem", line.id),
        "attributed_staffs": [],
        "current_quantity": line.current_quantity,
        "fulfillable_quantity": max(0, line.current_quantity - line.fulfilled),
        "fulfillment_service": "manual",
        "fulfillment_status": "fulfilled" if line.fulfilled >= line.quantity else None,
        "gift_card": line.gift_card,
        "grams": 100,
        "name": f"{line.title} - {line.variant_title}" if line.variant_title else line.title,
        "price": amount(line.price),
        "price_set": money_set(line.price),
        "product_exists": line.product_id is not None,
        "product_id": line.product_id,
        "properties": [],
        "quantity": line.quantity,
        "requires_shipping": line.requires_shipping,
        "sku": line.sku,
        "taxable": line.taxable,
        "title": line.title,
        "total_discount": amount(nothing),
        "total_discount_set": money_set(nothing),
        "variant_id": line.variant_id,
        "variant_inventory_management": "shopify",
        "variant_title": line.variant_title,
        "vendor": line.vendor,
        "tax_lines": [_tax_line(tax) for tax in line.tax_lines],
        "duties": [],
        "discount_allocations": [
            {
                "amount": amount(part.amount),
                "amount_set": money_set(part.amount),
                "discount_application_index": part.index,
            }
            for part in line.allocations
        ],
    }


def _tax_line(tax: TaxLine) -> dict[str, Any]:
    return {
        "title": tax.title,
        "price": amount(tax.amount),
        "rate": tax.rate,
        "channel_liable": None,
        "price_set": money_set(tax.amount),
    }


def _shipping_line(line: ShippingLine) -> dict[str, Any]:
    price = shipping_price(line)
    return {
        "id": line.id,
        "carrier_identifier": None,
        "code": line.title,
        "title": line.title,
        "source": "shopify",
        "phone": None,
        "requested_fulfillment_service_id": None,
        "is_removed": line.removed,
        "price": amount(line.price),
        "price_set": money_set(line.price),
        "discounted_price": amount(price),
        "discounted_price_set": money_set(price),
        "current_discounted_price_set": money_set(price.minus(line.refunded)),
        "tax_lines": [_tax_line(tax) for tax in line.tax_lines],
        "discount_allocations": [
            {"amount": amount(line_discount(line)), "discount_application_index": part.index}
            for part in line.allocations
        ],
    }


def _address(address: Address) -> dict[str, Any]:
    return {
        "first_name": address.first_name,
        "last_name": address.last_name,
        "name": f"{address.first_name} {address.last_name}",
        "address1": address.address1,
        "city": address.city,
        "province_code": address.province_code,
        "country_code": address.country_code,
        "zip": address.zip,
    }


def customer_payload(shop: Shop, customer: Customer) -> dict[str, Any]:
    """Without tags, consent and spend, as since 2025-01."""
    return {**_embedded_customer(shop, customer), "addresses": [_own_address(customer)] if customer.address else []}


def _own_address(customer: Customer) -> dict[str, Any] | None:
    address = customer.address
    if address is None:
        return None
    return {**_address(address), "id": address.id, "customer_id": customer.id, "default": True}


def _embedded_customer(shop: Shop, customer: Customer) -> dict[str, Any]:
    zone = shop.settings.timezone
    return {
        "id": customer.id,
        "admin_graphql_api_id": gid("Customer", customer.id),
        "created_at": clock.local(customer.created_at, zone),
        "updated_at": clock.local(customer.updated_at, zone),
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "state": customer.state,
        "note": customer.note,
        "verified_email": customer.verified_email,
        "multipass_identifier": None,
        "tax_exempt": False,
        "email": customer.email,
        "phone": customer.phone,
        "currency": shop.settings.currency,
        "tax_exemptions": [],
        "default_address": _own_address(customer),
    }


def product_payload(shop: Shop, product: Product) -> dict[str, Any]:
    zone = shop.settings.timezone
    return {
        "id": product.id,
        "admin_graphql_api_id": gid("Product", product.id),
        "title": product.title,
        "body_html": product.description,
        "vendor": product.vendor,
        "product_type": product.product_type,
        "handle": product.handle,
        "status": product.status,
        "tags": ", ".join(product.tags),
        "template_suffix": None,
        "published_scope": "global",
        "published_at": clock.local(product.published_at, zone),
        "created_at": clock.local(product.created_at, zone),
        "updated_at": clock.local(product.updated_at, zone),
        "has_variants_that_requires_components": False,
        "category": None,
        "variants": [_variant(shop, variant) for variant in product.variants[:FULL_VARIANTS]],
        "options": [
            {
                "id": product.id,
                "product_id": product.id,
                "name": product.option,
                "position": 1,
                "values": [variant.title for variant in product.variants],
            }
        ],
        "images": [],
        "image": None,
        "media": [],
        "variant_gids": [
            {
                "admin_graphql_api_id": gid("ProductVariant", variant.id),
                "updated_at": (clock.utc(variant.updated_at) or "")[:-1] + ".000Z",
            }
            for variant in product.variants
        ],
    }


def _variant(shop: Shop, variant: Variant) -> dict[str, Any]:
    zone, currency = shop.settings.timezone, shop.settings.currency
    compare = variant.compare_at_price
    return {
        "id": variant.id,
        "admin_graphql_api_id": gid("ProductVariant", variant.id),
        "product_id": variant.product_id,
        "title": variant.title,
        "price": rest_amount(variant.price, currency),
        "compare_at_price": None if compare is None else rest_amount(compare, currency),
        "sku": variant.sku,
        "position": variant.position,
        "inventory_policy": "deny",
        "inventory_quantity": variant.inventory_quantity,
        "option1": variant.title,
        "taxable": True,
        "created_at": clock.local(variant.created_at, zone),
        "updated_at": clock.local(variant.updated_at, zone),
    }
