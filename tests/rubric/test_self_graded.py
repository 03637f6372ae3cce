"""Reports of JUnit, promptfoo and Inspect: what they say of a row is read, what could hide one or a bomb is refused."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rubric.manifest import SELF_GRADED
from rubric.results import ROWS_CAP
from rubric.self_graded import READERS, read_inspect, read_junit, read_promptfoo
from rubric.strict import Unreadable

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5" time="0.1" hostname="h">
<testcase classname="tests.test_a" name="test_good" time="0.001"><system-out>a &lt;b&gt; &amp; c</system-out></testcase>
<testcase classname="tests.test_a" name="test_bad" time="0.001"><failure message="assert 1 == 2">def test_bad(): ...</failure></testcase>
<testcase classname="tests.test_a" name="test_broken" time="0.001"><error message="failed on setup">boom</error></testcase>
<testcase classname="tests.test_a" name="test_later" time="0.001"><skipped type="pytest.skip" message="not today">x</skipped></testcase>
<testcase classname="tests.test_a" name="test_named[0]" time="0.001"><properties><property name="row_id" value="r7"/></properties></testcase>
</testsuite></testsuites>"""


def refusal(call):
    with pytest.raises(Unreadable) as caught:
        call()
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    return caught.value


def told(rows):
    return {row.row: (row.passed, row.error) for row in rows}


def test_all_that_grade_themselves_have_a_reader():
    assert set(READERS) == set(SELF_GRADED)


# ---- JUnit


def junit(*cases):
    return f'<testsuite name="s">{"".join(cases)}</testsuite>'.encode()


def test_junit_is_read_and_what_was_skipped_is_no_row():
    assert told(read_junit(PYTEST)) == {
        "tests.test_a::test_good": (True, None),
        "tests.test_a::test_bad": (False, None),
        "tests.test_a::test_broken": (False, "failed on setup"),
        "r7": (True, None),
    }
    assert told(read_junit(junit('<testcase name="a"/>'))) == {"a": (True, None)}
    assert read_junit(b'<testsuites tests="0"/>') == []


@pytest.mark.parametrize(
    "case",
    [
        '<testcase name="a"><skipped/></testcase>',
        '<testcase name="a" status="notrun"/>',
        '<testcase name="a" result="suppressed"/>',
        '<testcase name="a" status="run" result="skipped"/>',
    ],
)
def test_a_test_that_did_not_run_is_missing(case):
    assert read_junit(junit(case)) == []


@pytest.mark.parametrize("marks", ["<failure/><skipped/>", "<skipped/><error/>", '<failure message="x"/><failure/>'])
def test_one_that_failed_cannot_be_skipped_away(marks):
    ((_, (passed, _)),) = told(read_junit(junit(f'<testcase name="a">{marks}</testcase>'))).items()
    assert not passed


BOMB = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (BOMB, "bad_rows", "line 1: a DOCTYPE is not allowed"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite/>', "bad_rows", "DOCTYPE"),
        (b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://example.org/x"> %p;]><testsuite/>', "bad_rows", "DOCTYPE"),
        (b'<!DOCTYPE testsuite><testsuite><testcase name="a"/></testsuite>', "bad_rows", "DOCTYPE"),
        (junit('<testcase name="&x;"/>'), "bad_rows", "undefined entity"),
        (b"<testsuite>" * 40, "bad_rows", "deeper than 32"),
        (junit('<testcase name="a"/>', '<testcase name="a"/>'), "duplicate_row", "a stands twice"),
        (junit('<testcase name="a"/>', '<testcase name="b"><properties><property name="row_id" value="a"/></properties></testcase>'), "duplicate_row", "a"),
        (junit('<testcase name="a"><properties>' + '<property name="row_id" value="b"/>' * 2 + "</properties></testcase>"), "bad_rows", "two properties"),
        (junit('<testcase name="a"><flakyFailure/></testcase>'), "bad_rows", "<flakyFailure> in <testcase>"),
        (junit('<testcase name="a"><failure><skipped/></failure></testcase>'), "bad_rows", "<skipped> in <failure>"),
        (junit("<testcase/>"), "bad_rows", "row"),
        (junit('<testcase classname="c"/>'), "bad_rows", "row"),
        (junit(f'<testcase name="{"a" * 201}"/>'), "bad_rows", "200 characters"),
        (junit('<testcase name="a&#x202e;b"/>'), "bad_rows", "invisible"),
        (b"<html/>", "bad_rows", "no JUnit report"),
        (b"<testsuite/><testsuite/>", "bad_rows", "line 1, column 12"),
        (b"", "bad_rows", "no element found"),
        (junit('<testcase name="\udcff"/>'.encode("utf-8", "surrogateescape").decode("latin-1"))[:-1], "bad_rows", "line 1"),
        (junit(*(f'<testcase name="{number}"/>' for number in range(ROWS_CAP + 1))), "too_large", "100000 rows"),
    ],
)  # fmt: skip
def test_junit_that_hides_or_explodes_is_refused(data, code, words):
    found = refusal(lambda: read_junit(data))
    assert found.code == code and words in str(found)


