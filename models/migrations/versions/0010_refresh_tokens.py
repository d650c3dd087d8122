"""What renews a shop's access token, and when."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("refresh_token", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("refresh_token_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tenants", sa.Column("token_renewal_at", sa.DateTime(timezone=True), nullable=True))
