"""The critic's asks live here: each question is built from a brief, and each reply is read without believing any of it."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from pydantic import ValidationError

from rubric.catalogue import Catalogue
from rubric.choices import KINDS, answers, change_of
from rubric.choosing.kinds import Place, one_of, record
from rubric.drafting import Answered, Ask, Brief, Precedent
from rubric.hygiene import clean, fence
from rubric.reading import exact
from rubric.recipes import Change
from rubric.schema import Span, Value, text_of
from rubric.showing import comment, precedents, rule_as_read, ticket, tickets_like, trace
from rubric.strict import Unreadable

MOST_RULES, MOST_QUOTES = 3, 5
MOST_IDS = 200
"""places that one question lists; more are asked for in two stages, part and place"""
ABSTAIN = "abstain"


class Rule(Value):
    """One thing that a comment asks for, with where it says so."""

    wants: str
    """a model's words: shown to a model again, never to the target"""
    quotes: list[Span]


@lru_cache(maxsize=16)
def _prompt(name: str) -> tuple[Any, Any]:
    """(the part that is the same for all cases, the part about one case), as templates."""
    texts = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 (plain text; what is untrusted is fenced)
    folder = Path(__file__).parent / "prompts"
    same, _, own = (folder / f"{name}.md").read_text(encoding="utf-8").partition("\n-----\n")
    return texts.from_string(same), texts.from_string(own)


@lru_cache(maxsize=1)
def _preamble() -> str:
    return (Path(__file__).parent / "prompts" / "preamble.md").read_text(encoding="utf-8").strip()


def _ask(name: Any, key: str, form: dict[str, Any], same: dict[str, Any], own: dict[str, Any]) -> Ask:
    rubric, case = _prompt(name)
    return Ask(name=name, key=key, rubric=rubric.render(preamble=_preamble(), **same).strip(), case=case.render(**own).strip(), form=form)


# ---- (a) rules, blind to the plan


def rules_ask(brief: Brief) -> Ask:
    """What does the comment ask for, and where does it say so? The plan is not shown: a reader who knows it finds it in every comment."""
    quote = record({"source": one_of(["comment", "ticket"]), "quote": {"type": "string", "maxLength": 500}})
    rule = record({
        "quotes": {"type": "array", "items": quote, "minItems": 1, "maxItems": MOST_QUOTES},
        "wants": {"type": "string", "maxLength": 200},
    })  # fmt: skip
    form = record({"rules": {"type": "array", "items": rule, "maxItems": MOST_RULES}})
    return _ask("rules", "rules", form, {"rules": MOST_RULES, "quotes": MOST_QUOTES}, {"comment": comment(brief), "ticket": ticket(brief)})


def rules_of(brief: Brief, reply: Answered) -> list[Rule]:
    """The rules whose quotes stand in the case, at least one of them in the comment; all else is dropped. Raises `Unreadable`."""
    listed = _list(reply.value, "rules")[:MOST_RULES]
    found = []
    for one in listed:
        if not isinstance(one, dict):
            raise Unreadable("reply_invalid", "a rule is no object")
        spans = [span for quote in _list(one, "quotes")[:MOST_QUOTES] if (span := _span(brief, quote)) is not None]
        if any(span.source == "comment" for span in spans):
            found.append(Rule(wants=_text(one, "wants")[:200], quotes=list(dict.fromkeys(spans))))
    return found


def _span(brief: Brief, quote: Any) -> Span | None:
    """A quote as it stands in the case, in any spacing and case of letters; None where it does not."""
    if not isinstance(quote, dict) or quote.get("source") not in ("comment", "ticket"):
        return None
    text, said = text_of(brief.case, quote["source"]), _text(quote, "quote").strip()
    found = exact(text, said) if len(said) >= 2 else None
    if found is None or not any(char.isalnum() for char in found):
        return None
    start = text.index(found)
    return Span(source=quote["source"], quote=found, start=start, end=start + len(found))


# ---- (b) locate and select


