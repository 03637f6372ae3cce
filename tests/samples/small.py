"""A pipeline small enough to read at a glance: tickets name the fields that match, weights pick the record, the reply names it.

`email` finds Ada (rec_a), `postcode` finds Ben (rec_b). Postcode weighs more than it should, so who writes both is taken for Ben.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.ports import Limits, Ports, SuiteRun, TreeJob, TreeRun
from connectors.scripted import ScriptedAgent, ScriptedCritic, ScriptedEvals, ScriptedHost
from rubric.drafting import Brief, Drafted
from rubric.manifest import Suite, read_inventory, read_manifest
from rubric.schema import Case, Hint

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "a token for tests"
WEBHOOK = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXMgbG9uZyE="
MANIFEST = """
version: 1
steps:
  intent:
    watches: ["config/intents.json"]
    inventory: {kind: json, path: config/intents.json, ids: "tree.*.leaves.*"}
    suites:
      - {id: intent-golden, argv: [check, "{in}", "{out}"], results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 9, min_rows: 1,
         rows: {path: evals/intent/cases.jsonl}}
  fetch:
    watches: ["config/fetch.json"]
    inventory: {kind: json, path: config/fetch.json, ids: ["weights.*"]}
    stability: {default: open}
    suites:
      - {id: fetch-golden, argv: [check, "{in}", "{out}"], results: {format: rows-jsonl, path: "{out}/rows.jsonl"}, timeout_s: 9, min_rows: 2,
         rows: {path: evals/fetch/cases.jsonl, add: {id: "{row_id}", words: "{ticket.messages.0.text}", expected: "{after.fetch.0.record_id}"}}}
replay: {argv: [replay, "{in}", "{out}"]}
recipes:
  adjust_fetch_weight: {edits: [{op: set, file: config/fetch.json, at: [weights, "{field}"], was: "{from}", value: "{to}"}]}
