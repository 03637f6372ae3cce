"""Conflicts live here: whether one typed change asks for the opposite of another, as a table of pairs of recipes."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rubric import recipes as r
from rubric.reading import fold, holds_phrase, words

_Number = r.AdjustFetchWeight | r.AdjustFetchThreshold | r.AddFetchQuery


def contradiction(new: r.Change, rule: r.Change) -> str | None:
    """Why a change and an earlier one cannot both hold, in words of our own; None when they can, as far as their fields tell."""
    for clash in CLASHES:
        if isinstance(new, clash.new) and isinstance(rule, clash.rule) and clash.holds(new, rule):
            return clash.why
        if clash.both_ways and isinstance(rule, clash.new) and isinstance(new, clash.rule) and clash.holds(rule, new):
            return clash.why
    return None


def against(new: r.Change, rules: Iterable[tuple[str, r.Change]]) -> list[tuple[str, str]]:
    """(id, why) of the earlier changes that a new one contradicts."""
    return [(name, why) for name, rule in rules if (why := contradiction(new, rule))]


def rivals(recipe: str) -> frozenset[str]:
    """The recipes whose changes can contradict one of this recipe; empty for those that only a person can compare."""
    found: set[str] = set()
    for clash in CLASHES:
        for one, other in ((clash.new, clash.rule), (clash.rule, clash.new)):
            if any(kind.model_fields["recipe"].default == recipe for kind in one):
                found |= {kind.model_fields["recipe"].default for kind in other}
    return frozenset(found)


# ---- intent


def _leaf(change: Any) -> str:
    """The leaf that a change makes, closes or builds on."""
    if isinstance(change, r.PromoteOtherIntent):
        return f"{change.parent}/{change.leaf}"
    return f"{change.to_parent}/{change.to_leaf}" if isinstance(change, r.RefineIntentBoundary) else str(change.leaf)


def _gives(change: r.PromoteOtherIntent | r.RefineIntentBoundary) -> dict[str, str]:
    """cue → the leaf that it then speaks for"""
    return {fold(cue): _leaf(change) for cue, weight in change.cues.items() if weight > 0}


def _takes(change: r.PromoteOtherIntent | r.RefineIntentBoundary) -> set[tuple[str, str]]:
    """(cue, the leaf that it then speaks for no more)"""
    against_it = {(fold(cue), _leaf(change)) for cue, weight in change.cues.items() if weight <= 0}
    if isinstance(change, r.RefineIntentBoundary):
        against_it |= {(fold(cue), f"{change.from_parent}/{change.from_leaf}") for cue in change.drop}
    return against_it


def _cue_taken(one: Any, other: Any) -> bool:
    return bool(set(_gives(one).items()) & _takes(other))


def _start(change: r.PromoteOtherIntent | r.RefineIntentBoundary) -> tuple[str, ...]:
    """Where the tickets of a change come from: a leaf, or for a new leaf all that its parent could not place."""
    return (change.from_parent, change.from_leaf) if isinstance(change, r.RefineIntentBoundary) else (change.parent,)


def _cue_elsewhere(one: Any, other: Any) -> bool:
    """A cue may speak for several leaves; what contradicts is to send the very same tickets to two of them."""
    return _start(one) == _start(other) and any(_gives(other).get(cue, leaf) != leaf for cue, leaf in _gives(one).items())


def _builds_on_closed(one: Any, closed: r.RetireLeaf) -> bool:
    return _leaf(one) == closed.leaf


def _two_leaves(one: r.PromoteOtherIntent, other: r.PromoteOtherIntent) -> bool:
    return _leaf(one) == _leaf(other) and (_differ(one.reply, other.reply) or _entries(one.tools) != _entries(other.tools))


def _traffic(one: r.RetireLeaf, other: r.RetireLeaf) -> bool:
    return one.to == other.leaf or other.to == one.leaf or (one.leaf == other.leaf and one.to != other.to)


# ---- extraction


def _same_field(one: Any, other: Any) -> bool:
    return bool((one.group, one.field) == (other.group, other.field))


def _two_forms(one: r.AddExtractionField, other: r.AddExtractionField) -> bool:
    pattern = one.pattern is not None and other.pattern is not None and one.pattern != other.pattern
    return _same_field(one, other) and (pattern or any(other.settings.get(name, value) != value for name, value in one.settings.items()))


def _counter_example(one: r.AlterExtractionField, other: r.AddExtractionField | r.AlterExtractionField) -> bool:
    """What the one must not read is what the other is there to read."""
    wanted = other.example if isinstance(other, r.AddExtractionField) else other.handles
    return _same_field(one, other) and one.counter_example is not None and wanted is not None and words(one.counter_example) == words(wanted)


def _two_normalisers(one: r.AlterExtractionField, other: r.AlterExtractionField) -> bool:
    return _same_field(one, other) and one.normaliser is not None and other.normaliser is not None and one.normaliser != other.normaliser


# ---- fetch


def _step_of(change: _Number) -> tuple[str | None, str, int]:
    """(record type, which number, how far it moves); a new query weighs nothing before"""
    if isinstance(change, r.AdjustFetchThreshold):
        return change.record_type, "threshold", change.to - change.from_
    if isinstance(change, r.AddFetchQuery):
        return change.record_type, f"weight {change.field}", change.weight
    return change.record_type, f"weight {change.field}", change.to - change.from_


def _other_way(one: _Number, other: _Number) -> bool:
    (*place, move), (*there, back) = _step_of(one), _step_of(other)
    return place == there and move * back < 0


def _two_queries(one: r.AddFetchQuery, other: r.AddFetchQuery) -> bool:
    return (one.record_type, one.field) == (other.record_type, other.field) and one.query != other.query


# ---- plan


def _same(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same but for case and spacing; signs count, or `x > 1` would be `x < 1`."""
    return one is not None and other is not None and fold(one).split() == fold(other).split()


