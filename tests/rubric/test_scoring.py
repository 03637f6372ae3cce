"""Answers held against labels: a table small enough to count by hand, and the two spellings of a place."""

import pytest

from rubric.scoring import Answer, Label, compare, place, right, score
from rubric.stats import by_cluster, mcnemar, wilson


def label(name: str, step: str, recipe: str, locus: str | None = None, **more: object) -> Label:
    return Label.of({"external_id": name, "step": step, "recipe": recipe, "locus": locus, "cluster_id": f"k-{name}", **more})


LABELS = {
    one.external_id: one
    for one in (
        label("a", "fetch", "adjust_fetch_weight", "fetch:weights.email"),
        label("b", "reply", "change_reply_template", "template:late.sorry"),
        label("c", "plan", "alter_plan_branch", "plan:parcel/late#default", accept_recipe=["add_policy_rule"], accept_locus=["policy:parcel"]),
        label("d", "extraction", "add_extraction_field", "extraction:order.voucher"),
        label("e", "none", "one_off"),
        label("f", "none", "not_a_defect", accept_recipe=["one_off"]),
    )
}
ANSWERS = [
    Answer("a", "fetch", "adjust_fetch_weight", "fetch:weights.email", sure=True),
    Answer("b", "reply", "change_reply_template", "reply:late.thanks", sure=True),  # the wrong place
    Answer("c", "plan", "add_policy_rule", "policy:parcel"),
    Answer("d", "none", "unclear_ask_back"),
    Answer("e", "fetch", "adjust_fetch_threshold", "fetch:threshold"),  # no fix was due
    Answer("f", "none", "one_off"),
]


def share(hits: int, of: int) -> dict[str, object]:
    low, high = wilson(hits, of)
    return {"accuracy": round(hits / of, 4), "low": round(low, 4), "high": round(high, 4), "hits": hits, "of": of}


def clustered(hits: list[int]) -> dict[str, object]:
    low, high = by_cluster(hits, [one.cluster for one in LABELS.values()][: len(hits)], (0, 1))
    return {**share(sum(hits), len(hits)), "by_cluster": {"low": round(low, 4), "high": round(high, 4), "clusters": len(hits)}}


def test_every_figure_of_a_small_table() -> None:
    found = score(ANSWERS, LABELS)
    assert found["recipes"].pop("alter_plan_branch") == {"cases": 1, "recipe": 1, "right": 1, "abstained": 0}
    assert found["recipes"].pop("change_reply_template") == {"cases": 1, "recipe": 1, "right": 0, "abstained": 0}
    assert found["recipes"].pop("add_extraction_field") == {"cases": 1, "recipe": 0, "right": 0, "abstained": 1}
    assert found["recipes"].pop("not_a_defect") == {"cases": 1, "recipe": 1, "right": 0, "abstained": 1}
    assert set(found.pop("recipes")) == {"adjust_fetch_weight", "one_off"}
    assert found == {
        "cases": 6, "failed": {"count": 0, "by_code": {}}, "step": clustered([1, 1, 1, 0, 0, 1]), "recipe": clustered([1, 1, 1, 0, 0, 1]),
        "macro_f1": round((2 / 3 + 1 + 1 + 0 + 2 / 4) / 5, 4), "target": share(2, 4), "coverage": 0.6667, "abstained": 2,
        "drafted": {"precision": share(2, 4)}, "confident": {"precision": share(1, 2), "coverage": 0.3333}, "nonfix": {"recall": share(1, 2)},
        "confusion": {"extraction": {"none": 1}, "fetch": {"fetch": 1}, "none": {"fetch": 1, "none": 1}, "plan": {"plan": 1}, "reply": {"reply": 1}},
    }  # fmt: skip


def test_a_case_without_an_answer_is_counted_with_its_code_and_in_no_share() -> None:
    """A 429 or a cap is no abstention: it is neither right where no fix was due nor wrong where one was."""
    lost = [
        Answer("e", "none", "", failed="rate_limited"),
        Answer("d", "none", "", failed="spend_cap_day"),
        Answer("f", "none", "", failed="rate_limited"),
    ]
    kept = [one for one in ANSWERS if one.external_id in "abc"]
    found = score([*kept, *lost], LABELS)
    assert found.pop("failed") == {"count": 3, "by_code": {"rate_limited": 2, "spend_cap_day": 1}}
    alone = score(kept, LABELS)
    assert alone.pop("failed") == {"count": 0, "by_code": {}} and found == alone
    assert (found["cases"], found["abstained"], found["nonfix"]["recall"]["of"]) == (3, 0, 0)
    for pair in ((ANSWERS, [*kept, *lost]), ([*kept, *lost], ANSWERS)):
        assert [part["of"] for part in compare(*pair, LABELS).values()] == [3, 3, 3]


