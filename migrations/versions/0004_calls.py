"""calls of a model, what was spent on them, and cases that wait for one

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("ask", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("most_usd", sa.Float(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("outcome", JSON, nullable=True),
        sa.Column("asked_at", UTCDateTime(), nullable=False),
        sa.Column("answered_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_calls_case_id_cases"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
    )
    op.create_index("ix_calls_case", "calls", ["case_id", "number"], unique=False)
    op.create_index("ix_calls_asked_at", "calls", ["asked_at"], unique=False)
    op.add_column("cases", sa.Column("waits", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("examples", sa.Column("record", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("examples", "record")
    op.drop_column("cases", "waits")
    op.drop_index("ix_calls_asked_at", table_name="calls")
    op.drop_index("ix_calls_case", table_name="calls")
    op.drop_table("calls")
