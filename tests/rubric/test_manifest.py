"""The manifest: what is read, what is refused and how it is named, which steps a change touches, what a hint may name."""

import json

import pytest

from rubric.manifest import Edit, inventory_files, matches, read_inventory, read_manifest
from rubric.recipes import argues
from rubric.schema import Step
from rubric.strict import Unreadable

SUITE = """{id: fetch-golden, argv: [python, -m, evals.run], results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 60, min_rows: 2}"""
PLAIN = f"""
version: 1
steps:
  fetch:
    watches: ["pipeline/fetch/**", "config/fetch.json"]
    inventory: {{kind: json, path: config/fetch.json, ids: ["*.weights.*", "*.threshold"]}}
    stability: {{default: open, "account.weights.iban": frozen, "*.threshold": careful}}
    suites: [{SUITE}]
  reply:
    watches: ["config/templates.json"]
    inventory: {{kind: json, path: config/templates.json, ids: "texts.*"}}
    view: {{text: []}}
    suites: [{SUITE.replace("fetch-golden", "reply-golden")}]
allow: {{adjust_fetch_weight: ["config/fetch.json"]}}
protected: ["evals/**", "**/conftest.py"]
"""
CONFIG = {"account": {"weights": {"iban": 8, "email": 5}, "threshold": 6}}


def test_ids_leave_out_what_stands_before_the_first_star() -> None:
    manifest = read_manifest(PLAIN)
    files = {"config/fetch.json": json.dumps(CONFIG), "config/templates.json": '{"texts": {"hello": "Dear {name}"}}', "README.md": "no"}
    assert inventory_files(manifest, list(files)) == ["config/fetch.json", "config/templates.json"]
    entries = read_inventory(manifest, {path: files[path] for path in inventory_files(manifest, list(files))}).entries
    assert set(entries) == {"fetch:account.weights.iban", "fetch:account.weights.email", "fetch:account.threshold", "reply:hello"}
    weight = entries["fetch:account.weights.iban"]
    assert (weight.path, weight.parts, weight.value) == (("account", "weights", "iban"), ("account", "iban"), 8)
    assert {name: entry.stability for name, entry in entries.items()} == {
        "fetch:account.weights.iban": "frozen",
        "fetch:account.weights.email": "open",
        "fetch:account.threshold": "careful",
        "reply:hello": "open",
    }
    assert entries["reply:hello"].view == {"text": "Dear {name}"}


def test_changed_paths_name_the_affected_steps() -> None:
    manifest = read_manifest(PLAIN)
    assert manifest.affected(["config/fetch.json"]) == {Step.fetch}
    assert manifest.affected(["config/fetch.json", "config/templates.json"]) == {Step.fetch, Step.reply}
    assert manifest.affected(["README.md"]) == {Step.fetch, Step.reply}  # nobody watches it: everything may be touched


def test_policy_of_paths() -> None:
    manifest = read_manifest(PLAIN)
    assert manifest.may_change("adjust_fetch_weight", "config/fetch.json")
    assert not manifest.may_change("adjust_fetch_weight", "config/templates.json")
    assert not manifest.may_change("unheard_of", "config/fetch.json")
    assert all(manifest.is_protected(path) for path in ("triage.yaml", "evals/fetch/cases.jsonl", "conftest.py", "deep/er/conftest.py"))
    assert not manifest.is_protected("config/fetch.json")


@pytest.mark.parametrize(
    ("path", "glob", "fits"),
    [
        ("config/a.json", "config/*.json", True),
        ("config/sub/a.json", "config/*.json", False),
        ("config/sub/a.json", "config/**", True),
        ("conftest.py", "**/conftest.py", True),
        ("a/conftest.py", "**/conftest.py", True),
        ("aconftest.py", "**/conftest.py", False),
        ("config/a+b.json", "config/a+b.json", True),
        ("config/aab.json", "config/a+b.json", False),
        ("a\nb", "*", True),
    ],
)
def test_globs(path: str, glob: str, fits: bool) -> None:
    assert matches(path, glob) is fits


OUTSIDE = PLAIN.replace(
    '{format: rows-jsonl, path: "{out}/rows.jsonl"}', '{format: outputs-jsonl, path: "{out}/o.jsonl"}, rows: {path: evals/cases.jsonl}, grade: {}', 1
)
TWO = OUTSIDE.replace("reply-golden, ", "reply-golden, rows: {path: evals/cases.jsonl}, ")
BOTH = TWO.replace("format: rows-jsonl", "format: outputs-jsonl").replace("reply-golden, ", "reply-golden, grade: {expected: wanted}, ")


def test_suites_that_are_graded_outside_may_share_rows_and_nobody_else_gets_them() -> None:
    manifest = read_manifest(BOTH.replace("{expected: wanted}", "{}"))
    assert manifest.kept == {"evals/cases.jsonl"} and read_manifest(PLAIN).kept == set()
    assert [suite.graded for _, suite in read_manifest(OUTSIDE).suites({Step.fetch, Step.reply})] == ["outside", "self"]