# ---- promptfoo


def promptfoo(*results, **changes):
    return json.dumps({"evalId": "e", "config": {}, "results": {"version": 3, "results": results, "stats": {}, **changes}}).encode()


def judged(row="a", success=True, reason=0, **more):
    return {
        "success": success,
        "score": 1 if success else 0,
        "failureReason": reason,
        "testIdx": 0,
        "testCase": {"metadata": {"row_id": row}},
        **more,
    }


def test_promptfoo_is_read_by_the_name_of_the_test():
    rows = read_promptfoo(
        promptfoo(
            judged(testIdx=4), judged("b", False, 1, error="Expected x"), judged("c", False, 2, error="API error"),
            {**judged(), "testCase": {"description": "says hello"}},
        )
    )  # fmt: skip
    assert told(rows) == {"a": (True, None), "b": (False, None), "c": (False, "API error"), "says hello": (True, None)}
    assert rows[0].score == 1.0


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (promptfoo(judged(), version=2), "bad_rows", "version is not 3"),
        (promptfoo(judged(), version=True), "bad_rows", "version"),
        (promptfoo(judged(), judged()), "duplicate_row", "results.results.1: the row a stands twice"),
        (promptfoo(judged(testCase={"vars": {}})), "bad_rows", "results.results.0: row"),
        (promptfoo(judged(testCase={"metadata": {"row_id": 7}, "description": "x"})), "bad_rows", "row"),
        (promptfoo(judged(testCase=None)), "bad_rows", "testCase"),
        (promptfoo(judged(success="true")), "bad_rows", "success"),
        (promptfoo(judged(reason=2)), "bad_rows", "says otherwise"),
        (promptfoo(judged(success=False, reason=True)), "bad_rows", "failureReason"),
        (promptfoo(judged(success=False, reason=3)), "bad_rows", "failureReason"),
        (promptfoo(judged(reason=[])), "bad_rows", "failureReason"),
        (promptfoo(judged(score="1")), "bad_rows", "score"),
        (promptfoo(7), "bad_rows", "results.results.0"),
        (json.dumps({"results": [judged()]}).encode(), "bad_rows", "results is missing or no dict"),
        (promptfoo(judged()).replace(b'"score": 1', b'"score": NaN'), "bad_rows", "NaN"),
        (b"[" * 100_000, "bad_rows", "nested deeper"),
        (b"[]", "bad_rows", "results"),
    ],
)
def test_promptfoo_that_can_be_read_two_ways_is_refused(data, code, words):
    found = refusal(lambda: read_promptfoo(data))
    assert found.code == code and words in str(found)


# ---- Inspect


def inspect(*samples, **changes):
    return json.dumps({"version": 2, "status": "success", "eval": {}, "samples": samples, **changes}).encode()


def sample(row="a", value="C", epoch=1, **more):
    return {"id": row, "epoch": epoch, "scores": {"match": {"value": value, "answer": "x"}}, "error": None, **more}


@pytest.mark.parametrize(
    ("value", "passed"), [("C", True), ("I", False), ("P", False), ("N", False), (1, True), (1.0, True), (0.99, False), (0, False), (True, True), (False, False)]
)  # fmt: skip
def test_inspect_values(value, passed):
    ((name, (found, error)),) = told(read_inspect(inspect(sample(7, value)))).items()
    assert (name, found, error) == ("7", passed, None)


