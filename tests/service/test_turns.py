"""How often the gate runs a suite, on what, and what comes of it: with a runner that says what each run gives."""

from pathlib import Path

import pytest

from connectors.ports import Row, SuiteRun
from rubric.manifest import Manifest
from service.gating import GateRefused, measure_noise, run_gate

STEADY = "1" * 8


class Scripted:
    """An `EvalRunner` whose runs are told beforehand: (suite, side) → row → its runs. A word in place of a run is that run's failure."""

    name = "scripted"

    def __init__(self, script):
        self.script, self.calls, self.left_behind = script, [], []

    def run_suite(self, suite, tree, rows_file, exam=None):
        number = sum(call == (suite.id, tree.name) for call in self.calls)
        self.calls.append((suite.id, tree.name))
        self.left_behind += [path for path in tree.rglob("cache*") if suite.kind == "sampled"]
        (tree / f"cache-{suite.id}").write_text("an answer that the next run could take from here")
        rows = self.script[suite.id, tree.name]
        if isinstance(rows, str):
            return SuiteRun(suite.id, failure=rows, detail="said so", seconds=1.0)
        found = {row: said[number] for row, said in rows.items()}
        if "x" in found.values():
            return SuiteRun(suite.id, failure="exit_code", detail="said so", seconds=1.0)
        return SuiteRun(suite.id, tuple(Row(row, one == "1") for row, one in found.items() if one != "-"), seconds=1.0)

    def count(self, suite, side):
        return self.calls.count((suite, side))


def manifest(*suites):
    plain = {"argv": ["x"], "results": {"format": "rows-jsonl", "path": "{out}/rows.jsonl"}, "timeout_s": 1, "min_rows": 1}
    found = [{**plain, "id": name, "kind": kind} for name, kind in suites]
    return Manifest.model_validate({"version": 1, "steps": {"fetch": {"watches": ["**"], "suites": found}}})


ONE = manifest(("s", "sampled"))


