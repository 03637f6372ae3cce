"""Extraction: which value was not read, and in which form it stands."""

from typing import Any

from rubric.choosing.kinds import NEW, SLUG, Fields, Kind, Place, listed, one_of, text
from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import ids_beside, under
from rubric.schema import Step


def _new_fields(brief: Brief) -> list[Place]:
    groups = sorted({one.words[0] for one in brief.inventory.of(Step.extraction) if len(one.words) == 2})
    have = {".".join(one.words) for one in brief.inventory.of(Step.extraction)}
    spoken = [name for name in sorted(brief.inventory.spoken_of) if name not in have and name.partition(".")[0] in groups]
    return [Place(f"extraction:{name}", "a name that files of the target use") for name in spoken] + [
        Place(f"extraction:{group}.{NEW}", f"a field that nothing speaks of yet, in {group}") for group in groups
    ]


def _new_field(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    group, _, field = place.partition(":")[2].partition(".")
    field = fields["field"] if field == NEW else field
    siblings = under(brief.inventory, Step.extraction, (group,))
    target = min(ids_beside(siblings, field), default=f"extraction:{group}.{field}")
    return target, {"group": group, "field": field, "label": fields["label"], "example": fields["example"]}


def _forms(brief: Brief, place: str) -> list[str]:
    known = {form for one in brief.inventory.of(Step.extraction) for form in _handled(one)}
    return sorted(known - set(_handled(brief.inventory.entries[place])))


def _handled(entry: Entry) -> list[str]:
    found = entry.view.get("handles")
    return [form for form in found if isinstance(form, str)] if isinstance(found, list) else []


def _form(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    group, field = brief.inventory.entries[place].words
    return place, {"group": group, "field": field, "handles": fields["handles"]}


KINDS: dict[str, Kind] = {
    "add_extraction_field": Kind(
        "Which field should be read?", _new_fields,
        lambda brief, place: {
            **({"field": text(f"name of the field: {SLUG}", 60)} if place.endswith(NEW) else {}), 
            "label": text("what the value is, in a few words", 120),
            "example": text("the value as this ticket writes it", 200),
        }, _new_field,
    ),
    "alter_extraction_field": Kind(
        "Which field misses the value?", lambda brief: [one for one in listed(brief.inventory.of(Step.extraction)) if _forms(brief, one.id)],
        lambda brief, place: {"handles": one_of(_forms(brief, place), "the form that it has to cope with")}, _form,
    ),
}  # fmt: skip
"""recipe → how a model is led through it"""
