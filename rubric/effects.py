"""What a tried change does to a case's plan, held against what the comment speaks of."""

from rubric.reading import content, mentions, tokens_of, words
from rubric.schema import Expectation, Plan


def expectations(before: Plan, after: Plan) -> tuple[list[Expectation], list[Expectation]]:
    """(must, must not) that say what the change did to this plan: the first part that differs, in the order of the pipeline."""
    if before.leaf != after.leaf:
        return [Expectation.model_validate({"part": "intent", "is": after.leaf})], []
    old, new = {call.name for call in before.tool_calls}, {call.name for call in after.tool_calls}
    if old != new:
        must = [Expectation.model_validate({"part": "tool", "is": name}) for name in sorted(new - old)]
        return must, [Expectation.model_validate({"part": "tool", "is": name}) for name in sorted(old - new)]
    if before.reply != after.reply:
        return [], [Expectation.model_validate({"part": "reply", "is": before.reply})]
    fields = [name for name in _fields(after) if name not in _fields(before)]
    return [Expectation(part="extraction", contains=name) for name in fields], []


def pointed_at(comment: str, before: Plan, after: Plan) -> float:
    """How much of what changed the comment speaks of, from 0 to 1: words that left or came, tools, fields, values, leaves."""
    said = set(content(comment))
    left, came = set(content(before.reply)), set(content(after.reply))
    moved = ((left - came) | (came - left)) & said
    tools = {call.name for call in before.tool_calls} ^ {call.name for call in after.tool_calls}
    told = max((mentions(comment, name) for name in tools), default=0.0)
    fields = _changed_fields(before, after)
    read = max((mentions(comment, name.partition(".")[2]) for name in fields), default=0.0)
    read_as = [plan.get(name, "") for name in fields for plan in (_fields(after), _fields(before))]
    values = any(value and value.casefold() in comment.casefold() for value in read_as)
    if before.leaf != after.leaf:  # the reply of another leaf shares words with any comment: only its name counts
        new = [word for word in tokens_of(after.leaf.rpartition("/")[2]) if word not in tokens_of(before.leaf)]
        return 0.5 * mentions(comment, " ".join(new))
    joined = "".join(words(comment))
    glued = any(len(word) >= 6 and word in joined for name in tools for word in tokens_of(name))
    return min(1.0, 0.25 * min(3, len(moved)) + 0.5 * (told >= 0.5) + 0.25 * glued + 0.4 * (read >= 0.5) + 0.4 * values)


def _fields(plan: Plan) -> dict[str, str]:
    return {f"{group}.{name}": str(value) for group, inside in plan.extraction.items() for name, value in inside.items()}


def _changed_fields(before: Plan, after: Plan) -> list[str]:
    old, new = _fields(before), _fields(after)
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
