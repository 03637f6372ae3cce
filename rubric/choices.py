"""What a model may choose from lives here: recipes, places and values, all of things that the target has; the rest of a change is ours to write."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubric.catalogue import Catalogue
from rubric.drafting import Brief
from rubric.entries import Entry
from rubric.inventory import find, ids_beside, keyed, shown_number, shown_text, template, under
from rubric.proposals.leaves import OTHER, cues_of, matched, taken_leaf
from rubric.proposals.plan import branches_of, known_tools, tools_of
from rubric.proposals.reply import holding
from rubric.reading import customer_text, template_of
from rubric.recipes import Change, ChangeOf
from rubric.schema import Outcome, Step

MOST_VALUES = 150
"""values of one field that a form lists"""
KEEP = "(keep)"
"""the answer that leaves a field of a branch as it is"""
NEW = "(new)"
JUDGED = (Outcome.not_a_defect, Outcome.one_off, Outcome.unclear_ask_back, Outcome.policy_question)
"""outcomes that are a matter of reading; the others are found out by looking"""

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


_CUES: Form = {
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


def answers(brief: Brief, catalogue: Catalogue) -> list[tuple[str, str]]:
    """(slug, when it applies): every recipe that has a place in this target, then every outcome that reading can tell."""
    recipes = [(slug, catalogue.recipe(slug)) for slug in KINDS if KINDS[slug].places(brief)]
    found = [(slug, f"{card.title}. {card.when}") for slug, card in recipes]
    return found + [(outcome.value, f"{catalogue.outcome(outcome).title}. {catalogue.outcome(outcome).when}") for outcome in JUDGED]


def change_of(recipe: str, brief: Brief, place: str, fields: Fields) -> tuple[str, Change]:
    """The target and the typed change. Raises pydantic's `ValidationError` for values that do not fit."""
    target, change = KINDS[recipe].whole(brief, place, fields)
    return target, ChangeOf.validate_python({"recipe": recipe, **change})


def _shown(entry: Entry) -> str:
    said = entry.view.get("about") or entry.view.get("condition") or entry.view.get("label") or shown_text(entry) or shown_number(entry)
    return str(said if said is not None else "")[:120]


def _listed(entries: Sequence[Entry]) -> list[Place]:
    return [Place(one.id, _shown(one)) for one in entries if one.stability != "frozen"]


def _leaves(brief: Brief) -> list[Entry]:
    return [one for one in brief.inventory.of(Step.intent) if len(one.words) == 2]


def _path(brief: Brief, place: str) -> str:
    return "/".join(brief.inventory.entries[place].words)


def _cues(fields: Fields) -> dict[str, int]:
    return {str(one["cue"]).strip().casefold(): int(one["weight"]) for one in fields.get("cues", [])}


# ---- intent


def _other(brief: Brief) -> list[Place]:
    here = taken_leaf(brief)
    return _listed([here]) if here is not None and here.words[-1] == OTHER and len(_like(brief)) >= 2 else []


def _like(brief: Brief) -> list[str]:
    """Rejections of the same leaf, by id."""
    return [one.case_id for one in brief.rejected if one.case.plan.leaf == brief.case.plan.leaf and one.case_id != brief.case_id][:12]


