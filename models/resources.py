"""The resources that have tables: one line for each."""

from collections.abc import Mapping

from models import customers, inventory_levels, orders, products
from models.versioned import Table

TABLES: Mapping[str, Table] = {
    table.name: table for table in (orders.TABLE, customers.TABLE, products.TABLE, inventory_levels.TABLE)
}
