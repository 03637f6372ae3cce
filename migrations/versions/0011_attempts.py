"""goes of model-driven agents, and whether a model wrote what a handoff built

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("handoffs", sa.Column("by_model", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("handoffs", sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "attempts",
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("handoff_id", sa.String(), sa.ForeignKey("handoffs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("violations", DOCUMENT, nullable=False),
        sa.Column("lost", DOCUMENT, nullable=False),
        sa.Column("transcript", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("handoff_id", "round", "number"),
    )
    op.create_index("ix_attempts_handoff_id", "attempts", ["handoff_id"])


def downgrade() -> None:
    op.drop_index("ix_attempts_handoff_id", table_name="attempts")
    op.drop_table("attempts")
    op.drop_column("handoffs", "retries")
    op.drop_column("handoffs", "by_model")
