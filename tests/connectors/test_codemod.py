"""The codemod holds here: one test a recipe on two layouts with the exact diff, and everything it must not touch."""

import difflib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.codemod import RecipeCodemod
from connectors.ports import TreeAgent, TreeJob
from rubric.manifest import Manifest, read_manifest
from rubric.recipes import (
    AddExtractionField,
    AddPlanBranch,
    AdjustFetchThreshold,
    AdjustFetchWeight,
    AlterExtractionField,
    ChangeReplyTemplate,
    PromoteOtherIntent,
    RefineIntentBoundary,
)
from rubric.rendering import BadTemplate, render
from rubric.schema import Confidence, Hint, Risk, Step

EXAMPLE = Path(__file__).parents[2] / "examples" / "target-pipeline"
HEAD = """
version: 1
steps:
  fetch:
    watches: ["config/**"]
    inventory: {kind: KIND, path: "FILES", ids: "*"}
    suites: [{id: fetch, argv: [x], results: {format: rows-jsonl, path: rows}, timeout_s: 1, min_rows: 1}]
protected: ["config/locked.*"]
"""

# ---- layout one: nested JSON, a file a step

NESTED = {
    "config/fetch.json": """\
{
  "account": {
    "weights": {
      "email": 4,
      "postcode": 2
    },
    "threshold": 5
  }
}
""",
    "config/intents.json": """\
{
  "leaves": {
    "cards/arrival": {
      "about": "a card has not come",
      "cues": {
        "arrived": 6,
        "card": 1
      }
    },
    "cards/other": {
      "about": "the rest",
      "cues": {
        "card": 3
      }
    }
  }
}""",
    "config/extraction.json": """\
{
  "contact": {
    "email": {"label": "email", "form": "[a-z]+@[a-z]+", "handles": ["upper_case"]},
    "postcode": {"label": "postcode"}
  }
}
""",
    "config/plans/cards.json": """\
{
  "cards/arrival": {
    "tie": {"when": "two best", "template": "ask", "tools": [{"name": "look"}]},
    "default": {"when": "otherwise", "template": "arrival.default"}
  },
  "cards/other": {
    "default": {"when": "otherwise", "template": "other.default"}
  }
}
""",
    "config/templates.json": """\
{
  "arrival": {
    "default": "your card is on its way; 7 working days."
  },
  "other": {
    "default": "7 working days \\u2013 sorry"
  }
}
""",
}
NESTED_RULES = """
allow:
  promote_other_intent: ["config/intents.json", "config/plans/*.json", "config/templates.json"]
  refine_intent_boundary: ["config/intents.json"]
  add_extraction_field: ["config/extraction.json"]
  alter_extraction_field: ["config/extraction.json"]
  adjust_fetch_weight: ["config/fetch.json"]
  adjust_fetch_threshold: ["config/fetch.json"]
  add_plan_branch: ["config/plans/*.json", "config/templates.json"]
  change_reply_template: ["config/templates.json"]
recipes:
  promote_other_intent:
    edits:
      - {op: add, file: config/intents.json, at: [leaves, "{parent}/{leaf}"], before: "{parent}/other", value: {about: "{about}", cues: "{cues}"}}
      - {op: add, file: "config/plans/{parent}.json", at: ["{parent}/{leaf}"],
         value: {default: {when: otherwise, template: "{leaf}.default"}}}
      - {op: add, file: config/templates.json, at: ["{leaf}"], value: {default: "{reply}"}}
  refine_intent_boundary:
    edits:
      - {op: remove, file: config/intents.json, each: "{drop}", at: [leaves, "{from_parent}/{from_leaf}", cues, "{item}"]}
      - {op: add, file: config/intents.json, each: cues, at: [leaves, "{to_parent}/{to_leaf}", cues, "{key}"], value: "{item}"}
  add_extraction_field:
    edits:
      - {op: add, file: config/extraction.json, at: ["{group}", "{field}"], value: {label: "{label}", form: "{pattern}"}}
  alter_extraction_field:
    edits:
      - {op: append, file: config/extraction.json, if: "{handles}", at: ["{group}", "{field}", handles], value: "{handles}"}
  adjust_fetch_weight:
    edits: [{op: set, file: config/fetch.json, at: ["{record_type}", weights, "{field}"], was: "{from}", value: "{to}"}]
  adjust_fetch_threshold:
    edits: [{op: set, file: config/fetch.json, at: ["{record_type}", threshold], was: "{from}", value: "{to}"}]
  add_plan_branch:
    edits:
      - {op: add, file: "config/plans/{leaf|parent}.json", at: ["{leaf}", "{branch}"], before: "{before}",
         value: {when: "{condition}", template: "{template}"}}
      - {op: add, file: config/templates.json, if: "{reply}", at: ["{template|group}", "{template|name}"], value: "{reply}"}
  change_reply_template:
    edits: [{op: replace_text, file: config/templates.json, each: "{templates}", at: ["{item|group}", "{item|name}"], old: "{old}", value: "{new}"}]
"""

