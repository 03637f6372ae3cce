"""Every recipe card brings its own test: its example is a hint that lint lets through, its counter-example is refused as it says."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from rubric import catalogue as catalogue_module
from rubric.catalogue import Card, load
from rubric.entries import Inventory
from rubric.findings import CODES
from rubric.lint import confirmable, lint
from rubric.manifest import read_inventory, read_manifest
from rubric.recipes import Change, edit_of
from rubric.schema import Case, Finding, Hint, Outcome, Step

CARDS = sorted((Path(catalogue_module.__file__).parent / "cards" / "recipes").glob("*.yaml"))
CATALOGUE = load()
SUITE = "suites: [{id: %s, argv: [python], results: {format: rows-jsonl, path: rows.jsonl}, timeout_s: 5, min_rows: 1}]"
IDS = {
    Step.preprocess: '"readers.*"',
    Step.intent: '"leaves.*"',
    Step.extraction: '"*.*"',
    Step.fetch: '["*.weights.*", "*.threshold"]',
    Step.plan: '["*", "*.*"]',
    Step.reply: '"*.*"',
    Step.fallback: '"prompts.*"',
}
BANK = {
    "preprocess": "readers: {pdf: {media_type: application/pdf}}",
    "intent": """
leaves:
  access/login_problem: {cues: {log in: 6}}
  access/password_reset: {cues: {password: 6}}
  access/account_locked: {cues: {locked: 6}}
  access/other: {cues: {}}
  cards/card_blocked: {cues: {blocked: 6}}
  cards/card_lost: {cues: {lost: 6}}
  cards/other: {cues: {}}
  payments/transfer_missing: {cues: {not arrived: 6}}
  payments/other: {cues: {}}
""",
    "extraction": """
people: {given_name: {label: first name}, family_name: {label: last name}}
account: {account_number: {label: account number, handles: [spaces]}, branch: {label: branch}}
contact: {email: {label: e-mail}, phone: {label: telephone}}
""",
    "fetch": "customer: {weights: {given_name: 1, family_name: 2, branch: 2, account_number: 5, email: 4}, threshold: 6}",
    "plan": """
access/account_locked:
  tie: {when: two best records with the same score, template: ask_which.default, tools: []}
  default: {when: otherwise, template: locked.unlock, tools: [send_unlock]}
cards/card_lost: {default: {when: otherwise, template: card.stopped, tools: [stop_card]}}
payments/transfer_missing: {default: {when: otherwise, template: transfer.trace, tools: [trace_transfer]}}
""",
    "reply": """