allow: {adjust_fetch_weight: ["config/fetch.json", "evals/fetch/cases.jsonl"]}
protected: ["evals/**", "triage.yaml"]
"""
FILES = {
    "triage.yaml": MANIFEST.encode(),
    "config/fetch.json": b'{"weights": {"email": 3, "postcode": 5}}\n',
    "config/intents.json": b'{"tree": {"cards": {"leaves": {"lost": {}, "other": {}}}}}\n',
    "evals/fetch/cases.jsonl": b'{"id": "f1", "words": "email", "expected": "rec_a"}\n{"id": "f2", "words": "postcode", "expected": "rec_b"}\n',
    "evals/intent/cases.jsonl": b'{"id": "i1", "words": "card", "expected": "cards/lost"}\n',
}
RECORDS = {"email": "rec_a", "postcode": "rec_b"}


def small_host(name: str = "bank", **changes: bytes | None) -> ScriptedHost:
    """The repository; `changes` by path replace or leave out files."""
    files = {path: content for path, content in {**FILES, **changes}.items() if content is not None}
    return ScriptedHost(name, files)


def plan_of(tree: Path, words: str) -> dict[str, Any]:
    weights = json.loads((tree / "config/fetch.json").read_text())["weights"]
    found = [{"record_id": RECORDS[name], "score": weights[name], "matched_fields": [name]} for name in RECORDS if name in words]
    found.sort(key=lambda one: (-one["score"], one["record_id"]))
    best = found[0]["record_id"] if found else None
    tools = [{"name": "send_form", "arguments": {"record_id": best}}] if best else []
    return {"intent_path": ["cards", "lost"], "fetch": found, "reply": f"Dear {best or 'customer'},\n\nit is on its way.", "tool_calls": tools}


def _passes(suite: str, tree: Path, row: dict[str, Any]) -> bool:
    if suite == "intent-golden":
        return bool(row["expected"] == "cards/lost")
    fetch = plan_of(tree, row["words"])["fetch"]
    return bool(fetch) and fetch[0]["record_id"] == row["expected"]


def small_evals(**fails: str) -> ScriptedEvals:
    return ScriptedEvals(_passes, lambda tree, case: plan_of(tree, case["ticket"]["messages"][0]["text"]), fails)


class Killed(ScriptedEvals):
    """The small evals, whose suite somebody kills on the head tree, so many times."""

    def __init__(self, times: int, failure: str = "killed"):
        super().__init__(_passes, lambda tree, case: plan_of(tree, case["ticket"]["messages"][0]["text"]))
        self.left, self._failure = times, failure

    def run_suite(self, suite: Suite, tree: Path, rows_file: Path | None, exam: Path | None = None) -> SuiteRun:
        if tree.name == "head" and self.left > 0:
            self.left -= 1
            return SuiteRun(suite.id, failure=self._failure, detail="was killed by signal 9 (SIGKILL)")
        return super().run_suite(suite, tree, rows_file, exam)


def small_agent() -> Callable[[TreeJob, Path], dict[str, bytes | None] | TreeRun]:
    """What the codemod would do here."""

    def script(job: TreeJob, tree: Path) -> dict[str, bytes | None] | TreeRun:
        change: Any = job.hint.change
        config = json.loads((tree / "config/fetch.json").read_text())
        if config["weights"].get(change.field) != change.from_:
            return TreeRun("gave_up", f"was_differs: {change.field} is not {change.from_}")
        config["weights"][change.field] = change.to
        return {"config/fetch.json": (json.dumps(config) + "\n").encode()}

    return script


def weight_hint(brief: Brief, to: int = 1, field: str = "postcode", **changes: Any) -> Hint:
    """Postcode shall weigh less; lint finds nothing against it."""
    now = {"email": 3, "postcode": 5}
    comment = brief.case.comment
    scores = {one.record_id: [one.score, sum(to if name == field else now[name] for name in one.matched_fields)] for one in brief.case.plan.fetch}
    text: dict[str, Any] = {
        "step": "fetch", "target": f"fetch:{field}",
        "change": {"recipe": "adjust_fetch_weight", "field": field, "from": now[field], "to": to, "scores": scores},
        "evidence": [{"source": "comment", "quote": comment, "start": 0, "end": len(comment)}], "summary": f"{field} weighs {to}",
        "worked_example": {"case_id": brief.case_id, "plan_now": "picks rec_b", "plan_instead": "picks rec_a"}, "cure_case": brief.case_id,
        "controls": [], "must": [{"part": "record", "is": "rec_a"}], "must_not": [{"part": "record", "is": "rec_b"}], "risk": "careful",
        "risk_reason": "weights are shared", "confidence": {"agree": 1, "of": 1}, **changes,
    }  # fmt: skip
    return Hint.model_validate(text)


def weigh_less(brief: Brief) -> Drafted:
    """A critic that proposes the same change for every rejection."""
    return Drafted(hints=[weight_hint(brief)])


def small_ports(folder: Path, **limits: Any) -> Ports:
    """Scripted connectors all around the small pipeline; its name is `bank`."""
    (folder / "work").mkdir(exist_ok=True)
    return Ports(
        critic=ScriptedCritic(weigh_less), agent=ScriptedAgent(small_agent()), evals=small_evals(), hosts={"bank": small_host()},
        now=lambda: datetime.now(UTC), workdir=folder / "work", limits=Limits(**limits),
    )  # fmt: skip


def small_brief() -> Brief:
    """What a critic is asked about the ticket that names both."""
    words = {"messages": [{"role": "customer", "text": "email postcode"}]}
    said = {"comment": "wrong person", "by": "staff-1", "at": NOON}
    plan = {"intent_path": ["cards", "lost"], "fetch": [{"record_id": "rec_b", "score": 5, "matched_fields": ["postcode"]}], "reply": "Dear rec_b"}
    case = Case.model_validate({"external_id": "t-1", "ticket": words, "plan": plan, "verdict": "rejected", "rejection": said})
    manifest = read_manifest(MANIFEST)
    return Brief(
        case_id="c1", case=case, inventory=read_inventory(manifest, {path: text.decode() for path, text in FILES.items() if "config" in path})
    )