# ---- layout two: one flat YAML file

FLAT = {
    "config/all.yaml": """\
# Everything in one file.
threshold: 5   # points
weight.email: 4  # mail
weight.postcode: 2

field.contact.email: {label: email, form: '[a-z]+@[a-z]+', handles: [upper_case]}
# what a letter has
field.contact.postcode: {label: postcode}

leaf.cards/arrival: {about: a card has not come, cues: {arrived: 6, card: 1}}
leaf.cards/other: {about: the rest, cues: {card: 3}}

plan.cards/arrival:
  tie: {when: two best, template: ask, tools: [look]}
  # always the last one
  default: {when: otherwise, template: arrival.default}
plan.cards/other:
  default: {when: otherwise, template: other.default}

text.arrival.default: "your card is on its way; 7 working days."
text.other.default: >-
  7 working days
  is what it takes""",
}
FLAT_RULES = """
allow: {promote_other_intent: ["config/*.yaml"], refine_intent_boundary: ["config/*.yaml"], add_extraction_field: ["config/*.yaml"],
        alter_extraction_field: ["config/*.yaml"], adjust_fetch_weight: ["config/*.yaml"], adjust_fetch_threshold: ["config/*.yaml"],
        add_plan_branch: ["config/*.yaml"], change_reply_template: ["config/*.yaml"]}
recipes:
  promote_other_intent:
    edits:
      - {op: add, file: config/all.yaml, at: ["leaf.{parent}/{leaf}"], before: "leaf.{parent}/other", value: {about: "{about}", cues: "{cues}"}}
      - {op: add, file: config/all.yaml, at: ["plan.{parent}/{leaf}"], before: "text.arrival.default",
         value: {default: {when: otherwise, template: "{leaf}.default"}}}
      - {op: add, file: config/all.yaml, at: ["text.{leaf}.default"], value: "{reply}"}
  refine_intent_boundary:
    edits:
      - {op: remove, file: config/all.yaml, each: "{drop}", at: ["leaf.{from_parent}/{from_leaf}", cues, "{item}"]}
      - {op: add, file: config/all.yaml, each: "{cues|keys}", at: ["leaf.{to_parent}/{to_leaf}", cues, "{item}"], value: 5}
  add_extraction_field:
    edits:
      - {op: add, file: config/all.yaml, at: ["field.{group}.{field}"], before: "leaf.cards/arrival",
         value: {label: "{label}", form: "{pattern}"}}
  alter_extraction_field:
    edits: [{op: append, file: config/all.yaml, at: ["field.{group}.{field}", handles], value: "{handles}"}]
  adjust_fetch_weight:
    edits: [{op: set, file: config/all.yaml, at: ["weight.{field}"], was: "{from}", value: "{to}"}]
  adjust_fetch_threshold:
    edits: [{op: set, file: config/all.yaml, at: [threshold], was: "{from}", value: "{to}"}]
  add_plan_branch:
    edits:
      - {op: add, file: config/all.yaml, at: ["plan.{leaf}", "{branch}"], before: "{before}",
         value: {when: "{condition}", template: "{template}", tools: "{tools}"}}
      - {op: add, file: config/all.yaml, if: reply, at: ["text.{template}"], value: "{reply}"}
  change_reply_template:
    edits: [{op: replace_text, file: config/all.yaml, each: templates, at: ["text.{item}"], old: "{old}", value: "{new}"}]
"""


