"""What a manifest leaves out is read off the config: the same answers as the example's own manifest gives, and nothing where nothing can be told."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.entries import Inventory
from rubric.manifest import Manifest, inventory_files, read_inventory, read_manifest
from rubric.schema import Step
from rubric.shapes import complete, policy_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "target-pipeline"


def example(*, bare: bool) -> tuple[Manifest, Inventory]:
    manifest = read_manifest((EXAMPLE / "triage.yaml").read_text())
    if bare:
        steps = {step: rules.model_copy(update={"view": {}}) for step, rules in manifest.steps.items()}
        manifest = manifest.model_copy(update={"recipes": {}, "steps": steps})
    paths = [path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.is_file()]
    return manifest, read_inventory(manifest, {path: (EXAMPLE / path).read_text() for path in inventory_files(manifest, paths)})


def test_views_are_found_as_the_manifest_says_them() -> None:
    said, _ = example(bare=False)
    found, inventory = complete(*example(bare=True))
    assert {step: rules.view for step, rules in found.steps.items()} == {step: rules.view for step, rules in said.steps.items()}
    assert inventory.entries["plan:access/login.default"].view["template"] == "login.steps"


def test_edits_are_found_as_the_manifest_says_them() -> None:
    said, _ = example(bare=False)
    found, _ = complete(*example(bare=True))
    for recipe in ("adjust_fetch_weight", "adjust_fetch_threshold", "add_extraction_field", "add_plan_branch", "change_reply_template"):
        assert found.recipes[recipe] == said.recipes[recipe]
    assert {"promote_other_intent", "refine_intent_boundary", "alter_plan_branch"} <= set(found.recipes)


def test_what_the_manifest_says_wins() -> None:
    said, inventory = example(bare=False)
    assert complete(said, inventory)[0].recipes["promote_other_intent"] == said.recipes["promote_other_intent"]


FLAT = """
version: 1
steps:
  intent:
    watches: [a]
    inventory: {kind: json, path: i.json, ids: "leaves.*"}
    suites: [{id: i, argv: [x], results: {format: rows-jsonl, path: x}, timeout_s: 1, min_rows: 1}]
  plan:
    watches: [a]
    inventory: {kind: json, path: "plans/*.json", ids: ["*", "*.*"]}
    suites: [{id: p, argv: [x], results: {format: rows-jsonl, path: x}, timeout_s: 1, min_rows: 1}]
  reply:
    watches: [a]
    inventory: {kind: json, path: r.json, ids: "*.*"}
    suites: [{id: r, argv: [x], results: {format: rows-jsonl, path: x}, timeout_s: 1, min_rows: 1}]
allow: {add_policy_rule: [rules.json, "evals/plan.jsonl"]}
protected: ["evals/**"]
"""
FILES = {
    "i.json": {"leaves": {"a/b": {"words": {"one": 1}, "what": "some words"}, "a/other": {"words": {"two": 2}, "what": "else here"}}},
    "plans/a.json": {
        "a/b": {
            "x": {"if": "flag x", "say": "t.x", "do": [{"call": 1, "name": "go"}]},
            "y": {"if": "otherwise", "say": "t.y", "do": [{"name": "stop"}]},
        },
        "a/other": {"y": {"if": "otherwise", "say": "t.y"}},
    },
    "r.json": {"t": {"x": "text of x", "y": "text of y"}},
}
RULES = {
    "one": {"where": ["a"], "words": "never do this", "stops": {"texts": ["a sentence here"]}},
    "two": {"where": ["*"], "words": "nor that", "stops": {"calls": ["go"]}},
}


def flat(files: dict[str, object] = FILES, policies: object = RULES) -> Manifest:
    manifest = read_manifest(FLAT)
    return complete(manifest, read_inventory(manifest, {path: json.dumps(value) for path, value in files.items()}), policies)[0]


def test_another_layout_gives_other_places() -> None:
    manifest = flat()
    assert manifest.steps[Step.intent].view == {"cues": ["words"], "about": ["what"]}
    assert manifest.steps[Step.plan].view == {"condition": ["if"], "template": ["say"], "tools": ["do"]}
    branch = manifest.recipes["add_plan_branch"].edits[0]
    assert (branch.file, branch.at, branch.value) == (
        "plans/{leaf|parent}.json",
        ["{leaf}", "{branch}"],
        {"if": "{condition}", "say": "{template}", "do": "{tools|named}"},
    )
    (tie,) = manifest.recipes["add_tie_rule"].edits
    assert (tie.file, tie.at, tie.before, tie.value) == (branch.file, branch.at, "{before}", {"if": "{rule}", "say": "{template}"})
    leaf = manifest.recipes["promote_other_intent"].edits
    assert [(edit.file, edit.at) for edit in leaf] == [
        ("i.json", ["leaves", "{parent}/{leaf}"]),
        ("plans/{parent}.json", ["{parent}/{leaf}"]),
        ("r.json", ["{leaf}"]),
    ]


def test_a_policy_is_written_like_those_beside_it() -> None:
    assert policy_file(flat()) == "rules.json"
    edit = flat().recipes["add_policy_rule"].edits[0]
    assert (edit.file, edit.at) == ("rules.json", ["{rule}"])
    assert edit.value == {"where": "{scope}", "words": "{text}", "stops": {"texts": "{blocks_sentences|filled}", "calls": "{blocks_tools|filled}"}}


@pytest.mark.parametrize("policies", [None, [], {}, {"a": 1}, {"a": {"b": {}}}])
def test_no_policies_no_edit(policies: object) -> None:
    assert "add_policy_rule" not in flat(policies=policies).recipes


@pytest.mark.parametrize("blocks", [None, True, ["go"], "go"])
def test_a_policy_that_blocks_nothing_in_particular_hides_no_other(blocks: object) -> None:
    assert flat(policies={**RULES, "three": {**RULES["two"], "stops": blocks}}).recipes["add_policy_rule"] == flat().recipes["add_policy_rule"]


def test_what_cannot_be_told_is_left_out() -> None:
    odd = {"i.json": {"leaves": {"a/b": 1}}, "plans/a.json": {"a/b": {"x": 1}}, "r.json": {"t": {"x": "y"}}}
    assert set(flat(odd, None).recipes) <= {"change_reply_template"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(["t.x", "some words", "flag x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["if", "say", "do", "name", "words", "stops", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.integers(0, 40), JSON)
def test_any_value_in_place_of_another_breaks_nothing(number: int, value: Any) -> None:
    documents = json.loads(json.dumps({**FILES, "rules": RULES}))
    holders: list[tuple[dict[str, Any], str]] = []
    waiting = list(documents.values())
    while waiting:
        inside = waiting.pop()
        if isinstance(inside, dict):
            holders += [(inside, key) for key in inside]
            waiting += inside.values()
    holder, key = holders[number % len(holders)]
    holder[key] = value
    rules = documents.pop("rules")
    assert flat(documents, rules).steps
