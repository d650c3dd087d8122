"""Products and their variants."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Index

from models.columns import json_field, money_field, shopify_id_field, time_field
from models.versioned import Child, Table, Versioned, one_row_per_id


class Product(Versioned, table=True):
    __tablename__ = "products"
    __table_args__ = (one_row_per_id("products"), Index("products_created", "tenant_id", "created_at"))

    title: str | None = None
    handle: str | None = None
    status: str | None = None
    vendor: str | None = None
    product_type: str | None = None
    tags: list[str] | None = json_field()
    published_at: datetime | None = time_field()
    created_at: datetime | None = time_field()


class Variant(Child, table=True):
    __tablename__ = "variants"
    __table_args__ = (Index("variants_product", "tenant_id", "product_shopify_id"),)

    product_shopify_id: int = shopify_id_field()
    title: str | None = None
    sku: str | None = None
    price: Decimal | None = money_field()
    compare_at_price: Decimal | None = money_field()
    position: int | None = None
    inventory_quantity: int | None = None
    updated_at: datetime | None = time_field()


TABLE = Table(model=Product, children={"variants": (Variant, "product_shopify_id")})