def manifest(rules: str) -> Manifest:
    kind, files = ("yaml", "config/*.yaml") if rules is FLAT_RULES else ("json", "config/**")
    return read_manifest(HEAD.replace("KIND", kind).replace("FILES", files) + rules)


def job(change, rules: str) -> TreeJob:
    sure = Confidence(agree=3, of=3)
    hint = Hint(
        step=Step.fetch, target="fetch:x", change=change, evidence=[], summary="s", cure_case="c", risk=Risk.low, risk_reason="r", confidence=sure
    )
    return TreeJob("job-1", hint, manifest(rules))


def plant(tree: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(text.encode())
    return tree


def snapshot(tree: Path) -> dict[str, bytes | str]:
    found = sorted(path for path in tree.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path.relative_to(tree)): os.readlink(path) if path.is_symlink() else path.read_bytes() for path in found}


def diff(tree: Path, files: dict[str, str]) -> str:
    """Unified diff without context, file names without the a/ and b/."""
    out = ""
    after = snapshot(tree)
    assert set(after) == set(files), "no file comes or goes"
    for path, text in files.items():
        lines = difflib.unified_diff(text.splitlines(), str(after[path], "utf-8").splitlines(), path, path, n=0, lineterm="")
        out += "".join(line + "\n" for line in lines if not line.startswith("+++"))
    return out


CHANGES = {
    "promote_other_intent": PromoteOtherIntent(
        parent="cards",
        leaf="courier",
        about="where the courier is",
        cues={"courier": 8, "parcel: where": 4},
        reply="the courier is coming.",
        cases=["1", "2", "3"],
    ),
    "refine_intent_boundary": RefineIntentBoundary(
        from_parent="cards", from_leaf="arrival", to_parent="cards", to_leaf="other", cues={"my card": 5}, drop=["card"]
    ),
    "add_extraction_field": AddExtractionField(group="contact", field="iban", label="IBAN", pattern="[A-Z]{2}[0-9]+", example="DE12"),
    "adjust_fetch_weight": AdjustFetchWeight(record_type="account", field="email", from_=4, to=6),
    "adjust_fetch_threshold": AdjustFetchThreshold(record_type="account", from_=5, to=4),
    "add_plan_branch": AddPlanBranch(
        leaf="cards/arrival",
        branch="lost",
        condition="fact: lost in post",
        template="arrival.lost",
        reply="it is lost.",
        tools=["resend"],
        before="default",
    ),
    "change_reply_template": ChangeReplyTemplate(templates=["arrival.default", "other.default"], old="7 working days", new='up to "9" days'),
}

