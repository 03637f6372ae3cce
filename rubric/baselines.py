"""The plainest critics there can be: what a real one has to beat. They know the catalogue and what was decided before, nothing of a target."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from rubric.catalogue import Catalogue, Cues
from rubric.reading import said_in
from rubric.schema import Outcome, Step


class Baseline(StrEnum):
    """Who a critic is measured against."""

    keywords = "keywords"  # the recipe with most of its cues in the comment
    most_frequent = "most_frequent"  # what was right most often so far


NOTHING = ("none", Outcome.unclear_ask_back.value)


def most_frequent(seen: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The step that was right most often among some (step, recipe), and the recipe that was right most often there; the earlier one of equals."""
    if not seen:
        return NOTHING
    step = Counter(step for step, _ in seen).most_common(1)[0][0]
    return step, Counter(recipe for one, recipe in seen if one == step).most_common(1)[0][0]


def keywords(comment: str, catalogue: Catalogue) -> tuple[str, str]:
    """(step, recipe) of the card with most cues in the comment; without any, the outcome with most; the earlier card of equals."""
    hits = {slug: _hits(comment, card.cues) for slug, card in catalogue.recipes.items()}
    recipe = max(hits, key=lambda slug: hits[slug])
    if hits[recipe]:
        steps = catalogue.steps_of(recipe)
        # a recipe of any step is put down to the one where what to do is decided
        return (steps[0] if len(steps) == 1 else Step.plan).value, recipe
    said = {slug: _hits(comment, card.cues) for slug, card in catalogue.outcomes.items()}
    outcome = max(said, key=lambda slug: said[slug])
    return ("none", outcome) if said[outcome] else NOTHING


def _hits(comment: str, cues: Cues) -> int:
    return said_in(comment, (*cues.en, *cues.de))
