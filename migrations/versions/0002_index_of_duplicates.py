"""index of duplicates: deciding a group, and every page of a hint, looks them up; and change hashes by the rule of today

The rule came to sort lists whose order says nothing, and to leave out fields at their default, so that a recipe can get one more. By the hash
alone hints are known as one change, so those of before have to be named anew. Taking this back leaves the hashes: equal edits have equal ones.

Revision: 0002
Follows: 0001
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BATCH = 500
ARGUMENTS = {"cases", "look_alikes", "scores", "flips", "example", "cells"}
SETS = {"templates", "drop", "scope"}
EMPTY: dict[str, dict[str, Any]] = {
    "promote_other_intent": {"tools": []},
    "refine_intent_boundary": {"cues": {}, "drop": []},
    "add_extraction_field": {"settings": {}},
    "add_plan_branch": {"tools": []},
    "alter_plan_branch": {"drop": []},
    "add_policy_rule": {"blocks_sentences": [], "blocks_tools": []},
}
"""recipe → defaults of its fields that are not null; where null may stand it is the default"""
HINTS = sa.table(
    "hints",
    sa.column("id", sa.String()),
    sa.column("current", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    sa.column("change_hash", sa.String()),
)


def upgrade() -> None:
    op.create_index("ix_hints_duplicate_of", "hints", ["duplicate_of"], unique=False)
    name_anew(op.get_bind())


def downgrade() -> None:
    op.drop_index("ix_hints_duplicate_of", table_name="hints")


def name_anew(connection: sa.Connection) -> None:
    """Compute the hashes of all hints, some at a time."""
    anew = sa.update(HINTS).where(HINTS.c.id == sa.bindparam("hint")).values(change_hash=sa.bindparam("anew"))
    last = ""
    while rows := connection.execute(sa.select(HINTS).where(HINTS.c.id > last).order_by(HINTS.c.id).limit(BATCH)).all():
        last = rows[-1].id
        hashes = [(row, change_hash(row.current["change"])) for row in rows]
        if changed := [{"hint": row.id, "anew": found} for row, found in hashes if found != row.change_hash]:
            connection.execute(anew, changed)


def change_hash(change: dict[str, Any]) -> str:
    empty = EMPTY.get(change["recipe"], {})
    said = {key: value for key, value in change.items() if key not in ARGUMENTS and value is not None and not (key in empty and value == empty[key])}
    edit = {key: sorted(value) if key in SETS and isinstance(value, list) else value for key, value in said.items()}
    return hashlib.sha256(json.dumps(edit, sort_keys=True).encode()).hexdigest()[:32]