EXPECTED = {
    ("promote_other_intent", "nested"): """\
--- config/intents.json
@@ -7,0 +8,7 @@
+      }
+    },
+    "cards/courier": {
+      "about": "where the courier is",
+      "cues": {
+        "courier": 8,
+        "parcel: where": 4
--- config/plans/cards.json
@@ -7,0 +8,3 @@
+  },
+  "cards/courier": {
+    "default": {"when": "otherwise", "template": "courier.default"}
--- config/templates.json
@@ -6,0 +7,3 @@
+  },
+  "courier": {
+    "default": "the courier is coming."
""",
    ("promote_other_intent", "flat"): """\
--- config/all.yaml
@@ -10,0 +11 @@
+leaf.cards/courier: {about: where the courier is, cues: {courier: 8, "parcel: where": 4}}
@@ -18,0 +20,2 @@
+plan.cards/courier:
+  default: {when: otherwise, template: courier.default}
@@ -23,0 +27 @@
+text.courier.default: the courier is coming.
""",
    ("refine_intent_boundary", "nested"): """\
--- config/intents.json
@@ -6,2 +6 @@
-        "arrived": 6,
-        "card": 1
+        "arrived": 6
@@ -13 +12,2 @@
-        "card": 3
+        "card": 3,
+        "my card": 5
""",
    ("refine_intent_boundary", "flat"): """\
--- config/all.yaml
@@ -10,2 +10,2 @@
-leaf.cards/arrival: {about: a card has not come, cues: {arrived: 6, card: 1}}
-leaf.cards/other: {about: the rest, cues: {card: 3}}
+leaf.cards/arrival: {about: a card has not come, cues: {arrived: 6}}
+leaf.cards/other: {about: the rest, cues: {card: 3, my card: 5}}
""",
    ("add_extraction_field", "nested"): """\
--- config/extraction.json
@@ -4 +4,2 @@
-    "postcode": {"label": "postcode"}
+    "postcode": {"label": "postcode"},
+    "iban": {"label": "IBAN", "form": "[A-Z]{2}[0-9]+"}
""",
    ("add_extraction_field", "flat"): """\
--- config/all.yaml
@@ -8,0 +9 @@
+field.contact.iban: {label: IBAN, form: '[A-Z]{2}[0-9]+'}
""",
    ("adjust_fetch_weight", "nested"): """\
--- config/fetch.json
@@ -4 +4 @@
-      "email": 4,
+      "email": 6,
""",
    ("adjust_fetch_weight", "flat"): """\
--- config/all.yaml
@@ -3 +3 @@
-weight.email: 4  # mail
+weight.email: 6  # mail
""",
    ("adjust_fetch_threshold", "nested"): """\
--- config/fetch.json
@@ -7 +7 @@
-    "threshold": 5
+    "threshold": 4
""",
    ("adjust_fetch_threshold", "flat"): """\
--- config/all.yaml
@@ -2 +2 @@
-threshold: 5   # points
+threshold: 4   # points
""",
    ("add_plan_branch", "nested"): """\
--- config/plans/cards.json
@@ -3,0 +4 @@
+    "lost": {"when": "fact: lost in post", "template": "arrival.lost"},
--- config/templates.json
@@ -3 +3,2 @@
-    "default": "your card is on its way; 7 working days."
+    "default": "your card is on its way; 7 working days.",
+    "lost": "it is lost."
""",
    ("add_plan_branch", "flat"): """\
--- config/all.yaml
@@ -14,0 +15 @@
+  lost: {when: "fact: lost in post", template: arrival.lost, tools: [resend]}
@@ -23,0 +25 @@
+text.arrival.lost: it is lost.
""",
    ("change_reply_template", "nested"): """\
--- config/templates.json
@@ -3 +3 @@
-    "default": "your card is on its way; 7 working days."
+    "default": "your card is on its way; up to \\"9\\" days."
@@ -6 +6 @@
-    "default": "7 working days \\u2013 sorry"
+    "default": "up to \\"9\\" days \\u2013 sorry"
""",
    ("change_reply_template", "flat"): """\
--- config/all.yaml
@@ -20 +20 @@
-text.arrival.default: "your card is on its way; 7 working days."
+text.arrival.default: "your card is on its way; up to \\"9\\" days."
@@ -22 +22 @@
-  7 working days
+  up to "9" days
""",
}


@pytest.mark.parametrize(("recipe", "layout"), EXPECTED)
def test_a_recipe_edits_a_layout_as_a_person_would(recipe, layout, tmp_path):
    files, rules = (NESTED, NESTED_RULES) if layout == "nested" else (FLAT, FLAT_RULES)
    plant(tmp_path, files)
    run = RecipeCodemod().run(job(CHANGES[recipe], rules), tmp_path)
    assert (run.status, diff(tmp_path, files)) == ("done", EXPECTED[recipe, layout])


