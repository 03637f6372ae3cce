"""hashes of changes by the rule of today, and of every draft

The rule came to sort lists whose order says nothing, and to leave out fields at their default, so that a recipe can get one more. By the hash
alone hints are known as one change, so those of before have to be named anew.

Revision: 0009
Follows: 0008
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
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
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
HINTS = sa.table(
    "hints",
    sa.column("id", sa.String()),
    sa.column("draft", DOCUMENT),
    sa.column("current", DOCUMENT),
    sa.column("change_hash", sa.String()),
    sa.column("draft_hash", sa.String()),
)


def upgrade() -> None:
    """Compute the hashes of all hints, some at a time."""
    connection, last = op.get_bind(), ""
    anew = sa.update(HINTS).where(HINTS.c.id == sa.bindparam("hint"))
    anew = anew.values(change_hash=sa.bindparam("change"), draft_hash=sa.bindparam("drafted"))
    while rows := connection.execute(sa.select(HINTS).where(HINTS.c.id > last).order_by(HINTS.c.id).limit(BATCH)).all():
        last = rows[-1].id
        hashes = [(row, change_hash(row.current["change"]), change_hash(row.draft["change"])) for row in rows]
        if changed := [
            {"hint": row.id, "change": change, "drafted": drafted}
            for row, change, drafted in hashes
            if (change, drafted) != (row.change_hash, row.draft_hash)
        ]:
            connection.execute(anew, changed)


def downgrade() -> None:
    """Nothing: equal edits have equal hashes, which the version before reads as well."""


def change_hash(change: dict[str, Any]) -> str:
    empty = EMPTY.get(change["recipe"], {})
    said = {key: value for key, value in change.items() if key not in ARGUMENTS and value is not None and not (key in empty and value == empty[key])}
    edit = {key: sorted(value) if key in SETS and isinstance(value, list) else value for key, value in said.items()}
    return hashlib.sha256(json.dumps(edit, sort_keys=True).encode()).hexdigest()[:32]
