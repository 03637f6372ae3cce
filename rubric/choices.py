"""What a model may choose from in a target: every recipe that has a place there, the places, and the change that a choice makes."""

from rubric.catalogue import Catalogue
from rubric.choosing import extraction, fetch, intent, plan, rest
from rubric.choosing.kinds import Fields, Kind
from rubric.drafting import Brief
from rubric.recipes import Change, ChangeOf
from rubric.schema import Outcome

KINDS: dict[str, Kind] = {**intent.KINDS, **extraction.KINDS, **fetch.KINDS, **plan.KINDS, **rest.KINDS}
"""recipe → how a model is led through it. `fix_eval_data` is a person's alone: a model would have to be shown the exam."""
JUDGED = (Outcome.not_a_defect, Outcome.one_off, Outcome.unclear_ask_back, Outcome.policy_question)
"""outcomes that are a matter of reading; the others are found out by looking"""


def answers(brief: Brief, catalogue: Catalogue) -> list[tuple[str, str]]:
    """(slug, when it applies): every recipe that has a place in this target, then every outcome that reading can tell."""
    recipes = [(slug, catalogue.recipe(slug)) for slug in KINDS if KINDS[slug].places(brief)]
    found = [(slug, f"{card.title}. {card.when}") for slug, card in recipes]
    return found + [(outcome.value, f"{catalogue.outcome(outcome).title}. {catalogue.outcome(outcome).when}") for outcome in JUDGED]


def change_of(recipe: str, brief: Brief, place: str, fields: Fields) -> tuple[str, Change]:
    """The target and the typed change. Raises pydantic's `ValidationError` for values that do not fit."""
    target, change = KINDS[recipe].whole(brief, place, fields)
    return target, ChangeOf.validate_python({"recipe": recipe, **change})
