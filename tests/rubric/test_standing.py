"""The score that a hint starts with: agreement of a model's readings and like decisions count; the precedent critic's own word stands as it did."""

import pytest

from connectors.precedent_critic import PrecedentCritic
from rubric.catalogue import load
from rubric.drafting import Drafted, Precedent
from rubric.precedents import adopted
from rubric.schema import Confidence
from rubric.standing import OUTRIGHT, standing
from tests.samples.small import small_brief, weight_hint


def known(recipe: str = "adjust_fetch_weight", target: str = "fetch:postcode", comment: str = "wrong person") -> Precedent:
    return Precedent(case_id="p1", comment=comment, leaf="cards/lost", step="fetch", recipe=recipe, target=target)


@pytest.mark.parametrize(
    ("agree", "of", "near", "expected"),
    [
        (3, 3, [], 0.9),
        (4, 5, [], 0.82),
        (3, 5, [], 0.74),
        (3, 3, [known()], 1.2),
        (3, 5, [known(target="fetch:email")], 0.89),
        (3, 5, [known(), known("one_off", "")], 0.89),
        (3, 3, [known(comment="the reply is far too long")], 0.9),
        (7, 5, [], 0.9),
        (0, 0, [known()], OUTRIGHT),
    ],
)
def test_agreement_and_like_decisions_make_a_model_s_hint_stronger(agree: int, of: int, near: list[Precedent], expected: float) -> None:
    brief = small_brief().model_copy(update={"precedents": near})
    hint = weight_hint(brief).model_copy(update={"confidence": Confidence(agree=agree, of=of)})
    assert standing(hint, brief) == pytest.approx(expected)


def test_the_precedent_critic_counts_decisions_and_starts_as_it_always_did() -> None:
    """Its figures were measured so: what it knows of precedents is in its choice already."""
    near = [known(target="fetch:email").model_copy(update={"case_id": f"p{number}"}) for number in range(3)]
    comment, catalogue = "it takes the postcode over the e-mail, which stands in the ticket: the email should weigh more", load()
    told = small_brief().case.rejection.model_copy(update={"comment": comment})  # type: ignore[union-attr]
    near = [one.model_copy(update={"comment": comment}) for one in near]
    brief = small_brief()
    brief = brief.model_copy(
        update={"case": brief.case.model_copy(update={"rejection": told}), "precedents": near, "open_hints": [weight_hint(brief)]}
    )
    found = PrecedentCritic(catalogue).draft(brief)
    drafts = [*(found.hints if isinstance(found, Drafted) else []), *(one.hint for one in (*found.candidates, *adopted(brief, catalogue, 8)))]
    assert drafts and all(one.confidence.of_precedents and one.confidence.of == 3 for one in drafts)
    assert {standing(one, brief) for one in drafts} == {0.9}
