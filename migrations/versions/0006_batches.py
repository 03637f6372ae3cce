"""the batch that a call of a model went out with

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("batch", sa.String(), nullable=True))
    op.create_index("ix_calls_out", "calls", ["kind", "batch"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_calls_out", table_name="calls")
    op.drop_column("calls", "batch")