def _differ(one: str | None, other: str | None) -> bool:
    """Whether both say something, and not the same."""
    return one is not None and other is not None and not _same(one, other)


def _entries(tools: Sequence[Any]) -> set[str]:
    """Tools with all that they are sent; a bare name and an entry of nothing but the name are the same."""
    return {json.dumps(_tool(tool) if tool in ({"name": _tool(tool)}, {"tool": _tool(tool)}) else tool, sort_keys=True) for tool in tools}


def _tool(tool: str | dict[str, Any]) -> str:
    """The name of a tool, however the target writes it."""
    if isinstance(tool, str):
        return tool
    return str(tool.get("name") or tool.get("tool") or next(iter(tool), ""))


def _when(change: Any) -> str | None:
    found: str | None = change.rule if isinstance(change, r.AddTieRule) else change.condition
    return found


def _two_outcomes(one: Any, other: Any) -> bool:
    """The same condition on the same leaf, and something else comes of it."""
    if one.leaf != other.leaf or not _same(_when(one), _when(other)):
        return False
    return one.template != other.template or _entries(getattr(one, "tools", [])) != _entries(getattr(other, "tools", []))


def _two_texts(one: Any, other: Any) -> bool:
    return bool(one.template == other.template) and _differ(one.reply, other.reply)


def _same_branch(one: Any, other: Any) -> bool:
    return bool((one.leaf, one.branch) == (other.leaf, other.branch))


def _two_shapes(one: r.AlterPlanBranch, other: Any) -> bool:
    """One branch with two conditions, templates or places."""
    pairs = ((one.condition, _when(other)), (one.template, other.template), (one.before, other.before))
    return _same_branch(one, other) and any(_differ(*pair) for pair in pairs)


def _tool_dropped(new: r.AlterPlanBranch, rule: r.AddPlanBranch | r.AlterPlanBranch) -> bool:
    """The new list lacks a tool of the earlier one, sends it something else, or fills one that was to stay empty.

    One way only: a list does not say what it left out, so a tool that comes back is not seen unless all had been taken away.
    """
    if not _same_branch(new, rule) or new.tools is None or rule.tools is None:
        return False
    emptied = isinstance(rule, r.AlterPlanBranch) and not rule.tools and bool(new.tools)
    return emptied or not _entries(rule.tools) <= _entries(new.tools)


_SETTINGS = {"condition": ("condition", "when", "if"), "template": ("template",), "tools": ("tools",), "before": ("before",)}
"""field of a change → how targets call the setting that it writes"""


def _setting_dropped(one: r.AlterPlanBranch, other: Any) -> bool:
    given = {name for field, names in _SETTINGS.items() if getattr(other, field, None) for name in names}
    return _same_branch(one, other) and any(fold(name) in given for name in one.drop)


def _two_orders(one: Any, other: Any) -> bool:
    return bool(one.leaf == other.leaf and one.before == other.branch and other.before == one.branch)


# ---- policy


def _binds(rule: r.AddPolicyRule, leaf: str) -> bool:
    return any(scope == "*" or leaf == scope or leaf.startswith(f"{scope}/") for scope in rule.scope)


def _blocked_tool(rule: r.AddPolicyRule, other: Any) -> bool:
    """Asking for a tool speaks of no leaf, so only a rule for everything forbids that."""
    if isinstance(other, r.RequestEndpoint):
        return "*" in rule.scope and other.tool in rule.blocks_tools
    return _binds(rule, _leaf(other)) and any(_tool(tool) in rule.blocks_tools for tool in other.tools or [])


def _blocked_sentence(rule: r.AddPolicyRule, other: Any) -> bool:
    if isinstance(other, r.ChangeReplyTemplate):
        bound, text = any(_binds_template(rule, _template(name)) for name in other.templates), other.new
    else:
        bound, text = _binds(rule, _leaf(other)), other.reply or ""
    return bound and any(holds_phrase(text, sentence) for sentence in rule.blocks_sentences)


def _binds_template(rule: r.AddPolicyRule, name: str) -> bool:
    """Templates name no leaf; by their first word they belong to the leaf, or parent, of that name."""
    return any(scope == "*" or name.split(".")[0] in (scope.rpartition("/")[2], scope.replace("/", ".")) for scope in rule.scope)


