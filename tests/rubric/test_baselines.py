"""The baselines: plain, without a target, and the same answer each time."""

import pytest

from rubric.baselines import NOTHING, keywords, most_frequent
from rubric.catalogue import load

CATALOGUE = load()


@pytest.mark.parametrize(
    ("comment", "answer"),
    [
        ("Wrong person, the name is not enough.", ("fetch", "adjust_fetch_weight")),
        ("FALSCHE  Person, der Name reicht nicht!", ("fetch", "adjust_fetch_weight")),
        ("The wrongs persons", NOTHING),
        ("", NOTHING),
        ("Just do it, stop asking.", ("none", "conflicts_with_rule")),
        ("Company policy, and it forgot to, should also", ("plan", "alter_plan_branch")),  # two cues beat one
        ("It is company policy to stop asking.", ("plan", "add_policy_rule")),  # a recipe goes before an outcome
    ],
)
def test_the_card_with_most_cues_answers(comment: str, answer: tuple[str, str]) -> None:
    assert keywords(comment, CATALOGUE) == answer


def test_a_recipe_of_any_step_is_put_down_to_the_plan() -> None:
    card = CATALOGUE.recipe("request_endpoint")
    assert keywords(" and ".join(card.cues.en), CATALOGUE) == ("plan", "request_endpoint")


def test_what_was_right_most_often_answers() -> None:
    seen = [("plan", "a"), ("fetch", "b"), ("plan", "c"), ("plan", "c")]
    assert most_frequent(seen) == ("plan", "c")
    assert most_frequent([]) == NOTHING
    assert most_frequent([("none", "one_off"), ("fetch", "b")]) == ("none", "one_off")  # the earlier of equals
    assert most_frequent([("plan", "a"), ("plan", "b"), ("fetch", "c"), ("fetch", "c")]) == ("plan", "a")  # the step first
