"""Merged customers are few, and asked for with every slice of orders."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    merged = sa.text("merged_into is not null")
    op.create_index("customers_merged", "customers", ["tenant_id"], unique=False, postgresql_where=merged)
