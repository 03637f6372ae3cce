"""first tables

Revision: 0001
Follows:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlmodel.sql.sqltypes import UTCDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("verdict", sa.Enum("accepted", "rejected", name="verdict", native_enum=False, length=24), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("control", "queued", "drafted", "abstained", "failed", "stale", name="draftstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("received_at", UTCDateTime(), nullable=False),
        sa.Column("swept_at", UTCDateTime(), nullable=True),
        sa.Column("redacted_at", UTCDateTime(), nullable=True),
        sa.Column("work", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("masked", sa.Integer(), nullable=False),
        sa.Column("leaf", sa.String(), nullable=True),
        sa.Column("comment", sa.String(), nullable=True),
        sa.Column("comment_key", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("source", "delivery_id", name=op.f("uq_cases_source_delivery_id")),
        sa.UniqueConstraint("source", "name", "revision", name=op.f("uq_cases_source_name_revision")),
    )
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.create_index("ix_cases_comment_key", ["target", "comment_key"], unique=False)
        batch_op.create_index("ix_cases_due", ["state", "swept_at"], unique=False)
        batch_op.create_index("ix_cases_leaf", ["target", "verdict", "leaf"], unique=False)

    op.create_table(
        "history",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("thing", sa.String(), nullable=False),
        sa.Column("thing_id", sa.String(), nullable=False),
        sa.Column("state_from", sa.String(), nullable=True),
        sa.Column("state_to", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_history")),
    )
    with op.batch_alter_table("history", schema=None) as batch_op:
        batch_op.create_index("ix_history_thing", ["thing", "thing_id", "seq"], unique=False)

    op.create_table(
        "tallies",
        sa.Column("thing", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("thing", "state", name=op.f("pk_tallies")),
    )
    op.create_table(
        "hints",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("awaiting", "confirmed", "dismissed", "duplicate", "snoozed", "asked", "stale", name="reviewstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("draft", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("current", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("change_hash", sa.String(), nullable=False),
        sa.Column("findings", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("base_sha", sa.String(), nullable=True),
        sa.Column("critic", sa.String(), nullable=False),
        sa.Column("rubric_version", sa.String(), nullable=False),
        sa.Column("cost", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", UTCDateTime(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", UTCDateTime(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("duplicate_of", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_hints_case_id_cases"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hints")),
    )
    with op.batch_alter_table("hints", schema=None) as batch_op:
        batch_op.create_index("ix_hints_case", ["case_id"], unique=False)
        batch_op.create_index("ix_hints_change", ["target", "change_hash"], unique=False)
        batch_op.create_index("ix_hints_state", ["state", "created_at", "id"], unique=False)

    op.create_table(
        "originals",
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("body", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_originals_case_id_cases"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_originals")),
    )
    op.create_table(
        "examples",
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("leaf", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("fate", sa.String(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_examples_case_id_cases"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["hint_id"], ["hints.id"], name=op.f("fk_examples_hint_id_hints"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hint_id", name=op.f("pk_examples")),
    )
    with op.batch_alter_table("examples", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_examples_case_id"), ["case_id"], unique=False)
        batch_op.create_index("ix_examples_target_side", ["target", "side", "at"], unique=False)

    op.create_table(
        "reviews",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("hint_version", sa.Integer(), nullable=False),
        sa.Column("hint_hash", sa.String(), nullable=False),
        sa.Column("text", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["hint_id"], ["hints.id"], name=op.f("fk_reviews_hint_id_hints"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_reviews")),
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_hint_id"), ["hint_id"], unique=False)

    op.create_table(
        "handoffs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.Column("review_seq", sa.Integer(), nullable=False),
        sa.Column("hint_hash", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "working",
                "built",
                "gave_up",
                "refused",
                "blocked",
                "failed",
                "withdrawn",
                name="handoffstate",
                native_enum=False,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(), nullable=True),
        sa.Column("base_sha", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("violations", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["hint_id"], ["hints.id"], name=op.f("fk_handoffs_hint_id_hints"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["review_seq"], ["reviews.seq"], name=op.f("fk_handoffs_review_seq_reviews")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handoffs")),
        sa.UniqueConstraint("review_seq", name=op.f("uq_handoffs_review_seq")),
    )
    with op.batch_alter_table("handoffs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_handoffs_hint_id"), ["hint_id"], unique=False)

    op.create_table(
        "pulls",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("handoff_id", sa.String(), nullable=False),
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("draft", "ready", "landing", "merged", "closed", "frozen", "reverted", name="pullstate", native_enum=False, length=24),
            nullable=False,
        ),
        sa.Column("branch", sa.String(), nullable=False),
        sa.Column("base_sha", sa.String(), nullable=False),
        sa.Column("head_sha", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("row_suite", sa.String(), nullable=True),
        sa.Column("row", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("row_note", sa.String(), nullable=False),
        sa.Column("opened_at", UTCDateTime(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=True),
        sa.Column("closed_reason", sa.String(), nullable=True),
        sa.Column("merged_sha", sa.String(), nullable=True),
        sa.Column("merged_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["handoff_id"], ["handoffs.id"], name=op.f("fk_pulls_handoff_id_handoffs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["hint_id"], ["hints.id"], name=op.f("fk_pulls_hint_id_hints"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pulls")),
        sa.UniqueConstraint("handoff_id", name=op.f("uq_pulls_handoff_id")),
    )
    with op.batch_alter_table("pulls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pulls_hint_id"), ["hint_id"], unique=False)
        batch_op.create_index("ix_pulls_state", ["state", "opened_at", "id"], unique=False)

    op.create_table(
        "gate_runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("pull_id", sa.String(), nullable=False),
        sa.Column("base_sha", sa.String(), nullable=False),
        sa.Column("head_sha", sa.String(), nullable=False),
        sa.Column(
            "state", sa.Enum("running", "pass", "fail", "inconclusive", "error", name="gatestate", native_enum=False, length=24), nullable=False
        ),
        sa.Column("report", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("started_at", UTCDateTime(), nullable=False),
        sa.Column("finished_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["pull_id"], ["pulls.id"], name=op.f("fk_gate_runs_pull_id_pulls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_runs")),
        sa.UniqueConstraint("pull_id", "base_sha", "head_sha", name=op.f("uq_gate_runs_pull_id_base_sha_head_sha")),
    )
    with op.batch_alter_table("gate_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gate_runs_pull_id"), ["pull_id"], unique=False)

    op.create_table(
        "outcomes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("pull_id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("hint_id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column(
            "state", sa.Enum("watching", "cured", "recurred", "inconclusive", name="outcomestate", native_enum=False, length=24), nullable=False
        ),
        sa.Column("since", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_outcomes_case_id_cases"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["hint_id"], ["hints.id"], name=op.f("fk_outcomes_hint_id_hints"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["pull_id"], ["pulls.id"], name=op.f("fk_outcomes_pull_id_pulls"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcomes")),
        sa.UniqueConstraint("pull_id", "case_id", name=op.f("uq_outcomes_pull_id_case_id")),
    )
    with op.batch_alter_table("outcomes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outcomes_case_id"), ["case_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_outcomes_pull_id"), ["pull_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_outcomes_target"), ["target"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("outcomes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outcomes_target"))
        batch_op.drop_index(batch_op.f("ix_outcomes_pull_id"))
        batch_op.drop_index(batch_op.f("ix_outcomes_case_id"))

    op.drop_table("outcomes")
    with op.batch_alter_table("gate_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gate_runs_pull_id"))

    op.drop_table("gate_runs")
    with op.batch_alter_table("pulls", schema=None) as batch_op:
        batch_op.drop_index("ix_pulls_state")
        batch_op.drop_index(batch_op.f("ix_pulls_hint_id"))

    op.drop_table("pulls")
    with op.batch_alter_table("handoffs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_handoffs_hint_id"))

    op.drop_table("handoffs")
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reviews_hint_id"))

    op.drop_table("reviews")
    with op.batch_alter_table("examples", schema=None) as batch_op:
        batch_op.drop_index("ix_examples_target_side")
        batch_op.drop_index(batch_op.f("ix_examples_case_id"))

    op.drop_table("examples")
    op.drop_table("originals")
    with op.batch_alter_table("hints", schema=None) as batch_op:
        batch_op.drop_index("ix_hints_state")
        batch_op.drop_index("ix_hints_change")
        batch_op.drop_index("ix_hints_case")

    op.drop_table("hints")
    op.drop_table("tallies")
    with op.batch_alter_table("history", schema=None) as batch_op:
        batch_op.drop_index("ix_history_thing")

    op.drop_table("history")
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.drop_index("ix_cases_leaf")
        batch_op.drop_index("ix_cases_due")
        batch_op.drop_index("ix_cases_comment_key")

    op.drop_table("cases")
