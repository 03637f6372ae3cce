"""Every move of every thing: the only code that changes a state, and the row that says who, when and why."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Index, event, func, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Field, Session, SQLModel, col, select

from rubric.hygiene import cut
from service.errors import IllegalMove
from service.lifecycle import FOLLOWS, State, may_move


class History(SQLModel, table=True):
    """One move. Rows are only ever added."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_thing", "thing", "thing_id", "seq"),)

    seq: int | None = Field(default=None, primary_key=True)
    thing: str
    """table of the thing that moved"""
    thing_id: str
    state_from: str | None = None
    state_to: str
    by: str
    """person, `sweep`, `critic` … whoever caused it"""
    why: str = ""
    at: datetime


class Tally(SQLModel, table=True):
    """How many things are in a state, kept with every move: counting rows per page would grow with the store."""

    __tablename__ = "tallies"

    thing: str = Field(primary_key=True)
    state: str = Field(primary_key=True)
    number: int = 0


def begin(session: Session, thing: SQLModel, *, by: str, why: str = "", delay: float = 0) -> None:
    """Add a new thing in its first state, write its first history row and enqueue what follows."""
    session.add(thing)
    session.flush()
    _record(session, thing, None, thing.state, by, why, delay)  # type: ignore[attr-defined]


def move(session: Session, thing: Any, to: State, *, by: str, why: str = "", delay: float = 0, **changes: Any) -> bool:
    """Bring a thing into another state, with `changes` to its other columns in the same guarded update.

    Returns False when it was there already. Raises `IllegalMove` when the move is not on the list or another
    process moved the thing first. What follows is enqueued in the same transaction.
    """
    table, start = type(thing), thing.state
    if start is to:
        return False
    if not may_move(start, to):
        raise IllegalMove(f"{table.__tablename__} {thing.id} cannot go from {start} to {to}", state=str(start))
    guarded = update(table).where(table.id == thing.id, table.state == start).values(state=to, **changes)
    if session.connection().execute(guarded).rowcount != 1:
        session.refresh(thing)
        raise IllegalMove(f"{table.__tablename__} {thing.id} is {thing.state} by now", state=str(thing.state))
    session.refresh(thing)
    _record(session, thing, start, to, by, why, delay)
    return True


def _record(session: Session, thing: Any, start: State | None, to: State, by: str, why: str, delay: float) -> None:
    table = str(type(thing).__tablename__)
    row = History(thing=table, thing_id=thing.id, state_from=start, state_to=to, by=by, why=cut(why, 500), at=session.info["now"]())
    session.add(row)
    session.flush()
    count(session, table, to, 1)
    if start is not None:
        count(session, table, start, -1)
    flow = FOLLOWS.get((table, to))
    if flow:
        enqueue(session, flow, thing.id, f"{row.seq}", delay)


def count(session: Session, thing: str, state: str, change: int) -> None:
    """Keep the tally of a state. Written just before the commit and in one order: two transactions never wait for each other."""
    if "tallies" not in session.info:
        session.info["tallies"] = Counter()
        event.listen(session, "before_commit", _write_tallies)
    session.info["tallies"][thing, str(state)] += change


def _write_tallies(session: Session) -> None:
    changes = [
        {"thing": thing, "state": state, "number": change} for (thing, state), change in sorted(session.info.pop("tallies", {}).items()) if change
    ]
    if changes:
        session.connection().execute(_ADD[session.connection().dialect.name], changes)


def _adding(insert: Any) -> Any:
    row = insert(Tally)
    return row.on_conflict_do_update(index_elements=["thing", "state"], set_={"number": col(Tally.number) + row.excluded.number})


_ADD = {"postgresql": _adding(postgres_insert), "sqlite": _adding(sqlite_insert)}
"""built once: it is part of every commit"""


def tallies(session: Session, thing: str) -> dict[str, int]:
    """state → how many things of a table are in it"""
    return {row.state: row.number for row in session.exec(select(Tally).where(Tally.thing == thing))}


def enqueue(session: Session, flow: str, thing_id: str, turn: str, delay: float = 0) -> None:
    """Enqueue a flow for a thing in the caller's transaction. The same turn twice is one flow."""
    hand_over = session.info.get("enqueue")
    if hand_over is not None:
        hand_over(session, flow, f"{flow}:{thing_id}:{turn}", thing_id, delay)


def of(session: Session, thing: str, thing_id: str) -> list[History]:
    """The moves of one thing, oldest first."""
    return list(session.exec(select(History).where(History.thing == thing, History.thing_id == thing_id).order_by(col(History.seq))))


def times(session: Session, thing: str, thing_id: str, state: State) -> int:
    """How often a thing has come into a state from another."""
    return session.exec(select(func.count()).where(History.thing == thing, History.thing_id == thing_id, History.state_to == state)).one()


def moves_of(session: Session, thing: str, thing_id: str) -> int:
    """How often a thing has moved; makes the key of a flow that a person asks for."""
    return len(of(session, thing, thing_id))


def last_by(session: Session, thing: str, ids: Collection[str]) -> dict[str, str]:
    """thing id → who moved it last, of some things"""
    newest = select(func.max(History.seq)).where(History.thing == thing, col(History.thing_id).in_(list(ids))).group_by(col(History.thing_id))
    return {row.thing_id: row.by for row in session.exec(select(History).where(col(History.seq).in_(newest)))}


def standing(session: Session, table: Any, state: State, before: datetime, limit: int = 200) -> list[Any]:
    """Things that have been in a state since before a time."""
    last = select(func.max(History.at)).where(History.thing == table.__tablename__, History.thing_id == table.id).scalar_subquery()
    return list(session.exec(select(table).where(table.state == state, last < before).limit(limit)))
