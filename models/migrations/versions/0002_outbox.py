"""The outbox: messages that go out when the transaction that they belong to commits (``brokers/outbox.py``)."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "dramatiq_outbox",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("publish_id", sa.Text(), nullable=False, comment="by which JetStream recognises a repetition"),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("enqueued_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True, comment="when a delayed message is to run"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "attempted_at",
            sa.BigInteger(),
            nullable=True,
            comment="the first time that it may have been published",
        ),
        sa.Column(
            "leased_until", sa.BigInteger(), server_default="0", nullable=False, comment="a relay has it until then"
        ),
        sa.Column("error", sa.Text(), nullable=True, comment="why it can never be stored: it is set aside"),
        sa.PrimaryKeyConstraint("id"),
    )
