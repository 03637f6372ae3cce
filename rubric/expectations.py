"""The grader of one case lives here: whether a plan is what a hint promised, and what changed between two plans."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rubric.hygiene import clean
from rubric.schema import Expectation, Plan

SHOWN = 60
"""Characters of a text that a line shows."""


def record_of(plan: Plan) -> str:
    """The id of the record that the plan acts on, "" for none.

    A plan does not say it outright: its trace does where there is one, else the record id in a tool call, else it is the best
    candidate, unless two share the best score.
    """
    if plan.trace is not None and "record" in plan.trace:
        return plan.trace["record"] if isinstance(plan.trace["record"], str) else ""
    named = next((found for call in plan.tool_calls if isinstance(found := call.arguments.get("record_id"), str)), None)
    if named is not None:
        return named
    best = sorted(plan.fetch, key=lambda candidate: -candidate.score)[:2]
    if not best or (len(best) == 2 and best[0].score == best[1].score):
        return ""
    return best[0].record_id


def holds(expectation: Expectation, plan: Plan) -> bool:
    """Whether the statement is true of the plan. One that states nothing is true of no plan."""
    if expectation.is_ is None and expectation.contains is None:
        return False
    equal, inside = _TESTS[expectation.part]
    # plans are clean, and what is expected may be spelt as the target's config spells it
    whole, part = (None if text is None else clean(text)[0] for text in (expectation.is_, expectation.contains))
    return (whole is None or equal(plan, whole)) and (part is None or inside(plan, part))


def judge(must: Sequence[Expectation], must_not: Sequence[Expectation], before: Plan, after: Plan) -> list[str]:
    """What is unmet, in words; empty when the cure case is cured.

    A fix has to do what it promised *and* the fault has to have been there: at least one statement was false before.
    Without any statement the plan has to differ at all.
    """
    if not must and not must_not:
        return [] if difference(before, after) else ["the plan is the same as before"]
    unmet = [f"must: {_said(one)}" for one in must if not holds(one, after)]
    unmet += [f"must not: {_said(one)}" for one in must_not if holds(one, after)]
    if not any(not holds(one, before) for one in must) and not any(holds(one, before) for one in must_not):
        unmet.append("nothing that the hint asks for was wrong before")
    return unmet


def difference(before: Plan, after: Plan) -> list[str]:
    """What changed, a line a part. Scores and trace are left out: they are how a plan came about, not what it does.

    Of extracted fields and tool arguments only the names are given; their values are the customer's.
    """
    lines = []
    if before.leaf != after.leaf:
        lines.append(f"intent: {_short(before.leaf) or 'none'} → {_short(after.leaf) or 'none'}")
    lines += _fields_changed(before, after)
    if record_of(before) != record_of(after):
        lines.append(f"record: {_short(record_of(before)) or 'none'} → {_short(record_of(after)) or 'none'}")
    lines += _tools_changed(before, after)
    if before.reply != after.reply:
        start = _first_difference(before.reply, after.reply)
        lines.append(f"reply: “{_short(before.reply, start)}” → “{_short(after.reply, start)}”")
    return lines


def _extracted(plan: Plan) -> dict[str, Any]:
    """Dotted name → value, of the fields that are filled: a pipeline may name a field that it found nothing for, or leave it out."""
    return {name: value for name, value in _named(plan).items() if value not in (None, "", [])}


def _named(plan: Plan) -> dict[str, Any]:
    return {f"{group}.{field}": value for group, fields in plan.extraction.items() for field, value in fields.items()}


def _field_is(plan: Plan, wanted: str) -> bool:
    name, _, text = wanted.partition("=")
    value = _named(plan).get(name)
    # a field may hold several readings; one that fits is enough
    return any(one is not None and str(one) == text for one in (value if isinstance(value, list) else [value]))


def _field_filled(plan: Plan, name: str) -> bool:
    return name in _extracted(plan)


def _tools(plan: Plan) -> list[str]:
    return [call.name for call in plan.tool_calls]


def _arguments(plan: Plan) -> list[tuple[str, Any]]:
    return [(f"{call.name}.{key}", value) for call in plan.tool_calls for key, value in call.arguments.items()]


def _tool_is(plan: Plan, text: str) -> bool:
    return text in _tools(plan) or any(text == f"{name}={value}" for name, value in _arguments(plan))


def _tool_holds(plan: Plan, text: str) -> bool:
    return any(text in name for name in _tools(plan)) or any(text == name for name, _ in _arguments(plan))


_TESTS: dict[str, tuple[Callable[[Plan, str], bool], Callable[[Plan, str], bool]]] = {
    "intent": (lambda plan, text: plan.leaf == text, lambda plan, text: text in plan.leaf),
    "record": (lambda plan, text: record_of(plan) == text, lambda plan, text: text in record_of(plan)),
    "tool": (_tool_is, _tool_holds),
    "reply": (lambda plan, text: plan.reply == text, lambda plan, text: text in plan.reply),
    "extraction": (_field_is, _field_filled),
}
"""part → how `is` and `contains` are read"""


def _said(expectation: Expectation) -> str:
    parts = [f"{word} “{_short(text)}”" for word, text in (("is", expectation.is_), ("contains", expectation.contains)) if text is not None]
    return f"{expectation.part} {' and '.join(parts) or 'states nothing'}"


def _fields_changed(before: Plan, after: Plan) -> list[str]:
    old, new = _extracted(before), _extracted(after)
    lines = [f"extraction: + {_short(name)}" for name in new if name not in old]
    lines += [f"extraction: - {_short(name)}" for name in old if name not in new]
    return lines + [f"extraction: {_short(name)} reads otherwise" for name in old if name in new and old[name] != new[name]]


def _tools_changed(before: Plan, after: Plan) -> list[str]:
    old, new = Counter(_tools(before)), Counter(_tools(after))
    lines = [f"tools: + {_short(name)}" for name in (new - old).elements()] + [f"tools: - {_short(name)}" for name in (old - new).elements()]
    if lines:
        return lines
    if _tools(before) != _tools(after):
        return [f"tools: order is now {', '.join(_short(name) for name in _tools(after))}"]
    pairs = zip(before.tool_calls, after.tool_calls, strict=True)
    return [
        f"tools: {_short(one.name)} with other arguments ({_short(_keys(one.arguments, other.arguments))})" for one, other in pairs if one != other
    ]


def _keys(old: dict[str, Any], new: dict[str, Any]) -> str:
    missing = object()
    return ", ".join(key for key in {**old, **new} if old.get(key, missing) != new.get(key, missing))


def _first_difference(old: str, new: str) -> int:
    return next((place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))


def _short(text: str, around: int = 0) -> str:
    """One line of at most `SHOWN` characters (and the marks of what was cut), from a little before `around`."""
    start = max(0, around - SHOWN // 3) if len(text) > SHOWN else 0
    cut = text[start : start + SHOWN]
    return ("…" if start else "") + " ".join(cut.split()) + ("…" if start + SHOWN < len(text) else "")
