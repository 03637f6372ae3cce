"""What a decided pull teaches: the example that its hint left gets its fate."""

from service.db import Database
from service.lifecycle import PullState
from service.store import examples, hints, pulls

FATES = {PullState.merged: "merged", PullState.closed: "closed"}


def absorb(db: Database, pull_id: str) -> None:
    """Write a pull's end into the example of its hint and of the hint's duplicates. Safe to repeat."""
    with db.begin() as session:
        pull = pulls.get(session, pull_id)
        if pull is None or pull.state not in FATES:
            return
        ids = [pull.hint_id, *(hint.id for hint in hints.duplicates(session, pull.hint_id))]
        for hint_id in ids:
            example = examples.get(session, hint_id)
            if example:
                example.fate = FATES[pull.state]
