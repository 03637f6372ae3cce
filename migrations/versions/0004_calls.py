"""calls of a model, what was spent on them, and cases that wait for one

Revision: 0004
Follows: 0003
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
BATCH = 500


def record_of(plan: dict[str, Any]) -> str:
    """As the code of this revision reads which record a stored plan acted on; "" where none is to be told, or what is stored is no plan."""
    trace = plan.get("trace")
    if isinstance(trace, dict) and "record" in trace:
        return trace["record"] if isinstance(trace["record"], str) else ""
    for call in _objects(plan.get("tool_calls")):
        arguments = call.get("arguments")
        if isinstance(arguments, dict) and isinstance(arguments.get("record_id"), str):
            return str(arguments["record_id"])
    scored = [one for one in _objects(plan.get("fetch")) if isinstance(one.get("score"), int | float) and isinstance(one.get("record_id"), str)]
    best = sorted(scored, key=lambda one: -one["score"])[:2]
    if not best or (len(best) == 2 and best[0]["score"] == best[1]["score"]):
        return ""
    return str(best[0]["record_id"])


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def fill_records() -> None:
    """Of which record the examples are that were there before: by it a critic that asks a model is shown no other case of the same customer."""
    examples = sa.table("examples", sa.column("hint_id"), sa.column("case_id"), sa.column("record"))
    cases = sa.table("cases", sa.column("id"), sa.column("work", JSON))
    change = sa.update(examples).where(examples.c.hint_id == sa.bindparam("hint")).values(record=sa.bindparam("found"))
    last = ""
    while True:
        query = sa.select(examples.c.hint_id, cases.c.work).join_from(examples, cases, cases.c.id == examples.c.case_id)
        rows = op.get_bind().execute(query.where(examples.c.hint_id > last).order_by(examples.c.hint_id).limit(BATCH)).all()
        if not rows:
            return
        plans = [(hint_id, work.get("plan")) for hint_id, work in rows if isinstance(work, dict)]
        found = [{"hint": hint_id, "found": record_of(plan)} for hint_id, plan in plans if isinstance(plan, dict)]
        if found:
            op.get_bind().execute(change, found)
        last = rows[-1].hint_id


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
    fill_records()


def downgrade() -> None:
    op.drop_column("examples", "record")
    op.drop_column("cases", "waits")
    op.drop_index("ix_calls_asked_at", table_name="calls")
    op.drop_index("ix_calls_case", table_name="calls")
    op.drop_table("calls")
