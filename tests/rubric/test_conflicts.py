"""Every contradiction has a pair of changes that conflicts and one, as close as can be, that does not."""

import json
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from rubric.conflicts import CLASHES, against, contradiction, rivals
from rubric.findings import named_by
from rubric.recipes import Change
from tests.rubric.bank import CHANGES, found, hint

CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
RECIPES = {kind.model_fields["recipe"].default for kind in get_args(get_args(Change)[0])}
LEAF, ASK = {"leaf": "access/locked"}, {"template": "ask.which"}
PROMOTE, REFINE, PARENT, RETIRE = "promote_other_intent", "refine_intent_boundary", "add_second_parent", "retire_leaf"
FIELD, ALTER_FIELD = "add_extraction_field", "alter_extraction_field"
WEIGHT, THRESHOLD, QUERY, TIE = "adjust_fetch_weight", "adjust_fetch_threshold", "add_fetch_query", "add_tie_rule"
BRANCH, ALTER, RULE, REPLY, ENDPOINT = "add_plan_branch", "alter_plan_branch", "add_policy_rule", "change_reply_template", "request_endpoint"


def change(recipe: str, **fields: Any) -> Change:
    """The good change of the bank, with some fields changed."""
    return CHANGE.validate_python({"recipe": recipe, **CHANGES[recipe][1], **fields})


def cues(to: str, *given: str, drop: list[str] | None = None, start: str = "access/login") -> Change:
    """A line moved: cues that are given to a leaf, and taken from another."""
    (one, two), (three, four) = to.split("/"), start.split("/")
    return change(REFINE, from_parent=three, from_leaf=four, to_parent=one, to_leaf=two, cues=dict.fromkeys(given, 3), drop=drop or [])


def moved(start: int, to: int, recipe: str = WEIGHT, **fields: Any) -> Change:
    return change(recipe, **{"from": start, "to": to, **fields})


def phrase(old: str, new: str, *templates: str) -> Change:
    return change(REPLY, old=old, new=new, templates=list(templates) or ["login.help"])


def rule(**fields: Any) -> Change:
    return change(RULE, **{"scope": ["access"], **fields})


