"""Reading comments: phrases, mentions in two languages, differences of two replies."""

import re
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.reading import content, exact, holds_phrase, mentions, ngrams, placed, quoted, rendered_from, replaced, says


@pytest.mark.parametrize(
    ("comment", "phrases"),
    [
        ('never write "login problem" again', ["login problem"]),
        ("statt „Kindly be patient.“ schreiben wir “soon”", ["Kindly be patient.", "soon"]),
        ("it's his fault, don't", []),
        ("use 'sign-in issue' here", ["sign-in issue"]),
        ('an unclosed " stays open', []),
    ],
)
def test_quoted(comment: str, phrases: list[str]) -> None:
    assert quoted(comment) == phrases


@pytest.mark.parametrize(
    ("comment", "name", "share"),
    [
        ("the account number is right there", "account_number", 1.0),
        ("die Kontonummer steht doch da", "account_number", 1.0),
        ("Kundennummer fehlt", "customer_number", 1.0),
        ("her e-mail address", "email", 1.0),
        ("the number", "account_number", 0.5),
        ("nothing of the kind", "account_number", 0.0),
    ],
)
def test_mentions(comment: str, name: str, share: float) -> None:
    assert mentions(comment, name) == share


def test_ngrams_neither_start_nor_end_with_a_stopword() -> None:
    assert "new phone" in ngrams("I got a new phone on Monday.")
    assert not {"a new", "phone on"} & ngrams("I got a new phone on Monday.")
    assert "monday please" not in ngrams("on Monday. Please call")


def test_stopwords_are_compared_as_words_are() -> None:
    """`ß` folds to `ss`."""
    assert content("Gruß und viele Grüße") == ["viele"]


def test_phrases_hold_at_word_boundaries() -> None:
    assert holds_phrase("Please  block\nthe card", "please block")
    assert not holds_phrase("a roadblock", "block")
    assert exact("Dear all,\nKindly be  patient.", "kindly be patient") == "Kindly be  patient"


def test_replaced_finds_the_one_stretch() -> None:
    assert replaced("we are sorry about your login problem. A link", "we are sorry about your sign-in issue. A link") == (
        "login problem.",
        "sign-in issue.",
    )
    assert replaced("the same", "the same") is None


def test_a_template_is_found_in_a_reply() -> None:
    found = rendered_from("Dear Ann,\n\nwe traced payment RF-1.", "we traced payment {reference}.")
    assert found and found.text == "we traced payment RF-1."
    assert rendered_from("Dear Ann, bye", "we traced payment {reference}.") is None


def test_a_template_is_found_however_the_target_spells_it() -> None:
    found = rendered_from("Guten Tag,\nschön, dass Sie da sind, Ann.", "Guten\u00ad Tag,\r\nscho\u0308n, dass Sie da sind, {name}.")
    assert found and found.text.endswith("Ann.")


def test_kinds_of_phrases() -> None:
    assert says("wrong_record", "Wrong person!! who's that")
    assert says("enough", "das reicht doch")
    assert not says("wrong_record", "all good")


@settings(max_examples=300)
@given(st.text(max_size=200), st.text(max_size=60))
def test_reading_never_fails(text: str, other: str) -> None:
    quoted(text)
    assert 0.0 <= mentions(text, other) <= 1.0
    ngrams(text)
    found = exact(text, other) if other.strip() else None
    assert found is None or found in text
    replaced(text, other)
    rendered_from(text, other)


PIECES = st.text(alphabet="ab ", max_size=3)


@settings(max_examples=1500)
@given(st.text(alphabet="ab \n", max_size=24), st.lists(PIECES, min_size=1, max_size=5), st.integers(0, 6))
def test_a_template_is_found_where_its_regular_expression_finds_it(text: str, parts: list[str], widest: int) -> None:
    expression = f"(.{{0,{widest}}}?)".join(map(re.escape, parts))
    match, found = re.search(expression, text, re.DOTALL), placed(text, parts, widest)
    assert (found and (found.start, found.end, found.text)) == (match and (match.start(), match.end(), match.group()))


def steps(text: str, template: str) -> int:
    """Instructions of the interpreter that the search for a template takes."""
    rendered_from(text, template)  # from here on the template is remembered
    taken, before = 0, sys.gettrace()

    def counts(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal taken
        frame.f_trace_opcodes = True
        taken += event == "opcode"
        return counts

    sys.settrace(counts)
    try:
        rendered_from(text, template)
    finally:
        sys.settrace(before)
    return taken


def test_many_slots_cost_no_combinations() -> None:
    """Twice the text, or twice the slots, take twice the steps. Not fewer either: steps that are taken in C could be any number."""
    assert rendered_from("a b c d e " * 120, "{a} {b} {c} #end") is None
    assert rendered_from("a b c d e # " * 100, "{a} {b} {c} {d} #end") is None
    assert rendered_from("a b c d e # " * 100, "{a} {b} {c} {d} # a") is not None
    for head, row, template in (("", "a b c d e # ", "{a} {b} {c} {d} # a"), ("an #end ", "a b c d e ", "{a} {b} {c} #end")):
        once, twice = (steps(head + row * times, template) for times in (50, 100))
        assert 1.8 * once < twice < 2.2 * once
    few, many = (steps("an #end " + "a b c d e " * 50, "{a} " * slots + "#end") for slots in (5, 10))
    assert 1.6 * few < many < 2.2 * few


def test_a_slot_holds_no_more_than_its_width() -> None:
    assert rendered_from(f"we traced {'x' * 300}.", "we traced {reference}.") is not None
    assert rendered_from(f"we traced {'x' * 301}.", "we traced {reference}.") is None
