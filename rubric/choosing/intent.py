"""Intent: which leaf a ticket belongs to, and the words that say so."""

from typing import Any

from rubric.choosing.kinds import CUES, SLUG, Fields, Kind, Place, as_written, cues_in, leaves, listed, one_of, path_of, some_of, text, tool_names
from rubric.drafting import Brief
from rubric.proposals.leaves import OTHER, cues_of, like, matched, taken_leaf
from rubric.reading import customer_text


def _other(brief: Brief) -> list[Place]:
    here = taken_leaf(brief)
    return listed([here]) if here is not None and here.words[-1] == OTHER and len(like(brief)) >= 2 else []


def _promote(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    stay = [one.case_id for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
    names = {f"case {number}": one.case_id for number, one in enumerate(like(brief), start=1)}
    return place, {
        "parent": entry.words[0], "leaf": fields["leaf"], "about": fields["about"], "cues": cues_in(fields), "reply": fields["reply"],
        "tools": as_written(brief, fields["tools"]), "cases": [brief.case_id, *(names[one] for one in fields["cases"] if one in names)],
        "look_alikes": stay[:4],
    }  # fmt: skip


def _elsewhere(brief: Brief) -> list[Place]:
    here = taken_leaf(brief)
    return listed([one for one in leaves(brief) if one.id != here.id and one.words[-1] != OTHER]) if here and here.stability != "frozen" else []


def _refine(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    here = taken_leaf(brief)
    assert here is not None  # places were offered
    (from_parent, from_leaf), (to_parent, to_leaf) = here.words, brief.inventory.entries[place].words
    return here.id, {
        "from_parent": from_parent, "from_leaf": from_leaf, "to_parent": to_parent, "to_leaf": to_leaf,
        "cues": cues_in(fields), "drop": list(fields["drop"]),
    }  # fmt: skip


def _own_cues(brief: Brief) -> list[str]:
    here = taken_leaf(brief)
    return list(matched(here, customer_text(brief.case))) or list(cues_of(here)) if here else []


KINDS: dict[str, Kind] = {
    "promote_other_intent": Kind(
        "Which Other leaf do the tickets stand in?", _other,
        lambda brief, place: {
            "leaf": text(f"name of the new leaf: {SLUG}", 60), "about": text("what its tickets want, one sentence"), "cues": CUES,
            "reply": text("what the reply says, without greeting", 1000), "tools": some_of(tool_names(brief)),
            "cases": some_of([f"case {number}" for number, _ in enumerate(like(brief), start=1)], "others that want the same"),
        }, _promote,
    ),
    "refine_intent_boundary": Kind(
        "Which leaf should the ticket have gone to?", _elsewhere,
        lambda brief, place: {"cues": CUES, "drop": some_of(_own_cues(brief), "cues that must no longer speak for the leaf that was taken")}, _refine,
    ),
    "add_second_parent": Kind(
        "Which leaf needs a second parent?", lambda brief: listed(leaves(brief)),
        lambda brief, place: {"parent": one_of(sorted({one.words[0] for one in leaves(brief)}))},
        lambda brief, place, fields: (place, {"leaf": path_of(brief, place), "parent": fields["parent"]}),
    ),
    "retire_leaf": Kind(
        "Which leaf should be closed?", lambda brief: listed(leaves(brief)),
        lambda brief, place: {"to": one_of(["/".join(one.words) for one in leaves(brief)], "where its tickets go")},
        lambda brief, place, fields: (place, {"leaf": path_of(brief, place), "to": fields["to"]}),
    ),
}  # fmt: skip
"""recipe → how a model is led through it"""