# why → (a change, an earlier one that it contradicts, near misses of the earlier one)
PAIRS: list[tuple[str, Change, Change, list[Change]]] = [
    ("given to a leaf and taken", cues("cards/lost", "Stolen"), cues("access/login", drop=["stolen"], start="cards/lost"), [
        cues("access/login", drop=["stolen"], start="cards/other"), cues("access/login", drop=["stolen card"], start="cards/lost"),
    ]),
    ("given to a leaf and taken", cues("cards/lost", "stolen"), change(PROMOTE, parent="cards", leaf="lost", cues={"stolen": -2}), [
        change(PROMOTE, parent="cards", leaf="found", cues={"stolen": -2}), change(PROMOTE, parent="cards", leaf="lost", cues={"stolen": 9}),
    ]),
    ("sent to two leaves", cues("cards/lost", "stolen"), cues("cards/fraud", "stolen"), [
        cues("cards/lost", "stolen", start="access/locked"), cues("cards/fraud", "robbed"), cues("cards/fraud", "stolen", start="access/locked"),
    ]),
    ("sent to two leaves", change(PROMOTE, cues={"code": 4}), change(PROMOTE, leaf="codes", cues={"code": 4}), [
        cues("access/login", "code"), change(PROMOTE, leaf="codes", cues={"codes": 4}),
    ]),
    ("two outcomes", change(PROMOTE, tools=["a"]), change(PROMOTE, tools=["b"]), [
        change(PROMOTE, tools=["a"], cases=["c7", "c8", "c9"]), change(PROMOTE, leaf="newer", tools=["b"]),
    ]),
    ("two outcomes", change(PROMOTE, reply="we call you"), change(PROMOTE, reply="we write to you"), [change(PROMOTE, reply="We  call you")]),
    ("opened and closed", change(PROMOTE, parent="access", leaf="locked"), change(RETIRE), [change(RETIRE, leaf="access/login", to="access/locked")]),
    ("opened and closed", change(PARENT), change(RETIRE), [change(RETIRE, leaf="cards/lost")]),
    ("closed is built on", cues("access/locked", "pin"), change(RETIRE), [change(RETIRE, leaf="access/login", to="access/other")]),
    ("closed is built on", change(BRANCH), change(RETIRE), [change(RETIRE, leaf="access/login")]),
    ("closed is built on", change(ALTER), change(RETIRE), [change(RETIRE, leaf="access/login")]),
    ("closed is built on", change(TIE), change(RETIRE), [change(RETIRE, leaf="access/login")]),
    ("goes two ways", change(RETIRE), change(RETIRE, to="access/other"), [change(RETIRE), change(RETIRE, leaf="cards/lost", to="access/login")]),
    ("goes two ways", change(RETIRE), change(RETIRE, leaf="access/login", to="access/other"), [change(RETIRE, leaf="access/new", to="access/login")]),
    ("two forms", change(FIELD, pattern="DE[0-9]+"), change(FIELD, pattern="[A-Z]+"), [
        change(FIELD, pattern=None), change(FIELD, pattern="DE[0-9]+", example="DE9"), change(FIELD, field="bic", pattern="[A-Z]+"),
    ]),
    ("two forms", change(FIELD, settings={"type": "text"}), change(FIELD, settings={"type": "number"}), [
        change(FIELD, settings={"handles": ["spaces"]}), change(FIELD, group="secrets", settings={"type": "number"}),
    ]),
    ("read a form and leave it", change(ALTER_FIELD, field="iban", counter_example="DE 1"), change(FIELD, example="de 1"), [
        change(FIELD, example="DE 2"), change(FIELD, group="secrets", example="DE 1"),
    ]),
    ("read a form and leave it", change(ALTER_FIELD, handles=None, counter_example="dashes"), change(ALTER_FIELD), [change(ALTER_FIELD, handles="spaces")]),
    ("two normalisers", change(ALTER_FIELD, normaliser="digits"), change(ALTER_FIELD, normaliser="upper"), [
        change(ALTER_FIELD, normaliser="digits"), change(ALTER_FIELD), change(ALTER_FIELD, field="pin", normaliser="upper"),
    ]),
    ("the other way", moved(7, 6), moved(5, 7), [moved(9, 7), moved(5, 7, record_type=None), moved(5, 7, field="name")]),
    ("the other way", moved(5, 6, THRESHOLD), moved(6, 5, THRESHOLD), [
        moved(5, 6, THRESHOLD), moved(6, 5, THRESHOLD, record_type="partner"), moved(6, 5, field="threshold"),
    ]),
    ("the other way", moved(4, 1, field="iban"), change(QUERY), [change(QUERY, field="bic"), change(QUERY, record_type=None)]),
    ("two values", change(QUERY, query="account.iban"), change(QUERY, query="order.iban"), [
        change(QUERY, query="account.iban", weight=9), change(QUERY, field="bic", query="order.iban"),
    ]),
    ("one condition has two", change(BRANCH, condition="fact: abroad"), change(BRANCH, branch="other", condition="Fact:  abroad", **ASK), [
        change(BRANCH, branch="other", condition="fact: abroad"), change(BRANCH, leaf="access/login", condition="fact: abroad", **ASK),
        change(BRANCH, branch="other", condition="fact: at home", **ASK),
    ]),
    ("one condition has two", change(BRANCH, condition="x > 1", tools=["a"]), change(BRANCH, branch="other", condition="x > 1", tools=["b"]), [
        change(BRANCH, branch="other", condition="x < 1", tools=["b"]), change(BRANCH, branch="other", condition="x > 1", tools=[{"name": "a"}]),
    ]),
    ("one condition has two", change(TIE), change(BRANCH, condition="tie", **ASK), [change(BRANCH, condition="tie"), change(BRANCH, **ASK)]),
    ("two texts", change(BRANCH, template="t.new", reply="Hello there"), change(BRANCH, leaf="cards/lost", template="t.new", reply="Go away"), [
        change(BRANCH, leaf="cards/lost", template="t.new", reply="hello there"), change(BRANCH, leaf="cards/lost", template="t.new"),
        change(BRANCH, leaf="cards/lost", template="t.newer", reply="Go away"),
    ]),
    ("two conditions, templates or places", change(ALTER, template="a.b"), change(ALTER, template="a.c"), [
        change(ALTER, template="a.b"), change(ALTER, condition="x"), change(ALTER, branch="other", template="a.c"), change(ALTER, template="a.c", leaf="a/b"),
    ]),
    ("two conditions, templates or places", change(ALTER, branch="new", condition="y", tools=None), change(BRANCH), [
        change(BRANCH, condition="y"), change(BRANCH, branch="newer"),
    ]),
    ("two conditions, templates or places", change(ALTER, branch="new", before="first", tools=None), change(BRANCH), [change(BRANCH, before="first")]),
    ("two conditions, templates or places", change(ALTER, branch="new", condition="no tie", tools=None), change(TIE), [change(TIE, rule="no tie")]),
    ("loses or changes a tool", change(ALTER, tools=["a"]), change(ALTER, tools=["a", "b"]), [change(ALTER, tools=["a"]), change(ALTER, tools=None, before="x")]),
    ("loses or changes a tool", change(ALTER, tools=[{"name": "a", "send": "all"}]), change(ALTER, tools=["a"]), [
        change(ALTER, tools=[{"send": "all", "name": "a"}]), change(ALTER, branch="other", tools=["a"]),
    ]),
    ("loses or changes a tool", change(ALTER, tools=["a"]), change(ALTER, tools=[]), [change(ALTER, tools=["a"])]),
    ("loses or changes a tool", change(ALTER, branch="new", tools=[]), change(BRANCH, tools=["a"]), [change(BRANCH), change(BRANCH, branch="b", tools=["a"])]),
    ("made and taken away", change(ALTER, tools=None, drop=["when"]), change(ALTER, tools=None, condition="x"), [
        change(ALTER, tools=None, template="a.b"), change(ALTER, branch="other", tools=None, condition="x"),
    ]),
    ("made and taken away", change(ALTER, branch="new", tools=None, drop=["Tools"]), change(BRANCH, tools=["a"]), [change(BRANCH)]),
    ("in front of the other", change(ALTER, branch="a", before="b", tools=None), change(ALTER, branch="b", before="a", tools=None), [
        change(ALTER, branch="b", before="c", tools=None), change(ALTER, leaf="access/login", branch="b", before="a", tools=None),
    ]),
    ("in front of the other", change(BRANCH, branch="a", before="b"), change(TIE, branch="b", before="a"), [change(TIE, branch="b")]),
    ("tool is called", change(BRANCH, tools=["unlock"]), rule(blocks_tools=["unlock"]), [
        rule(blocks_tools=["lock"]), rule(scope=["cards"], blocks_tools=["unlock"]), rule(scope=["access/login"], blocks_tools=["unlock"]),
    ]),
    ("tool is called", change(ALTER, tools=[{"name": "unlock"}]), rule(scope=["*"], blocks_tools=["unlock"]), [rule(scope=["acc"], blocks_tools=["unlock"])]),
    ("tool is called", change(PROMOTE, tools=["unlock"]), rule(scope=["access/new"], blocks_tools=["unlock"]), [rule(blocks_tools=[])]),
    ("tool is called", change(ENDPOINT), rule(scope=["*"], blocks_tools=["get_x"]), [rule(blocks_tools=["get_x"]), rule(scope=["*"], blocks_tools=["get_y"])]),
    ("sentence is written", phrase("soon", "You get it by  Monday."), rule(scope=["*"], blocks_sentences=["you get it by"]), [
        rule(scope=["access"], blocks_sentences=["you get it by"]), rule(scope=["*"], blocks_sentences=["you get it by Mond"]),
    ]),
    ("sentence is written", phrase("a", "by Monday", "login.help"), rule(scope=["access/login"], blocks_sentences=["by Monday"]), [
        rule(scope=["access/locked"], blocks_sentences=["by Monday"]), rule(scope=["access/login"], blocks_sentences=["by Sunday"]),
    ]),
    ("sentence is written", change(BRANCH, reply="done by Monday"), rule(blocks_sentences=["by Monday"]), [rule(scope=["cards"], blocks_sentences=["by Monday"])]),
    ("sentence is written", change(PROMOTE, reply="done by Monday"), rule(blocks_sentences=["by Monday"]), [rule(blocks_sentences=["by Sunday"])]),
    ("one rule has two texts", rule(text="always"), rule(text="never"), [rule(text="Always"), rule(rule="newer", text="never")]),
    ("replaced by two", phrase("login problem", "trouble"), phrase("Login problem", "issue"), [
        phrase("login problem", "Trouble"), phrase("login problems", "issue"), phrase("login problem", "issue", "other.text"),
    ]),
    ("comes back", phrase("trouble", "login problem", "reply:login.help", "a.b"), phrase("login problem", "trouble"), [
        phrase("login problem", "trouble", "other.text"), phrase("login problems", "trouble"),
    ]),
    ("comes back", phrase("Good day.", "Good day. Be patient!"), phrase("be patient", ""), [
        phrase("patient", ""), phrase("be patient", "please be patient"), phrase("be patient", "", "other.text"),
    ]),
]  # fmt: skip
ONE_WAY = ("closed is built on", "loses or changes a tool", "comes back")


