"""What holds of a plan, what cures a case, and what changed between two plans."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.expectations import difference, holds, judge, record_of
from rubric.schema import Expectation, Plan

BEFORE = Plan.model_validate(
    {
        "intent_path": "access/other",
        "extraction": {"account": {"number": "NSB01234", "branch": None}, "people": {"names": ["Jo", 7]}},
        "fetch": [{"record_id": "rec_1", "score": 7}, {"record_id": "rec_2", "score": 3}],
        "reply": "Hello Jo, your ticket is with the desk.",
        "tool_calls": [{"name": "assign_to_desk", "arguments": {}}],
    }
)


def plan(**changes: Any) -> Plan:
    return Plan.model_validate({**BEFORE.model_dump(), **changes})


def says(part: str, **statement: str) -> Expectation:
    return Expectation.model_validate({"part": part, **statement})


@pytest.mark.parametrize(
    ("part", "statement", "expected"),
    [
        ("intent", {"is": "access/other"}, True),
        ("intent", {"is": "other"}, False),
        ("intent", {"contains": "access/"}, True),
        ("record", {"is": "rec_1"}, True),
        ("record", {"is": ""}, False),
        ("tool", {"is": "assign_to_desk"}, True),
        ("tool", {"is": "assign"}, False),
        ("tool", {"contains": "assign"}, True),
        ("reply", {"contains": "with the desk"}, True),
        ("reply", {"contains": "with the Desk"}, False),
        ("reply", {"is": "Hello"}, False),
        ("extraction", {"is": "account.number=NSB01234"}, True),
        ("extraction", {"is": "account.number=NSB"}, False),
        ("extraction", {"is": "people.names=Jo"}, True),
        ("extraction", {"is": "people.names=7"}, True),
        ("extraction", {"is": "account.branch=None"}, False),
        ("extraction", {"is": "account.nothing=None"}, False),
        ("extraction", {"contains": "account.number"}, True),
        ("extraction", {"contains": "account.branch"}, False),
        ("extraction", {"contains": "account"}, False),
        ("reply", {"contains": "Hello", "is": "Hello"}, False),
        ("reply", {}, False),
    ],
)
def test_holds(part: str, statement: dict[str, str], expected: bool) -> None:
    assert holds(says(part, **statement), BEFORE) is expected


def test_the_record_is_what_the_plan_acts_on() -> None:
    assert record_of(BEFORE) == "rec_1"
    assert record_of(plan(fetch=[])) == ""
    assert record_of(plan(fetch=[{"record_id": "a", "score": 3}, {"record_id": "b", "score": 3}])) == ""
    assert record_of(plan(fetch=[{"record_id": "a", "score": 3}, {"record_id": "b", "score": 4}])) == "b"
    assert record_of(plan(tool_calls=[{"name": "x", "arguments": {"record_id": "rec_2"}}])) == "rec_2"
    assert record_of(plan(trace={"record": None}, tool_calls=[{"name": "x", "arguments": {"record_id": "rec_2"}}])) == ""
    assert record_of(plan(trace={"record": "rec_9"})) == "rec_9"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"is": "send.priority=lowest"}, True),
        ({"is": "send.priority=low"}, False),
        ({"contains": "send.priority"}, True),
        ({"contains": "send.record_id"}, False),
        ({"is": "send"}, True),
        ({"is": "send.priority"}, False),
    ],
)
def test_a_tool_is_named_with_what_it_is_sent(statement: dict[str, str], expected: bool) -> None:
    sending = plan(tool_calls=[{"name": "send", "arguments": {"priority": "lowest"}}])
    assert holds(says("tool", **statement), sending) is expected


AFTER = plan(intent_path="access/locked", reply="Hello Jo, here are the steps.")
NEW_LEAF, OLD_LEAF = says("intent", **{"is": "access/locked"}), says("intent", **{"is": "access/other"})


def test_a_cure_does_what_was_promised() -> None:
    assert judge([NEW_LEAF], [OLD_LEAF], BEFORE, AFTER) == []
    assert judge([NEW_LEAF, says("reply", contains="the steps")], [], BEFORE, AFTER) == []


def test_what_is_unmet_is_named() -> None:
    assert judge([NEW_LEAF], [OLD_LEAF], BEFORE, BEFORE) == ["must: intent is “access/locked”", "must not: intent is “access/other”"]
    assert judge([NEW_LEAF, says("tool", **{"is": "unlock"})], [], BEFORE, AFTER) == ["must: tool is “unlock”"]
    assert judge([NEW_LEAF], [says("reply", contains="steps")], BEFORE, AFTER) == ["must not: reply contains “steps”"]
    assert judge([says("reply")], [], BEFORE, AFTER) == ["must: reply states nothing"]


def test_what_was_right_before_is_no_cure() -> None:
    assert judge([OLD_LEAF], [NEW_LEAF], BEFORE, BEFORE) == ["nothing that the hint asks for was wrong before"]
    # one of two statements is enough to show the fault
    assert judge([NEW_LEAF, says("tool", **{"is": "assign_to_desk"})], [], BEFORE, AFTER) == []
    assert judge([says("tool", **{"is": "assign_to_desk"})], [OLD_LEAF], BEFORE, AFTER) == []


def test_without_statements_the_plan_has_to_differ() -> None:
    assert judge([], [], BEFORE, AFTER) == []
    assert judge([], [], BEFORE, BEFORE) == ["the plan is the same as before"]
    only_scores = plan(fetch=[{"record_id": "rec_1", "score": 9}, {"record_id": "rec_2", "score": 3}], trace={"seen": 1})
    assert judge([], [], BEFORE, only_scores) == ["the plan is the same as before"]


def test_difference_names_parts_and_hides_values() -> None:
    after = plan(
        intent_path="access/locked",
        extraction={"account": {"number": "NSB99999"}, "contact": {"phone": "+44 1632 960000"}},
        fetch=[],
        reply="",
        tool_calls=[{"name": "unlock", "arguments": {}}],
    )
    assert difference(BEFORE, after) == [
        "intent: access/other → access/locked",
        "extraction: + contact.phone",
        "extraction: - people.names",
        "extraction: account.number reads otherwise",
        "record: rec_1 → none",
        "tools: + unlock",
        "tools: - assign_to_desk",
        "reply: “Hello Jo, your ticket is with the desk.” → “”",
    ]


@pytest.mark.parametrize("empty", [None, "", []])
def test_a_field_that_nothing_was_found_for_is_as_good_as_none(empty: object) -> None:
    named, left_out, filled = plan(extraction={"a": {"b": empty}}), plan(extraction={}), plan(extraction={"a": {"b": 0}})
    assert difference(named, left_out) == difference(left_out, named) == []
    assert difference(named, filled) == ["extraction: + a.b"] and difference(filled, named) == ["extraction: - a.b"]
    assert not holds(Expectation(part="extraction", contains="a.b"), named) and holds(Expectation(part="extraction", contains="a.b"), filled)


def test_difference_of_tools() -> None:
    one, two = {"name": "one", "arguments": {}}, {"name": "two", "arguments": {"sum": 1}}
    assert difference(plan(tool_calls=[one, two]), plan(tool_calls=[two, one])) == ["tools: order is now two, one"]
    assert difference(plan(tool_calls=[one, two]), plan(tool_calls=[one, {"name": "two", "arguments": {"sum": 2}}])) == [
        "tools: two with other arguments (sum)"
    ]
    assert difference(plan(tool_calls=[one]), plan(tool_calls=[one, one])) == ["tools: + one"]


def test_long_replies_are_cut_around_the_difference() -> None:
    (line,) = difference(plan(reply="a" * 500 + "b" + "a" * 500), plan(reply="a" * 500 + "c" + "a" * 500))
    assert "ab" in line and "ac" in line and len(line) < 160


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
VALUES = st.none() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS | st.integers(-9, 9), max_size=2)
PLANS = st.builds(
    lambda path, fields, fetch, reply, calls, trace: Plan.model_validate(
        {"intent_path": path, "extraction": fields, "fetch": fetch, "reply": reply, "tool_calls": calls, "trace": trace}
    ),
    st.lists(TEXTS, max_size=3),
    st.dictionaries(TEXTS, st.dictionaries(TEXTS, VALUES, max_size=2), max_size=2),
    st.lists(st.fixed_dictionaries({"record_id": TEXTS, "score": st.floats()}), max_size=3),
    TEXTS,
    st.lists(st.fixed_dictionaries({"name": TEXTS, "arguments": st.dictionaries(st.sampled_from(["record_id", "x"]), VALUES)}), max_size=3),
    st.none() | st.dictionaries(st.sampled_from(["record", "x"]), VALUES),
)
STATEMENTS = st.lists(
    st.builds(
        lambda part, equal, inside: Expectation.model_validate({"part": part, "is": equal, "contains": inside}),
        st.sampled_from(["intent", "extraction", "record", "tool", "reply"]),
        st.none() | TEXTS,
        st.none() | TEXTS,
    ),
    max_size=3,
)


@given(STATEMENTS, STATEMENTS, PLANS, PLANS)
def test_any_plans_can_be_judged(must: list[Expectation], must_not: list[Expectation], before: Plan, after: Plan) -> None:
    unmet = judge(must, must_not, before, after)
    assert all(isinstance(line, str) and "\n" not in line for line in [*unmet, *difference(before, after)])
    # the same plan twice never cures anything: what it must do it either did before or still does not
    assert judge(must, must_not, before, before) != []
    assert difference(before, before) == []
    if unmet == [] and (must or must_not):
        assert all(holds(one, after) for one in must) and not any(holds(one, after) for one in must_not)


def test_what_is_expected_may_be_spelt_as_the_target_s_config_spells_it() -> None:
    plan = Plan.model_validate({"intent_path": "größe/weiß", "reply": "Schön!\nBis bald", "extraction": {"g": {"f": "ä"}}})
    for part, how, text in (
        ("intent", "is", "gro\u0308\u200bße/weiß"), ("reply", "contains", "Scho\u0308n!\r\nBis\u00ad bald"), ("extraction", "is", "g.f=a\u0308"),
    ):  # fmt: skip
        assert holds(Expectation.model_validate({"part": part, how: text}), plan), part
    assert not holds(Expectation.model_validate({"part": "reply", "contains": "scho\u0308n"}), plan)
