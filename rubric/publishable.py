"""Which words of a ticket may be written into a target's config: none that belong to one customer."""

import re
from collections.abc import Iterable, Iterator, Set
from typing import Any

from rubric.entries import Inventory
from rubric.proposals.leaves import cues_of
from rubric.reading import PLACEHOLDER, words
from rubric.schema import Case, Step

SHORTEST = 3
"""characters from which a value that was read from a ticket is looked for; shorter ones stand in any text"""
_PERSON = re.compile(r"(?:given|first|middle|family|last|sur|maiden|birth|full)?_?name")
"""fields that hold a person's name, each word of which names them"""


def publishable(run: str, values: Set[str]) -> bool:
    """Whether some words may become a cue: no identifier, no placeholder of masked data, none of the `values_of` a case."""
    if PLACEHOLDER.search(run) or any(char.isdigit() for char in run):
        return False
    row = words(run)
    return not any(" ".join(row[start:end]) in values for start in range(len(row)) for end in range(start + 1, len(row) + 1))


def private_cues(cues: Iterable[str], case: Case, inventory: Inventory) -> list[str]:
    """New cues that belong to a case's customer; what the target has already is public."""
    known, values = {cue for leaf in inventory.of(Step.intent) for cue in cues_of(leaf)}, values_of(case)
    return [cue for cue in cues if cue not in known and not publishable(cue, values)]


def values_of(case: Case) -> set[str]:
    """The values that the pipeline read from a ticket as their words, those of names word by word too."""
    found = {(field, " ".join(words(text))) for fields in case.plan.extraction.values() for field, value in fields.items() for text in _texts(value)}
    parts = {word for field, text in found if _PERSON.fullmatch(field) for word in text.split()}
    return {value for value in {*(text for _, text in found), *parts} if len(value) >= SHORTEST}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | dict):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from _texts(inside)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
