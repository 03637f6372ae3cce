"""An agent is told the edit and its limits; whatever else a hint holds, now or one day, stays here."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ports import Budget
from rubric.briefing import CASES, LINE_CAP, LINES, briefing
from rubric.manifest import read_manifest
from rubric.recipes import argues
from rubric.schema import Hint
from tests.rubric.bank import CHANGES, hint
from tests.samples.small import MANIFEST

RULES = read_manifest(MANIFEST)
TOLD = {"step", "target", "change"}
"""fields of a hint that an agent is told"""
MARK = "Ottilie 4711 "
CANARIES = st.text(st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"]), max_size=20).map(MARK.__add__)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*map(str, value), *(text for inner in value.values() for text in texts(inner))]
    return [text for inner in value for text in texts(inner)] if isinstance(value, list) else [str(value)]


def poisoned(recipe: str, canary: str) -> Hint:
    """A hint with a canary in every field that is no part of its edit, of any type: also in fields that nobody thought of here."""
    one = hint(recipe)
    arguments = {name: [canary] for name in type(one.change).model_fields if argues(name) or name in CASES}
    fields = {name: canary for name in Hint.model_fields if name not in TOLD}
    return one.model_copy(update={**fields, "change": one.change.model_copy(update=arguments)})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(st.sampled_from(sorted(CHANGES)), CANARIES)
def test_nothing_but_the_edit_is_told(recipe: str, canary: str) -> None:
    told = briefing(poisoned(recipe, canary), RULES, 1, [], Budget())
    assert not [text for text in texts(told) if MARK in text] and MARK not in json.dumps(told)


@pytest.mark.parametrize("recipe", CHANGES)
def test_the_edit_is_told_whole(recipe: str) -> None:
    one = hint(recipe)
    told = briefing(one, RULES, 2, ["fetch-golden: f1 fails"], Budget(turns=7))
    required = {field.alias or name for name, field in type(one.change).model_fields.items() if field.is_required() and not argues(name)}
    assert required <= told["change"].keys() and told["change"]["recipe"] == told["recipe"] == recipe
    assert (told["step"], told["target"], told["attempt"], told["feedback"]) == (one.step, one.target, 2, ["fetch-golden: f1 fails"])
    assert told["budget"] == {"seconds": 600, "turns": 7, "tokens": 2_000_000, "usd": 1.0, "exams": 3}
    assert json.loads(json.dumps(told)) == told


def test_what_may_be_touched_is_told() -> None:
    told = briefing(hint("adjust_fetch_weight"), RULES, 1, [], Budget())
    assert told["may_change"] == ["config/fetch.json", "evals/fetch/cases.jsonl"] and told["protected"] == ["evals/**", "triage.yaml"]
    assert briefing(hint("retire_leaf"), RULES, 1, [], Budget())["may_change"] == []


def test_feedback_is_bounded() -> None:
    told = briefing(hint("retire_leaf"), RULES, 1, ["x" * 10_000] * 1000, Budget())["feedback"]
    assert len(told) == LINES and {len(line) for line in told} == {LINE_CAP}
