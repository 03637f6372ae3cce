"""A parcel service small enough to read at a glance: its config as a target's files, and rejections of what it says. No example is taken from a data set."""

import json
from collections.abc import Mapping
from typing import Any

from rubric.catalogue import load
from rubric.drafting import Abstained, Brief, Drafted
from rubric.entries import Inventory
from rubric.manifest import read_inventory, read_manifest
from rubric.precedents import answer
from rubric.schema import Case

CATALOGUE = load()
SUITE = "{id: %s, argv: [x], results: {format: rows-jsonl, path: x}, timeout_s: 1, min_rows: 1}"
MANIFEST = "version: 1\nsteps:\n" + "".join(
    f"  {step}:\n    watches: [{path}]\n    inventory: {{kind: json, path: {path}, ids: {ids}}}\n    view: {view}\n    suites: [{SUITE % step}]\n"
    for step, path, ids, view in [
        ("intent", "i.json", '"*.*"', "{about: [about], cues: [cues]}"),
        ("extraction", "e.json", '"*.*"', "{label: [label], pattern: [pattern], handles: [handles]}"),
        ("fetch", "f.json", '["weights.*", "threshold"]', "{}"),
        ("plan", "p.json", '["*", "*.*"]', "{condition: [when], template: [template], tools: [tools]}"),
        ("reply", "r.json", '"*.*"', "{text: []}"),
    ]
)
FILES = {
    "i.json": """{"parcel": {"late": {"about": "a parcel is late", "cues": {"late": 5, "delayed": 5}},
                 "broken": {"about": "what came was damaged", "cues": {"damaged": 5, "smashed": 5}}, "other": {"about": "else", "cues": {"parcel": 1}}}}""",
    "e.json": """{"order": {"order_number": {"label": "order number", "pattern": "\\\\b(O-[0-9]{5})\\\\b"}}, "person": {"email": {"label": "e-mail"}}}""",
    "f.json": """{"weights": {"email": 4, "city": 5, "order_number": 3}, "threshold": 5}""",
    "p.json": """{"parcel/late": {"locked": {"when": "flag locked", "template": "security.call", "tools": ["open_case"]},
                 "default": {"when": "otherwise", "template": "late.sorry", "tools": ["trace"]}},
                 "parcel/broken": {"no_ticket": {"when": "missing order.voucher", "template": "broken.ask", "tools": []},
                 "default": {"when": "otherwise", "template": "broken.replace", "tools": ["replace"]}},
                 "parcel/other": {"locked": {"when": "flag locked", "template": "security.call", "tools": ["open_case"]},
                 "default": {"when": "otherwise", "template": "other.read", "tools": []}}}""",
    "r.json": """{"security": {"call": "our security desk will call you back today."}, "late": {"sorry": "your parcel is on its way. Bear with us."},
                 "broken": {"ask": "please tell us the voucher code on the box.", "replace": "a new one leaves tomorrow."}, "other": {"read": "we will read it."}}""",
}


def parcels(changes: Mapping[str, Any] | None = None) -> Inventory:
    """The inventory; `changes`: dotted place in a file (`p.json:parcel/late.default.tools`) → another value, None takes it away."""
    files = {name: json.loads(text) for name, text in FILES.items()}
    for place, value in (changes or {}).items():
        name, _, path = place.partition(":")
        inside, *rest = files[name], *path.split(".")
        for key in rest[:-1]:
            inside = inside.setdefault(key, {})
        if value is None:
            del inside[rest[-1]]
        else:
            inside[rest[-1]] = value
    return read_inventory(read_manifest(MANIFEST), {name: json.dumps(document) for name, document in files.items()})


def case(comment: str, *, leaf: str = "parcel/late", text: str = "Where is it?", reply: str = "", **plan: Any) -> Case:
    rejection = {"comment": comment, "by": "a", "at": "2025-01-01T00:00:00Z"}
    if "corrected_reply" in plan:
        rejection["corrected_reply"] = plan.pop("corrected_reply")
    return Case.model_validate(
        {"ticket": {"messages": [{"role": "customer", "text": text}]}, "plan": {"intent_path": leaf, "reply": reply, **plan}, "rejection": rejection}
    )


def ask(inventory: Inventory, one: Case, **more: Any) -> Drafted | Abstained:
    return answer(Brief(case_id="c1", case=one, inventory=inventory, **more), CATALOGUE)


LATE = "Dear Ann,\n\nyour parcel is on its way. Bear with us."
TWO = [
    {"record_id": "r1", "score": 5, "matched_fields": ["city"]},
    {"record_id": "r2", "score": 4, "matched_fields": ["email"]},
]