def test_nothing_labelled_and_nothing_said() -> None:
    found = score([], {})
    nothing = {"accuracy": None, "low": 0.0, "high": 1.0, "hits": 0, "of": 0}
    assert (found["cases"], found["coverage"], found["confusion"], found["recipes"]) == (0, 0.0, {}, {})
    assert found["target"] == found["nonfix"]["recall"] == found["confident"]["precision"] == nothing
    assert found["step"] == found["recipe"] == {**nothing, "by_cluster": {"low": 0.0, "high": 1.0, "clusters": 0}} and found["macro_f1"] is None


def test_an_answer_without_a_label_is_an_error() -> None:
    with pytest.raises(KeyError):
        score([Answer("z", "fetch", "x")], LABELS)
    with pytest.raises(KeyError):
        Label.of({"external_id": "z", "step": "fetch", "recipe": "x", "locus": "fetch:a"})


@pytest.mark.parametrize(
    ("target", "locus"),
    [("reply:a.b", "template:a.b"), ("plan:p/l.default", "plan:p/l#default"), ("fetch:weights.email", "fetch:weights.email"), ("a:b:c", "x:b:c")],
)
def test_a_place_has_two_spellings(target: str, locus: str) -> None:
    assert place(target) == place(locus) != ""


@pytest.mark.parametrize(
    ("recipe", "target", "expected"),
    [
        ("alter_plan_branch", "plan:parcel/late.default", True),
        ("alter_plan_branch", "policy:parcel", True),
        ("add_policy_rule", "plan:parcel/late.default", True),
        ("add_policy_rule", "plan:parcel/late.locked", False),
        ("add_plan_branch", "plan:parcel/late.default", False),
        ("alter_plan_branch", "", False),
    ],
)
def test_what_can_be_defended_is_right_too(recipe: str, target: str, expected: bool) -> None:
    assert right(Answer("c", "plan", recipe, target), LABELS["c"]) is expected


def test_no_fix_is_never_a_right_change() -> None:
    assert not right(Answer("f", "none", "one_off"), LABELS["f"])
    assert not right(Answer("f", "plan", "one_off", ""), LABELS["f"])


def test_a_step_that_is_said_and_never_labelled_costs_the_macro_f1() -> None:
    answers = [Answer("a", "fetch", "adjust_fetch_weight"), Answer("b", "preprocess", "x")]
    assert score(answers, LABELS)["macro_f1"] == round(1 / 3, 4)  # fetch 1, reply 0, preprocess 0
    assert score(answers[:1], LABELS)["macro_f1"] == 1.0


def test_two_critics_are_compared_case_by_case() -> None:
    other = [
        Answer("a", "plan", "alter_plan_branch"), Answer("b", "reply", "change_reply_template", "reply:late.sorry"), Answer("c", "plan", "x"),
        Answer("d", "extraction", "x"), Answer("e", "none", "one_off"), Answer("f", "plan", "x"),
    ]  # fmt: skip
    found = compare(ANSWERS, other[::-1], LABELS)
    step = found["step"]
    assert (step["first"], step["second"]) == (share(4, 6), share(4, 6))
    assert (step["difference"], step["only_first"], step["only_second"], step["p"], step["of"]) == (0.0, 2, 2, 1.0, 6)
    differences = {"a": 1, "b": 0, "c": 1, "d": 0, "e": -1, "f": 1}
    low, high = by_cluster(list(differences.values()), [LABELS[name].cluster for name in differences], (-1, 1))
    recipe = found["recipe"]
    assert (recipe["difference"], recipe["low"], recipe["high"]) == (round(2 / 6, 4), round(low, 4), round(high, 4))
    assert recipe["p"] == mcnemar(3, 1) == 0.625
    target = found["target"]
    assert (target["of"], target["only_first"], target["only_second"], target["difference"]) == (4, 2, 1, 0.25)


def test_a_critic_against_itself_differs_in_nothing() -> None:
    for part in compare(ANSWERS, ANSWERS, LABELS).values():
        assert (part["difference"], part["low"], part["high"], part["p"], part["only_first"]) == (0.0, 0.0, 0.0, 1.0, 0)


def test_other_cases_cannot_be_compared() -> None:
    for other in (ANSWERS[1:], [*ANSWERS[1:], Answer("z", "none", "one_off")]):
        with pytest.raises(KeyError):
            compare(ANSWERS, other, LABELS)
    assert compare([], [], LABELS)["step"]["difference"] is None