@pytest.mark.parametrize(("why", "new", "earlier", "near"), PAIRS, ids=[f"{number} {why}" for number, (why, *_) in enumerate(PAIRS)])
def test_a_pair_conflicts_and_a_near_miss_does_not(why: str, new: Change, earlier: Change, near: list[Change]) -> None:
    assert why in (contradiction(new, earlier) or "nothing")
    for one in near:
        assert contradiction(new, one) is None, one
    if why not in ONE_WAY:
        assert contradiction(earlier, new) == contradiction(new, earlier)


def test_every_row_of_the_table_has_its_pair() -> None:
    said = [clash.why for clash in CLASHES]
    assert len(set(said)) == len(said)
    assert {contradiction(new, earlier) for _, new, earlier, _ in PAIRS} == set(said)


def test_some_orders_are_no_conflict() -> None:
    """A leaf that was once built on may be closed, a branch may get one tool more, and one may be given to a new phrase."""
    assert contradiction(change(RETIRE), change(BRANCH)) is None
    assert contradiction(change(ALTER, tools=["a", "b"]), change(ALTER, tools=["a"])) is None
    assert contradiction(phrase("be patient", ""), phrase("Good day.", "Good day. Be patient!")) is None


ONLY_BY_A_PERSON = {"change_fallback_agent", "fix_eval_data", "change_attachment_preprocessing"}
"""recipes whose change is told in free words, which nobody but a person can hold against another"""


