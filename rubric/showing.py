"""What a model is shown of a case lives here: every text that others wrote stands in a fence, and a cut says so."""

import json
from collections.abc import Sequence

from rubric.drafting import Brief, Precedent
from rubric.hygiene import fence
from rubric.inventory import keyed, shown_number
from rubric.proposals.leaves import like
from rubric.proposals.plan import taken_branch
from rubric.reading import template_of
from rubric.schema import Span, Step, text_of

LONGEST = 12_000
"""characters of one text that a model is shown; a cut is said aloud in its place"""


def comment(brief: Brief) -> str:
    return fence(brief.case.comment, "comment", LONGEST)


def ticket(brief: Brief) -> str:
    return fence(text_of(brief.case, "ticket"), "ticket", LONGEST)


def rule_as_read(quotes: Sequence[Span], wants: str) -> str:
    """The quotes, and what they are read to ask for."""
    said = "\n".join(f"{span.source}: {span.quote}" for span in quotes)
    return fence(f"{said}\nasks for: {wants}", "rule", LONGEST)


def trace(brief: Brief) -> str:
    """What each step made of the ticket, in the order of the pipeline, with the numbers that decided."""
    plan, taken, made = brief.case.plan, taken_branch(brief), template_of(brief.case.plan.reply, brief.inventory)
    lines = [f"intent: {plan.leaf}"]
    lines += [f"extraction: {group}.{name} = {value}" for group, inside in plan.extraction.items() for name, value in inside.items()]
    lines += [f"fetch: {one.record_id} scored {one.score:g}, matched on {', '.join(one.matched_fields) or 'nothing'}" for one in plan.fetch[:8]]
    fields = {name for one in plan.fetch for name in one.matched_fields}
    weights = [one for one in keyed(brief.inventory.of(Step.fetch)) if one.words[-1] in fields and shown_number(one) is not None]
    lines += [f"fetch: weight {one.id} = {shown_number(one):g}" for one in weights][:40]
    lines += [f"plan: took the branch {taken.id}, condition {taken.view.get('condition')}"] if taken else ["plan: branch not known"]
    lines += [f"plan: called {call.name} with {json.dumps(call.arguments, ensure_ascii=False)}" for call in plan.tool_calls]
    lines += [f"reply: template {made[0]}"] if made else []
    return fence("\n".join([*lines, f"reply: {plan.reply}"]), "trace", LONGEST)


def tickets_like(brief: Brief) -> str:
    shown = enumerate(like(brief), start=1)
    return "\n".join(f"case {number}:\n{fence(text_of(one.case, 'ticket'), 'ticket', 600)}" for number, one in shown)


def precedents(shown: Sequence[Precedent]) -> str:
    return "\n".join(f"{fence(one.comment, 'precedent', 400)}\n→ {one.recipe} at {one.target or '-'}" for one in shown)
