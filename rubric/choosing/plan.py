"""Plan: which branch, tool or rule of the house."""

import re
from collections import Counter
from typing import Any

from rubric.choosing.kinds import (
    KEEP,
    MOST_VALUES,
    NEW,
    SLUG,
    Fields,
    Kind,
    Place,
    as_written,
    filled,
    listed,
    one_of,
    own_plan,
    path_of,
    some_of,
    text,
    tool_names,
)
from rubric.drafting import Brief
from rubric.inventory import template
from rubric.proposals.plan import branches_of
from rubric.schema import Step


def _own_branches(brief: Brief) -> list[Place]:
    return listed(branches_of(brief, brief.case.plan.leaf))


def _conditions(brief: Brief) -> list[str]:
    counted = Counter(str(one.view["condition"]) for one in brief.inventory.of(Step.plan) if isinstance(one.view.get("condition"), str))
    return [name for name, _ in counted.most_common()]


def _template_names(brief: Brief) -> list[str]:
    """Those of the leaf first, then those that are used most."""
    own = [str(one.view.get("template")) for one in branches_of(brief, brief.case.plan.leaf) if one.view.get("template")]
    counted = Counter(str(one.view["template"]) for one in brief.inventory.of(Step.plan) if isinstance(one.view.get("template"), str))
    return [*own, *(name for name, _ in counted.most_common())]


def _before(brief: Brief) -> list[str]:
    return [one.words[-1] for one in branches_of(brief, brief.case.plan.leaf)]


def _add_branch(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    leaf = path_of(brief, place)
    name = fields["template"]
    own = name if name != NEW else f"{leaf.rpartition('/')[2]}.{fields['branch']}"
    new = template(brief.inventory, own) is None
    return place, {
        "leaf": leaf, "branch": fields["branch"], "condition": fields["condition"], "template": own, "reply": fields["reply"] if new else None,
        "tools": as_written(brief, fields["tools"]), "before": fields["before"],
    }  # fmt: skip


def _alter_branch(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    kept = {name: fields[name] for name in ("condition", "template", "before") if fields[name] != KEEP}
    tools = {"tools": as_written(brief, fields["tools"])} if fields["tools_change"] else {}
    return place, {"leaf": "/".join(entry.words[:-1]), "branch": entry.words[-1], **kept, **tools, "drop": list(fields["drop"])}


def _settings(brief: Brief, place: str) -> list[str]:
    entry = brief.inventory.entries[place]
    usual = {key for key, value in entry.value.items() if value in entry.view.values()} if isinstance(entry.value, dict) else set()
    return [key for key in entry.value if key not in usual] if isinstance(entry.value, dict) else []


def _tie(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    return place, {"leaf": path_of(brief, place), **{name: fields[name] for name in ("branch", "rule", "template", "before")}}


def _scopes(brief: Brief) -> list[Place]:
    parent = brief.case.plan.leaf.split("/")[0]
    return [Place(f"policy:{parent}", f"all leaves of {parent}"), Place("policy:*", "every reply")] if brief.inventory.of(Step.plan) else []


def _policy(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    return place, {
        "rule": fields["rule"], "scope": [place.partition(":")[2]], "text": fields["text"], "owner": "to be named by the gatekeeper",
        "blocks_sentences": list(fields["blocks_sentences"]), "blocks_tools": list(fields["blocks_tools"]),
    }  # fmt: skip


def _sentences(brief: Brief) -> list[str]:
    return [part.strip() for part in re.findall(r"[^.!?]+[.!?]+|[^.!?]+$", brief.case.plan.reply) if part.strip()][:30]


KINDS: dict[str, Kind] = {
    "add_tie_rule": Kind(
        "Whose plan needs the rule?", filled(own_plan, _template_names, _before),
        lambda brief, place: {
            "branch": text(f"name of the branch: {SLUG}", 60), "rule": text("when two records are equally good", 120),
            "template": one_of(_template_names(brief)), "before": one_of(_before(brief)),
        }, _tie,
    ),
    "add_plan_branch": Kind(
        "Whose plan needs the branch?", filled(own_plan, _conditions, _before),
        lambda brief, place: {
            "branch": text(f"name of the branch: {SLUG}", 60), "condition": one_of(_conditions(brief)),
            "template": one_of([*_template_names(brief)[: MOST_VALUES - 1], NEW]),
            "reply": text("text of a new template, without greeting; empty for one that exists", 1000), "tools": some_of(tool_names(brief)),
            "before": one_of(_before(brief), "the branch that it goes in front of"),
        }, _add_branch,
    ),
    "alter_plan_branch": Kind(
        "Which branch is wrong?", _own_branches,
        lambda brief, place: {
            "condition": one_of([KEEP, *_conditions(brief)]), "template": one_of([KEEP, *_template_names(brief)]),
            "before": one_of([KEEP, *_before(brief)]), "tools_change": {"type": "boolean"}, "tools": some_of(tool_names(brief), "the whole list"),
            "drop": some_of(_settings(brief, place), "settings that go away"),
        }, _alter_branch,
    ),
    "add_policy_rule": Kind(
        "Whom does the rule bind?", _scopes,
        lambda brief, place: {
            "rule": text(f"name of the rule: {SLUG}", 60), "text": text("the rule, one sentence"), "blocks_sentences": some_of(_sentences(brief)),
            "blocks_tools": some_of([call.name for call in brief.case.plan.tool_calls]),
        }, _policy,
    ),
}  # fmt: skip
"""recipe → how a model is led through it"""