def test_a_new_field_brings_the_settings_that_the_change_names(tmp_path):
    manifest = read_manifest((EXAMPLE / "triage.yaml").read_text())
    plant(tmp_path, {"config/extraction.json": (EXAMPLE / "config/extraction.json").read_text()})
    change = AddExtractionField(group="account", field="amount", label="amount", settings={"type": "amount", "handles": []}, example="12 pounds")
    run = RecipeCodemod().run(replace(job(change, NESTED_RULES), manifest=manifest), tmp_path)
    written = json.loads((tmp_path / "config/extraction.json").read_text())["account"]["amount"]
    assert (run.status, written) == ("done", {"label": "amount", "type": "amount", "handles": []})


def test_it_is_a_tree_agent():
    agent: TreeAgent = RecipeCodemod()
    assert agent.name == "codemod"


# ---- what does not fit


UNFIT = [
    (AdjustFetchWeight(record_type="account", field="phone", from_=4, to=6), "path_missing: config/fetch.json, account > weights > phone"),
    (AdjustFetchWeight(record_type="guest", field="email", from_=4, to=6), "path_missing: "),
    (AdjustFetchWeight(field="email", from_=4, to=6), "nothing_to_name: "),
    (AdjustFetchWeight(record_type="account", field="email", from_=3, to=6), "value_differs: "),
    (AdjustFetchWeight(record_type="account", field="email", from_=4, to=4), "no_change: "),
    (AddPlanBranch(leaf="cards/arrival", branch="tie", condition="c", template="a.b"), "path_exists: "),
    (AddPlanBranch(leaf="cards/gone", branch="tie", condition="c", template="a.b"), "path_missing: "),
    (AddPlanBranch(leaf="cash/arrival", branch="tie", condition="c", template="a.b"), "file_missing: there is no config/plans/cash.json"),
    (AddPlanBranch(leaf="single", branch="tie", condition="c", template="a.b"), "file_missing: "),
    (AddPlanBranch(leaf="cards/arrival", branch="new", condition="c", template="a.b", before="gone"), "path_missing: "),
    (AddPlanBranch(leaf="cards/arrival", branch="new", condition="c", template="undotted", reply="r"), "nothing_to_name: "),
    (AlterExtractionField(group="contact", field="gone", handles="spaces"), "path_missing: "),
    (AlterExtractionField(group="contact", field="postcode", normaliser="spaces"), "no_change: "),
    (ChangeReplyTemplate(templates=["arrival.default"], old="8 working days", new="x"), "text_not_found: "),
    (ChangeReplyTemplate(templates=["arrival.default", "gone.default"], old="7 working days", new="x"), "path_missing: "),
    (ChangeReplyTemplate(templates=["*.*"], old="7 working days", new="x"), "path_missing: config/templates.json, * > * "),
]


@pytest.mark.parametrize(("change", "reason"), UNFIT)
def test_an_unfit_hint_gives_up_and_leaves_the_tree(change, reason, tmp_path):
    before = snapshot(plant(tmp_path, NESTED))
    run = RecipeCodemod().run(job(change, NESTED_RULES), tmp_path)
    assert run.status == "gave_up" and run.reason.startswith(reason)
    assert snapshot(tmp_path) == before