@pytest.fixture
def trees(tmp_path):
    for name in ("base", "head"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_text(name)
    return tmp_path / "base", tmp_path / "head"


@pytest.fixture
def gate(trees):
    def run(base, head, rules=ONE, script=None, **more):
        runner = Scripted({("s", "base"): base, ("s", "head"): head, **(script or {})})
        return run_gate(*trees, ["config"], rules, runner, **more), runner

    return run


def test_three_runs_of_each_side_when_nothing_is_under_suspicion(gate):
    found, runner = gate({"a": STEADY}, {"a": STEADY})
    assert (found.state, found.suites[0].runs, runner.count("s", "base"), runner.count("s", "head")) == ("pass", (3, 3), 3, 3)
    assert found.facts["s"].seconds_base == 3.0


@pytest.mark.parametrize(("head", "state"), [("1" * 2 + "0" + "1" * 5, "pass"), ("0" * 8, "fail"), ("0" * 4 + "1" * 4, "inconclusive")])
def test_a_suspect_has_the_suite_run_eight_times_on_both_sides(gate, head, state):
    found, runner = gate({"a": STEADY, "b": STEADY}, {"a": head, "b": STEADY})
    (suite,) = found.suites
    assert (found.state, suite.runs, suite.suspects) == (state, (8, 8), ["a"]) and runner.count("s", "base") == runner.count("s", "head") == 8
    assert suite.counts == {"a": (8, 8, head.count("1"), 8)} and found.to_json()["suites"][0]["counts"] == {"a": [8, 8, head.count("1"), 8]}


def test_only_the_suite_with_the_suspect_is_run_on(gate):
    rules = manifest(("s", "sampled"), ("t", "sampled"), ("d", "deterministic"))
    calm = {(suite, side): {"a": STEADY} for suite in "td" for side in ("base", "head")}
    found, runner = gate({"a": STEADY}, {"a": "0" * 8}, rules, calm)
    assert [suite.state for suite in found.suites] == ["fail", "pass", "pass"]
    assert [runner.count(suite, "head") for suite in "std"] == [runner.count(suite, "base") for suite in "std"] == [8, 3, 1]


@pytest.mark.parametrize(
    ("base", "head", "state", "runs"),
    [
        ({"a": STEADY}, "cannot_start", "error", (3, 1)),
        ({"a": STEADY}, {"a": "1x1"}, "fail", (3, 2)),
        ("command_missing", {"a": STEADY}, "error", (1, 3)),
        ({"a": STEADY}, {"a": "0001x111"}, "fail", (8, 5)),
    ],
)
def test_a_run_without_result_is_the_last_of_its_side(gate, base, head, state, runs):
    found, runner = gate(base, head)
    assert found.state == state and (runner.count("s", "base"), runner.count("s", "head")) == runs == found.suites[0].runs


def test_a_suspect_is_not_looked_into_where_the_verdict_stands(gate):
    found, runner = gate({"a": STEADY, "b": STEADY}, {"a": "0" * 8, "b": "11-"})
    assert (found.state, found.suites[0].missing, runner.count("s", "head")) == ("fail", ["b"], 3)


def test_what_a_run_leaves_in_its_tree_reaches_no_other_run(gate, trees):
    rules = manifest(("d", "deterministic"), ("s", "sampled"), ("t", "sampled"))
    more = {(suite, side): {"a": STEADY} for suite in "dt" for side in ("base", "head")}
    _, runner = gate({"a": STEADY}, {"a": "0" * 8}, rules, more)
    assert runner.left_behind == [] and sorted(path.name for path in trees[0].iterdir()) == ["cache-d", "config"]


def test_quarantine_and_waivers_reach_their_suite_and_no_other(gate):
    rules = manifest(("s", "sampled"), ("d", "deterministic"))
    rows = {f"r{k}": STEADY for k in range(5)}
    broken = {**rows, "r0": "0" * 8}
    script = {("d", "base"): rows, ("d", "head"): broken}

    def run(**more):
        found, runner = gate(rows, broken, rules, script, **more)
        return [suite.state for suite in found.suites], runner.count("s", "head")

    assert run() == (["fail", "fail"], 8)
    assert run(quarantined={"s": ["r0"], "d": ["r0"]}) == (["pass", "fail"], 3)  # a row of a deterministic suite does not vary
    assert run(waived={"s": {"r0": "known"}}) == (["pass", "fail"], 3)
    assert run(waived={"d": {"r0": "known"}}) == (["fail", "pass"], 8)
    assert run(waived={"d": {"r0": ""}}) == (["fail", "fail"], 8)


# The noise floor


def both(rows):
    return {("s", name): rows for name in ("one", "two")}


@pytest.mark.parametrize(("k", "halves"), [(8, (4, 4)), (5, (3, 2)), (1, (1, 0))])
def test_the_noise_of_a_tree_is_counted_over_all_runs(trees, k, halves):
    runner = Scripted({("s", "one"): {"a": "1111", "b": "0101"}, ("s", "two"): {"a": "1111", "b": "0000"}})
    found = measure_noise(trees[0], ONE, runner, k=k)
    assert found == {"s": {"a": (k, k), "b": ("0101"[: halves[0]].count("1"), k)}}
    assert (runner.count("s", "one"), runner.count("s", "two")) == halves
    assert runner.left_behind == [] and [path.name for path in trees[0].iterdir()] == ["config"]


def test_only_sampled_suites_are_measured(trees):
    assert measure_noise(trees[0], manifest(("d", "deterministic")), Scripted({})) == {}


def test_a_suite_that_fails_has_no_noise_and_says_why(trees):
    said = {}
    runner = Scripted({**both({"a": "1111", "b": "11x1"}), ("t", "one"): {"a": "1111"}, ("t", "two"): {"a": "1111"}})
    found = measure_noise(trees[0], manifest(("s", "sampled"), ("t", "sampled")), runner, failed=said.__setitem__)
    assert found == {"s": {}, "t": {"a": (8, 8)}} and said == {"s": "exit_code: said so"}
    assert runner.count("s", "one") == runner.count("s", "two") == 3


def test_a_tree_with_links_is_not_measured(trees):
    (trees[0] / "link").symlink_to(Path("/etc"))
    with pytest.raises(GateRefused, match="link"):
        measure_noise(trees[0], ONE, Scripted(both({"a": STEADY})))
