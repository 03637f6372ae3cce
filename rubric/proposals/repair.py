"""Plan: a branch that is unlike its sisters. What the same branch is everywhere else, this one may have been meant to be."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import listed_tools, tool_name
from rubric.proposals.offer import Offer, Signal, signals
from rubric.proposals.plan import branches_of, taken_branch
from rubric.reading import content, mentions, tokens_of
from rubric.recipes import AlterPlanBranch
from rubric.schema import Step
from rubric.symptoms import tells

_DONE = re.compile(r"\b(?:i|we)(?:'ve| have| was| were)\b|\bhas been\b|\bhave been\b|\bis now\b|\bhabe\b|\bhaben wir\b|\bwurden?\b", re.IGNORECASE)
RARE = 0.1
"""a setting that fewer branches have is worth a question"""


def offers(brief: Brief) -> Iterator[Offer]:
    """Candidates for `alter_plan_branch`: conditions, settings and tools of the leaf's branches that stand alone in the target."""
    leaf = brief.case.plan.leaf
    own = branches_of(brief, leaf) if not leaf.endswith("/other") else []
    taken = taken_branch(brief)
    everywhere = [entry for entry in brief.inventory.of(Step.plan) if "condition" in entry.view]
    for branch in own:
        here = taken is not None and branch.id == taken.id
        yield from _condition(brief, leaf, branch, everywhere, here)
        if here:
            yield from _settings(brief, leaf, branch, everywhere)
            yield from _tool_settings(brief, leaf, branch, everywhere)
            yield from _tools(brief, leaf, branch, everywhere)


def _offer(leaf: str, branch: Entry, change: dict[str, Any], summary: str, said: list[Signal], instead: str) -> Iterator[Offer]:
    name = branch.words[-1]
    with suppress(ValidationError):
        yield Offer(
            step=Step.plan, target=branch.id, change=AlterPlanBranch.model_validate({"leaf": leaf, "branch": name, **change}), summary=summary,
            signals=said, instead=instead,
        )  # fmt: skip


def _condition(brief: Brief, leaf: str, branch: Entry, everywhere: list[Entry], here: bool) -> Iterator[Offer]:
    """The condition that branches of this name have elsewhere, where this one's is its own."""
    name, now = branch.words[-1], str(branch.view["condition"])
    others = [str(one.view["condition"]) for one in everywhere if one.words[-1] == name and one.id != branch.id]
    counted = Counter(others)
    if len(others) < 2 or counted[now] > max(1, RARE * len(others)):
        return
    usual, times = counted.most_common(1)[0]
    if usual == now or times < 2:
        return
    # a record kind in the condition ("no account record") has to stay this leaf's own kind
    options = [one for one, _ in counted.most_common(8) if set(tokens_of(now)) & set(tokens_of(one))] or [usual]
    best = max(options, key=lambda one: (_kin(now, one), counted[one]))
    said = signals(odd_condition=0.35, taken=0.25 * here, mentioned=0.2 * (mentions(brief.case.comment, name) > 0))
    summary = f"Give '{name}' in {leaf} the condition that it has in {times} other leaves."
    yield from _offer(leaf, branch, {"condition": best}, summary, said, f"'{name}' applies when it does elsewhere")


def _kin(one: str, other: str) -> int:
    return len(set(one.split()) & set(other.split()))


def _settings(brief: Brief, leaf: str, branch: Entry, everywhere: list[Entry]) -> Iterator[Offer]:
    """Settings that hardly any other branch has."""
    if not isinstance(branch.value, dict):
        return
    common = Counter(key for one in everywhere if isinstance(one.value, dict) for key in one.value)
    for key, value in branch.value.items():
        if common[key] <= max(2, RARE * len(everywhere)) and value not in (branch.view.get("tools"), branch.view.get("template")):
            told = len(set(content(str(value))) & set(content(brief.case.comment)))
            yield from _offer(
                leaf, branch, {"drop": [key]}, f"Take the setting '{key}' from '{branch.words[-1]}' in {leaf}; hardly another branch has it.",
                signals(rare_setting=0.45, mentioned=0.15 * min(2, told)), f"without '{key}'",
            )  # fmt: skip


