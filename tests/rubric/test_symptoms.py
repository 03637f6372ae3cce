"""Which part of a plan a comment finds fault with, in two languages. The wording is ours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.reading import phrases
from rubric.symptoms import CLEAR, Symptom, asks_for_nothing, complaints, tells


@pytest.mark.parametrize(
    ("comment", "symptom"),
    [
        ("completely off topic, she has another question", "topic"),
        ("Thema verfehlt, das war nicht die Frage", "topic"),
        ("WRONG  PERSON here", "record"),
        ("verwechselt: das ist jemand anderes", "record"),
        ("the parcel code stands in the mail, it got lost", "value"),
        ("die Nummer steht drin und wurde übersehen", "value"),
        ("nothing happened after this reply", "action"),
        ("es ist nichts passiert, musste ich von Hand", "action"),
        ("nobody asked for a call back", "not_action"),
        ("niemand wollte das", "not_action"),
        ("over the limit is a special case", "condition"),
        ("hier fehlt was: ein Sonderfall", "condition"),
        ("the tone is cold", "text"),
        ("die Formulierung klingt hölzern", "text"),
        ("we must not do this without compliance", "rule"),
        ("das dürfen nicht wir, Vorschrift", "rule"),
        ("just a test ticket, disregard", "nothing"),
        ("Einzelfall, nur dieses Mal", "nothing"),
    ],
)
def test_a_comment_tells_of(comment: str, symptom: Symptom) -> None:
    assert complaints(comment)[symptom] >= CLEAR[1]
    assert tells(comment, symptom) == complaints(comment)[symptom]


@pytest.mark.parametrize("comment", ["", "hm", "danke", "ok so", "Ann Miller 4711"])
def test_a_comment_that_complains_of_nothing(comment: str) -> None:
    assert complaints(comment) == {} and tells(comment, "topic", "record", "value") == 0.0


def test_two_phrases_are_clearer_than_one_and_more_say_nothing_new() -> None:
    one, two, three = ("the tone is off", "the tone of this sentence", "the tone of this sentence, wording included")
    assert (tells(one, "text"), tells(two, "text"), tells(three, "text")) == CLEAR[1:] + CLEAR[-1:]


def test_the_clearest_of_several_counts_and_words_stay_whole() -> None:
    assert tells("wrong person, and the tone of this sentence is cold", "record", "text", "rule") == 1.0
    assert tells("a stone and a phrasebook", "text") == 0.0


def test_every_symptom_has_phrases_and_none_stands_twice_in_a_list() -> None:
    kinds = phrases("symptoms")
    assert set(kinds) == {"topic", "record", "value", "action", "not_action", "condition", "text", "rule", "nothing"}
    for kind, found in kinds.items():
        assert all(isinstance(one, str) and one == one.strip().lower() for one in found), kind
        assert sorted(found) == sorted(set(found)), f"{kind}: {[one for one in set(found) if found.count(one) > 1]}"


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_any_text_can_be_read(comment: str) -> None:
    found = complaints(comment)
    assert all(value in CLEAR[1:] for value in found.values())
    assert tells(comment) == 0.0


def test_a_comment_that_finds_fault_as_clearly_asks_for_something() -> None:
    assert asks_for_nothing("Please ignore this one, it was my own test.")
    assert not asks_for_nothing("Answer ok, but the last sentence has to go.")
    assert not asks_for_nothing("Did it by hand, the refund was never started: nothing happened.")
    assert not asks_for_nothing("")