def _two_rules(one: r.AddPolicyRule, other: r.AddPolicyRule) -> bool:
    return one.rule == other.rule and _differ(one.text, other.text)


# ---- reply


def _template(name: str) -> str:
    return name.removeprefix("reply:").removeprefix("template:").replace("/", ".")


def _shared(one: r.ChangeReplyTemplate, other: r.ChangeReplyTemplate) -> bool:
    return bool({_template(name) for name in one.templates} & {_template(name) for name in other.templates})


def _two_phrases(one: r.ChangeReplyTemplate, other: r.ChangeReplyTemplate) -> bool:
    return _shared(one, other) and _same(one.old, other.old) and not _same(one.new, other.new)


def _phrase_back(new: r.ChangeReplyTemplate, rule: r.ChangeReplyTemplate) -> bool:
    """Swapped back, or written in again after it was taken out. A single word that comes back may mean something else."""
    if not _shared(new, rule):
        return False
    again = holds_phrase(new.new, rule.old) and not any(holds_phrase(text, rule.old) for text in (new.old, rule.new)) and len(words(rule.old)) > 1
    return (_same(new.old, rule.new) and _same(new.new, rule.old)) or again


@dataclass(frozen=True)
class Clash:
    """Two kinds of changes, and when they contradict each other."""

    new: tuple[type[Any], ...]
    rule: tuple[type[Any], ...]
    holds: Callable[[Any, Any], bool]
    why: str
    """in words of our own; quotes nothing"""
    both_ways: bool = True
    """whether it does not matter which of the two came first"""


_CUES, _ADDS = (r.PromoteOtherIntent, r.RefineIntentBoundary), (r.AddPlanBranch, r.AddTieRule)
_BRANCHES, _ALTER, _FIELD = (r.AddTieRule, r.AddPlanBranch, r.AlterPlanBranch), (r.AlterPlanBranch,), (r.AlterExtractionField,)
_NUMBERS, _RULE, _REPLY = (r.AdjustFetchWeight, r.AdjustFetchThreshold, r.AddFetchQuery), (r.AddPolicyRule,), (r.ChangeReplyTemplate,)
CLASHES: tuple[Clash, ...] = (
    Clash(_CUES, _CUES, _cue_taken, "a cue is given to a leaf and taken from it"),
    Clash(_CUES, _CUES, _cue_elsewhere, "the same tickets are sent to two leaves by one cue"),
    Clash((r.PromoteOtherIntent, r.AddSecondParent), (r.RetireLeaf,), _builds_on_closed, "a leaf is opened and closed"),
    # a leaf that somebody once built on may be closed later; building on one that was closed is what contradicts
    Clash((r.RefineIntentBoundary, *_BRANCHES), (r.RetireLeaf,), _builds_on_closed, "a leaf that was closed is built on", both_ways=False),
    Clash((r.PromoteOtherIntent,), (r.PromoteOtherIntent,), _two_leaves, "a new leaf has two outcomes"),
    Clash((r.RetireLeaf,), (r.RetireLeaf,), _traffic, "the traffic of a closed leaf goes two ways"),
    Clash((r.AddExtractionField,), (r.AddExtractionField,), _two_forms, "a new field has two forms"),
    Clash(_FIELD, (r.AddExtractionField, r.AlterExtractionField), _counter_example, "a field shall read a form and leave it"),
    Clash(_FIELD, _FIELD, _two_normalisers, "a field has two normalisers"),
    Clash(_NUMBERS, _NUMBERS, _other_way, "the same number is moved the other way"),
    Clash((r.AddFetchQuery,), (r.AddFetchQuery,), _two_queries, "a field is searched with two values"),
    Clash(_ADDS, _ADDS, _two_outcomes, "one condition has two outcomes"),
    Clash((r.AddPlanBranch,), (r.AddPlanBranch,), _two_texts, "a new template has two texts"),
    Clash(_ALTER, _BRANCHES, _two_shapes, "a branch has two conditions, templates or places"),
    Clash(_ALTER, (r.AddPlanBranch, r.AlterPlanBranch), _tool_dropped, "a branch loses or changes a tool that was decided on", both_ways=False),
    Clash(_ALTER, _BRANCHES, _setting_dropped, "a setting of a branch is made and taken away"),
    Clash(_BRANCHES, _BRANCHES, _two_orders, "two branches each stand in front of the other"),
    Clash(_RULE, (r.PromoteOtherIntent, r.AddPlanBranch, *_ALTER, r.RequestEndpoint), _blocked_tool, "a tool is called that a rule forbids"),
    Clash(_RULE, (r.PromoteOtherIntent, r.AddPlanBranch, r.ChangeReplyTemplate), _blocked_sentence, "a sentence is written that a rule forbids"),
    Clash(_RULE, _RULE, _two_rules, "one rule has two texts"),
    Clash(_REPLY, _REPLY, _two_phrases, "one phrase is replaced by two"),
    Clash(_REPLY, _REPLY, _phrase_back, "a phrase comes back that was replaced", both_ways=False),
)
