"""What a pipeline is given and what counts as right: nothing expected goes in, only the very value passes, no row gets lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubric.grading import NO_OUTPUT, answers, compared, graded, questions, read_exam, same
from rubric.manifest import Grade
from rubric.results import read_outputs, read_rows
from rubric.strict import Unreadable

PLAIN = Grade()


def rows(*found):
    return "".join(json.dumps(one) + "\n" for one in found).encode()


EXAM = read_exam(rows({"id": "a", "ask": 1, "expected": {"x": [1]}}, {"expected": None, "id": "b"}), PLAIN)


def outputs(**found):
    return read_outputs(rows(*({"row": name, "output": value} for name, value in found.items())), EXAM)


def test_what_is_expected_is_taken_out_of_the_questions():
    assert questions(EXAM, PLAIN) == rows({"id": "a", "ask": 1}, {"id": "b"})
    other = Grade(expected="right", id="name")
    exam = read_exam(rows({"name": "a", "right": "secret", "expected": 7}), other)
    assert questions(exam, other) == rows({"name": "a", "expected": 7})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[1]", "line 1, id"),
        (b'"a"', "line 1, id"),
        (rows({"expected": 1}), "line 1, id"),
        (rows({"id": 7, "expected": 1}), "line 1, id"),
        (rows({"id": "", "expected": 1}), "line 1, id"),
        (rows({"id": "a\x1b", "expected": 1}), "invisible"),
        (rows({"id": "a", "expected": 1}, {"id": "a", "expected": 1}), "line 2: the row a stands twice"),
        (rows({"id": "a", "Expected": 1}), "the row a has no expected"),
        (b'{"id": "a", "expected": NaN}', "NaN"),
        (b'{"id": "a", "expected": 1, "expected": 2}', "stands twice"),
        (b"{", "line 1"),
    ],
)
def test_a_rows_file_that_is_no_exam_is_refused(data, words):
    with pytest.raises(Unreadable) as caught:
        read_exam(data, PLAIN)
    assert caught.value.code == "bad_exam" and words in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1), (False, 0), (False, None), (0, None), ("1", 1), ([], {}), ([1], [True]), ({"x": {"y": 1}}, {"x": {"y": True}}), ([1, 2], [2, 1]),
     ([1], [1, 1]), ({"x": 1}, {"x": 1, "y": None}), ({}, {"x": 1}), ("a", "A"), ("é", "e\u0301"), ([[]], [[[]]]), (1, 1.0000001), ("", None)],
)  # fmt: skip
def test_what_is_not_the_same(one, other):
    assert not same(one, other) and not same(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (0, -0.0), ({"x": 1, "y": [True, None]}, {"y": [True, None], "x": 1.0}), ([], []), (None, None), (2**53, 9007199254740992.0)]
)  # fmt: skip
def test_what_is_the_same(one, other):
    assert same(one, other) and same(other, one)


JSON = st.recursive(st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a"]), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2), max_leaves=5)  # fmt: skip


@given(JSON, JSON)
def test_same_is_what_one_text_of_it_is(one, other):
    assert same(one, other) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def told(found):
    return {row.row: (row.passed, row.error) for row in found}


def test_every_row_of_the_exam_is_there_answered_or_not():
    assert told(compared(EXAM, PLAIN, outputs(a={"x": [1.0]}, b=None))) == {"a": (True, None), "b": (True, None)}
    assert told(compared(EXAM, PLAIN, outputs(a=None))) == {"a": (False, None), "b": (False, NO_OUTPUT)}
    broken = read_outputs(rows({"row": "b", "output": None, "error": "no record"}), EXAM)
    assert told(compared(EXAM, PLAIN, broken)) == {"a": (False, NO_OUTPUT), "b": (False, "no record")}


def test_a_grader_judges_what_was_answered_and_nothing_else():
    said = read_rows(rows({"row": "a", "pass": True, "score": 0.5}, {"row": "b", "pass": True}))
    assert told(graded(EXAM, outputs(a=1), said)) == {"a": (True, None), "b": (False, NO_OUTPUT)}
    broken = read_outputs(rows({"row": "a", "output": 1}, {"row": "b", "output": None, "error": "no record"}), EXAM)
    assert told(graded(EXAM, broken, said)) == {"a": (True, None), "b": (False, "no record")}


@pytest.mark.parametrize(("said", "words"), [([{"row": "a", "pass": True}], "the row b"), ([{"row": "c", "pass": True}], "the row c is none")])
def test_a_grader_that_leaves_out_an_answer_or_names_another_row_is_refused(said, words):
    with pytest.raises(Unreadable) as caught:
        graded(EXAM, outputs(a=1, b=2), read_rows(rows(*said)))
    assert caught.value.code == "bad_grades" and words in str(caught.value)


def test_a_grader_reads_what_we_read():
    data = b'  {"output" : {"x": 1.0, "\\u00e9": null}, "row":"a"}\r\n\n{"row": "b", "output": null, "error": "x"}'
    assert answers(read_outputs(data, EXAM)) == rows({"row": "a", "output": {"x": 1.0, "é": None}}, {"row": "b", "output": None, "error": "x"})
