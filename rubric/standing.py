"""The score that an offered hint starts with, before it is tried, lives here."""

from rubric.drafting import Brief
from rubric.precedents import nearest, support
from rubric.schema import Hint

OUTRIGHT = 0.9
"""of a hint that all readings agree on, or whose critic has weighed everything before it offered it"""
SPLIT = 0.4
"""taken off as readings of a model disagree: 3 of 5 leave 0.74"""


def standing(hint: Hint, brief: Brief) -> float:
    """How far a hint is trusted by how many readings of a model agree on it, and by decisions on like comments.

    Who counts precedents only, or nothing, has weighed both before: its word stands.
    """
    counts = hint.confidence
    if counts.of_precedents or counts.of <= 0:
        return OUTRIGHT
    return OUTRIGHT - SPLIT * (1 - min(1.0, counts.agree / counts.of)) + support(hint, nearest(brief.case.comment, brief.precedents))
