"""An edited hint holds here: what was tried is shown as tried only for the change that was."""

from typing import Any

import pytest

from service.stages import editing
from service.store import hints
from tests.samples.world import World


@pytest.fixture
def hint(world: World) -> hints.HintRow:
    """One that was tried, moves its case, and harms another one."""
    case_id = world.rejects("email postcode", "wrong person")
    found = world.runs().hint_of(case_id)
    with world.db.begin() as session:
        row = hints.needed(session, found.id)
        row.draft = row.current = {**row.current, "changes_controls": ["c-other"]}
        row.content_hash = hints.content_hash(row.current)
        assert row.current["confidence"]["replay"] == "moved" and row.current["confidence"]["weight"] > 0
        return row


def edit(world: World, hint: hints.HintRow, **change: Any) -> hints.HintRow:
    return editing.edit(world.db, world.ports, world.catalogue, hint.id, version=world.hint(hint.id).version, by="gwen", change=change)


PROOF = ("worked_example", "changes_controls", "confidence")


def test_another_change_has_not_been_tried(world: World, hint: hints.HintRow) -> None:
    row = edit(world, hint, change={"to": 2, "scores": {"rec_a": [3, 3], "rec_b": [5, 2]}})
    assert (row.current["confidence"]["replay"], row.current["confidence"]["weight"]) == ("not_tried", 0)
    assert row.current["worked_example"] is None and row.current["changes_controls"] == []
    assert {finding["code"]: finding["blocks"] for finding in row.findings}["needs_worked_example"] is False
    again = edit(world, hint, summary="other words, still the other change")
    assert again.current["confidence"]["replay"] == "not_tried"
    world.confirms(hint.id)


@pytest.mark.parametrize("change", [{"summary": "clearer"}, {"change": {"scores": {"rec_a": [3, 3], "rec_b": [5, 1], "rec_c": [0, 0]}}}])
def test_other_words_for_the_change_that_was_tried_keep_what_was_seen(world: World, hint: hints.HintRow, change: dict[str, Any]) -> None:
    row = edit(world, hint, **change)
    assert row.version == 2 and row.change_hash == hint.change_hash
    assert [row.current[name] for name in PROOF] == [hint.draft[name] for name in PROOF]


def test_back_at_the_change_that_was_tried_what_was_seen_is_back(world: World, hint: hints.HintRow) -> None:
    edit(world, hint, change={"to": 2})
    row = edit(world, hint, change={"to": 1})
    assert row.version == 3 and row.current == hint.draft
