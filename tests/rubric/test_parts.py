"""Every value of a change is listed with where it has to be looked for, and found as a word of its own."""

from typing import Any, get_args

import pytest

from rubric.parts import _PLACES, _UNWRITTEN, Names, Part, parts, spaced, stands_in
from rubric.recipes import Change, ChangeOf, argues

KINDS = {kind.model_fields["recipe"].default: kind for kind in get_args(get_args(Change)[0])}


def of(**fields: Any) -> list[tuple[str, Any, str]]:
    change = ChangeOf.validate_python(fields).model_dump(mode="json", by_alias=True)
    return [(part.name, part.value, part.place) for part in parts(change)]


def test_values_of_a_weight() -> None:
    assert of(recipe="adjust_fetch_weight", field="email", **{"from": 3, "to": 5}, scores={"r1": (1, 2)}) == [
        ("field", "email", "named"),
        ("from", 3, "gone"),
        ("to", 5, "brought"),
    ]


def test_lists_and_mappings_are_taken_apart() -> None:
    tools = ["close", {"name": "send", "arguments": {"copy": True, "note": None}}]
    named = of(
        recipe="add_plan_branch", leaf="cards/lost", branch="abroad", condition="record.abroad", template="lost.abroad", tools=tools, cells=["a"]
    )
    assert named == [
        ("leaf", "cards/lost", "named"), ("branch", "abroad", "brought"), ("condition", "record.abroad", "brought"), ("template", "lost.abroad", "brought"),
        ("tools.0", "close", "brought"), ("tools.1", "name", "brought"), ("tools.1.name", "send", "brought"), ("tools.1", "arguments", "brought"),
        ("tools.1.arguments", "copy", "brought"), ("tools.1.arguments.copy", True, "brought"), ("tools.1.arguments", "note", "brought"),
    ]  # fmt: skip
    assert of(recipe="refine_intent_boundary", from_parent="a", from_leaf="b", to_parent="c", to_leaf="d", cues={"lost card": 2}, drop=["old card"])[
        4:
    ] == [
        ("cues", "lost card", "brought"),
        ("cues.lost card", 2, "brought"),
        ("drop.0", "old card", "gone"),
    ]


def test_a_phrase_that_is_taken_out_brings_nothing() -> None:
    assert of(recipe="change_reply_template", templates=["a.b"], old="please", new="")[1:] == [("old", "please", "gone")]


def test_what_explains_is_not_looked_for() -> None:
    assert of(recipe="fix_eval_data", suite="s", row="r1", why="it is old") == [("row", "r1", "named")]
    assert of(recipe="request_endpoint", tool="get", question="Is it?", openapi={"a": 1}) == []


def test_the_tables_name_fields_that_there_are() -> None:
    for recipe, places in _PLACES.items():
        fields = {field.alias or name for name, field in KINDS[recipe].model_fields.items()}
        assert set(places) <= fields and not any(map(argues, places)) and not set(places) & _UNWRITTEN
    assert {name for kind in KINDS.values() for name in kind.model_fields} >= _UNWRITTEN


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        (5, '"email": 5,', True), (5, "email: 15", False), (5, "5.5", False), (5, "5.0", True), (5, "-5", False), (-5, "x: -5", True), (5, "v5", False),
        (5, "score >= 5.", True), (1_000_000, "1000000", True), (0.5, "0.5", True), (0.5, "10.5", False), (True, "copy: True", True), (True, "untrue", False),
        ("email", '"email": 5', True), ("email", "emails", False), ("email", "my_email", False), ("cards/lost", "cards/lost", True),
        ("cards/lost", '"lost": {"in": "cards"}', True), ("cards/lost", "cards", False), ("a.b", "ab", False), ("a b", "a c b", False),
        ("Thank you.\nBye", "Thank you. Bye", True), ('say "hi"', r"say \"hi\"", True), ("größer", r"gr\u00f6\u00dfer", True), ("größer", "größer", True),
        ("(x|y)+", "a (x|y)+ b", True), ("*", "scope: [*]", True), ("x", "", False),
    ],
)  # fmt: skip
def test_a_value_stands_in_a_text(value: Any, text: str, found: bool) -> None:
    assert stands_in(value, text) is found


def test_names_are_whole_or_in_pieces() -> None:
    change = ChangeOf.validate_python({"recipe": "retire_leaf", "leaf": "cards/lost", "to": "cards/other"}).model_dump(mode="json", by_alias=True)
    names = Names(change, "intent:tree.cards.leaves.lost")
    assert all(key in names for key in ("cards", "lost", "cards/lost", "cards.other", "tree"))
    assert not any(key in names for key in ("", "intent", "cards/x", "card", "los"))
    phrase = Names({"recipe": "change_reply_template", "templates": ["a.b"], "old": "Thanks. Or not", "new": "."}, "reply:a.b")
    assert "" not in phrase and "Thanks" not in phrase and " Or not" not in phrase


def test_white_space_is_one_space() -> None:
    assert spaced(" a\n\tb\u00a0 c ") == "a b c"
    assert Part("to", 5, "brought") == parts({"recipe": "adjust_fetch_threshold", "from": 3, "to": 5})[1]
