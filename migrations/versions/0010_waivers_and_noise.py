"""rows that a person waived, rows that are noise, results that are kept, and how far a gate has got

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("gate_runs", sa.Column("progress", DOCUMENT, server_default="[]", nullable=False))
    op.add_column("gate_runs", sa.Column("accepted_by", sa.String(), nullable=True))
    op.create_table(
        "waivers",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("pull_id", sa.String(), nullable=False),
        sa.Column("head_sha", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("row", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["pull_id"], ["pulls.id"], name=op.f("fk_waivers_pull_id_pulls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_waivers")),
        sa.UniqueConstraint("pull_id", "head_sha", "suite", "row", name=op.f("uq_waivers_pull_id_head_sha_suite_row")),
    )
    op.create_table(
        "row_noise",
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("row", sa.String(), nullable=False),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("measured_at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("target", "suite", "row", name=op.f("pk_row_noise")),
    )
    op.create_table(
        "suite_results",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rows", DOCUMENT, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_suite_results")),
    )
    op.create_index("ix_suite_results_expires_at", "suite_results", ["expires_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_suite_results_expires_at", table_name="suite_results")
    op.drop_table("suite_results")
    op.drop_table("row_noise")
    op.drop_table("waivers")
    op.drop_column("gate_runs", "accepted_by")
    op.drop_column("gate_runs", "progress")
