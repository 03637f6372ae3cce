"""The gate's judgement on values: rows, suites, and the whole."""

from dataclasses import dataclass

import pytest

from rubric.gating import escaped, judge_gate, judge_suite, rows_path
from rubric.manifest import Manifest, Suite
from rubric.schema import Step
from rubric.verdicts import ControlVerdict, CureVerdict, SuiteVerdict


@dataclass(frozen=True)
class R:
    row: str
    passed: bool


@dataclass(frozen=True)
class Side:
    rows: tuple[R, ...] = ()
    failure: str | None = None


def side(good="", bad="", failure=None):
    return Side((*(R(row, True) for row in good), *(R(row, False) for row in bad)), failure)


def suite(**changes):
    plain = {"id": "s", "argv": ["x"], "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"}, "timeout_s": 1, "min_rows": 1}
    return Suite.model_validate({**plain, **changes})


def judged(base, head, **changes):
    return judge_suite(Step.fetch, suite(**changes), base, head)


def test_all_kept_passes():
    found = judged(side("abc"), side("abc"))
    assert (found.state, found.kept, found.rows_base, found.rows_head, found.reason) == ("pass", 3, 3, 3, "")


def test_one_lost_row_fails_however_many_are_gained():
    found = judged(side("a", "bcdef"), side("bcdef", "a"))
    assert (found.state, found.lost, found.gained) == ("fail", ["a"], list("bcdef"))
    assert "1 lost" in found.reason and "a" in found.reason


@pytest.mark.parametrize("base", [side("ab"), side("a", "b")])
def test_every_base_row_must_be_there_on_head_even_one_that_failed(base):
    found = judged(base, side("a"))
    assert (found.state, found.missing, found.lost) == ("fail", ["b"], [])


def test_rows_that_fail_on_both_are_shown_and_do_not_block():
    found = judged(side("a", "b"), side("a", "b"))
    assert (found.state, found.failing, found.kept) == ("pass", ["b"], 1)


def test_new_rows_must_pass():
    assert judged(side("a"), side("ab")).new == ["b"]
    found = judged(side("a"), side("a", "b"))
    assert (found.state, found.new_failing, found.new) == ("fail", ["b"], [])


@pytest.mark.parametrize(
    ("base", "head", "state", "word"),
    [
        (side("ab"), side(), "fail", "no_rows"),
        (side("ab"), side("a"), "fail", "too_few_rows"),
        (side("ab"), side("a", failure="too_few_rows"), "fail", "too_few_rows"),
        (side(), side(), "fail", "no_rows"),
        (side("a"), side("ab"), "error", "on base"),
        (side(failure="timeout"), side("ab"), "error", "on base: the suite could not run (timeout)"),
        (side("ab"), side(failure="timeout"), "fail", "on head: the suite could not run (timeout)"),
        (side("ab"), side(failure="exit_code"), "fail", "exit_code"),
        (side("ab"), side(failure="crashed"), "fail", "crashed"),
        (side("ab"), side(failure="over_limit"), "fail", "over_limit"),
        (side("ab"), side(failure="killed"), "error", "on head: the suite could not run (killed)"),
        (side("ab"), side(failure="stopped"), "error", "stopped"),
        (side("ab"), side(failure="cannot_start"), "error", "cannot_start"),
        (side(failure="exit_code"), side(failure="killed"), "error", "killed"),
        (side("ab", failure="too_large"), side("ab"), "error", "too_large"),
    ],
)
def test_a_side_without_result(base, head, state, word):
    found = judged(base, head, min_rows=2)
    assert found.state == state and word in found.reason


def test_a_row_twice_counts_as_its_worse_half():
    twice = Side((R("a", False), R("a", True)))
    assert judged(side("a"), twice).lost == ["a"]


@pytest.mark.parametrize("head", [side("a"), side("", "a"), side(failure="timeout")])
def test_one_run_of_a_sampled_suite_is_never_judged(head):
    found = judged(side("a"), head, kind="sampled")
    assert found.state == "inconclusive" and "one run of each side" in found.reason


def test_a_waived_row_does_not_block_and_says_why():
    found = judge_suite(Step.fetch, suite(), side("abc"), side("a", "bc"), {"b": "known", "c": "  ", "a": "not needed"})
    assert (found.state, found.lost, found.waived) == ("fail", ["c"], {"b": "known"})
    assert judge_suite(Step.fetch, suite(), side("ab"), side("a", "b"), {"b": "known"}).state == "pass"
    assert judge_suite(Step.fetch, suite(), side("ab"), side("a"), {"b": "known"}).missing == ["b"]
    assert judge_suite(Step.fetch, suite(), side("a"), side("a", "b"), {"b": "known"}).new_failing == ["b"]