def test_a_recipe_without_a_rule_gives_up(tmp_path):
    rules = NESTED_RULES[: NESTED_RULES.index("  adjust_fetch_weight:\n    edits")]
    run = RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], rules), plant(tmp_path, NESTED))
    assert (run.status, run.reason.partition(":")[0]) == ("gave_up", "no_rule")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"account": 1, "account": 2}', "duplicate_key"),
        (b"\xef\xbb\xbf{}", "bom"),
        (b"\xff{}", "not_utf8"),
        (b"{", "unparsable"),
        (b"[]", "path_missing"),
    ],
)
def test_a_broken_config_gives_up(content, reason, tmp_path):
    plant(tmp_path, NESTED)
    (tmp_path / "config/fetch.json").write_bytes(content)
    run = RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], NESTED_RULES), tmp_path)
    assert (run.status, run.reason.partition(":")[0]) == ("gave_up", reason)
    assert (tmp_path / "config/fetch.json").read_bytes() == content


def test_reasons_hold_no_values(tmp_path):
    change = ChangeReplyTemplate(templates=["arrival.default"], old="the customer said SECRET", new="SECRET too")
    run = RecipeCodemod().run(job(change, NESTED_RULES), plant(tmp_path, NESTED))
    assert run.status == "gave_up" and "SECRET" not in run.reason


# ---- what is not allowed


def one_edit(edit: str, recipe: str = "adjust_fetch_weight", allow: str = '["**"]') -> str:
    return f"allow: {{{recipe}: {allow}}}\nrecipes: {{{recipe}: {{edits: [{edit}]}}}}\n"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "a/../../outside", "./fetch", "x//y", "a\\b", "a\nb", ".git/config", "n" * 300, "\x00"]
)
def test_a_hostile_file_name_is_refused(name, tmp_path):
    tree = plant(tmp_path / "tree", NESTED)
    (tmp_path / "outside").write_text('{"a": {"b": 1}}')
    before = snapshot(tmp_path)
    change = ChangeReplyTemplate.model_construct(templates=[name], old="a", new="b")
    task = job(CHANGES["adjust_fetch_weight"], one_edit('{op: set, file: "{templates.0}", at: [a, b], value: 2}', "change_reply_template"))
    run = RecipeCodemod().run(TreeJob("j", task.hint.model_copy(update={"change": change}), task.manifest), tree)
    assert (run.status, run.reason.partition(":")[0]) == ("refused", "path_unsafe")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("link", ["config/fetch.json", "config"])
def test_a_symlinked_config_is_refused(link, tmp_path):
    tree = plant(tmp_path / "tree", NESTED)
    (tree / link).rename(tmp_path / "elsewhere")
    (tree / link).symlink_to(tmp_path / "elsewhere")
    before = snapshot(tmp_path)
    run = RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], NESTED_RULES), tree)
    assert (run.status, run.reason.partition(":")[0]) == ("refused", "symlink")
    assert snapshot(tmp_path) == before


def test_a_folder_is_refused(tmp_path):
    plant(tmp_path, NESTED)
    (tmp_path / "config/fetch.json").unlink()
    (tmp_path / "config/fetch.json").mkdir()
    run = RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], NESTED_RULES), tmp_path)
    assert (run.status, run.reason.partition(":")[0]) == ("refused", "not_a_file")


@pytest.mark.parametrize(
    "rules",
    [
        one_edit("{op: set, file: config/fetch.json, at: [account, threshold], value: 2}", allow='["config/other.json"]'),
        one_edit("{op: set, file: config/fetch.json, at: [account, threshold], value: 2}", allow="[]"),
        one_edit("{op: set, file: config/locked.json, at: [a], value: 2}"),
        one_edit("{op: set, file: triage.yaml, at: [version], value: 2}"),
    ],
)
def test_a_file_outside_of_the_allow_list_or_protected_is_refused(rules, tmp_path):
    before = snapshot(plant(tmp_path, {**NESTED, "config/locked.json": '{"a": 1}', "triage.yaml": "version: 1\n"}))
    run = RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], rules), tmp_path)
    assert (run.status, run.reason.partition(":")[0]) == ("refused", "path_not_allowed")
    assert snapshot(tmp_path) == before


# ---- several edits


