"""Resources that are taken only where the token may see them, that are not counted, or not listed by their updates."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    false, zero = sa.false(), sa.text("0")
    # The defaults are for the rows that are there; from now on the application says.
    op.add_column("sync_runs", sa.Column("is_of_all", sa.Boolean(), server_default=false, nullable=False))
    op.add_column("sync_checkpoints", sa.Column("is_optional", sa.Boolean(), server_default=false, nullable=False))
    op.add_column("sync_checkpoints", sa.Column("listed", sa.Integer(), server_default=zero, nullable=False))
    for table, column in (
        ("sync_runs", "is_of_all"),
        ("sync_checkpoints", "is_optional"),
        ("sync_checkpoints", "listed"),
    ):
        op.alter_column(table, column, server_default=None)
    op.add_column("watermarks", sa.Column("cursor", sa.String(), nullable=True))
    op.add_column("watermarks", sa.Column("reaches", sa.DateTime(timezone=True), nullable=True))