def test_every_recipe_is_in_the_table_or_only_for_a_person() -> None:
    assert {recipe for recipe in RECIPES if not rivals(recipe)} == ONLY_BY_A_PERSON
    assert rivals(REPLY) == {REPLY, RULE} and rivals(WEIGHT) == {WEIGHT, THRESHOLD, QUERY}
    for _, new, earlier, _ in PAIRS:
        assert earlier.recipe in rivals(new.recipe) and new.recipe in rivals(earlier.recipe)


GOOD_THAT_CLASH = {BRANCH: [RETIRE], ALTER: [RETIRE], TIE: [RETIRE], PARENT: [RETIRE], RETIRE: [PARENT]}
"""a good change of the bank → the earlier ones there that it contradicts: all of these speak of the one leaf that is closed"""


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_change_never_contradicts_itself_and_of_the_other_good_ones_those_of_the_table_only(recipe: str) -> None:
    assert contradiction(change(recipe), change(recipe)) is None
    assert [other for other in sorted(RECIPES) if contradiction(change(recipe), change(other))] == GOOD_THAT_CLASH.get(recipe, [])


@pytest.mark.parametrize("tools", [[{}], ["", {}], [{"call": "a"}], [{"a": {"b": 1}}]])
def test_odd_tools_break_nothing(tools: list[Any]) -> None:
    odd = ALTER, {"branch": "default", "leaf": "access/locked", "tools": [one for one in tools if one != ""]}
    one = change(odd[0], **odd[1])
    assert contradiction(one, one) is None
    contradiction(one, rule(scope=["*"], blocks_tools=["a"]))


def test_lint_names_each_confirmed_hint_that_says_the_opposite() -> None:
    """Twins that merely wait are no rules."""
    up = hint(WEIGHT)
    assert against(up.change, [("h1", moved(9, 6)), ("h2", moved(5, 6)), ("h3", moved(9, 8))]) == [
        ("h1", "the same number is moved the other way"), ("h3", "the same number is moved the other way"),
    ]  # fmt: skip
    findings = found(up, ("h9", hint(WEIGHT, to=1, scores={})), rules=[("h1-2", moved(9, 6)), ("h2", moved(5, 6))])
    assert [(one.code, one.field, one.blocks) for one in findings] == [("conflicts_with_rule", "change", True)]
    assert findings[0].text == "a confirmed hint asks for the opposite: the same number is moved the other way: h1-2"
    assert named_by(findings[0].text) == "h1-2" and json.dumps(findings[0].model_dump())
