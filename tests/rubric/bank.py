"""A small bank for the tests of lint: an inventory, a case, and for each recipe a hint that nothing is to be said against."""

from collections.abc import Sequence
from typing import Any

from rubric.catalogue import load
from rubric.entries import Entry, Inventory
from rubric.lint import lint
from rubric.recipes import Change
from rubric.schema import Case, Finding, Hint, Step

CATALOGUE = load()
COMMENT = "Wrong person. The account number should have decided it."


def entry(name: str, parts: str, value: Any = None, stability: str = "open", key: str | None = None, **view: Any) -> Entry:
    """An entry named `step:…` whose wildcards stood for `parts`, under its own name unless it has a fixed key."""
    words = tuple(parts.split()) if parts else ()
    path = ("top", *words, key) if key else ("top", *words)
    return Entry(id=name, step=Step(name.partition(":")[0]), file="f.yaml", path=path, parts=words, value=value, view=view, stability=stability)  # type: ignore[arg-type]


ENTRIES = [
    # a tree with the leaf under a fixed key, so that ids are not simply the words
    entry("intent:access.leaves.locked", "access locked"),
    entry("intent:access.leaves.login", "access login"),
    entry("intent:access.leaves.other", "access other"),
    entry("intent:cards.leaves.lost", "cards lost", stability="careful"),
    entry("intent:cards.leaves.fraud", "cards fraud", stability="frozen"),
    entry("intent:cards.leaves.other", "cards other"),
    entry("extraction:account.number", "account number", handles=["spaces"]),
    entry("extraction:account.pin", "account pin", stability="frozen"),
    entry("extraction:secrets.word", "secrets word", stability="frozen"),
    entry("fetch:customer.weights.name", "customer name", 3),
    entry("fetch:customer.weights.number", "customer number", 5),
    entry("fetch:customer.weights.odd", "customer odd", "a lot"),
    entry("fetch:customer.threshold", "customer", 6, key="threshold"),
    entry("plan:access/locked", "access/locked", {"tie": {}, "default": {}}),
    entry("plan:access/locked.default", "access/locked default", {}, condition="otherwise", template="locked.steps", tools=["unlock"]),
    entry("plan:no_promises", "no_promises", {}),
    entry("reply:locked.steps", "locked steps", "here are the steps for your login problem"),
    entry("reply:login.help", "login help", {"t": 1}, text="sorry for the login problem"),
    entry("reply:other.text", "other text", "good day"),
    entry("reply:frozen.text", "frozen text", "do not touch the text", stability="frozen"),
]
BANK = Inventory(entries={one.id: one for one in ENTRIES})
CASE = Case.model_validate(
    {
        "external_id": "c1",
        "ticket": {"subject": "Help", "messages": [{"role": "customer", "text": "My account 123 is locked"}]},
        "plan": {
            "intent_path": "access/locked",
            "reply": "Hello",
            "extraction": {"people": {"family_name": "Lovelace"}},
            "fetch": [
                {"record_id": "rec_1", "score": 8, "matched_fields": ["name", "number"]},
                {"record_id": "rec_2", "score": 3, "matched_fields": ["name", "unheard_of"]},
                {"record_id": "rec_3", "score": 40, "matched_fields": ["name"]},
            ],
        },
        "rejection": {"comment": COMMENT, "by": "ann", "at": "2026-01-02T03:04:05Z"},
    }
)
RIGHT = {"rec_1": [8, 10], "rec_2": [3, 3], "rec_3": [3, 3]}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "promote_other_intent": (
        "intent:access.leaves.other",
        {"parent": "access", "leaf": "new", "about": "x", "cues": {}, "reply": "x", "cases": ["c1", "c2", "c3"], "look_alikes": ["c4", "c5"]},
    ),
    "refine_intent_boundary": (
        "intent:access.leaves.locked",
        {"from_parent": "access", "from_leaf": "locked", "to_parent": "access", "to_leaf": "login", "drop": ["locked"]},
    ),
    "add_second_parent": ("intent:access.leaves.locked", {"leaf": "access/locked", "parent": "cards"}),
    "retire_leaf": ("intent:access.leaves.locked", {"leaf": "access/locked", "to": "access/login"}),
    "add_extraction_field": ("extraction:account.iban", {"group": "account", "field": "iban", "label": "IBAN", "example": "DE1"}),
    "alter_extraction_field": ("extraction:account.number", {"group": "account", "field": "number", "handles": "dashes"}),
    "adjust_fetch_weight": ("fetch:customer.weights.number", {"record_type": "customer", "field": "number", "from": 5, "to": 7, "scores": RIGHT}),
    "adjust_fetch_threshold": ("fetch:customer.threshold", {"record_type": "customer", "from": 6, "to": 5}),
    "add_fetch_query": ("fetch:customer.weights.iban", {"record_type": "customer", "field": "iban", "query": "account.number", "weight": 4}),
    "add_tie_rule": ("plan:access/locked", {"leaf": "access/locked", "branch": "new", "rule": "tie", "template": "login.help"}),
    "add_plan_branch": (
        "plan:access/locked",
        {"leaf": "access/locked", "branch": "new", "condition": "x", "template": "login.help", "before": "default"},
    ),
    "alter_plan_branch": ("plan:access/locked.default", {"leaf": "access/locked", "branch": "default", "tools": []}),
    "add_policy_rule": ("policy:access", {"rule": "new", "scope": ["access"], "text": "x", "owner": "x"}),
    "change_reply_template": ("reply:login.help", {"templates": ["login.help", "reply:locked.steps"], "old": "login problem", "new": "trouble"}),
    "request_endpoint": ("plan:access/locked", {"tool": "get_x", "question": "x?", "openapi": {"paths": {"/x": {}}}}),
    "change_fallback_agent": ("intent:access.leaves.other", {"instruction": "x"}),
    "fix_eval_data": ("plan:access/locked", {"suite": "s", "row": "r", "why": "x"}),
    "change_attachment_preprocessing": ("extraction:account.number", {"media_type": "application/pdf", "lost": "x"}),
}
"""recipe → target and fields of a change that nothing is to be said against"""


def hint(recipe: str, _target: str | None = None, _hint: dict[str, Any] | None = None, **fields: Any) -> Hint:
    target, good = CHANGES[recipe]
    card = CATALOGUE.recipe(recipe)
    data = {
        "step": "plan" if card.step == "any" else card.step,
        "target": target if _target is None else _target,
        "change": {"recipe": recipe, **good, **fields},
        "evidence": [{"source": "comment", "quote": "Wrong person", "start": 0, "end": 12}],
        "summary": "x",
        "worked_example": {"case_id": "c1", "plan_now": "a", "plan_instead": "b"},
        "cure_case": "c1",
        "risk": "high",
        "risk_reason": "x",
        "confidence": {"agree": 1, "of": 1},
    }
    return Hint.model_validate({**data, **(_hint or {})})


def found(one: Hint, *twins: tuple[str, Hint], rules: Sequence[tuple[str, Change]] = ()) -> list[Finding]:
    findings = lint(one, CASE, BANK, CATALOGUE, twins, rules)
    return [finding for finding in findings if finding.code != "scores_unchecked" or one.recipe != "adjust_fetch_weight"]


def quote(source: str, text: str, start: int) -> dict[str, Any]:
    return {"evidence": [{"source": source, "quote": text, "start": start, "end": start + len(text)}]}
