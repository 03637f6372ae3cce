"""What a change did is told from two plans: the part, a statement that the grader accepts, and how much of it a comment speaks of."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.effects import SAID, changed_fields, expectations, fits, part_of, pointed_at
from rubric.expectations import difference, judge
from rubric.schema import Expectation, Plan, Step

CALL = {"name": "send_form", "arguments": {"copies": 1, "record_id": "r1"}}
BEFORE: dict[str, Any] = {
    "intent_path": "parcel/late",
    "extraction": {"order": {"number": "O-1", "voucher": None}},
    "fetch": [{"record_id": "r1", "score": 5}],
    "reply": "it is on its way.",
    "tool_calls": [CALL],
}


def plan(**changes: Any) -> Plan:
    return Plan.model_validate({**BEFORE, **changes})


def says(part: str, **statement: str) -> Expectation:
    return Expectation.model_validate({"part": part, **statement})


def calls(*arguments: dict[str, Any], name: str = "send_form") -> list[dict[str, Any]]:
    return [{"name": name, "arguments": one} for one in arguments]


MOVES: dict[str, tuple[dict[str, Any], str, list[Expectation], list[Expectation]]] = {
    "another leaf": ({"intent_path": "parcel/lost", "reply": "x"}, "topic", [says("intent", **{"is": "parcel/lost"})], []),
    "a tool more": (
        {"tool_calls": [CALL, *calls({}, name="log_call")]}, "tools", [says("tool", **{"is": "log_call"})], [],
    ),
    "a tool less": ({"tool_calls": [], "trace": {"record": "r1"}}, "tools", [], [says("tool", **{"is": "send_form"})]),
    "another tool and text": (
        {"tool_calls": calls({"record_id": "r1"}, name="call_back"), "reply": "we will call."}, "branch",
        [says("tool", **{"is": "call_back"})], [says("tool", **{"is": "send_form"})],
    ),
    "another record": (
        {"fetch": [{"record_id": "r2", "score": 6}], "tool_calls": calls({"copies": 1, "record_id": "r2"})}, "record",
        [says("record", **{"is": "r2"})], [],
    ),
    "no record any more": ({"fetch": [], "tool_calls": calls({"copies": 1})}, "asked", [says("record", **{"is": ""})], []),
    "another text": (
        {"reply": "it has left."}, "text", [says("reply", contains="it has left.")], [says("reply", contains="it is on its way.")],
    ),
    "a sentence more": ({"reply": "it is on its way. Thanks."}, "text", [says("reply", contains="Thanks.")], [says("reply", **{"is": "it is on its way."})]),
    "an argument more": (
        {"tool_calls": calls({"copies": 1, "record_id": "r1", "kind": "long"})}, "arguments", [says("tool", contains="send_form.kind")], [],
    ),
    "an argument less": ({"tool_calls": calls({"record_id": "r1"})}, "arguments", [], [says("tool", contains="send_form.copies")]),
    "an argument with another value": (
        {"tool_calls": calls({"copies": 2, "record_id": "r1"})}, "arguments", [], [says("tool", **{"is": "send_form.copies=1"})],
    ),
    "a field more": ({"extraction": {"order": {"number": "O-1", "colour": "red"}}}, "value", [says("extraction", contains="order.colour")], []),
    "a field that was empty": ({"extraction": {"order": {"number": "O-1", "voucher": "V-9"}}}, "value", [says("extraction", contains="order.voucher")], []),
    "a field with another value": ({"extraction": {"order": {"number": "O-2"}}}, "value", [], [says("extraction", **{"is": "order.number=O-1"})]),
    "a field less": ({"extraction": {}}, "value", [], [says("extraction", **{"is": "order.number=O-1"})]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_what_changed_is_said_and_its_part_is_named(name: str) -> None:
    changes, part, must, must_not = MOVES[name]
    after = plan(**changes)
    assert expectations(plan(), after) == (must, must_not)
    assert part_of(Step.plan, plan(), after) == part
    assert judge(must, must_not, plan(), after) == [] and judge(must, must_not, plan(), plan()) != []


def test_a_record_that_is_the_best_still_and_now_good_enough_shows_as_asked() -> None:
    after = plan(reply="Dear Ann, here it is.")
    assert part_of(Step.fetch, plan(), after) == "asked"
    assert part_of(Step.reply, plan(), after) == "text"


def test_what_is_the_same_has_no_part() -> None:
    assert part_of(Step.plan, plan(), plan(trace={"record": "r1", "took": 3})) is None
    assert part_of(Step.extraction, plan(), plan(extraction={"order": {"number": "O-1"}})) is None  # nothing was read, said or not
    assert changed_fields(plan(), plan(extraction={"order": {"number": "O-1", "voucher": ""}})) == []


def test_calls_in_another_order_differ_and_that_is_all_that_can_be_said() -> None:
    one, two = calls({}, name="one")[0], calls({"sum": 1}, name="two")[0]
    before, after = plan(tool_calls=[one, two]), plan(tool_calls=[two, one])
    assert expectations(before, after) == ([], [])
    assert judge([], [], before, after) == []


def test_what_cannot_be_written_down_is_not_stated() -> None:
    before, after = plan(tool_calls=calls({"note": "a\x00b"})), plan(tool_calls=calls({"note": "c"}))
    assert expectations(before, after) == ([], [])
    assert expectations(plan(extraction={"a": {"b": "x" * 70_000}}), plan(extraction={"a": {"b": "y"}})) == ([], [])


@pytest.mark.parametrize(
    ("comment", "part", "better_than"),
    [
        ("wrong person", "record", "text"),
        ("off topic", "topic", "value"),
        ("it is given in the ticket", "value", "tools"),
        ("the tone is cold", "text", "record"),
        ("nothing happened", "tools", "text"),
        ("a special case", "branch", "value"),
    ],
)
def test_a_complaint_fits_the_part_it_is_about(comment: str, part: str, better_than: str) -> None:
    assert fits(comment, part) > 0 > fits(comment, better_than)


def test_no_complaint_fits_nothing_and_a_second_one_takes_a_little_off() -> None:
    assert all(fits("hm", part) == 0 for part in SAID)
    assert 0 < fits("wrong person, and the tone is cold", "record") < fits("wrong person", "record")


def test_what_changed_is_pointed_at_by_name_value_or_word() -> None:
    assert pointed_at("nothing of the kind", plan(), plan(reply="a call today.")) == 0
    assert pointed_at("we call, and today", plan(), plan(reply="a call today.")) == 0.5
    more = plan(tool_calls=[CALL, *calls({}, name="log_call")])
    assert pointed_at("please log the call", plan(), more) >= 0.5 > pointed_at("please wait", plan(), more)
    read = plan(extraction={"order": {"number": "O-1", "voucher": "V-99"}})
    assert pointed_at("v-99!", plan(), read) == 0.4 == pointed_at("the voucher?", plan(), read)
    assert pointed_at("none of that", plan(), read) == 0  # an empty field has no value to be spoken of
    other = plan(fetch=[{"record_id": "r2", "score": 6}], tool_calls=calls({"copies": 1, "record_id": "r2"}))
    assert pointed_at("that is r2", plan(), other) == 0.4
    leaf = plan(intent_path="parcel/damaged", reply="sorry for the damaged parcel")
    assert pointed_at("this is damaged", plan(), leaf) == 0.5 > pointed_at("sorry", plan(), leaf) == 0


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=6)
NAMES = st.sampled_from(["a", "b", "a.b", "x=1"])
VALUES = st.none() | st.integers(-2, 2) | TEXTS | st.sampled_from(["\x00", "None"]) | st.lists(TEXTS | st.integers(0, 2), max_size=2)
PLANS = st.builds(
    lambda path, fields, fetch, reply, made, trace: Plan.model_validate(
        {"intent_path": path, "extraction": fields, "fetch": fetch, "reply": reply, "tool_calls": made, "trace": trace}
    ),
    st.sampled_from(["p/a", "p/b"]),
    st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=2), max_size=2),
    st.lists(st.fixed_dictionaries({"record_id": st.sampled_from(["r1", "r2"]), "score": st.integers(0, 2)}), max_size=2),
    st.sampled_from(["", "x", "y"]) | TEXTS,
    st.lists(st.fixed_dictionaries({"name": NAMES, "arguments": st.dictionaries(st.sampled_from(["record_id", "b", "1"]), VALUES)}), max_size=2),
    st.none() | st.dictionaries(st.sampled_from(["record", "x"]), VALUES, max_size=1),
)


@settings(max_examples=300)
@given(PLANS, PLANS, TEXTS, st.sampled_from(list(Step)))
def test_the_grader_accepts_what_is_said_of_any_two_plans(before: Plan, after: Plan, comment: str, step: Step) -> None:
    must, must_not = expectations(before, after)
    if difference(before, after):
        assert judge(must, must_not, before, after) == []
    else:
        assert (must, must_not) == ([], [])
    part = part_of(step, before, after)
    assert part is None or (difference(before, after) and -1 <= fits(comment, part) <= 1)
    assert 0 <= pointed_at(comment, before, after) <= 1


def test_a_promise_about_words_is_not_kept_by_any_other_words() -> None:
    """A sentence was to go. Another change of the same reply, which leaves it there, must not count as the cure."""
    before, cured, other = (
        plan(reply="A is due. B is due. C is due."),
        plan(reply="A is due. B is due."),
        plan(reply="A was due. B is due. C is due."),
    )
    must, must_not = expectations(before, cured)
    assert judge(must, must_not, before, cured) == [] and judge(must, must_not, before, other)
