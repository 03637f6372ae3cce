"""The demo as a user runs it: a real server, real git, real evals. Labels are read here and nowhere else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.commands.demo import ruling
from service.commands.fates import STAGES

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
LABELS = [json.loads(line) for line in (EXAMPLES / "cases.labels.jsonl").read_text().splitlines()]
CASES = {case["external_id"]: case for case in map(json.loads, (EXAMPLES / "cases.jsonl").read_text().splitlines())}
KEYS = {
    "cases", "rejections", "hints", "abstained", "confirmed", "pulls", "gate_pass", "gate_fail", "merged", "cured", "recurred", "controls_changed",
    "seconds", "cases_per_second", "ended",
}  # fmt: skip


def names(kind: str) -> list[str]:
    return [label["external_id"] for label in LABELS if label["kind"] == kind]


def demo(folder: Path, *more: str) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")} | {"TMPDIR": str(folder)}
    argv = [sys.executable, "-m", "service.cli", "demo", "--exit", "--json", *more]
    run = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr[-3000:]
    (line,) = run.stdout.splitlines()
    assert list(folder.glob("triage-demo-*")) == [], "it left its folder behind"
    return {**json.loads(line), "said": [said for said in run.stderr.splitlines() if said.startswith("not counted: ")]}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return demo(tmp_path_factory.mktemp("demo"))


def test_the_figures_are_all_there_and_add_up(figures: dict[str, Any]) -> None:
    assert set(figures) >= KEYS
    assert (figures["cases"], figures["rejections"]) == (len(CASES), sum(case["verdict"] == "rejected" for case in CASES.values()))
    assert figures["gate_pass"] + figures["gate_fail"] == figures["pulls"] <= figures["confirmed"] <= figures["hints"]
    assert 0 < figures["merged"] <= figures["pulls"]
    assert figures["cases_per_second"] == pytest.approx(figures["cases"] / figures["loop_seconds"], abs=0.01)
    assert 0 < figures["loop_seconds"] < figures["seconds"], "the start of the server and the table are no part of it"
    assert list(figures["ended"]) == list(STAGES) and sum(figures["ended"].values()) == figures["rejections"]
    assert (figures["ended"]["cured"], figures["ended"]["abstained"]) == (figures["cured"], figures["abstained"])


def test_no_accepted_case_changes(figures: dict[str, Any]) -> None:
    assert figures["controls_changed"] == 0


def test_most_planted_faults_are_cured_and_stay_so(figures: dict[str, Any]) -> None:
    planted = names("planted")
    assert figures["cured"] >= 0.75 * len(planted), f"{figures['cured']} of {len(planted)}"
    assert figures["recurred"] == 0


def test_what_is_no_defect_becomes_no_pull(tmp_path: Path) -> None:
    """The complaints that ask for nothing, or for something wrong, among the accepted cases."""
    chosen = [CASES[name] for kind in ("non_defect", "vague", "accepted") for name in names(kind)]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case, ensure_ascii=False) + "\n" for case in chosen))
    report, keep = tmp_path / "report.md", tmp_path / "kept.jsonl"
    found = demo(tmp_path, "--cases", str(tmp_path / "cases.jsonl"), "--report", str(report), "--keep", str(keep))
    assert (found["pulls"], found["merged"], found["controls_changed"], found["cured"]) == (0, 0, 0, 0)
    kept = {line["external_id"]: line for line in map(json.loads, keep.read_text(encoding="utf-8").splitlines())}
    assert list(kept) == [case["external_id"] for case in chosen]
    assert {name for name, line in kept.items() if "stage" in line} == {case["external_id"] for case in chosen if case["verdict"] == "rejected"}
    assert all(line["plan"]["intent_path"] for line in kept.values())
    told = report.read_text(encoding="utf-8")
    assert f"| cases | {len(chosen)} |" in told and "`triage demo --cases cases.jsonl --exit --report FILE`" in told
    assert str(tmp_path) not in told


def test_lines_that_say_nothing_new_are_named_and_not_waited_for(tmp_path: Path) -> None:
    """A rejection that stood twice in the file kept it waiting until its patience was over."""
    vague, other = (CASES[name] for name in names("vague")[:2])
    fine = CASES[names("accepted")[0]]
    revised = {**other, "revision": 2, "rejection": {**other["rejection"], "comment": "still not good"}}
    lines = [vague, other, fine, vague, revised, {**vague, "plan": other["plan"]}, {"external_id": "no case"}]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines) + "no JSON\n")
    (tmp_path / "more.jsonl").write_text(json.dumps(fine, ensure_ascii=False) + "\n")
    keep = tmp_path / "kept.jsonl"
    found = demo(tmp_path, "--cases", str(tmp_path / "cases.jsonl"), "--controls", str(tmp_path / "more.jsonl"), "--keep", str(keep))
    assert (found["cases"], found["rejections"], sum(found["ended"].values()), found["ended"]["failed"]) == (3, 2, 2, 0)
    assert [json.loads(line)["external_id"] for line in keep.read_text().splitlines()] == [case["external_id"] for case in (vague, fine, revised)]
    told = [line.removeprefix("not counted: ") for line in found["said"]]
    assert [line.split(",")[0] for line in told] == [
        "cases.jsonl line 4: the same case as cases.jsonl line 1",
        "cases.jsonl line 2: replaced by revision 2",
        "cases.jsonl line 6: refused with 409",
        "cases.jsonl line 7: refused with 422",
        "cases.jsonl line 8: refused with 422",
        "more.jsonl line 1: the same case as cases.jsonl line 3",
    ]


def hint(*findings: str, replay: str = "moved", changes: tuple[str, ...] = ()) -> dict[str, Any]:
    blocks = [{"code": code, "blocks": code != "only_a_word"} for code in findings]
    return {"findings": blocks, "current": {"changes_controls": list(changes), "confidence": {"replay": replay}}}


@pytest.mark.parametrize(
    ("found", "leader", "verdict"),
    [
        (hint(), None, "confirm"),
        (hint("only_a_word"), None, "confirm"),
        (hint(), "h1", "duplicate"),
        (hint("twin"), "h1", "duplicate"),
        (hint("bad_quote"), None, "dismiss"),
        (hint("bad_quote"), "h1", "dismiss"),
        (hint(changes=("c2",)), None, "dismiss"),
        (hint(changes=("c2",)), "h1", "dismiss"),
        (hint(replay="not_tried"), None, "dismiss"),
        (hint(replay="not_tried"), "h1", "dismiss"),
        (hint(replay="no_effect"), "h1", "dismiss"),
    ],
)
def test_the_stand_in_confirms_only_what_lint_and_replay_support(found: dict[str, Any], leader: str | None, verdict: str) -> None:
    """Also where an equal change is confirmed already: what helps one ticket may do nothing for another."""
    decision = ruling(found, leader)
    assert decision["verdict"] == verdict
    assert decision.get("of") == (leader if verdict == "duplicate" else None) and bool(decision.get("reason")) == (verdict == "dismiss")
