"""The hint as a form lives here: one field per part, read back with a message for each that cannot be, and the evidence's marks."""

import json
from dataclasses import dataclass, field
from typing import Any

from service import reports
from service.web.pages import segments, words

LONG = 4000
"""cap from which on a text gets several lines"""
_WHOLE: dict[str, dict[str, Any]] = {
    "summary": {"type": "string", "maxLength": LONG},
    "target": {"type": "string", "maxLength": 300},
    "risk_reason": {"type": "string", "maxLength": LONG},
}
LABELS = {"summary": "Summary", "target": "Target", "risk_reason": "Why this risk"}
HELP = {"lines": "one per line", "map": "one key = value per line", "json": "as JSON", "number": "", "text": "", "long": ""}
HERE = ("evidence", "rules_invented", "worked_example")
"""parts that are shown but not typed, with findings of their own"""


@dataclass
class Part:
    """One editable part of the hint, as texts for a form."""

    name: str
    label: str
    kind: str
    """text, long, number, lines, map or json"""
    optional: bool
    now: str
    """as stored"""
    draft: str
    """as the critic wrote it"""
    shown: str
    """in the field: as typed, where something was typed"""
    seen: str
    """as it stood when the person opened the page"""
    touched: bool
    error: str
    findings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def help(self) -> str:
        """How to write it."""
        return "; ".join(part for part in (HELP[self.kind], "optional" if self.optional and self.kind != "lines" else "") if part)


class Mistyped(Exception):
    """Fields that cannot be read: name → what to write instead."""

    def __init__(self, errors: dict[str, str]):
        super().__init__("a field cannot be read")
        self.errors = errors


def parts_of(about: reports.HintItem, given: dict[str, str], errors: dict[str, str]) -> list[Part]:
    """Every part as it is to be shown. What a person did not touch follows what is stored, what he typed is kept."""
    found = []
    for name, schema in _schemas(about).items():
        now, draft = _value(about.current, name), _value(about.draft, name)
        kind = _kind(schema, now, draft)
        text, mine = _written(now, kind), given.get(name)
        seen = given.get(f"was.{name}", text)
        touched = mine is not None and mine != seen
        found.append(
            Part(
                name=name,
                label=LABELS.get(name) or words(name.rpartition(".")[2]),
                kind=kind,
                optional=_may_be_none(schema),
                now=text,
                draft=_written(draft, kind),
                shown=mine if touched and mine is not None else text,
                seen=seen,
                touched=touched,
                error=errors.get(name, ""),
            )
        )
    return found


def typed_change(about: reports.HintItem, given: dict[str, str]) -> dict[str, Any]:
    """What a person changed since he opened the page, as `editing.edit` takes it. Raises `Mistyped`."""
    change: dict[str, Any] = {}
    errors: dict[str, str] = {}
    schemas = _schemas(about)
    for part in parts_of(about, given, {}):
        if not part.touched:
            continue
        try:
            value = _read(part.shown, part.kind, schemas[part.name])
        except ValueError as error:
            errors[part.name] = str(error)
            continue
        top, _, below = part.name.partition(".")
        if below:
            change.setdefault(top, {})[below] = value
        else:
            change[top] = value
    if errors:
        raise Mistyped(errors)
    return change


def place_findings(about: reports.HintItem, parts: list[Part]) -> dict[str, list[dict[str, Any]]]:
    """Give each finding to the part it speaks of; what is left, by the part that is no field ("" for none)."""
    rest: dict[str, list[dict[str, Any]]] = {}
    for finding in about.findings:
        place = "risk_reason" if finding["field"] == "risk" else str(finding["field"])
        near = [part for part in parts if place == part.name or place.startswith(f"{part.name}.")]
        if near:
            max(near, key=lambda part: len(part.name)).findings.append(finding)
        else:
            top = place.partition(".")[0]
            rest.setdefault(top if top in (*HERE, "change") else "", []).append(finding)
    return rest


def _schemas(about: reports.HintItem) -> dict[str, dict[str, Any]]:
    """Every editable part with its JSON schema, in the order of the page."""
    change = {f"change.{name}": schema for name, schema in reports.change_fields(about.current["change"]["recipe"]).items()}
    return {"summary": _WHOLE["summary"], "target": _WHOLE["target"], **change, "risk_reason": _WHOLE["risk_reason"]}


def _value(hint: dict[str, Any], name: str) -> Any:
    top, _, below = name.partition(".")
    return hint[top].get(below) if below else hint.get(top)


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]


