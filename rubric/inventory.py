"""Looking things up in a target's inventory lives here, for any layout: only what the manifest's wildcards stood for counts."""

import re
from collections.abc import Sequence
from typing import Any

from rubric.entries import Entry, Inventory
from rubric.schema import Step


def find(inventory: Inventory, step: Step, words: Sequence[str]) -> Entry | None:
    return inventory.named(step, tuple(words))


def under(inventory: Inventory, step: Step, words: Sequence[str]) -> list[Entry]:
    """The entries one level below some words."""
    return inventory.below(step, tuple(words))


def keyed(entries: Sequence[Entry]) -> list[Entry]:
    """Those that stand under their own name: a weight under its field, but not a threshold, which has a fixed key."""
    return [entry for entry in entries if entry.parts[-1:] == entry.path[-1:]]


def ids_beside(siblings: Sequence[Entry], name: str) -> set[str]:
    """The id that a new entry of this name would have beside its siblings."""
    return {before + name + after for one in siblings if one.parts for before, _, after in [one.id.rpartition(one.parts[-1])]}


def shown_text(entry: Entry) -> str | None:
    """The text of an entry, from its view or because it is nothing but a text."""
    return next((found for found in (entry.view.get("text"), entry.value) if isinstance(found, str)), None)


def shown_number(entry: Entry) -> float | None:
    fit = (found for found in (entry.view.get("number"), entry.value) if isinstance(found, int | float) and not isinstance(found, bool))
    # what no weight can be (also NaN) is no number to us: sums of it would not be exact
    return next((found for found in fit if -1e12 < found < 1e12), None)


def branches(inventory: Inventory, leaf: str) -> set[str]:
    """Names of a leaf's branches as far as the inventory shows them; empty when it does not."""
    plan = find(inventory, Step.plan, leaf.split("/"))
    inside = {str(key) for key in plan.value} if plan and isinstance(plan.value, dict) else set()
    return inside | {entry.words[-1] for entry in under(inventory, Step.plan, leaf.split("/"))}


def listed_tools(branch: Entry) -> list[str | dict[str, Any]]:
    """What a branch calls, names or mappings. What else its list may hold calls nothing, nor does what is no list."""
    found = branch.view.get("tools")
    return [tool for tool in found if isinstance(tool, str | dict)] if isinstance(found, list) else []


def tool_name(tool: str | dict[str, Any]) -> str:
    """The name of a listed tool, "" for one that has none."""
    name = tool if isinstance(tool, str) else tool.get("name")
    return name if isinstance(name, str) else ""


def is_named(entry: Entry, name: str) -> bool:
    """Whether a name, as plans use it, means this entry: its id, its id without the step, or its parts."""
    return name in (entry.id, entry.id.partition(":")[2], ".".join(entry.parts))


def template(inventory: Inventory, name: str) -> Entry | None:
    return next((entry for entry in inventory.of(Step.reply) if is_named(entry, name)), None)


_DOTTED = re.compile(r"[\"']([a-z][a-z0-9_]{0,59})\.([a-z][a-z0-9_]{0,59})[\"']")


def field_names(text: str, inventory: Inventory) -> set[str]:
    """Quoted dotted names in a text whose first word is a group of extracted fields."""
    groups = {entry.words[0] for entry in inventory.of(Step.extraction) if len(entry.words) == 2}
    return {f"{group}.{field}" for group, field in set(_DOTTED.findall(text)) if group in groups}


def scope_exists(inventory: Inventory, scope: str) -> bool:
    """Whether a rule's scope is everything (`*`), a parent, or a leaf of the target."""
    words = tuple(scope.split("/"))
    known = (entry.words[: len(words)] for step in (Step.intent, Step.plan) for entry in inventory.of(step))
    return scope == "*" or any(found == words for found in known)