def _promote(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    stay = [one.case_id for one in brief.accepted if one.case.plan.leaf == brief.case.plan.leaf]
    names = {f"case {number}": name for number, name in enumerate(_like(brief), start=1)}
    return place, {
        "parent": entry.words[0], "leaf": fields["leaf"], "about": fields["about"], "cues": _cues(fields), "reply": fields["reply"],
        "tools": _as_written(brief, fields["tools"]), "cases": [brief.case_id, *(names[one] for one in fields["cases"] if one in names)],
        "look_alikes": stay[:4],
    }  # fmt: skip


def _elsewhere(brief: Brief) -> list[Place]:
    here = taken_leaf(brief)
    return _listed([one for one in _leaves(brief) if one.id != here.id and one.words[-1] != OTHER]) if here and here.stability != "frozen" else []


def _refine(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    here = taken_leaf(brief)
    assert here is not None  # places were offered
    (from_parent, from_leaf), (to_parent, to_leaf) = here.words, brief.inventory.entries[place].words
    return here.id, {
        "from_parent": from_parent, "from_leaf": from_leaf, "to_parent": to_parent, "to_leaf": to_leaf,
        "cues": _cues(fields), "drop": list(fields["drop"]),
    }  # fmt: skip


def _own_cues(brief: Brief) -> list[str]:
    here = taken_leaf(brief)
    return list(matched(here, customer_text(brief.case))) or list(cues_of(here)) if here else []


# ---- extraction


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


# ---- fetch


def _weights(brief: Brief, *, own_name: bool) -> list[Place]:
    numbers = [one for one in brief.inventory.of(Step.fetch) if shown_number(one) is not None]
    named = {one.id for one in keyed(numbers)}
    return _listed([one for one in numbers if (one.id in named) is own_name])


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


def _query(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    kind = place.partition(":")[2]
    field = str(fields["query"]).rpartition(".")[2]
    siblings = keyed(under(brief.inventory, Step.fetch, (kind,) if kind else ()))
    target = min(ids_beside(siblings, field), default=f"fetch:{kind}.{field}")
    return target, {"record_type": kind or None, "field": field, "query": fields["query"], "weight": fields["weight"]}


# ---- plan


def _own_plan(brief: Brief) -> list[Place]:
    entry = find(brief.inventory, Step.plan, brief.case.plan.leaf.split("/"))
    return [Place(entry.id, "the plan of the leaf that was taken")] if entry is not None and entry.stability != "frozen" else []


def _own_branches(brief: Brief) -> list[Place]:
    return _listed(branches_of(brief, brief.case.plan.leaf))


def _as_written(brief: Brief, names: Sequence[str]) -> list[Any]:
    """Tools written as the target writes them: as an entry somewhere has them, or else like any entry."""
    written = {name: tool for tool in known_tools(brief) for name in [tool if isinstance(tool, str) else tool.get("name")]}
    return [written.get(name, name) for name in names]


def _tool_names(brief: Brief) -> list[str]:
    counted = Counter(name for one in brief.inventory.of(Step.plan) for name in tools_of(one))
    words = set(re.findall(r"[a-z0-9]+", brief.case.plan.leaf))
    return sorted(counted, key=lambda name: (-len(words & set(name.split("_"))), -counted[name], name))


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
    leaf = _path(brief, place)
    name = fields["template"]
    own = name if name != NEW else f"{leaf.rpartition('/')[2]}.{fields['branch']}"
    new = template(brief.inventory, own) is None
    return place, {
        "leaf": leaf, "branch": fields["branch"], "condition": fields["condition"], "template": own, "reply": fields["reply"] if new else None,
        "tools": _as_written(brief, fields["tools"]), "before": fields["before"],
    }  # fmt: skip


def _alter_branch(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    entry = brief.inventory.entries[place]
    kept = {name: fields[name] for name in ("condition", "template", "before") if fields[name] != KEEP}
    tools = {"tools": _as_written(brief, fields["tools"])} if fields["tools_change"] else {}
    return place, {"leaf": "/".join(entry.words[:-1]), "branch": entry.words[-1], **kept, **tools, "drop": list(fields["drop"])}


def _settings(brief: Brief, place: str) -> list[str]:
    entry = brief.inventory.entries[place]
    usual = {key for key, value in entry.value.items() if value in entry.view.values()} if isinstance(entry.value, dict) else set()
    return [key for key in entry.value if key not in usual] if isinstance(entry.value, dict) else []


def _tie(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    return place, {"leaf": _path(brief, place), **{name: fields[name] for name in ("branch", "rule", "template", "before")}}


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


# ---- reply, and what no codemod does


def _templates(brief: Brief) -> list[Place]:
    made = template_of(brief.case.plan.reply, brief.inventory)
    first = [one for one in brief.inventory.of(Step.reply) if made and ".".join(one.parts) == made[0]]
    own = [found for one in branches_of(brief, brief.case.plan.leaf) if (found := template(brief.inventory, str(one.view.get("template", ""))))]
    return _listed(list(dict.fromkeys([*(one.id for one in first), *(one.id for one in own)])) and _unique([*first, *own]))


def _unique(entries: Sequence[Entry]) -> list[Entry]:
    return list({one.id: one for one in entries}.values())


def _phrase(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    own = brief.inventory.entries[place]
    names = [".".join(one.parts) for one in holding(brief, fields["old"])] or [".".join(own.parts)]
    return place, {"templates": names, "old": fields["old"], "new": fields["new"]}


def _endpoint(brief: Brief, place: str, fields: Fields) -> tuple[str, dict[str, Any]]:
    what = {"summary": fields["question"][:200], "responses": {"200": {"description": fields["answer"]}}}
    paths = {f"/{fields['tool']}/{{id}}": {"get": what}}
    openapi = {"openapi": "3.1.0", "info": {"title": fields["tool"].replace("_", " "), "version": "1"}, "paths": paths}
    return place, {"tool": fields["tool"], "question": fields["question"], "openapi": openapi}


def _of_step(step: Step) -> Callable[[Brief], list[Place]]:
    return lambda brief: _listed(brief.inventory.of(step))


_SLUG = "lower-case letters, digits and underscores, beginning with a letter"
_NUMBER: Form = {"type": "integer", "minimum": 0, "maximum": 1000}

KINDS: dict[str, Kind] = {
    "promote_other_intent": Kind(
        "Which Other leaf do the tickets stand in?", _other,
        lambda brief, place: {
            "leaf": text(f"name of the new leaf: {_SLUG}", 60), "about": text("what its tickets want, one sentence"), "cues": _CUES,
            "reply": text("what the reply says, without greeting", 1000), "tools": some_of(_tool_names(brief)),
            "cases": some_of([f"case {number}" for number, _ in enumerate(_like(brief), start=1)], "others that want the same"),
        }, _promote,
    ),
    "refine_intent_boundary": Kind(
        "Which leaf should the ticket have gone to?", _elsewhere,
        lambda brief, place: {"cues": _CUES, "drop": some_of(_own_cues(brief), "cues that must no longer speak for the leaf that was taken")}, _refine,
    ),
    "add_second_parent": Kind(
        "Which leaf needs a second parent?", lambda brief: _listed(_leaves(brief)),
        lambda brief, place: {"parent": one_of(sorted({one.words[0] for one in _leaves(brief)}))},
        lambda brief, place, fields: (place, {"leaf": _path(brief, place), "parent": fields["parent"]}),
    ),
    "retire_leaf": Kind(
        "Which leaf should be closed?", lambda brief: _listed(_leaves(brief)),
        lambda brief, place: {"to": one_of(["/".join(one.words) for one in _leaves(brief)], "where its tickets go")},
        lambda brief, place, fields: (place, {"leaf": _path(brief, place), "to": fields["to"]}),
    ),
    "add_extraction_field": Kind(
        "Which field should be read?", _new_fields,
        lambda brief, place: {
            **({"field": text(f"name of the field: {_SLUG}", 60)} if place.endswith(NEW) else {}), "label": text("what the value is, in a few words", 120),
            "example": text("the value as this ticket writes it", 200),
        }, _new_field,
    ),
    "alter_extraction_field": Kind(
        "Which field misses the value?", lambda brief: [one for one in _listed(brief.inventory.of(Step.extraction)) if _forms(brief, one.id)],
        lambda brief, place: {"handles": one_of(_forms(brief, place), "the form that it has to cope with")}, _form,
    ),
    "adjust_fetch_weight": Kind(
        "Which weight is wrong?", lambda brief: _weights(brief, own_name=True), lambda brief, place: {"to": {**_NUMBER, "minimum": -100}}, _weight
    ),
    "adjust_fetch_threshold": Kind(
        "Which threshold is wrong?", lambda brief: _weights(brief, own_name=False), lambda brief, place: {"to": _NUMBER}, _threshold
    ),
    "add_fetch_query": Kind(
        "Which kind of record should be searched by one more field?", _record_types,
        lambda brief, place: {
            "query": one_of([".".join(one.words) for one in brief.inventory.of(Step.extraction)], "the extracted value to search with"),
            "weight": {"type": "integer", "minimum": 1, "maximum": 100},
        }, _query,
    ),
    "add_tie_rule": Kind(
        "Whose plan needs the rule?", _own_plan,
        lambda brief, place: {
            "branch": text(f"name of the branch: {_SLUG}", 60), "rule": text("when two records are equally good", 120),
            "template": one_of(_template_names(brief)), "before": one_of(_before(brief)),
        }, _tie,
    ),
    "add_plan_branch": Kind(
        "Whose plan needs the branch?", _own_plan,
        lambda brief, place: {
            "branch": text(f"name of the branch: {_SLUG}", 60), "condition": one_of(_conditions(brief)), "template": one_of([*_template_names(brief)[:140], NEW]),
            "reply": text("text of a new template, without greeting; empty for one that exists", 1000), "tools": some_of(_tool_names(brief)),
            "before": one_of(_before(brief), "the branch that it goes in front of"),
        }, _add_branch,
    ),
    "alter_plan_branch": Kind(
        "Which branch is wrong?", _own_branches,
        lambda brief, place: {
            "condition": one_of([KEEP, *_conditions(brief)]), "template": one_of([KEEP, *_template_names(brief)]),
            "before": one_of([KEEP, *_before(brief)]), "tools_change": {"type": "boolean"}, "tools": some_of(_tool_names(brief), "the whole list"),
            "drop": some_of(_settings(brief, place), "settings that go away"),
        }, _alter_branch,
    ),
    "add_policy_rule": Kind(
        "Whom does the rule bind?", _scopes,
        lambda brief, place: {
            "rule": text(f"name of the rule: {_SLUG}", 60), "text": text("the rule, one sentence"), "blocks_sentences": some_of(_sentences(brief)),
            "blocks_tools": some_of([call.name for call in brief.case.plan.tool_calls]),
        }, _policy,
    ),
    "change_reply_template": Kind(
        "Which template holds the phrase?", _templates,
        lambda brief, place: {
            "old": text("the phrase, exactly as the template has it", 1000), "new": text("what it says instead; empty to take it out", 1000),
        }, _phrase,
    ),
    "request_endpoint": Kind(
        "Whose plan has to know it?", _own_plan,
        lambda brief, place: {
            "tool": text(f"name of the read tool: {_SLUG}", 60), "question": text("what the pipeline needs to know"), "answer": text("what comes back"),
        }, _endpoint,
    ),
    "change_fallback_agent": Kind(
        "Which agent?", _of_step(Step.fallback), lambda brief, place: {"instruction": text("what it shall do or leave, one sentence")},
        lambda brief, place, fields: (place, {"instruction": fields["instruction"]}),
    ),
    "change_attachment_preprocessing": Kind(
        "Which kind of attachment?", _of_step(Step.preprocess),
        lambda brief, place: {"media_type": text("its media type", 120), "lost": text("what reading it loses")},
        lambda brief, place, fields: (place, {"media_type": fields["media_type"], "lost": fields["lost"]}),
    ),
}  # fmt: skip
"""recipe → how a model is led through it. `fix_eval_data` is a person's alone: a model would have to be shown the exam."""
