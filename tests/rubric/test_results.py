"""Files of results: what is right is read, all else is refused by one error that names the place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.results import read_outputs, read_plans, read_rows
from rubric.strict import Unreadable


def refusal(call):
    with pytest.raises(Unreadable) as caught:
        call()
    assert str(caught.value).isprintable()
    return caught.value


def test_rows_are_read():
    data = b'{"row": "a", "pass": true, "score": 1, "output": {"x": [1]}, "cluster": null}\n\n{"row": "b", "pass": false, "error": "boom"}'
    assert [(row.row, row.passed, row.score, row.error) for row in read_rows(data)] == [("a", True, 1.0, None), ("b", False, None, "boom")]
    assert read_rows(b"") == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"row": "a", "pass": true, "score": NaN}', "bad_rows"),
        (b'{"row": "a", "pass": true, "score": 1e999}', "bad_rows"),
        (b'{"row": "a", "pass": true, "score": true}', "bad_rows"),
        (b'{"row": "a", "pass": 1}', "bad_rows"),
        (b'{"row": "a", "pass": "true"}', "bad_rows"),
        (b'{"row": 7, "pass": true}', "bad_rows"),
        (b'{"row": "", "pass": true}', "bad_rows"),
        (b'{"row": "a\\u001b[2J", "pass": true}', "bad_rows"),
        (b'{"row": "a", "pass": true, "skipped": true}', "bad_rows"),
        (b'{"row": "a", "pass": false, "pass": true}', "bad_rows"),
        (b'{"row": "a", "pass": true, "error": "boom"}', "bad_rows"),
        (b'{"pass": true}', "bad_rows"),
        (b'["a", true]', "bad_rows"),
        (b'{"row": "a", "pa', "bad_rows"),
        (b'\xff{"row": "a"}', "bad_rows"),
        (b"[" * 100_000, "bad_rows"),
        (b'{"row": "a", "pass": true}\n{"row": "a", "pass": true}', "duplicate_row"),
        (b'{"row": "a"}\n' * 100_001, "too_large"),
    ],
)
def test_anything_else_is_refused_by_name(line, code):
    with pytest.raises(Unreadable) as error:
        read_rows(line)
    assert error.value.code == code and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"external_id": "c9", "plan": {}}', "replay_other_case"),
        (b'{"external_id": "c1", "plan": {}}\n' * 2, "replay_garbage"),
        (b'{"external_id": "c1"}', "replay_garbage"),
        (b"done!", "replay_garbage"),
        (b"", "replay_missing"),
    ],
)
def test_replay_answers_fit_the_cases_asked_about(data, code):
    with pytest.raises(Unreadable) as error:
        read_plans(data, {"c1"})
    assert error.value.code == code


def test_words_of_a_customer_are_not_quoted_in_a_refusal():
    with pytest.raises(Unreadable) as error:
        read_plans(b'{"external_id": "c1", "plan": {}, "plan": {"Jane Doe": 1}} Jane Doe', {"c1"})
    assert "Jane" not in str(error.value)


def output(**fields):
    return json.dumps({"row": "a", "output": 1, **fields}).encode()


def test_outputs_are_read():
    found = read_outputs(output() + b"\n\n" + output(row="b", output=None, error="no record"), {"a", "b", "c"})
    assert {row: (one.output, one.error) for row, one in found.items()} == {"a": (1, None), "b": (None, "no record")}
    assert read_outputs(b"", {"a"}) == {}


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (output(row="z"), "unknown_row", "line 1: the row z was not asked"),
        (output() + b"\n" + output(output=2), "duplicate_row", "line 2: the row a stands twice"),
        (b'{"row": "a", "output": NaN}', "bad_rows", "NaN"),
        (b'{"row": "a", "output": {"x": [-Infinity]}}', "bad_rows", "-Infinity"),
        (b'{"row": "a", "output": 1, "output": 2}', "bad_rows", "stands twice"),
        (b'{"row": "a"}', "bad_rows", "line 1, output"),
        (output(error=""), "bad_rows", "line 1, error"),
        (output(error=True), "bad_rows", "line 1, error"),
        (output(**{"pass": True}), "bad_rows", "line 1, pass"),
        (output(expected=1), "bad_rows", "line 1, expected"),
        (b"[" * 1000, "bad_rows", "line 1"),
        (b"\xff", "bad_rows", "line 1"),
        (b" x\n" * 100_001, "too_large", "100000 lines"),
    ],
)
def test_an_output_that_is_not_exactly_one_is_refused(data, code, words):
    found = refusal(lambda: read_outputs(data, {"a"}))
    assert found.code == code and words in str(found)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([lambda data: read_rows(data), lambda data: read_outputs(data, {"a"})]))
def test_any_bytes_are_read_or_refused(data, read):
    try:
        read(data)
    except Unreadable as error:
        assert error.code and str(error).isprintable()
