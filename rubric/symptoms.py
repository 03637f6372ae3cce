"""Which part of a plan a comment finds fault with, told by its phrases alone: what people say of a wrong topic, person, value, action or text."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from rubric.reading import phrases, said_in

Symptom = Literal["topic", "record", "value", "action", "not_action", "condition", "text", "rule", "nothing"]
"""wrong topic, wrong person, value not used, action missing, action too many, a case not told apart, wording, a rule of the house, no fault"""
CLEAR = (0.0, 0.75, 1.0)
"""how clear none, one, and two phrases of one kind are; more say nothing new"""


@lru_cache(maxsize=5000)
def complaints(comment: str) -> Mapping[Symptom, float]:
    """Symptom → how clearly the comment tells of it, from 0 to 1. Comments often blame several parts, and the wrong one."""
    counted = {symptom: said_in(comment, words) for symptom, words in phrases("symptoms").items()}
    return {symptom: CLEAR[min(times, len(CLEAR) - 1)] for symptom, times in counted.items() if times}  # type: ignore[misc]


def asks_for_nothing(comment: str) -> bool:
    """Whether a comment says that no rule is due, and says so more clearly than it finds fault with anything ("answer ok, but the last line …")."""
    found = complaints(comment)
    return found.get("nothing", 0.0) > max((clear for symptom, clear in found.items() if symptom != "nothing"), default=0.0)


def tells(comment: str, *symptoms: Symptom) -> float:
    """How clearly a comment tells of any of some symptoms: the clearest counts."""
    found = complaints(comment)
    return max((found.get(symptom, 0.0) for symptom in symptoms), default=0.0)
