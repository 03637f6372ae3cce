"""What a tried change does to a case's plan, held against what the comment speaks of."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from rubric.expectations import holds, record_of
from rubric.reading import content, mentions, tokens_of, words
from rubric.schema import Expectation, Plan, Step
from rubric.symptoms import Symptom, complaints

SAID: dict[str, tuple[Symptom, ...]] = {
    "topic": ("topic", "not_action", "action"),
    "record": ("record",),
    "asked": ("value", "action", "record"),
    "value": ("value",),
    "branch": ("condition", "rule", "action", "not_action", "topic"),
    "arguments": ("record", "action", "value"),
    "tools": ("action", "not_action", "rule"),
    "text": ("text", "rule"),
}
"""part of a plan that changed → what people say when it is at fault, the most usual first"""
STATED = 3
"""sentences that a promise about a reply names"""


def expectations(before: Plan, after: Plan) -> tuple[list[Expectation], list[Expectation]]:
    """(must, must_not) that say what the change did to this plan: the first part that differs, in the order of the pipeline.

    Only what is true after it and was not before: `judge` accepts it, if need be because nothing but that the plan differs can be said.
    """
    must, must_not = _changes(before, after)
    came = [one for one in _stated(must) if holds(one, after) and not holds(one, before)]
    went = [one for one in _stated(must_not) if holds(one, before) and not holds(one, after)]
    return came, went


Statement = tuple[str, str, str]
"""part, `is` or `contains`, text"""


def _stated(statements: list[Statement]) -> Iterator[Expectation]:
    for part, how, text in statements:
        with suppress(ValidationError):  # too long, or with characters that cannot be stored
            yield Expectation.model_validate({"part": part, how: text})


def _changes(before: Plan, after: Plan) -> tuple[list[Statement], list[Statement]]:
    if before.leaf != after.leaf:
        return [("intent", "is", after.leaf)], []
    old, new = {call.name for call in before.tool_calls}, {call.name for call in after.tool_calls}
    if old != new:
        return [("tool", "is", name) for name in sorted(new - old)], [("tool", "is", name) for name in sorted(old - new)]
    if record_of(before) != record_of(after):
        return [("record", "is", record_of(after))], []
    if before.reply != after.reply:
        return _wording(before.reply, after.reply)
    if before.tool_calls != after.tool_calls:
        return _arguments(before, after)
    old_fields, new_fields = _fields(before), _fields(after)
    otherwise = [f"{name}={old_fields[name]}" for name in old_fields if new_fields.get(name) != old_fields[name]]
    return [("extraction", "contains", name) for name in new_fields if name not in old_fields], [("extraction", "is", one) for one in otherwise]


def _wording(before: str, after: str) -> tuple[list[Statement], list[Statement]]:
    """The sentences that came and went. That the whole text is another one would be true after any change of it, also one that cures nothing."""
    old, new = _sentences(before), _sentences(after)
    came = [("reply", "contains", one) for one in new if one not in before]
    went = [("reply", "contains", one) for one in old if one not in after]
    return came[:STATED], went[:STATED] or [("reply", "is", before)]


def _sentences(text: str) -> list[str]:
    return [one.strip() for one in re.findall(r"[^.!?\n]+[.!?]*", text) if one.strip()]


def _arguments(before: Plan, after: Plan) -> tuple[list[Statement], list[Statement]]:
    """The same, for tools that are called with other arguments."""
    must: list[Statement] = []
    must_not: list[Statement] = []
    for old, new in zip(before.tool_calls, after.tool_calls, strict=False):
        must += [("tool", "contains", f"{new.name}.{key}") for key in new.arguments if key not in old.arguments]
        must_not += [("tool", "contains", f"{old.name}.{key}") for key in old.arguments if key not in new.arguments]
        changed = (key for key in old.arguments if key in new.arguments and old.arguments[key] != new.arguments[key])
        must_not += [("tool", "is", f"{old.name}.{key}={old.arguments[key]}") for key in changed]
    return must, must_not


def part_of(step: Step, before: Plan, after: Plan) -> str | None:
    """The part of the plan in which a change at a step shows first, as a reader of both plans would name it; None when they are the same."""
    if before.leaf != after.leaf:
        return "topic"
    if step is Step.fetch and record_of(before) == record_of(after) and before.reply != after.reply:
        return "asked"  # the same record is the best one still; whether it is good enough is what changed
    if record_of(before) != record_of(after):
        return "record" if record_of(before) and record_of(after) else "asked"
    if changed_fields(before, after):
        return "value"
    if [call.name for call in before.tool_calls] != [call.name for call in after.tool_calls]:
        return "branch" if before.reply != after.reply else "tools"
    if before.tool_calls != after.tool_calls:
        return "arguments"
    return "text" if before.reply != after.reply else None


def fits(comment: str, part: str) -> float:
    """How well what a comment complains of goes with a change that shows in a part, from -1 to 1; 0 when it complains of nothing in particular."""
    said = complaints(comment)
    kinds = SAID[part]
    for_it = max((said.get(kind, 0.0) * (1.0 if place == 0 else 0.8) for place, kind in enumerate(kinds)), default=0.0)
    against = max((clear for kind, clear in said.items() if kind not in kinds), default=0.0)
    return for_it - 0.6 * against if for_it == 0 else for_it - 0.2 * against


def pointed_at(comment: str, before: Plan, after: Plan) -> float:
    """How much of what changed the comment speaks of, from 0 to 1: words that left or came, tools, fields, values, leaves."""
    said = set(content(comment))
    left, came = set(content(before.reply)), set(content(after.reply))
    moved = ((left - came) | (came - left)) & said
    tools = {call.name for call in before.tool_calls} ^ {call.name for call in after.tool_calls}
    told = max((mentions(comment, name) for name in tools), default=0.0)
    fields = changed_fields(before, after)
    read = max((mentions(comment, name.partition(".")[2]) for name in fields), default=0.0)
    read_as = [plan.get(name, "") for name in fields for plan in (_fields(after), _fields(before))]
    values = any(value and value.casefold() in comment.casefold() for value in read_as)
    if before.leaf != after.leaf:  # the reply of another leaf shares words with any comment: only its name counts
        new = [word for word in tokens_of(after.leaf.rpartition("/")[2]) if word not in tokens_of(before.leaf)]
        return min(1.0, 0.5 * mentions(comment, " ".join(new)) + 0.4 * (told >= 0.99))
    records = {record_of(before), record_of(after)} - {""}
    named = record_of(before) != record_of(after) and any(one in comment for one in records)
    joined = "".join(words(comment))
    glued = any(len(word) >= 6 and word in joined for name in tools for word in tokens_of(name))
    return min(1.0, 0.25 * min(3, len(moved)) + 0.5 * (told >= 0.5) + 0.25 * glued + 0.4 * (read >= 0.5) + 0.4 * values + 0.4 * named)


def _fields(plan: Plan) -> dict[str, str]:
    """Those that are filled: a pipeline may name a field that it found nothing for, or leave it out."""
    return {
        f"{group}.{name}": str(value) for group, inside in plan.extraction.items() for name, value in inside.items() if value not in (None, "", [])
    }


def changed_fields(before: Plan, after: Plan) -> list[str]:
    """Dotted names of the extracted fields that differ."""
    old, new = _fields(before), _fields(after)
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
