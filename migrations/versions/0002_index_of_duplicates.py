"""index of duplicates: deciding a group, and every page of a hint, looks them up

Revision: 0002
Follows: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_hints_duplicate_of", "hints", ["duplicate_of"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_hints_duplicate_of", table_name="hints")