def test_two_edits_in_one_file_and_nothing_is_written_when_the_second_fails(tmp_path):
    first = "{op: set, file: config/fetch.json, at: [account, weights, email], value: 9}"
    rules = one_edit(first + ", {op: remove, file: config/fetch.json, at: [account, threshold]}")
    assert RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], rules), plant(tmp_path, NESTED)).status == "done"
    assert diff(tmp_path, NESTED) == (
        '--- config/fetch.json\n@@ -4 +4 @@\n-      "email": 4,\n+      "email": 9,\n@@ -6,2 +6 @@\n-    },\n-    "threshold": 5\n+    }\n'
    )
    before = snapshot(plant(tmp_path, NESTED))
    rules = one_edit(first + ", {op: remove, file: config/templates.json, at: [gone]}")
    assert RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], rules), tmp_path).status == "gave_up"
    assert snapshot(tmp_path) == before


def test_line_ends_tabs_mode_and_the_missing_last_line_break_stay(tmp_path):
    text = '{\r\n\t"account": {\r\n\t\t"weights": {"email":4},\r\n\t\t"threshold": 5\r\n\t}\r\n}'
    plant(tmp_path, {"config/fetch.json": text})
    (tmp_path / "config/fetch.json").chmod(0o755)
    assert RecipeCodemod().run(job(CHANGES["adjust_fetch_weight"], NESTED_RULES), tmp_path).status == "done"
    assert snapshot(tmp_path) == {"config/fetch.json": text.replace(":4", ":6").encode()}
    assert (tmp_path / "config/fetch.json").stat().st_mode & 0o777 == 0o755


ODD = (
    "# owner: desk\r\ndefaults: &mail {email: 4}\r\nguest: *mail\r\naccount:\r\n  # what a field weighs\r\n  weights:\r\n    email: 4  #\tmail\r\n"
    "\r\n    # the last one\r\n    postcode: 2\r\n  handles:\r\n    - spaces\r\n    # between two\r\n    - dots\r\n  threshold: 5  # sum"
)


def odd(tmp_path, text):
    plant(tmp_path, {"config/fetch.yaml": text})
    asked = job(CHANGES["adjust_fetch_weight"], NESTED_RULES)
    rules = HEAD.replace("KIND", "yaml").replace("FILES", "config/*.yaml") + NESTED_RULES.replace("config/fetch.json", "config/fetch.yaml")
    run = RecipeCodemod().run(TreeJob(asked.job_id, asked.hint, read_manifest(rules)), tmp_path)
    return run.status, run.reason.partition(":")[0], (tmp_path / "config/fetch.yaml").read_bytes().decode()


@pytest.mark.parametrize(
    "text", [ODD, ODD.replace("\r\n", "\n"), ODD + "\r\n", ODD.replace(" 4  #", " 4    #")], ids=["crlf", "lf", "last line break", "blanks"]
)
def test_only_the_named_value_of_an_odd_yaml_changes(text, tmp_path):
    """Aliases beside it, comments between items, tabs, either line end, with and without a last one."""
    after = re.sub(r"(    email: )4", r"\g<1>6", text)
    assert after != text
    assert odd(tmp_path, text) == ("done", "edited config/fetch.yaml", after)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ODD.replace("    postcode: 2", "    email: 2"), "duplicate_key"),
        (ODD.replace("  handles:", "  weights:"), "duplicate_key"),
        (ODD.replace("    email: 4", "    email: &four 4").replace("threshold: 5", "threshold: *four"), "alias"),
        ("base: &w {email: 4}\naccount: {weights: *w}\n", "alias"),
        (ODD.replace("    email", "\temail"), "unparsable"),
    ],
)
def test_an_odd_yaml_that_cannot_be_edited_safely_stays_as_it_is(text, reason, tmp_path):
    assert odd(tmp_path, text) == ("gave_up", reason, text)