def test_inspect_samples_pass_when_all_epochs_and_scorers_agree():
    both = {"one": {"value": "C"}, "two": {"value": "I"}}
    rows = read_inspect(
        inspect(
            sample("a"), sample("a", "I", 2), sample("b"), sample("b", epoch=2), sample("c", scores=both), sample("c", epoch=2),
            sample("d", error={"message": "boom", "traceback": "…"}, scores=None), sample("d", epoch=2),
        )
    )  # fmt: skip
    assert told(rows) == {"a": (False, None), "b": (True, None), "c": (False, None), "d": (False, "boom")}
    assert [row.score for row in rows] == [0.5, 1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (inspect(sample(), version=1), "bad_rows", "version is not 2"),
        (inspect(sample(), status="error"), "bad_rows", "status is not success"),
        (inspect(sample(), status="started"), "bad_rows", "status is not success"),
        (inspect(sample(), status=None), "bad_rows", "status"),
        (inspect(sample(), invalidated=True), "bad_rows", "status"),
        (inspect(samples=None), "bad_rows", "samples is missing"),
        (inspect(sample(), sample()), "duplicate_row", "samples.1: epoch 1 of a stands twice"),
        (inspect(sample(1), sample("1")), "duplicate_row", "epoch 1 of 1"),
        (inspect(sample("a"), sample("a", epoch=2), sample("b")), "bad_rows", "fewer epochs"),
        (inspect(sample(scores={})), "bad_rows", "no score"),
        (inspect(sample(scores=None)), "bad_rows", "scores"),
        (inspect(sample(value="X")), "bad_rows", "samples.0.scores.match"),
        (inspect(sample(value=7)), "bad_rows", "0 to 1"),
        (inspect(sample(value={"C": 1})), "bad_rows", "samples.0.scores.match"),
        (inspect(sample(value=[1])), "bad_rows", "samples.0.scores.match"),
        (inspect(sample(epoch="1")), "bad_rows", "epoch"),
        (inspect(sample(True)), "bad_rows", "samples.0: row"),
        (inspect(sample(None)), "bad_rows", "samples.0: row"),
        (inspect(sample()).replace(b'"C"', b"NaN"), "bad_rows", "NaN"),
        (b"PK\x03\x04", "bad_rows", "the log"),
    ],
)  # fmt: skip
def test_inspect_logs_that_can_be_read_two_ways_are_refused(data, code, words):
    found = refusal(lambda: read_inspect(data))
    assert found.code == code and words in str(found)


# ---- anything else


def unharmed(read, data):
    try:
        rows = read(data)
    except Unreadable as error:
        assert error.code and str(error).isprintable() and len(str(error)) < 1000
    else:
        assert len({row.row for row in rows}) == len(rows)


@settings(max_examples=500)
@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)))
def test_any_bytes_are_read_or_refused(data, kind):
    unharmed(READERS[kind], data)


DOCUMENTS = {
    "junit-xml": PYTEST,
    "promptfoo-json": promptfoo(judged(), judged("b", False, 2, error="x")),
    "inspect-json": inspect(sample(), sample("b", 0.5), sample("d", error={"message": "boom"})),
}


@settings(max_examples=1000)
@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_valid_documents_with_a_few_bytes_changed_are_read_or_refused(kind, data):
    document = bytearray(DOCUMENTS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(document)))
        document[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=6))
    unharmed(READERS[kind], bytes(document))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@settings(max_examples=1000)
@given(st.sampled_from(["promptfoo-json", "inspect-json"]), st.data())
def test_valid_documents_with_another_value_somewhere_are_read_or_refused(kind, data):
    document = json.loads(DOCUMENTS[kind])
    *above, last = data.draw(st.sampled_from([path for path in places(document) if path]))
    holder = document = copy.deepcopy(document)
    for key in above:
        holder = holder[key]
    holder[last] = data.draw(VALUES)
    unharmed(READERS[kind], json.dumps(document).encode())
