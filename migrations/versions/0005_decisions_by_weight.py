"""decisions by weight: what hints were drafted with, for confidence that is calibrated on decisions, and the confirmed ones of a target

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WEIGHT = {
    "sqlite": "UPDATE hints SET weight = CAST(json_extract(draft, '$.confidence.weight') AS REAL)",
    "postgresql": "UPDATE hints SET weight = CAST(draft #>> '{confidence,weight}' AS DOUBLE PRECISION)",
}


def upgrade() -> None:
    op.add_column("hints", sa.Column("weight", sa.Float(), nullable=True))
    op.add_column("hints", sa.Column("draft_hash", sa.String(), nullable=True))
    op.execute(WEIGHT[op.get_bind().dialect.name])
    # of a hint that was edited nobody knows the drafted one any more; it counts as edited
    op.execute("UPDATE hints SET draft_hash = change_hash WHERE version = 1")
    op.create_index("ix_hints_decided", "hints", ["target", "critic", "decided_at", "weight", "change_hash", "draft_hash", "state", "duplicate_of"])
    op.create_index("ix_hints_target", "hints", ["target", "state", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_hints_target", table_name="hints")
    op.drop_index("ix_hints_decided", table_name="hints")
    # without a batch: SQLite would make the table anew, and what hangs on its rows would go with the old one
    op.drop_column("hints", "draft_hash")
    op.drop_column("hints", "weight")
