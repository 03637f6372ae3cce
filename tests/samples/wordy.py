"""A target whose changes hold free text: topics with cues, fields, plans, rules and reply texts. It offers no replay, so that nothing is tried before a person looks.

That is the worst that a hint can meet: what a critic drafts reaches the page, and only lint and the person stand between it and the target.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectors.ports import CriticModel, Ports
from connectors.scripted import ScriptedHost
from tests.samples.small import small_ports

FORM = "The form is on its way."
"""stands in the reply of every case"""
SUITE = '{{id: {step}-golden, argv: [check, "{{in}}", "{{out}}"], results: {{format: rows-jsonl, path: "{{out}}/rows.jsonl"}}, timeout_s: 9, min_rows: 1, rows: {{path: evals/{step}.jsonl}}}}'
IDS = {
    "preprocess": ("kinds.*",), "intent": ("tree.*.leaves.*",), "extraction": ("groups.*.*",), "fetch": ("weights.*",),
    "plan": ("plans.*", "plans.*.*"), "reply": ("templates.*",), "fallback": ("agents.*",),
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "preprocess": {"kinds": {"pdf": {"reads": "the text of the file"}}},
    "intent": {"tree": {"cards": {"leaves": {
        "lost": {"about": "the card is lost", "cues": {"lost": 5, "gone": 3}}, "fees": {"about": "what a card costs", "cues": {"fee": 5, "price": 3}},
        "other": {"about": "all else about cards", "cues": {"card": 1}},
    }}}},
    "extraction": {"groups": {"account": {
        "number": {"label": "account number", "handles": ["spaces"]}, "since": {"label": "date of opening", "handles": ["spaces", "words"]},
    }}},
    "fetch": {"weights": {"number": 5, "email": 3}},
    "plan": {"plans": {
        "cards/lost": {"known": {"when": "one record", "template": "lost.form", "tools": ["send_form"]}, "default": {"when": "otherwise", "template": "lost.ask", "tools": []}},
        "cards/other": {"default": {"when": "otherwise", "template": "other.text", "tools": []}},
    }},
    "reply": {"templates": {
        "lost.form": f"Dear {{name}}, {FORM} Read more at https://help.example.com/cards today.", "lost.ask": "Please tell us your account number.",
        "other.text": "Somebody will look into it soon.",
    }},
    "fallback": {"agents": {"desk": {"prompt": "Answer politely and briefly."}}},
}  # fmt: skip


def wordy_manifest() -> str:
    lines = ["version: 1", "steps:"]
    for step, ids in IDS.items():
        lines += [
            f"  {step}:",
            f'    watches: ["config/{step}.json"]',
            f"    inventory: {{kind: json, path: config/{step}.json, ids: {json.dumps(ids)}}}",
        ]
        lines += ["    suites:", f"      - {SUITE.format(step=step)}"]
    return "\n".join([*lines, 'protected: ["evals/**", "triage.yaml"]', ""])


def wordy_host() -> ScriptedHost:
    files = {f"config/{step}.json": json.dumps(config).encode() for step, config in CONFIG.items()}
    return ScriptedHost("desk", {"triage.yaml": wordy_manifest().encode(), **files})


def wordy_ports(folder: Path, critic: CriticModel | None = None) -> Ports:
    ports = replace(small_ports(folder), hosts={"desk": wordy_host()})
    return replace(ports, critic=critic) if critic else ports


def wordy_case(
    name: str, comment: str = f"Wrong. {FORM!r} is not true.", ticket: Any = "My card is gone.", *, leaf: str = "cards/lost", **plan: Any
) -> dict[str, Any]:
    """A rejected case as a sender would send it. `ticket`: a text, or the whole of it."""
    whole = ticket if isinstance(ticket, dict) else {"messages": [{"role": "customer", "text": ticket}]}
    reply = f"Dear Kim, {FORM} Read more at https://help.example.com/cards today." if leaf == "cards/lost" else "Somebody will look into it soon."
    made = {
        "intent_path": leaf, "extraction": {"account": {"number": "4711"}}, "fetch": [{"record_id": "rec_1", "score": 5, "matched_fields": ["number"]}],
        "reply": reply, "tool_calls": [{"name": "send_form", "arguments": {"record_id": "rec_1"}}], **plan,
    }  # fmt: skip
    said = {"comment": comment, "by": "staff-1", "at": "2026-03-01T11:00:00Z"}
    return {"external_id": name, "ticket": whole, "plan": made, "verdict": "rejected", "rejection": said}