ask_which: {default: two customers fit; please add your number.}
locked: {unlock: we have sent you the steps to unlock your account.}
security: {handover: our security team will ring you.}
card: {stopped: your card is stopped.}
transfer: {trace: we are tracing your transfer.}
login: {help: sorry to hear about your login problem., reset: after the reset your login problem is gone.}
""",
    "fallback": "prompts: {general_desk: you hand tickets over}",
}
CASE = Case.model_validate(
    {
        "external_id": "case_101",
        "ticket": {"messages": [{"role": "customer", "text": "Robin Carter, Riverton branch"}]},
        "plan": {
            "intent_path": "payments/other",
            "reply": "Hello",
            "fetch": [
                {"record_id": "rec_204", "score": 5, "matched_fields": ["given_name", "family_name", "branch"]},
                {"record_id": "rec_001", "score": 5, "matched_fields": ["account_number"]},
            ],
        },
        "rejection": {"comment": "-", "by": "ann", "at": "2026-01-02T03:04:05Z"},
    }
)


@pytest.fixture(scope="module")
def bank() -> Inventory:
    text = "version: 1\nsteps:\n"
    for step, ids in IDS.items():
        text += f'  {step}:\n    watches: ["{step}.yaml"]\n    inventory: {{kind: yaml, path: "{step}.yaml", ids: {ids}}}\n    {SUITE % step}\n'
        text += "    view: {condition: [when], template: [template], tools: [tools], handles: [handles], cues: [cues]}\n"
    return read_inventory(read_manifest(text), {f"{step}.yaml": data for step, data in BANK.items()})


def findings(card: Card, comment: str, target: str, change: Any, bank: Inventory) -> list[Finding]:
    """Lint a hint that is good in everything but, perhaps, its change and target."""
    case = CASE.model_copy(update={"rejection": CASE.rejection.model_copy(update={"comment": comment})})
    step = (bank.entries[target].step if target in bank.entries else Step.plan) if card.step == "any" else card.step
    hint = Hint.model_validate(
        {
            "step": step,
            "target": target,
            "change": change,
            "evidence": [{"source": "comment", "quote": comment[:20], "start": 0, "end": len(comment[:20])}],
            "summary": card.title,
            "worked_example": {"case_id": "case_101", "plan_now": "as it is", "plan_instead": "as it should be"},
            "cure_case": "case_101",
            "risk": card.risk.level,
            "risk_reason": card.risk.reason,
            "confidence": {"agree": 3, "of": 3},
        }
    )
    return lint(hint, case, bank, CATALOGUE)


def test_there_is_a_card_for_every_recipe() -> None:
    kinds = get_args(get_args(Change)[0])
    assert {path.stem for path in CARDS} == {kind.model_fields["recipe"].default for kind in kinds}
    assert len(CARDS) == 18


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_example_is_a_hint_that_can_be_confirmed(path: Path, bank: Inventory) -> None:
    card = CATALOGUE.recipe(path.stem)
    written = yaml.safe_load(path.read_text(encoding="utf-8"))["example"]["change"]
    dumped = card.example.change.model_dump(by_alias=True, mode="json", exclude_unset=True)
    assert dumped == written
    found = findings(card, card.example.comment, card.example.target, written, bank)
    assert confirmable(found) and found == []


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_counter_example_gets_exactly_its_refusal(path: Path, bank: Inventory) -> None:
    card = CATALOGUE.recipe(path.stem)
    wrong = card.counter_example
    try:
        TypeAdapter(Change).validate_python(wrong.change)
    except ValidationError as error:
        assert {one["type"] for one in error.errors()} == {wrong.refused}
        return
    found = findings(card, wrong.comment, wrong.target, wrong.change, bank)
    if wrong.refused in CODES:
        assert {one.code for one in found} == {wrong.refused}
    else:
        # nothing is wrong with the change itself: a person, or the critic, has to see that no change is due
        assert Outcome(wrong.refused) and found == []


def test_most_counter_examples_are_refused_by_machine() -> None:
    by_people = {card.slug for card in CATALOGUE.recipes.values() if card.counter_example.refused in set(Outcome)}
    assert by_people == {"add_policy_rule", "change_fallback_agent"}


def test_what_argues_for_a_change_is_no_part_of_its_edit() -> None:
    change = {"recipe": "change_reply_template", "templates": ["b", "a"], "old": "x", "new": "y", "cases": ["1"]}
    again = {**change, "templates": ["a", "b"], "cases": ["2"], "scores": {}, "flips": [], "example": "z", "cells": [], "look_alikes": []}
    assert edit_of(change) == edit_of(again)
    assert edit_of(change) != edit_of({**change, "new": "z"})
    assert "cases" not in edit_of(change)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_field_at_its_default_is_the_same_edit_said_or_not(path: Path) -> None:
    """Otherwise a recipe that gets one more field makes two changes of one: a stored one, and the same drafted today."""
    change = CATALOGUE.recipe(path.stem).example.change
    whole, said = (change.model_dump(mode="json", by_alias=True, exclude_unset=unset) for unset in (False, True))
    assert edit_of(whole) == edit_of({"recipe": path.stem, **said}) and edit_of(whole)["recipe"] == path.stem
    assert TypeAdapter(Change).validate_python({**whole, **edit_of(whole)}) == change, "nothing that it says is lost"


def test_a_list_that_is_said_to_be_empty_is_kept_where_that_is_no_default() -> None:
    change = {"recipe": "alter_plan_branch", "leaf": "a/b", "branch": "c"}
    assert edit_of({**change, "tools": []}) != edit_of(change) == edit_of({**change, "tools": None, "drop": [], "condition": None})
    assert edit_of({"recipe": "unheard_of", "x": None}) == {"recipe": "unheard_of", "x": None}
