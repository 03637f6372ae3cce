"""The leaves of the intent tree as proposals see them: which one a case took, and which of its cues a text holds."""

from rubric.drafting import Brief, Neighbour
from rubric.entries import Entry
from rubric.inventory import find
from rubric.reading import holds_phrase
from rubric.schema import Step

OTHER = "other"
HEAVY = 2
"""times the heaviest cue of a leaf that a new one may weigh: no word should outweigh everything else"""
MOST_LIKE = 12
"""rejections of the same leaf that a model is shown, and may name by their number"""


def taken_leaf(brief: Brief) -> Entry | None:
    """The leaf that the pipeline chose, when the target has it, two levels deep."""
    found = find(brief.inventory, Step.intent, brief.case.plan.leaf.split("/"))
    return found if found is not None and len(found.words) == 2 else None


def like(brief: Brief) -> list[Neighbour]:
    """Other rejections of the leaf that the case took, in the order in which a model sees them: `case 1` is the first."""
    return [one for one in brief.rejected if one.case.plan.leaf == brief.case.plan.leaf and one.case_id != brief.case_id][:MOST_LIKE]


def cues_of(entry: Entry) -> dict[str, int]:
    found = entry.view.get("cues", entry.value.get("cues") if isinstance(entry.value, dict) else None)
    return {cue: weight for cue, weight in found.items() if isinstance(weight, int)} if isinstance(found, dict) else {}


def matched(entry: Entry, text: str) -> dict[str, int]:
    """The cues of a leaf that a text holds. Approximates any classifier that adds up cues."""
    return {cue: weight for cue, weight in cues_of(entry).items() if holds_phrase(text, cue)}
