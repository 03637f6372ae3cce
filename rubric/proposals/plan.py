"""Plan: a condition that other leaves treat by a branch of their own, or that the comment names together with tools and a reply."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import branches, find, listed_tools, template, tool_name, under
from rubric.proposals.offer import Offer, signals
from rubric.publishable import values_of
from rubric.reading import content, mentions, rendered_from, says, template_of, tokens_of, words
from rubric.recipes import AddPlanBranch
from rubric.schema import Expectation, Step
from rubric.symptoms import tells

_TOOL = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


def branches_of(brief: Brief, leaf: str) -> list[Entry]:
    """A leaf's branches in order."""
    return [entry for entry in under(brief.inventory, Step.plan, leaf.split("/")) if "condition" in entry.view]


def taken_branch(brief: Brief) -> Entry | None:
    """The branch whose template the reply was rendered from."""
    found: list[tuple[int, Entry]] = []
    for branch in branches_of(brief, brief.case.plan.leaf):
        holder = template(brief.inventory, str(branch.view.get("template", "")))
        text = holder.view.get("text", holder.value) if holder else None
        if isinstance(text, str) and rendered_from(brief.case.plan.reply, text):
            found.append((len(text), branch))
    return max(found, key=lambda one: one[0])[1] if found else None


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `add_plan_branch`."""
    leaf = brief.case.plan.leaf
    own = branches_of(brief, leaf)
    if not own or find(brief.inventory, Step.plan, leaf.split("/")) is None:
        return
    if not leaf.endswith("/other"):  # what belongs nowhere has no cases to tell apart
        yield from _as_elsewhere(brief, leaf, own)
    yield from _as_told(brief, leaf, own)


def _as_elsewhere(brief: Brief, leaf: str, own: list[Entry]) -> Iterator[Offer]:
    """Branches that other leaves have for a condition that the comment names and this leaf lacks."""
    here = {str(branch.view["condition"]) for branch in own}
    donors: dict[str, list[Entry]] = {}
    for entry in brief.inventory.of(Step.plan):
        condition = entry.view.get("condition")
        if isinstance(condition, str) and condition not in here and len(entry.words) == len(leaf.split("/")) + 1:
            donors.setdefault(condition, []).append(entry)
    comment = brief.case.comment
    for condition, entries in sorted(donors.items()):
        names = {entry.words[-1] for entry in entries}
        named = max(mentions(comment, name) for name in names)
        told = max(named, mentions(comment, condition.split(":")[-1]))
        model = Counter((one.words[-1], str(one.view.get("template")), tuple(tools_of(one))) for one in entries).most_common(1)[0]
        (branch, reply_template, tools), times = model
        holder = template(brief.inventory, reply_template)
        text = str(holder.view.get("text", holder.value)) if holder else ""
        with suppress(ValidationError):
            yield Offer(
                step=Step.plan,
                target=_leaf_id(brief, leaf),
                change=AddPlanBranch(
                    leaf=leaf, branch=branch, condition=condition, template=reply_template, tools=list(tools), before=_before(own, entries, brief)
                ),
                summary=f"Treat '{branch}' in {leaf} as {times} other leaves do.",
                signals=signals(
                    condition_mentioned=0.45 * (told >= 0.99) + 0.2 * (0.5 <= told < 0.99), others_do_it=min(0.2, 0.05 * times),
                    must=0.15 * bool(says("must_branch", comment)), case_is_missing=0.15 * tells(comment, "condition", "action"),
                    same_destination=0.08 * min(3, _said_of(text, comment)),
                ),
                must=[Expectation.model_validate({"part": "tool", "is": tool}) for tool in tools]
                or [Expectation(part="reply", contains=_fixed(text))],
                must_not=[],
                instead=f"takes the branch {branch}",
                together=f"branches of {leaf}",
            )  # fmt: skip


def _said_of(text: str, comment: str) -> int:
    return len(set(content(text)) & set(content(comment)))


def _as_told(brief: Brief, leaf: str, own: list[Entry]) -> Iterator[Offer]:
    """A new condition of a known family ("flag …"), with the tools and the reply that the reviewer gave."""
    comment = brief.case.comment
    corrected = brief.case.rejection.corrected_reply if brief.case.rejection else None
    known = {name for entry in brief.inventory.of(Step.plan) for name in tools_of(entry)}
    taken = taken_branch(brief)
    conditions = {str(one.view["condition"]) for one in brief.inventory.of(Step.plan) if " " in str(one.view.get("condition", ""))}
    families = Counter(condition.rpartition(" ")[0] for condition in sorted(conditions))
    family = next((name for name, times in families.most_common() if times >= 2 and re.fullmatch(r"\w+:?", name)), None)
    word = _condition_word(brief, leaf)
    if taken is None or corrected is None or family is None or word is None or template_of(corrected, brief.inventory):
        return
    text = _body(brief, corrected)
    tools = list(dict.fromkeys([*tools_of(taken), *(name for name in _TOOL.findall(comment) if name not in tools_of(taken))]))
    group = str(taken.view.get("template", "")).partition(".")[0]
    name = f"{group}.{word}" if group else word
    if template(brief.inventory, name) is not None or word in branches(brief.inventory, leaf):
        return
    yield Offer(
        step=Step.plan,
        target=_leaf_id(brief, leaf),
        change=AddPlanBranch(
            leaf=leaf, branch=word, condition=f"{family} {word}", template=name, reply=text, tools=tools, before=taken.words[-1]
        ),
        summary=f"Treat '{word}' in {leaf} by a branch of its own, with the reviewer's reply.",
        signals=signals(
            corrected_reply=0.3, tool_named=0.2 * (len(tools) > len(tools_of(taken))), known_tool=0.05 * any(name in known for name in tools),
            must=0.1 * bool(says("must_branch", comment)), condition_mentioned=0.1,
        ),
        quotes=[("comment", _as_written(comment, word))],
        must=[Expectation(part="reply", contains=_fixed(text)), *(Expectation.model_validate({"part": "tool", "is": one}) for one in tools)],
        instead=f"takes the branch {word}",
    )  # fmt: skip


def _condition_word(brief: Brief, leaf: str) -> str | None:
    """The first word of the comment that could name a condition: no word of the leaf, of its field names or of a tool."""
    entry = find(brief.inventory, Step.intent, leaf.split("/"))
    usual = {*tokens_of(leaf), *(words(str(entry.view.get("about", ""))) if entry else [])}
    tools = {part for name in _TOOL.findall(brief.case.comment) for part in name.split("_")}
    usual |= {word for value in values_of(brief.case) for word in value.split()}  # a customer's own data names no branch
    return next(
        (word for word in content(brief.case.comment) if word.isascii() and word.isalpha() and word not in usual | tools and len(word) > 3), None
    )


def _as_written(comment: str, word: str) -> str:
    found = re.search(re.escape(word), comment, re.IGNORECASE)
    return found.group() if found else word


def _body(brief: Brief, corrected: str) -> str:
    """The reviewer's reply without the greeting that the pipeline puts in front."""
    made = template_of(brief.case.plan.reply, brief.inventory)
    greeting = brief.case.plan.reply[: made[1].start] if made else ""
    return corrected.removeprefix(greeting) if greeting.strip() else corrected


def _before(own: list[Entry], donors: list[Entry], brief: Brief) -> str | None:
    """The branch in front of which the donors have it, as far as this leaf has that one; else the last."""
    names = [branch.words[-1] for branch in own]
    for donor in donors:
        row = [one.words[-1] for one in branches_of(brief, "/".join(donor.words[:-1]))]
        place = row.index(donor.words[-1])
        follower = next((name for name in row[place + 1 :] if name in names), None)
        if follower:
            return follower
    return names[-1] if names else None


def _leaf_id(brief: Brief, leaf: str) -> str:
    entry = find(brief.inventory, Step.plan, leaf.split("/"))
    return entry.id if entry else f"plan:{leaf}"


def known_tools(brief: Brief) -> list[str | dict[str, Any]]:
    """Every tool that a branch somewhere calls, as it is written there."""
    return [tool for entry in brief.inventory.of(Step.plan) for tool in listed_tools(entry)]


def tools_of(entry: Entry) -> list[str]:
    """Names of the tools that a branch calls."""
    return [name for name in map(tool_name, listed_tools(entry)) if name]


def _fixed(text: str) -> str:
    """The longest stretch of a template that holds no slot."""
    return max(re.split(r"\{[^{}]*\}", text), key=len).strip()[:200]
