"""What a model may choose from, in any target: no form without a choice, no recipe that could not be filled in, nothing of the target cut off."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.catalogue import load
from rubric.choices import KINDS, answers
from rubric.choosing.kinds import MOST_VALUES, as_written, one_of, tool_names
from rubric.course import course
from rubric.drafting import Answered, Brief, Drafted, Neighbour
from rubric.entries import Entry, Inventory
from rubric.proposals.plan import tools_of
from rubric.schema import Step
from rubric.showing import tickets_like
from tests.samples.small import small_brief

CATALOGUE = load()
LEAF = ("cards", "lost")


def entry(step: Step, *parts: str, value: Any = None, **view: Any) -> Entry:
    return Entry(id=f"{step}:{'.'.join(parts)}", step=step, file="config.json", path=parts, parts=parts, value=value, view=view)


def brief_of(entries: list[Entry], leaf: str = "cards/lost") -> Brief:
    brief = small_brief()
    plan = brief.case.plan.model_copy(update={"intent_path": leaf.split("/")})
    case = brief.case.model_copy(update={"plan": plan})
    near = [Neighbour(case_id=f"n{number}", case=case) for number in range(3)]
    inventory = Inventory(entries={one.id: one for one in entries}, spoken_of=frozenset({"order.number"}))
    return brief.model_copy(update={"case": case, "inventory": inventory, "rejected": near})


def enums(form: Any) -> Iterator[list[Any]]:
    """Every closed list of a form, however deep."""
    if isinstance(form, dict):
        if "enum" in form:
            yield form["enum"]
        for inner in form.values():
            yield from enums(inner)


def forms(brief: Brief) -> Iterator[tuple[str, Any]]:
    for recipe, kind in KINDS.items():
        for place in kind.places(brief):
            yield recipe, kind.form(brief, place.id)


WORD = st.sampled_from(["cards", "lost", "other", "order", "late"])
ENTRY = st.one_of(
    st.builds(lambda one, two: entry(Step.intent, one, two, cues={"card": 3}), WORD, WORD),
    st.builds(lambda one: entry(Step.intent, one), WORD),
    st.builds(lambda one, two, **view: entry(Step.plan, one, two, value={}), WORD, WORD),
    st.builds(
        lambda one, two, branch, view: entry(Step.plan, one, two, branch, value={}, **view),
        WORD, WORD, st.sampled_from(["first", "default"]),
        st.fixed_dictionaries({}, optional={"condition": st.sampled_from(["has_order", ""]), "template": WORD, "tools": st.just(["send"])}),
    ),
    st.builds(lambda one, number: entry(Step.fetch, one, value=number), WORD, st.one_of(st.integers(0, 9), st.just("text"))),
    st.builds(lambda one, two, view: entry(Step.extraction, one, two, **view), WORD, WORD, st.sampled_from([{}, {"handles": []}, {"handles": ["a", "b"]}])),
    st.builds(lambda one: entry(Step.reply, one, value="Dear rec_b", text="Dear rec_b"), WORD),
    st.builds(lambda step, one: entry(step, one), st.sampled_from([Step.fallback, Step.preprocess]), WORD),
)  # fmt: skip


@given(entries=st.lists(ENTRY, max_size=12), leaf=st.sampled_from(["cards/lost", "cards/other", "order/late"]))
@settings(max_examples=300)
def test_no_form_of_any_target_holds_a_list_without_a_choice(entries: list[Entry], leaf: str) -> None:
    brief = brief_of(entries, leaf)
    for recipe, form in forms(brief):
        assert all(enums(form)), recipe


PLAN, BRANCH = entry(Step.plan, *LEAF, value={}), entry(Step.plan, *LEAF, "default", value={}, condition="always", template="late")


@pytest.mark.parametrize(
    ("recipe", "missing", "enough"),
    [
        ("add_plan_branch", [PLAN], [PLAN, BRANCH]),
        ("add_plan_branch", [PLAN, entry(Step.plan, "cards", "late", "default", condition="always")], [PLAN, BRANCH]),
        ("add_tie_rule", [PLAN, entry(Step.plan, *LEAF, "default", condition="always")], [PLAN, BRANCH]),
        ("add_fetch_query", [entry(Step.fetch, "email", value=3)], [entry(Step.fetch, "email", value=3), entry(Step.extraction, "order", "number")]),
    ],
)
def test_a_recipe_whose_form_has_nothing_to_choose_from_is_not_offered(recipe: str, missing: list[Entry], enough: list[Entry]) -> None:
    offered = [[slug for slug, _ in answers(brief_of(entries), CATALOGUE)] for entries in (missing, enough)]
    assert recipe not in offered[0] and recipe in offered[1]


SENT = {"name": "send", "to": "customer"}


@pytest.mark.parametrize("odd", [None, 3, True, ["send"], {}, {"name": None}, {"name": ["send"]}, {"name": ""}, ""])
def test_what_is_no_tool_is_neither_offered_nor_in_the_way(odd: Any) -> None:
    branch = entry(Step.plan, *LEAF, "default", value={}, condition="always", template="late", tools=[odd, SENT, "file", odd])
    brief = brief_of([PLAN, branch])
    assert tool_names(brief) == ["file", "send"] and tools_of(branch) == ["send", "file"]
    assert as_written(brief, ["send", "file", "new"]) == [SENT, "file", "new"]


@pytest.mark.parametrize("tools", [None, "send", SENT, 3])
def test_what_is_no_list_of_tools_holds_none(tools: Any) -> None:
    branch = entry(Step.plan, *LEAF, "default", value={}, condition="always", template="late", tools=tools)
    brief = brief_of([PLAN, branch])
    assert tool_names(brief) == [] and as_written(brief, ["send"]) == ["send"]


def test_the_number_of_a_case_means_the_ticket_that_is_shown_under_it() -> None:
    brief = brief_of([entry(Step.intent, "cards", "other", cues={"card": 3})], "cards/other")
    rejected = [brief.rejected[0].model_copy(update={"case_id": name}) for name in (brief.case_id, *(f"n{number}" for number in range(14)))]
    away = rejected[3].model_copy(update={"case": small_brief().case})
    brief = brief.model_copy(update={"rejected": [*rejected[:3], away, *rejected[4:]]})
    listed = [f"case {number}" for number in range(1, 13)]
    kind = KINDS["promote_other_intent"]
    form: Any = kind.form(brief, "intent:cards.other")
    assert form["cases"]["items"]["enum"] == listed == re.findall("^case [0-9]+(?=:$)", tickets_like(brief), re.MULTILINE)
    fields = {"leaf": "lost", "about": "it is lost", "reply": "", "tools": [], "cases": listed}
    _, change = kind.whole(brief, "intent:cards.other", fields)
    assert change["cases"] == [brief.case_id, "n0", "n1", *(f"n{number}" for number in range(3, 13))]


def test_the_last_of_many_places_in_one_part_can_be_chosen() -> None:
    entries = [entry(Step.intent, "cards", f"leaf_{number:03}") for number in range(450)]
    brief, last = brief_of(entries, "cards/leaf_000"), entries[-1].id
    steps = course(brief, CATALOGUE)
    asks, told, sizes = next(steps), [], []
    try:
        while True:
            told = []
            for ask in asks:
                choices = ask.form["properties"].get("choice", {}).get("enum", [])
                sizes += [len(choices)] if ask.name == "target" else []
                holds = [one for one in choices if one.partition(" to ")[0] <= last <= one.rpartition(" to ")[2]]
                answer = {"locate": {"choice": "retire_leaf"}, "target": {"choice": (holds or ["abstain"])[0]}, "fill": {"to": "cards/leaf_001"}}
                rule = {"quotes": [{"source": "comment", "quote": "wrong person"}], "wants": "close it"}
                told.append(Answered(value=answer.get(ask.name, {"rules": [rule]})))
            asks = steps.send(told)  # type: ignore[arg-type]
    except StopIteration as end:
        found = end.value
    assert isinstance(found, Drafted) and found.hints[0].target == last and max(sizes) <= 201 and set(sizes) == {4, 51}


def test_a_closed_list_holds_all_that_a_large_target_has() -> None:
    leaves = [entry(Step.intent, "cards", f"leaf_{number:03}") for number in range(MOST_VALUES)]
    ((listed,),) = [list(enums(form)) for recipe, form in forms(brief_of(leaves)) if recipe == "retire_leaf"][:1]
    assert listed == [f"cards/leaf_{number:03}" for number in range(MOST_VALUES)] and MOST_VALUES == 500
    assert one_of(["b", "a", "b"])["enum"] == ["b", "a"]
