"""the draft that a call of a model belongs to, and how the model was asked

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("draft", sa.Integer(), server_default="0", nullable=False))
    op.add_column("calls", sa.Column("how", sa.String(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("calls", "how")
    op.drop_column("calls", "draft")
