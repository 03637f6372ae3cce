"""Policy: what a rule of the house would strike out of the draft, a sentence that the plan adds or a tool that it calls."""

import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import listed_tools, tool_name
from rubric.proposals.offer import Offer, signals
from rubric.proposals.plan import taken_branch
from rubric.reading import content, mentions, template_of
from rubric.recipes import AddPolicyRule
from rubric.schema import Expectation, Step
from rubric.symptoms import tells

OWNER = "to be named by the gatekeeper"


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `add_policy_rule`. The words of the rule are made from the config, never from the comment."""
    taken = taken_branch(brief)
    if taken is None or brief.case.plan.leaf.endswith("/other"):
        return
    for sentence in _added(brief, taken):
        yield from _rule(brief, f"no_{_slug(sentence)}", f"No reply of this topic says: {sentence}", sentence=sentence)
    for name in map(tool_name, listed_tools(taken)) if tells(brief.case.comment, "rule") else ():
        if re.fullmatch(r"[a-z][a-z0-9_]{1,50}", name):
            yield from _rule(brief, f"no_{name}", f"The tool {name} is not called by itself in this topic.", tool=name)


def _added(brief: Brief, taken: Entry) -> Iterator[str]:
    """Sentences of the reply that are a setting of the branch and not part of its template."""
    made = template_of(brief.case.plan.reply, brief.inventory)
    body = made[1].text if made else ""
    for value in taken.value.values() if isinstance(taken.value, dict) else ():
        if (
            isinstance(value, str)
            and " " in value
            and value in brief.case.plan.reply
            and value not in body
            and value not in (taken.view.get("condition"),)
        ):
            yield value


def _slug(sentence: str) -> str:
    plain = [word for word in content(sentence) if re.fullmatch(r"[a-z0-9]+", word)]
    return "_".join(plain[:4])[:40] or "sentence"


def _rule(brief: Brief, slug: str, text: str, *, sentence: str | None = None, tool: str | None = None) -> Iterator[Offer]:
    comment, parent = brief.case.comment, brief.case.plan.leaf.split("/")[0]
    said = set(content(comment)) & set(content(sentence or (tool or "").replace("_", " ")))
    weights = signals(
        rule=0.3 * tells(comment, "rule"), added=0.3 * (sentence is not None), said=0.1 * min(3, len(said)),
        tool_named=0.15 * (tool is not None and mentions(comment, tool) >= 0.5), too_much=0.1 * tells(comment, "not_action"),
    )  # fmt: skip
    with suppress(ValidationError):
        yield Offer(
            step=Step.plan,
            target=f"policy:{parent}",
            change=AddPolicyRule(
                rule=slug,
                scope=[parent],
                text=text,
                owner=OWNER,
                blocks_sentences=[sentence] if sentence else [],
                blocks_tools=[tool] if tool else [],
            ),
            summary=f"Write down a rule for {parent}: " + ("a sentence that is not sent." if sentence else f"{tool} is not called by itself."),
            signals=weights,
            must_not=[Expectation(part="reply", contains=sentence) if sentence else Expectation.model_validate({"part": "tool", "is": tool})],
            instead="the same draft without the sentence" if sentence else f"does not call {tool}",
        )