def locate_ask(brief: Brief, catalogue: Catalogue, rule: Rule, number: int, sample: int, shown: Sequence[Precedent]) -> Ask:
    """Which kind of change, or which answer without one? Abstaining stands first, the others in another order for every sample."""
    cards = answers(brief, catalogue)
    options = _shuffled([slug for slug, _ in cards], f"{brief.case_id} locate {number} {sample}")
    own = {
        "rule": _read(rule),
        "trace": trace(brief),
        "precedents": precedents(shown),
        "facts": brief.facts,
        "options": [ABSTAIN, *options],
    }
    return _ask("locate", f"locate {number} {sample}{_turn(brief)}", record({"choice": one_of([ABSTAIN, *options])}), {"cards": cards}, own)


def target_ask(brief: Brief, catalogue: Catalogue, rule: Rule, number: int, sample: int, recipe: str, places: Sequence[Place], stage: int) -> Ask:
    """Which of the places that there are? Where they are too many, first which part of the target (`stage` 1), then which of it."""
    card = catalogue.recipe(recipe)
    listed = _shuffled(list(places), f"{brief.case_id} target {number} {sample} {stage}")
    own = {
        "title": card.title, "when": card.when, "rule": _read(rule), "trace": trace(brief), "facts": brief.facts,
        "question": KINDS[recipe].question if stage == 0 else "Which part of the target is it in?", "places": listed,
    }  # fmt: skip
    form = record({"choice": {"type": "string", "enum": [ABSTAIN, *(place.id for place in listed)]}})
    return _ask("target", f"target {number} {sample} {recipe} {stage}{_turn(brief)}", form, {}, own)


def parts_of(places: Sequence[Place]) -> list[Place]:
    """The parts of a target that too many places lie in, each small enough for one question."""
    return [Place(name, f"{len(inside)} places") for name, inside in _parts(places).items()]


def in_part(places: Sequence[Place], part: str) -> list[Place]:
    return _parts(places).get(part, [])


def _parts(places: Sequence[Place]) -> dict[str, list[Place]]:
    """name → places. Ids up to the first separator where they name few enough, small enough parts; a part that is too large is cut into stretches
    of its sorted ids, and where there are too many parts all is cut so. Up to `MOST_IDS` squared places none is left out."""
    parts: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda one: one.id):
        parts.setdefault(_part(place), []).append(place)
    found = {name: one for whole, inside in parts.items() for name, one in _stretches(whole, inside).items()}
    if len(found) <= MOST_IDS:
        return dict(sorted(found.items()))
    return dict(list(_stretches("", [place for inside in parts.values() for place in inside]).items())[:MOST_IDS])


def _stretches(whole: str, places: list[Place]) -> dict[str, list[Place]]:
    if whole and len(places) <= MOST_IDS:
        return {whole: places}
    cut = [places[first : first + MOST_IDS] for first in range(0, len(places), MOST_IDS)]
    return {f"{one[0].id} to {one[-1].id}": one for one in cut}


def _part(place: Place) -> str:
    step, _, name = place.id.partition(":")
    for separator in ("/", "."):
        if separator in name:
            return f"{step}:{name.partition(separator)[0]}"
    return f"{step}:{name[:1]}"


def choice_of(reply: Answered, ask: Ask) -> str:
    """What was chosen. Raises `Unreadable` for anything that was not on the list."""
    chosen = reply.value.get("choice")
    if set(reply.value) != {"choice"} or chosen not in ask.form["properties"]["choice"]["enum"]:
        raise Unreadable("not_a_choice", "the answer is none of the choices")
    return str(chosen)


# ---- (c) fill


def fill_ask(brief: Brief, catalogue: Catalogue, rule: Rule, number: int, recipe: str, place: str, shown: Sequence[Precedent]) -> Ask:
    """What exactly? Only what cannot be computed is open; what names a thing of the target is a choice among those that exist."""
    card, entry = catalogue.recipe(recipe), brief.inventory.entries.get(place)
    value = json.dumps(entry.value, ensure_ascii=False)[:3000] if entry is not None else "nothing yet"
    own = {
        "title": card.title, "when": card.when, "names": card.names, "place": place, "value": fence(value, "place"), "rule": _read(rule),
        "trace": trace(brief), "ticket": ticket(brief), "like": tickets_like(brief) if recipe == "promote_other_intent" else "",
        "precedents": precedents(shown), "facts": brief.facts,
    }  # fmt: skip
    return _ask("fill", f"fill {number} {recipe} {place}{_turn(brief)}", record(KINDS[recipe].form(brief, place)), {}, own)


