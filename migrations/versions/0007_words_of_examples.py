"""words of examples, by which like comments are found among many, and the newest examples without a sort

Revision: 0007
Follows: 0006
"""

import hashlib
import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*_[0-9]+[A-Z]?>")
BATCH = 500


def words_of(target: str, comment: str) -> list[int]:
    """As the code of this revision reads a comment."""
    said = WORD.findall(unicodedata.normalize("NFC", PLACEHOLDER.sub(" ", comment)).casefold())
    listed = [word for word in dict.fromkeys(said) if len(word) > 1][:64]
    whole = [f"= {' '.join(said)}"] if said else []
    return [int.from_bytes(hashlib.sha256(f"{target} {word}".encode()).digest()[:8], "big", signed=True) for word in [*whole, *listed]]


def upgrade() -> None:
    op.drop_index("ix_examples_target_side", table_name="examples")
    op.create_index("ix_examples_target_at", "examples", ["target", "at"], unique=False)
    words = op.create_table(
        "example_words",
        sa.Column("word", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["hint_id"], ["examples.hint_id"], name=op.f("fk_example_words_hint_id_examples"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("word", "hint_id", name=op.f("pk_example_words")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_example_words_hint_id", "example_words", ["hint_id"], unique=False)
    examples = sa.table("examples", sa.column("hint_id"), sa.column("target"), sa.column("comment"), sa.column("side"))
    last = ""
    while True:
        query = sa.select(examples.c.hint_id, examples.c.target, examples.c.comment).where(examples.c.side != "held_out", examples.c.hint_id > last)
        found = op.get_bind().execute(query.order_by(examples.c.hint_id).limit(BATCH)).all()
        if not found:
            return
        op.bulk_insert(words, [{"word": word, "hint_id": hint_id} for hint_id, target, comment in found for word in words_of(target, comment)])
        last = found[-1].hint_id


def downgrade() -> None:
    op.drop_index("ix_example_words_hint_id", table_name="example_words")
    op.drop_table("example_words")
    op.drop_index("ix_examples_target_at", table_name="examples")
    op.create_index("ix_examples_target_side", "examples", ["target", "side", "at"], unique=False)
