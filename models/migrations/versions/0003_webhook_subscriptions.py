"""What is known of a shop's webhook subscriptions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("webhooks_checked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "tenants", sa.Column("missing_topics", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.alter_column("tenants", "missing_topics", server_default=None)