def test_long_lists_are_cut_in_words_only():
    rows = [f"r{number}" for number in range(30)]
    found = judged(side(rows), side((), rows))
    assert len(found.lost) == 30 and "and 20 more" in found.reason and "r10" not in found.reason


def verdict(state):
    return SuiteVerdict(suite=state, step=Step.fetch, state=state, reason="why")


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "error", "pass"], "error"),
        (["error", "pass", "fail", "inconclusive"], "fail"),
        ([], "inconclusive"),
    ],
)
def test_the_gravest_state_wins(states, whole):
    found = judge_gate([verdict(state) for state in states], None, [])
    assert found.state == whole
    assert [reason.split(":")[0] for reason in found.reasons if states] == [s for s in ("fail", "error", "inconclusive") if s in states]


@pytest.mark.parametrize(("state", "whole"), [("cured", "pass"), ("no_effect", "fail"), ("error", "error")])
def test_the_cure_case_must_be_cured(state, whole):
    found = judge_gate([verdict("pass")], CureVerdict(case_id="c1", state=state), [])
    assert found.state == whole and (whole == "pass") == (not found.reasons)


@pytest.mark.parametrize(("state", "whole"), [("same", "pass"), ("declared", "pass"), ("changed", "fail"), ("error", "error")])
def test_controls_may_change_only_as_declared(state, whole):
    controls = [ControlVerdict(case_id="c2", state="same"), ControlVerdict(case_id="c3", state=state)]
    assert judge_gate([verdict("pass")], CureVerdict(case_id="c1", state="cured"), controls).state == whole


def manifest(**changes):
    step = {"watches": ["p/**"], "suites": [suite(argv=["x", "{in}"]).model_dump()]}
    plain = {"version": 1, "steps": {"fetch": step}, "protected": ["evals/**"], "allow": {"one": ["config/*", "evals/fetch/*.jsonl"]}}
    return Manifest.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["evals/fetch/cases.jsonl", "evals/plan/cases.jsonl", "p/fetch/x", "evals/run.py"], "evals/fetch/cases.jsonl"),
        (["evals/fetch/a.jsonl", "evals/fetch/b.jsonl"], None),  # two are no answer
        (["evals/plan/cases.jsonl"], None),  # another step's folder
        (["evals/fetch/cases.csv"], None),  # protected, but no recipe may add to it
        (["evals/fetch"], None),  # a file, not a folder, of that name
        ([], None),
    ],
)
def test_the_rows_file_is_inferred_only_when_it_is_certain(paths, found):
    rules = manifest()
    assert rows_path(rules, Step.fetch, rules.steps[Step.fetch].suites[0], paths) == found


def test_an_unprotected_file_is_no_rows_file():
    rules = manifest(protected=[])
    assert rows_path(rules, Step.fetch, suite(argv=["x", "{in}"]), ["evals/fetch/cases.jsonl"]) is None


def test_what_another_suite_must_not_see_is_never_guessed():
    kept = {"results": {"format": "outputs-jsonl", "path": "{out}/o"}, "rows": {"path": "evals/fetch/cases.jsonl"}, "grade": {}}
    rules = manifest(steps={"plan": {"watches": ["x"], "suites": [suite(**kept).model_dump()]}})
    assert rows_path(manifest(), Step.fetch, suite(argv=["x", "{in}"]), ["evals/fetch/cases.jsonl"]) == "evals/fetch/cases.jsonl"
    assert rows_path(rules, Step.fetch, suite(argv=["x", "{in}"]), ["evals/fetch/cases.jsonl"]) is None


@pytest.mark.parametrize(("format", "graded"), [("rows-jsonl", "self"), ("junit-xml", "self"), ("outputs-jsonl", "outside")])
@pytest.mark.parametrize("kind", ["deterministic", "sampled"])
def test_a_verdict_says_who_graded(format, graded, kind):
    more = {"rows": {"path": "r"}, "grade": {}} if graded == "outside" else {}
    one = suite(results={"format": format, "path": "{out}/x"}, kind=kind, **more)
    for head in (side("ab"), side("a", "b"), side(failure="timeout")):
        assert judge_suite(Step.fetch, one, side("ab"), head).graded == graded


def test_a_named_rows_file_wins_and_an_unused_one_is_not_looked_for():
    named = suite(argv=["x", "{in}"], rows={"path": "rows/f.jsonl"})
    assert rows_path(manifest(), Step.fetch, named, ["evals/fetch/cases.jsonl"]) == "rows/f.jsonl"
    assert rows_path(manifest(), Step.fetch, suite(), ["evals/fetch/cases.jsonl"]) is None


def test_escaped_text_is_one_harmless_line():
    assert escaped("a\nb\x1b[2J\u202eé") == "a\\nb\\x1b[2J\\u202eé"
