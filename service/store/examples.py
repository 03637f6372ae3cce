"""Labelled past cases: what people decided, for the critic to learn from."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.drafting import Precedent


class Example(SQLModel, table=True):
    """A decided case. Held-out ones are never given to a critic."""

    __tablename__ = "examples"
    __table_args__ = (Index("ix_examples_target_side", "target", "side", "at"),)

    hint_id: str = Field(primary_key=True, foreign_key="hints.id", ondelete="CASCADE")
    case_id: str = Field(foreign_key="cases.id", ondelete="CASCADE", index=True)
    target: str
    side: str
    comment: str
    """redacted"""
    leaf: str
    step: str
    recipe: str
    """recipe that was confirmed, or the outcome that it was dismissed with"""
    target_id: str
    edited: bool
    """a person changed the draft before confirming"""
    record: str = ""
    """id of the record that the case's plan acted on, to tell one customer's cases"""
    fate: str = "confirmed"
    """confirmed, dismissed, merged or closed"""
    at: datetime

    @property
    def precedent(self) -> Precedent:
        """The decision as a critic sees it."""
        return Precedent(
            case_id=self.case_id, comment=self.comment, leaf=self.leaf, step=self.step, recipe=self.recipe, target=self.target_id,
            hint_id=self.hint_id, record=self.record,
        )  # fmt: skip


def get(session: Session, hint_id: str) -> Example | None:
    return session.get(Example, hint_id)


def add(session: Session, example: Example) -> None:
    session.merge(example)


def remove(session: Session, hint_id: str) -> None:
    found = session.get(Example, hint_id)
    if found:
        session.delete(found)


def usable(session: Session, target: str, limit: int) -> list[Example]:
    """Examples that a critic may see: never held-out, newest first."""
    query = select(Example).where(Example.target == target, Example.side != "held_out").order_by(col(Example.at).desc())
    return list(session.exec(query.limit(limit)))
