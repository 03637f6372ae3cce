"""How a model is led to a change lives here: places to choose from, forms of what is open, and the small builders of both."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import find, shown_number, shown_text, tool_name
from rubric.proposals.plan import known_tools, tools_of
from rubric.schema import Step

MOST_VALUES = 500
"""values of one field that a form lists"""
KEEP = "(keep)"
"""the answer that leaves a field of a branch as it is"""
NEW = "(new)"

Form = dict[str, Any]
Fields = Mapping[str, Any]


def text(description: str, most: int = 300) -> Form:
    return {"type": "string", "description": description, "maxLength": most}


def one_of(values: Sequence[str], description: str = "") -> Form:
    return {"type": "string", "enum": list(dict.fromkeys(values))[:MOST_VALUES], **({"description": description} if description else {})}


def some_of(values: Sequence[str], description: str = "") -> Form:
    listed = list(dict.fromkeys(values))[:MOST_VALUES]
    items: Form = {"type": "string", "enum": listed} if listed else {"type": "string", "maxLength": 0}
    return {"type": "array", "items": items, "maxItems": 10, "description": description}


def record(fields: Mapping[str, Form]) -> Form:
    return {"type": "object", "properties": dict(fields), "required": list(fields), "additionalProperties": False}


CUES: Form = {
    "type": "array",
    "maxItems": 6,
    "description": "words of the ticket, as it spells them, that speak for the right leaf",
    "items": record({"cue": text("one to four words", 80), "weight": {"type": "integer", "minimum": 1, "maximum": 20}}),
}


@dataclass(frozen=True)
class Place:
    """Where a change could go, by the id of what it is about."""

    id: str
    shown: str
    """what stands there, in a few words of the target's config"""


@dataclass(frozen=True)
class Kind:
    """How a model is led through one recipe."""

    question: str
    """what the place is asked for with"""
    places: Callable[[Brief], list[Place]]
    form: Callable[[Brief, str], Mapping[str, Form]]
    """(brief, place) → the fields that are open"""
    whole: Callable[[Brief, str, Fields], tuple[str, dict[str, Any]]]
    """(brief, place, filled fields) → target, and the change as JSON"""


SLUG = "lower-case letters, digits and underscores, beginning with a letter"
NUMBER: Form = {"type": "integer", "minimum": 0, "maximum": 1000}


def shown(entry: Entry) -> str:
    """What an entry says, in a line."""
    said = entry.view.get("about") or entry.view.get("condition") or entry.view.get("label") or shown_text(entry) or shown_number(entry)
    return str(said if said is not None else "")[:120]


def listed(entries: Sequence[Entry]) -> list[Place]:
    """Entries as places; what is frozen is none."""
    return [Place(one.id, shown(one)) for one in entries if one.stability != "frozen"]


def leaves(brief: Brief) -> list[Entry]:
    """The leaves of the intent tree, two levels deep."""
    return [one for one in brief.inventory.of(Step.intent) if len(one.words) == 2]


def path_of(brief: Brief, place: str) -> str:
    """`parent/leaf` of an entry."""
    return "/".join(brief.inventory.entries[place].words)


def cues_in(fields: Fields) -> dict[str, int]:
    return {str(one["cue"]).strip().casefold(): int(one["weight"]) for one in fields.get("cues", [])}


def as_written(brief: Brief, names: Sequence[str]) -> list[Any]:
    """Tools written as the target writes them: as an entry somewhere has them, or else like any entry."""
    written = {tool_name(tool): tool for tool in known_tools(brief)}
    return [written.get(name, name) for name in names]


def tool_names(brief: Brief) -> list[str]:
    """Tools that the target calls, those with words of the leaf first, then those that are called most."""
    counted = Counter(name for one in brief.inventory.of(Step.plan) for name in tools_of(one))
    words = set(re.findall(r"[a-z0-9]+", brief.case.plan.leaf))
    return sorted(counted, key=lambda name: (-len(words & set(name.split("_"))), -counted[name], name))


def filled(places: Callable[[Brief], list[Place]], *choices: Callable[[Brief], Sequence[str]]) -> Callable[[Brief], list[Place]]:
    """The places of a recipe whose form has choices; none in a target that has nothing to choose from: such a form could not be filled in."""
    return lambda brief: places(brief) if all(choice(brief) for choice in choices) else []


def own_plan(brief: Brief) -> list[Place]:
    """The plan of the leaf that the ticket went to."""
    entry = find(brief.inventory, Step.plan, brief.case.plan.leaf.split("/"))
    return [Place(entry.id, "the plan of the leaf that was taken")] if entry is not None and entry.stability != "frozen" else []
