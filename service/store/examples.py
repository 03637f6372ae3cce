"""Labelled past cases: what people decided, for the critic to learn from."""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, ScalarSelect, Select, delete, func, insert
from sqlalchemy import select as select_any
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.drafting import Precedent
from rubric.reading import words

MOST_WORDS = 64
"""words of one comment that are looked up and can be found by"""
COMMON, RAREST = 500, 8
"""examples that hold a word from which it tells nothing, and how many of the others a comment is looked up by"""
ALIKE = 100
"""like examples that are looked for beside the newest"""


class Example(SQLModel, table=True):
    """A decided case. Held-out ones are never given to a critic."""

    __tablename__ = "examples"
    __table_args__ = (Index("ix_examples_target_at", "target", "at"),)

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


class ExampleWord(SQLModel, table=True):
    """A word of an example's comment, by which like ones are found among many; held-out examples have none."""

    __tablename__ = "example_words"
    __table_args__ = (Index("ix_example_words_hint_id", "hint_id"), {"sqlite_with_rowid": False})

    word: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    """hash of target and word"""
    hint_id: str = Field(primary_key=True, foreign_key="examples.hint_id", ondelete="CASCADE")


_SEEN: dict[str, Any] = {
    "case_id": Example.case_id, "comment": Example.comment, "leaf": Example.leaf, "step": Example.step, "recipe": Example.recipe,
    "target": Example.target_id, "hint_id": Example.hint_id, "record": Example.record,
}  # fmt: skip
"""field of `Precedent` → column"""


def get(session: Session, hint_id: str) -> Example | None:
    return session.get(Example, hint_id)


def add(session: Session, example: Example) -> None:
    session.merge(example)
    session.flush()
    session.connection().execute(delete(ExampleWord).where(col(ExampleWord.hint_id) == example.hint_id))
    rows = [{"word": word, "hint_id": example.hint_id} for word in words_of(example.target, example.comment)]
    if rows and example.side != "held_out":
        session.connection().execute(insert(ExampleWord), rows)


def remove(session: Session, hint_id: str) -> None:
    found = session.get(Example, hint_id)
    if found:
        session.delete(found)


def words_of(target: str, comment: str) -> list[int]:
    """What a comment is found by: its words, and all of them as one, for a comment that holds common words only."""
    said = words(comment)
    listed = [word for word in dict.fromkeys(said) if len(word) > 1][:MOST_WORDS]
    whole = [f"= {' '.join(said)}"] if said else []
    return [int.from_bytes(hashlib.sha256(f"{target} {word}".encode()).digest()[:8], "big", signed=True) for word in [*whole, *listed]]


def usable(session: Session, target: str, limit: int, like: str = "") -> list[Precedent]:
    """Decisions that a critic may see: never held-out, the newest first; where there are more of them, also old ones whose comment is like one."""
    query = select_any(*_SEEN.values()).where(col(Example.target) == target, col(Example.side) != "held_out")
    found = _read(session, query.order_by(col(Example.at).desc(), col(Example.hint_id).desc()).limit(limit))
    if like and len(found) == limit:
        known = {one.hint_id for one in found}
        older = [hint_id for hint_id in _alike(session, target, like) if hint_id not in known]
        found += _read(session, query.where(col(Example.hint_id).in_(older)).order_by(col(Example.hint_id))) if older else []
    return found


def _read(session: Session, query: Select[Any]) -> list[Precedent]:
    """Without an ORM object each: a draft reads thousands."""
    return [Precedent(**dict(zip(_SEEN, row, strict=True))) for row in session.connection().execute(query)]


def _alike(session: Session, target: str, comment: str) -> list[str]:
    """Hints whose examples share most of a comment's rarest words. How many hold a word is counted up to `COMMON` only, so the store may grow."""
    wanted = words_of(target, comment)
    if not wanted:
        return []
    connection = session.connection()
    held = connection.execute(select_any(*(_held(word) for word in wanted))).one()
    rare = [word for number, word in sorted(zip(held, wanted, strict=True)) if 0 < number < COMMON][:RAREST]
    query = select(ExampleWord.hint_id).where(col(ExampleWord.word).in_(rare)).group_by(col(ExampleWord.hint_id))
    return list(session.exec(query.order_by(func.count().desc(), col(ExampleWord.hint_id).desc()).limit(ALIKE))) if rare else []


def _held(word: int) -> ScalarSelect[int]:
    some = select_any(col(ExampleWord.word)).where(col(ExampleWord.word) == word).limit(COMMON).subquery()
    return select_any(func.count()).select_from(some).scalar_subquery()