def test_a_star_of_the_manifest_means_any_key(tmp_path):
    rules = one_edit('{op: replace_text, file: config/templates.json, at: ["*", default], old: "{old}", value: "{new}"}', "change_reply_template")
    change = ChangeReplyTemplate(templates=["x"], old="7 working days", new="")
    assert RecipeCodemod().run(job(change, rules), plant(tmp_path, NESTED)).status == "done"
    assert b"7 working" not in (tmp_path / "config/templates.json").read_bytes()


# ---- templates


FIELDS = {
    "n": 3, "t": True, "none": None, "s": "a.b/c.d", "flat": "word", "list": ["x", {"k": 1}], "map": {"a": {"b": 2}, "c": None},
    "evil": "{n} {{x}}", "from": 1, "empty": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{n}", 3), ("{t}", True), ("{none}", None), ("{from}", 1), ("{list}", ["x", {"k": 1}]), ("{list.0}", "x"), ("{list.1.k}", 1),
        ("{list.7}", None), ("{list.-1}", None), ("{map.a.b}", 2), ("{map.q}", None), ("{none.a}", None), ("{map|keys}", ["a", "c"]),
        ("{s|group}", "a"), ("{s|name}", "b/c.d"), ("{s|parent}", "a.b"), ("{s|leaf}", "c.d"), ("{s|leaf|name}", "d"),
        ("{flat|group}", "word"), ("{flat|name}", None), ("{none|leaf}", None),
        ("a {n} {t}", "a 3 true"), ("a {none}", None), ("{{n}}", "{n}"), ("{{{n}}}", "{3}"), ("[0-9]{{5}}", "[0-9]{5}"), ("", ""),
        ("{evil}", "{n} {{x}}"), ("<{evil}>", "<{n} {{x}}>"),
        ({"a": "{none}", "b": None, "{flat}": ["{n}", "{none}"]}, {"word": [3, None]}), (7, 7), ([], []),
    ],
)  # fmt: skip
def test_a_template_renders(template, value):
    assert render(template, FIELDS) == value and type(render(template, FIELDS)) is type(value)


@pytest.mark.parametrize(
    "template",
    [
        "{unknown}",
        "{",
        "}",
        "{}",
        "{n",
        "a {list}",
        "a {map}",
        "{n|keys}",
        "{n|leaf}",
        "{s|upper}",
        "{n!r}",
        "{n:>5}",
        "{s.__class__ }",
        {"{flat}": 1, "word": 2},
    ],
)
def test_a_wrong_template_gives_up(template):
    with pytest.raises(BadTemplate):
        render(template, FIELDS)


def test_attributes_are_out_of_reach():
    assert render("{s.__class__}", FIELDS) is None and render("{map.__class__.__mro__}", FIELDS) is None


@pytest.mark.parametrize(
    ("condition", "runs"),
    [("{branch}", True), ("branch", True), ("x{leaf}", True), ("{before}", False), ("before", False), ("{reply}", False), ("a{tools.0}", False)],
)
def test_if_skips_what_renders_to_nothing(condition, runs, tmp_path):
    rules = one_edit(f'{{op: set, file: config/fetch.json, if: "{condition}", at: [account, threshold], value: 1}}', "add_plan_branch")
    run = RecipeCodemod().run(job(AddPlanBranch(leaf="a/b", branch="x", condition="c", template="t"), rules), plant(tmp_path, NESTED))
    assert run.status == ("done" if runs else "gave_up")


@settings(max_examples=300)
@given(st.text(), st.text(), st.text())
def test_odd_hints_never_raise(tmp_path_factory, old, new, name):
    tree = plant(tmp_path_factory.mktemp("t"), NESTED)
    change = ChangeReplyTemplate.model_construct(templates=[f"arrival.{name}", "arrival.default"], old=old, new=new)
    task = job(CHANGES["change_reply_template"], NESTED_RULES)
    run = RecipeCodemod().run(TreeJob("j", task.hint.model_copy(update={"change": change}), task.manifest), tree)
    assert run.status in ("done", "gave_up")
