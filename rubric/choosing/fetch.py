"""Fetch: which number made the wrong record win, or what it was not searched by."""

from typing import Any

from rubric.choosing.kinds import NUMBER, Fields, Kind, Place, filled, listed, one_of
from rubric.drafting import Brief
from rubric.inventory import ids_beside, keyed, shown_number, under
from rubric.schema import Step


def _weights(brief: Brief, *, own_name: bool) -> list[Place]:
    numbers = [one for one in brief.inventory.of(Step.fetch) if shown_number(one) is not None]
    named = {one.id for one in keyed(numbers)}
    return listed([one for one in numbers if (one.id in named) is own_name])


def _weight(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    start, to, field = int(shown_number(entry) or 0), int(fields["to"]), entry.words[-1]
    scores = {one.record_id: (one.score, one.score + (to - start) * one.matched_fields.count(field)) for one in brief.case.plan.fetch}
    return place, {"record_type": "_".join(entry.words[:-1]) or None, "field": field, "from": start, "to": to, "scores": scores}


def _threshold(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    return place, {"record_type": "_".join(entry.words) or None, "from": int(shown_number(entry) or 0), "to": int(fields["to"])}


def _record_types(brief: Brief) -> list[Place]:
    types = sorted({one.words[:-1] for one in keyed(brief.inventory.of(Step.fetch))})
    return [Place("fetch:" + "_".join(words), "one more field to search this kind of record by") for words in types]


def _extracted(brief: Brief) -> list[str]:
    return [".".join(one.words) for one in brief.inventory.of(Step.extraction)]


def _query(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    kind = place.partition(":")[2]
    field = str(fields["query"]).rpartition(".")[2]
    siblings = keyed(under(brief.inventory, Step.fetch, (kind,) if kind else ()))
    target = min(ids_beside(siblings, field), default=f"fetch:{kind}.{field}")
    return target, {"record_type": kind or None, "field": field, "query": fields["query"], "weight": fields["weight"]}


KINDS: dict[str, Kind] = {
    "adjust_fetch_weight": Kind(
        "Which weight is wrong?", lambda brief: _weights(brief, own_name=True), lambda brief, place: {"to": {**NUMBER, "minimum": -100}}, _weight
    ),
    "adjust_fetch_threshold": Kind(
        "Which threshold is wrong?", lambda brief: _weights(brief, own_name=False), lambda brief, place: {"to": NUMBER}, _threshold
    ),
    "add_fetch_query": Kind(
        "Which kind of record should be searched by one more field?", filled(_record_types, _extracted),
        lambda brief, place: {
            "query": one_of(_extracted(brief), "the extracted value to search with"),
            "weight": {"type": "integer", "minimum": 1, "maximum": 100},
        }, _query,
    ),
}  # fmt: skip
"""recipe → how a model is led through it"""