def _may_be_none(schema: dict[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in schema.get("anyOf", []))


def _kind(schema: dict[str, Any], *values: Any) -> str:
    """The simplest field that loses nothing of these values."""
    option = (_options(schema) or [{}])[0]
    kind, inner = option.get("type"), option.get("items", {})
    held = option.get("additionalProperties")
    if kind in ("integer", "number"):
        wanted = "number"
    elif kind == "string":
        wanted = "long" if option.get("maxLength", 0) >= LONG or any("\n" in str(value) for value in values) else "text"
    elif kind == "array" and inner.get("type") == "string":
        wanted = "lines"
    elif kind == "object" and isinstance(held, dict) and held.get("type") in ("integer", "number", "array"):
        wanted = "map"
    else:
        return "json"
    return wanted if all(_survives(value, wanted, schema) for value in values) else "json"


def _survives(value: Any, kind: str, schema: dict[str, Any]) -> bool:
    text = _written(value, kind)
    try:
        return "\r" not in text and bool(_read(text, kind, schema) == value)
    except ValueError:
        return False


def _written(value: Any, kind: str) -> str:
    if kind == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    if value is None:
        return ""
    if kind == "lines":
        return "\n".join(str(one) for one in value)
    if kind == "map":
        return "\n".join(f"{key} = {_numbers(one)}" for key, one in value.items())
    return _numbers(value) if kind == "number" else str(value)


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_numbers(one) for one in value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read(text: str, kind: str, schema: dict[str, Any]) -> Any:
    """The value that a field's text stands for. Raises `ValueError` with what to write instead."""
    if kind == "json":
        try:
            value = json.loads(text)
            stored = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            raise ValueError("this is not JSON") from None
        if b"\\u0000" in stored:
            raise ValueError("holds a NUL character, which cannot be stored")
        return value
    if kind in ("text", "long"):
        return None if text == "" and _may_be_none(schema) else text
    if text.strip() == "" and _may_be_none(schema):
        return None
    if kind == "number":
        return _number(text, "write a number")
    lines = [line for line in text.split("\n") if line.strip()]
    return lines if kind == "lines" else dict(_pair(line, number) for number, line in enumerate(lines, 1))


def _number(text: str, advice: str) -> int | float:
    try:
        found = json.loads(text) if len(text) <= 40 else None
    except ValueError:
        found = None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= 1e15:
        raise ValueError(advice)
    return found


def _pair(line: str, place: int) -> tuple[str, Any]:
    key, mark, value = line.rpartition("=")
    advice = f"line {place}: write `key = number`"
    if not mark or not key.strip():
        raise ValueError(advice)
    numbers = [_number(one.strip(), advice) for one in value.split(",")]
    return key.strip(), numbers if len(numbers) > 1 else numbers[0]


def marks_of(about: reports.HintItem) -> dict[str, list[Any]]:
    """The case's texts, cut where quotes of the hint begin and end: comment, ticket (in the order of its parts), plan."""
    return {source: _cut(about.current["evidence"], source, texts) for source, texts in texts_of(about.case).items()}


def texts_of(case: dict[str, Any]) -> dict[str, list[str]]:
    """source → its texts; joined by line ends they are what evidence spans count in (`rubric.schema.text_of`)."""
    ticket, plan = case.get("ticket") or {}, case.get("plan") or {}
    messages = [message["text"] for message in ticket.get("messages", [])]
    files = [file.get("text") or "" for file in ticket.get("attachments", [])]
    calls = [f"{call['name']} {call.get('arguments', {})}" for call in plan.get("tool_calls", [])]
    return {
        "comment": [(case.get("rejection") or {}).get("comment", "")],
        "ticket": [ticket.get("subject") or "", *messages, *files],
        "plan": ["/".join(plan.get("intent_path", [])), plan.get("reply", ""), *calls],
    }


def _cut(evidence: list[dict[str, Any]], source: str, texts: list[str]) -> list[Any]:
    whole = "\n".join(texts)
    spans = []
    for number, span in enumerate(evidence, 1):
        if span["source"] != source or not span["quote"]:
            continue
        exact = whole[span["start"] : span["end"]] == span["quote"]
        start = span["start"] if exact else whole.find(span["quote"])
        if start >= 0:
            spans.append((start, start + len(span["quote"]), number))
    cut, at = [], 0
    for text in texts:
        cut.append(segments(text, [(start - at, end - at, number) for start, end, number in spans if start < at + len(text) and end > at]))
        at += len(text) + 1
    return cut
