"""Product, ProductVariant and their options."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from dataclasses import dataclass
from typing import Any

from scripts.store.money import rest_amount
from scripts.store.paging import list_slice
from scripts.store.records import Product, Variant
from scripts.store.run import Run

from .reference import Reference


@dataclass(frozen=True, slots=True)
class Option:
    product: Product

    @property
    def values(self) -> list[str]:
        return [variant.title for variant in self.product.variants]


def product_of(variant: Variant, run: Run) -> Product | None:
    return run.shop.products.get(variant.product_id)


def variant_price(minor: int | None, run: Run) -> str | None:
    """The ``Money`` scalar keeps the currency's decimals ("19.90")."""
    return None if minor is None else rest_amount(minor, run.shop.settings.currency)


def display_name(variant: Variant, run: Run) -> str:
    product = product_of(variant, run)
    return f"{product.title if product else ''} - {variant.title}"


def selected_options(variant: Variant, run: Run) -> list[tuple[str, str]]:
    product = product_of(variant, run)
    return [(product.option if product else "Title", variant.title)]


NAMES = {"Option": Option, "variant_price": variant_price}

PLAIN = {
    "Product": {
        "id": "f'gid://shopify/Product/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "title": "o.title",
        "handle": "o.handle",
        "status": "o.status.upper()",
        "vendor": "o.vendor",
        "productType": "o.product_type",
        "tags": "o.tags",
        "totalInventory": "sum(v.inventory_quantity for v in o.variants)",
        "tracksInventory": "True",
        "hasOnlyDefaultVariant": "len(o.variants) == 1 and o.variants[0].title == 'Default Title'",
        "isGiftCard": "False",
        "descriptionHtml": "o.description",
        "description": "o.description.replace('<p>', '').replace('</p>', '')",
        "publishedAt": "utc(o.published_at)",
        "createdAt": "utc(o.created_at)",
        "updatedAt": "utc(o.updated_at)",
        "variantsCount": "(len(o.variants), 'EXACT')",
    },
    "ProductVariant": {
        "id": "f'gid://shopify/ProductVariant/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "title": "o.title",
        "sku": "o.sku",
        "barcode": "None",
        "price": "variant_price(o.price, r)",
        "compareAtPrice": "variant_price(o.compare_at_price, r)",
        "position": "o.position",
        "inventoryQuantity": "o.inventory_quantity",
        "taxable": "True",
        "availableForSale": "o.inventory_quantity > 0",
        "createdAt": "utc(o.created_at)",
        "updatedAt": "utc(o.updated_at)",
    },
    "ProductOption": {
        "id": "f'gid://shopify/ProductOption/{o.product.id}'",
        "name": "o.product.option",
        "position": "1",
        "values": "o.values",
    },
    "SelectedOption": {"name": "o[0]", "value": "o[1]"},
}

CALLS: dict[str, dict[str, Any]] = {
    "Product": {
        "options": lambda o, r, arguments: [Option(o)],
        "variants": lambda o, r, arguments: list_slice(o.variants, arguments),
    },
    "ProductVariant": {"displayName": display_name, "selectedOptions": selected_options},
}

REFERENCES = {
    ("ProductVariant", "product"): Reference(
        "o.product_id", lambda r, number: number in r.shop.products.rows, product_of
    )
}
TYPES = {Product: "Product", Variant: "ProductVariant"}