def _tool_settings(brief: Brief, leaf: str, branch: Entry, everywhere: list[Entry]) -> Iterator[Offer]:
    """Settings of a tool call that hardly any other call has."""
    calls = [tool for one in everywhere for tool in listed_tools(one) if isinstance(tool, dict)]
    common = Counter(key for tool in calls for key in tool)
    tools = listed_tools(branch)
    for place, tool in [(number, one) for number, one in enumerate(tools) if isinstance(one, dict)]:
        for key in tool:
            if common[key] <= max(2, RARE * len(calls)):
                plain = {name: value for name, value in tool.items() if name != key}
                told = len(set(content(json.dumps(tool[key]))) & set(content(brief.case.comment)))
                yield from _offer(
                    leaf, branch, {"tools": [*tools[:place], plain, *tools[place + 1 :]]},
                    f"Call {tool_name(tool)} in {leaf} without the setting '{key}'; hardly another call has it.",
                    signals(rare_setting=0.45, mentioned=0.15 * min(2, told)), f"calls {tool_name(tool)} as others are called",
                )  # fmt: skip


def claims(reply: str) -> bool:
    """Whether a reply says that something has been done."""
    return bool(_DONE.search(reply))


def _tools(brief: Brief, leaf: str, branch: Entry, everywhere: list[Entry]) -> Iterator[Offer]:
    """One tool fewer, or one more that the leaf's name or the comment calls for."""
    tools = listed_tools(branch)
    comment, words = brief.case.comment, tokens_of(leaf.split("/")[-1])
    for place, tool in enumerate(tools):
        told = mentions(comment, tool_name(tool))
        alone = len(tools) > 1
        yield from _offer(
            leaf, branch, {"tools": [*tools[:place], *tools[place + 1 :]]}, f"Do not call {tool_name(tool)} in {leaf}.",
            signals(extra_tool=0.1 + 0.1 * alone, mentioned=0.3 * told, too_much=0.1 * tells(comment, "not_action")),
            f"does not call {tool_name(tool)}",
        )  # fmt: skip
    usual = Counter(tool_name(tool) for one in everywhere for tool in listed_tools(one))
    have = {tool_name(tool) for tool in tools}
    # a leaf that says it has acted and calls nothing most likely lacks the tool of its own name
    own = [leaf.split("/")[-1]] if not tools and claims(brief.case.plan.reply) else []
    likely = [(_share(words, name), name) for name in (*usual, *own) if name not in have]
    model = next((tool for one in everywhere for tool in reversed(listed_tools(one)) if isinstance(tool, dict) and len(tool) > 1), None)
    for share, name in sorted(set(likely), reverse=True)[:4]:
        told = mentions(comment, name)
        if claims(brief.case.plan.reply) and (share >= 0.5 or (told >= 0.99 and "_" in name)):
            new = _like(model, name)
            yield from _offer(
                leaf, branch, {"tools": [*tools, new]}, f"Call {name} in {leaf}.",
                signals(
                    no_tool=0.2 * (not tools), likely_tool=0.25 * share, mentioned=0.3 * told, not_done=0.15 * tells(comment, "action"),
                    says_so=0.1 * (not tools and claims(brief.case.plan.reply)),
                ), f"calls {name}",
            )  # fmt: skip


def _like(model: dict[str, Any] | None, name: str) -> Any:
    """A tool written as the others are."""
    if model is None:
        return name
    return {**{key: value for key, value in model.items() if not isinstance(value, (dict, list))}, "name": name}


def _share(words: list[str], name: str) -> float:
    parts = tokens_of(name)
    return len(set(words) & set(parts)) / max(len(parts), 1)
