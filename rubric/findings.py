"""The lint codes live here: what each one means, and whether a gatekeeper may overrule it."""

from collections.abc import Iterator
from typing import Any

from rubric.hygiene import cut
from rubric.schema import Finding

CODES = {
    "quote_not_in_case": "a quote does not stand in the case where the hint says it does",
    "no_evidence": "no quote carries the hint",
    "placeholder_in_change": "a text of the change holds a placeholder of masked data, which would be written into the target",
    "value_in_cue": "a cue holds what was read from the ticket, or looks like an identifier; it would be written into the target",
    "foreign_text_in_change": "a text of the change brings in what its target's config does not hold, and what could act or lead elsewhere",
    "instructs_a_machine": "the case speaks to a machine, as if to steer whoever drafts from it; read the hint as if its author had written it",
    "invented_rule": "the hint claims something that no quote carries",
    "needs_worked_example": "the hint was not tried on a case",
    "target_unknown": "something that the hint names does not exist in the target",
    "target_exists": "the hint adds something that exists already",
    "parent_unknown": "the place where the hint adds something does not exist",
    "target_frozen": "the target's owners have frozen what the hint changes",
    "target_careful": "the target's owners ask for care with what the hint changes",
    "step_mismatch": "step, recipe and target do not belong together",
    "change_target_mismatch": "the change is about something else than the target that the hint names",
    "from_differs": "the target does not hold the value that the change starts from",
    "no_change": "the change leaves everything as it is",
    "scores_wrong": "the scores are not what the weights add up to",
    "scores_unchecked": "scores of the case's candidates are missing, or of records that the case does not list",
    "template_unknown": "a template does not exist in the target",
    "phrase_not_in_template": "a template does not hold the phrase that is to be replaced",
    "templates_missing": "other templates hold the phrase too and are not named",
    "slug_taken": "the name of the new thing is in use",
    "third_level": "the intent path has more than two levels, which needs a reason",
    "too_few_cases": "fewer than three cases share the mechanism, or the hint's own case is not among them",
    "too_few_look_alikes": "fewer than two look-alikes say where the new leaf ends",
    "tightens_extraction": "extraction takes in too much on purpose; a false match is mended in fetch",
    "endpoint_missing": "the draft of the endpoint describes no path",
    "risk_understated": "the risk is lower than this recipe's usual one, or has no reason",
    "twin": "a hint with an equal change is open or was dismissed",
    "conflicts_with_rule": "a confirmed hint asks for the opposite",
}
"""code → what it means"""
WARNINGS = frozenset({
    "value_in_cue", "instructs_a_machine", "needs_worked_example", "target_careful", "scores_unchecked", "templates_missing",
    "third_level", "too_few_look_alikes", "tightens_extraction", "risk_understated", "twin",
})  # fmt: skip
"""Codes that a gatekeeper may overrule; every other one blocks confirming."""


def finding(code: str, field: str, more: str = "") -> Finding:
    """`more` names ids of the target, never words of a customer."""
    return Finding(code=code, field=field, text=f"{CODES[code]}{': ' if more else ''}{cut(more, 200)}", blocks=code not in WARNINGS)


def named_by(text: str) -> str:
    """The id that the text of a finding ends in: of the other hint, where it is about two."""
    return text.rpartition(": ")[2]


def texts_of(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value, keys included, with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from texts_of(place, str(key))
            yield from texts_of(f"{place}.{key}", inside)
    elif isinstance(value, list):
        for inside in value:
            yield from texts_of(place, inside)
