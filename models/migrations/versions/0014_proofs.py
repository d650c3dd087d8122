"""The counts that prove that nothing is missing, by resource and day; deletions that no webhook told of."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "proofs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("store_count", sa.BigInteger(), nullable=True),
        sa.Column("our_count", sa.BigInteger(), nullable=True),
        sa.Column("mended", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("differed", sa.Integer(), nullable=False),
        sa.Column("suspects", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
        sa.PrimaryKeyConstraint("tenant_id", "resource", "day"),
    )
    op.create_index("proofs_due", "proofs", ["tenant_id", "due_at"])
    op.create_index("proofs_differing", "proofs", ["tenant_id", "resource"], postgresql_where=sa.text("differed > 1"))
    for resource in ("orders", "customers", "products"):
        op.create_index(f"{resource}_created", resource, ["tenant_id", "created_at"])
    op.add_column("quarantine", sa.Column("resource_created_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("refetches", sa.Column("is_lost", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.alter_column("refetches", "is_lost", server_default=None)
    op.add_column("watermarks", sa.Column("deletions_until", sa.DateTime(timezone=True), nullable=True))
    op.execute("update watermarks set deletions_until = updated_until")
    op.alter_column("watermarks", "deletions_until", nullable=False)
    op.add_column("watermarks", sa.Column("deletions_refused_at", sa.DateTime(timezone=True), nullable=True))
