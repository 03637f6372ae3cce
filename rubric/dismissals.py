"""Why a person may say no to a hint, and what a critic learns from each reason."""

from rubric.schema import Outcome

DISMISSALS = {
    **{outcome.value: outcome.value for outcome in Outcome},
    "customer_wrong": Outcome.not_a_defect.value,
    "reviewer_wrong": Outcome.not_a_defect.value,
    "not_code": Outcome.not_a_defect.value,
    "wrong_hint": "wrong_hint",
    "too_costly": "too_costly",
}
"""reason a person may dismiss with → what the critic learns from it"""