BROKEN = [
    (TWO, "manifest_invalid", "of fetch-golden and reply-golden one would be given what another must not see"),
    (BOTH, "manifest_invalid", "must not see"),
    (OUTSIDE.replace(", grade: {}", ""), "manifest_invalid", "needs rows.path and grade"),
    (OUTSIDE.replace("rows: {path: evals/cases.jsonl}, ", ""), "manifest_invalid", "needs rows.path and grade"),
    (OUTSIDE.replace("outputs-jsonl", "junit-xml"), "manifest_invalid", "grade goes with outputs-jsonl"),
    (OUTSIDE.replace("cases.jsonl}", "cases.jsonl, add: {id: x}}"), "manifest_invalid", "rows without id or expected"),
    ("steps: {}\nversion: 1", "manifest_invalid", "steps"),
    (PLAIN.replace("version: 1", "version: 2"), "manifest_invalid", "version"),
    (PLAIN.replace("fetch:\n", "ferret:\n"), "manifest_invalid", "steps.ferret"),
    (PLAIN.replace("timeout_s: 60", "timeout_s: 0", 1), "manifest_invalid", "timeout_s"),
    (PLAIN.replace("timeout_s: 60", "timeout_s: 1000000000", 1), "manifest_invalid", "timeout_s"),
    (PLAIN.replace("min_rows: 2", "min_rows: 0", 1), "manifest_invalid", "min_rows"),
    (PLAIN.replace("reply-golden", "fetch-golden"), "manifest_invalid", "twice"),
    (PLAIN.replace("format: rows-jsonl", "format: exit-code", 1), "manifest_invalid", "format"),
    (PLAIN.replace("argv: [python, -m, evals.run]", "argv: []", 1), "manifest_invalid", "argv"),
    (PLAIN.replace("argv: [python, -m, evals.run]", 'argv: "rm -rf x; true"', 1), "manifest_invalid", "argv"),
    (PLAIN.replace("path: config/fetch.json", "path: ../secrets.json"), "manifest_invalid", "inside the repository"),
    (PLAIN.replace("path: config/fetch.json", "path: /etc/hostname"), "manifest_invalid", "inside the repository"),
    (PLAIN + "surprise: 1\n", "manifest_invalid", "surprise"),
    (PLAIN + "version: 1\n", "duplicate_key", "version"),
    ("version: 1\nsteps: &a {fetch: *a}\n", "alias", "alias"),
    ("version: 1\n\tsteps: x", "not_yaml", "line 2"),
    ("- a list\n", "manifest_invalid", "top level"),
    ("", "manifest_invalid", "top level"),
    ("x: " + "a" * 300_000, "manifest_too_large", "256"),
]


@pytest.mark.parametrize(("text", "code", "named"), BROKEN, ids=[f"{code}-{named}" for _, code, named in BROKEN])
def test_a_broken_manifest_is_refused_by_name(text: str, code: str, named: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_manifest(text)
    assert refused.value.code == code
    assert named in str(refused.value)
    assert str(refused.value).startswith("triage.yaml")


@pytest.mark.parametrize("text", ['{"account": 1, "account": 2}', "{", "[" * 100, '{"a": NaN}', "﻿{}"])
def test_a_broken_config_names_its_file(text: str) -> None:
    with pytest.raises(Unreadable, match=r"config/fetch\.json|stands twice|NaN"):
        read_inventory(read_manifest(PLAIN), {"config/fetch.json": text})


def test_two_entries_with_one_id_are_refused() -> None:
    twice = PLAIN.replace('ids: ["*.weights.*", "*.threshold"]', 'ids: ["*.*", "*.threshold"]')
    with pytest.raises(Unreadable, match=r"fetch:account\.threshold stands twice"):
        read_inventory(read_manifest(twice), {"config/fetch.json": json.dumps(CONFIG)})


EDIT = PLAIN + "recipes: {add_extraction_field: {edits: [{op: add, file: e.json, at: [x], %s}]}}\n"


@pytest.mark.parametrize(
    "said",
    [
        'value: "{example}"', 'value: {label: "{label}", sample: ["as in {example|leaf}"]}', 'value: {"{cells}": 1}', 'value: 1, each: "{cases}"',
        "value: 1, each: flips", "value: 1, if: look_alikes", 'value: 1, was: "{scores.c1.0}"', 'value: 1, before: "{example}"',
    ],
)  # fmt: skip
def test_what_argues_for_a_change_edits_nothing(said: str) -> None:
    """Two hints that differ in it are taken for the same change, so it may not be written."""
    with pytest.raises(Unreadable) as refused:
        read_manifest(EDIT % said)
    assert refused.value.code == "manifest_invalid" and "recipes.add_extraction_field.edits.0: " in str(refused.value)
    assert "argues for a change" in str(refused.value)


@pytest.mark.parametrize(
    "said", ['value: "{label} {{example}}"', "value: example", 'value: "{pattern}", each: settings', 'value: {example: "{label}"}']
)
def test_the_same_words_where_they_are_no_fields_are_fine(said: str) -> None:
    assert read_manifest(EDIT % said).recipes


def test_no_edit_that_is_read_off_a_config_writes_what_argues() -> None:
    """Shapes make edits of the same kind, which refuses them."""
    fields = {name for name in ("cases", "look_alikes", "scores", "flips", "example", "cells", "label", "to") if argues(name)}
    assert fields == {"cases", "look_alikes", "scores", "flips", "example", "cells"}
    with pytest.raises(ValueError, match="example"):
        Edit.model_validate({"op": "add", "file": "e.json", "at": ["x"], "value": "{example}"})
