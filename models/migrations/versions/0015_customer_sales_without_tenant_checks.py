"""No check of the tenant for every customer's total either: whoever writes an order holds the tenant's row."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.drop_constraint("customer_sales_tenant_id_fkey", "customer_sales", type_="foreignkey")