def fields_of(brief: Brief, reply: Answered, ask: Ask, recipe: str, place: str) -> tuple[str, Change]:
    """The target and the typed change. Raises `Unreadable` for a reply that does not fit the form or the change's own rules."""
    fields = _fitted(reply.value, ask.form, "the reply")
    try:
        return change_of(recipe, brief, place, fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][:2]))  # recipe and field; what lies deeper may be a key that the model wrote
        raise Unreadable("change_invalid", f"{where}: {first['type']}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise Unreadable("change_invalid", f"it cannot be written down ({type(error).__name__})") from None


def fits(reply: Answered, ask: Ask) -> bool:
    """Whether an answer is one that an ask allows."""
    try:
        _fitted(reply.value, ask.form, "the reply")
    except Unreadable:
        return False
    return True


def _fitted(given: Any, form: dict[str, Any], place: str) -> Any:
    """A reply that was held against its form, its free texts clean. A server may promise to hold it; only a look shows that it did.

    A choice is no free text: one with a hidden character in it is not on the list.
    """
    kind = str(form["type"])
    kinds: dict[str, type | tuple[type, ...]] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if not isinstance(given, kinds[kind]) or (kind == "integer" and isinstance(given, bool)):
        raise Unreadable("reply_invalid", f"{place} is no {kind}")
    value: Any = given
    if kind == "object":
        if set(value) != set(form["properties"]):
            raise Unreadable("reply_invalid", f"{place} has other fields than asked for")
        return {name: _fitted(value[name], inner, name) for name, inner in form["properties"].items()}
    if kind == "array":
        if not form.get("minItems", 0) <= len(value) <= form.get("maxItems", 1000):
            raise Unreadable("reply_invalid", f"{place} has {len(value)} items")
        return [_fitted(item, form["items"], place) for item in value]
    if "enum" in form:
        if value not in form["enum"]:
            raise Unreadable("not_a_choice", f"{place} is none of the choices")
    elif kind == "string":
        if len(value) > form.get("maxLength", 10_000):
            raise Unreadable("reply_invalid", f"{place} is too long")
        value = clean(value)[0]
    elif kind == "integer" and not form.get("minimum", -(2**31)) <= value <= form.get("maximum", 2**31):
        raise Unreadable("reply_invalid", f"{place} is out of range")
    return value


# ---- the yardstick: everything in one go, as a raw comment would reach a coding agent


def plain_ask(brief: Brief, catalogue: Catalogue) -> Ask:
    """Recipe and place in one question, from comment and ticket alone. For measuring what the separate asks are worth."""
    cards = answers(brief, catalogue)
    places = sorted({place.id for slug, _ in cards if slug in KINDS for place in KINDS[slug].places(brief)})
    slugs = [ABSTAIN, *(slug for slug, _ in cards)]
    form = record({"choice": {"type": "string", "enum": slugs}, "place": {"type": "string", "maxLength": 200}})
    return _ask("plain", "plain", form, {"cards": cards, "places": places}, {"comment": comment(brief), "ticket": ticket(brief)})


# ---- small things


def _turn(brief: Brief) -> str:
    """Says which facts a question was asked with, so that other facts make another question."""
    return f" again {len(brief.facts)} {hashlib.sha256(json.dumps(brief.facts).encode()).hexdigest()[:8]}" if brief.facts else ""


def _read(rule: Rule) -> str:
    return rule_as_read(rule.quotes, rule.wants)


def _shuffled(items: list[Any], seed: str) -> list[Any]:
    """In an order that the seed alone decides."""
    order = sorted(range(len(items)), key=lambda place: hashlib.sha256(f"{seed} {place}".encode()).digest())
    return [items[place] for place in order]


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if not isinstance(found, list):
        raise Unreadable("reply_invalid", f"{name} is no list")
    return found


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise Unreadable("reply_invalid", f"{name} is no text")
    return clean(found)[0]
