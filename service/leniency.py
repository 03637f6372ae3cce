"""What is not held against a pull: rows that a person waived, and rows that are noise for now. Never writes."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from rubric.noise import noisy
from service.store import pulls, row_noise, waivers


class Noisy(BaseModel):
    """A row that passes now and then although nothing changed."""

    suite: str
    row: str
    passes: int
    runs: int
    expires_at: datetime


class Leniency(BaseModel):
    waivers: list[dict[str, Any]]
    """of every head that the pull had, oldest first"""
    noise: list[Noisy]
    """of the suites of its target; which of them a gate has put in quarantine stands in its report"""


def leniency(session: Session, pull_id: str, now: datetime) -> Leniency:
    """For the page of a pull."""
    pull = pulls.get(session, pull_id)
    standing = row_noise.standing(session, pull.target, now) if pull else []
    return Leniency(
        waivers=[one.model_dump(mode="json", exclude={"seq", "pull_id"}) for one in waivers.of_pull(session, pull_id)],
        noise=[
            Noisy(suite=one.suite, row=one.row, passes=one.passes, runs=one.runs, expires_at=one.expires_at)
            for one in standing
            if noisy({one.row: (one.passes, one.runs)})
        ],
    )
