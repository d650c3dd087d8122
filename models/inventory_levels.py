"""Inventory items, and how many of each are where."""

from datetime import datetime

from sqlalchemy import Index

from models.columns import shopify_id_field, time_field
from models.versioned import Child, Table, Versioned, one_row_per_id


class InventoryItem(Versioned, table=True):
    __tablename__ = "inventory_items"
    __table_args__ = (one_row_per_id("inventory_items"),)

    sku: str | None = None
    tracked: bool | None = None
    created_at: datetime | None = time_field()


class InventoryLevel(Child, table=True):
    """Its ``shopify_id`` is one among the levels of its item: other items' levels may share it."""

    __tablename__ = "inventory_levels"
    __table_args__ = (Index("inventory_levels_item", "tenant_id", "inventory_item_shopify_id"),)

    inventory_item_shopify_id: int = shopify_id_field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    location_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    updated_at: datetime | None = time_field()
    available: int | None = None
    on_hand: int | None = None
    committed: int | None = None
    incoming: int | None = None
    reserved: int | None = None


TABLE = Table(
    model=InventoryItem,
    children={"inventory_levels": (InventoryLevel, "inventory_item_shopify_id")},
    is_in_figures=False,
)
