"""`triage critic score` as a user runs it on the example, and what a critic under test is shown: never the label of a case before it was scored."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from connectors.scripted import ScriptedCritic
from rubric.baselines import Baseline
from rubric.catalogue import load
from rubric.drafting import Brief
from rubric.expectations import record_of
from rubric.scoring import Answer, Label
from rubric.splits import side
from service import cli
from service.commands.critic_room import documents_of
from service.commands.critic_score import Counted, Kind, _Precedents, _RawComment, _side
from service.commands.critic_tables import baseline_answers
from tests.samples.messages import MessagesStub, fails, refuses, says
from tests.samples.small import small_brief

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PLACES = {"nsb-001": "extraction:account.customer_number", "nsb-003": "plan:access/login", "nsb-010": "fetch:postcode"}
"""planted faults of the example, and the place that each calls for a change at"""


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(file: Path, some: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(one) + "\n" for one in some), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three planted faults, one complaint that names nothing, one case without a label; all accepted cases as controls."""
    folder = tmp_path_factory.mktemp("score")
    cases = {one["external_id"]: one for one in lines(EXAMPLES / "cases.jsonl")}
    known = {one["external_id"]: one for one in lines(EXAMPLES / "cases.labels.jsonl")}
    vague = next(name for name, one in known.items() if one["kind"] == "vague")
    other = next(name for name, one in known.items() if one["kind"] == "planted" and name not in PLACES)
    labels = [
        {"external_id": name, "step": known[name]["step"], "recipe": known[name]["recipe"], "locus": place, "cluster_id": known[name]["cause"]}
        for name, place in PLACES.items()
    ]
    labels.append({"external_id": vague, "step": "none", "recipe": "unclear_ask_back", "locus": None, "cluster_id": "vague"})
    files = {
        "cases": write(folder / "cases.jsonl", [cases[name] for name in (*PLACES, vague, other)]),
        "labels": write(folder / "labels.jsonl", labels),
        "controls": write(folder / "controls.jsonl", [one for one in cases.values() if one["verdict"] == "accepted"]),
        "target": EXAMPLES / "target-pipeline",
    }
    return [word for name, path in files.items() for word in (f"--{name}", str(path))]


def scored(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "service.cli", "critic", "score", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, env=env)


def test_the_example_is_scored_end_to_end(inputs: list[str], tmp_path: Path) -> None:
    done = scored(*inputs, "--json", "--rows", str(tmp_path / "rows.jsonl"), "--against", "keywords")
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found.keys() == {
        "cases", "step", "recipe", "target", "macro_f1", "coverage", "abstained", "drafted", "confident", "nonfix", "confusion", "recipes",
        "seconds", "precedents", "side", "against", "critic", "arms", "failed",
    }  # fmt: skip
    assert (found["cases"], found["abstained"], found["precedents"], found["side"]) == (4, 1, "progressive", "all")
    assert [found[key]["hits"] for key in ("step", "recipe", "target")] == [4, 4, 3]
    assert found["macro_f1"] == 1.0 and found["step"]["by_cluster"] == {"low": 1.0, "high": 1.0, "clusters": 4}
    against = found["against"]
    assert against["name"] == "keywords" and {part: against[part]["first"]["hits"] for part in ("step", "recipe", "target")} == {
        "step": 4, "recipe": 4, "target": 3,
    }  # fmt: skip
    assert against["target"]["second"]["hits"] == 0 and against["target"]["difference"] == 1.0 and against["target"]["p"] == 0.25
    assert found["nonfix"]["recall"] == {"accuracy": 1.0, "low": 0.2065, "high": 1.0, "hits": 1, "of": 1}
    assert {recipe: row["right"] for recipe, row in found["recipes"].items()} == {
        "add_extraction_field": 1, "add_plan_branch": 1, "adjust_fetch_weight": 1, "unclear_ask_back": 0,
    }  # fmt: skip
    rows = {row["external_id"]: row for row in lines(tmp_path / "rows.jsonl")}
    assert {name: rows[name]["target"] for name in PLACES} == PLACES and all(row["label"]["external_id"] == name for name, row in rows.items())
    assert all(rows[name]["sure"] for name in PLACES) and (found["critic"], found["arms"]) == ("precedent", [])


def test_critics_are_scored_side_by_side_and_the_raw_comment_is_one_question(inputs: list[str]) -> None:
    """A model behind a real socket that reads like this: a comment about a value wants a field, whatever it is asked."""
    with MessagesStub(reads) as stub:
        env = {**os.environ, "TRIAGE_CLAUDE_KEY": "sk-of-the-test", "TRIAGE_CLAUDE_URL": stub.url}
        done = scored(*inputs, "--json", "--limit", "2", "--arms", "precedent,claude,raw-comment", env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(done.stdout)
        assert [one["name"] for one in found["arms"]] == ["claude", "raw-comment"] and found["arms"][1]["score"]["cases"] == 2
        assert {part: found["arms"][0][part]["of"] for part in ("step", "recipe")} == {"step": 2, "recipe": 2}
        plain = [one for one in stub.requests if "say what kind of change the comment calls for, and where" in one.whole]
        assert len(plain) == 2 and len(stub.requests) == 4 and all("sk-of-the-test" not in json.dumps(one.body) for one in stub.requests)


def reads(body: dict[str, Any]) -> Any:
    form = body["output_config"]["format"]["schema"]["properties"]
    if "rules" in form:
        return says({"rules": []})
    return says({"choice": "abstain", "place": ""} if "place" in form else {"choice": "abstain"})


@pytest.mark.parametrize(
    ("arm", "answer", "codes"),
    [
        ("claude", fails(429), {"rate_limited": 2}),
        ("raw-comment", fails(529), {"overloaded": 2}),
        ("raw-comment", refuses(), {"refused": 2}),
    ],
)  # fmt: skip
def test_a_draft_that_never_happened_is_no_abstention(
    arm: str, answer: Any, codes: dict[str, int], inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MessagesStub(lambda body: answer) as stub:
        monkeypatch.setenv("TRIAGE_CLAUDE_KEY", "sk-of-the-test")
        monkeypatch.setenv("TRIAGE_CLAUDE_URL", stub.url)
        assert cli.main(["critic", "score", *inputs, "--json", "--limit", "2", "--arms", f"precedent,{arm}"]) == 0
        (other,) = json.loads(capsys.readouterr().out)["arms"]
        assert other["score"]["failed"] == {"count": 2, "by_code": codes} and other["score"]["cases"] == other["step"]["of"] == 0
        assert cli.main(["critic", "score", *inputs, "--limit", "2", "--arms", arm]) == 0
        told = " ".join(capsys.readouterr().out.split())
        ((code, _),) = codes.items()
        assert f"NOT MEASURED: {arm} gave no answer to 2 of 2 cases ({code} 2). No figure below counts them." in told


def test_a_file_that_cannot_be_written_is_named_before_anything_is_paid(inputs: list[str], tmp_path: Path) -> None:
    with MessagesStub(reads) as stub:
        env = {**os.environ, "TRIAGE_CLAUDE_KEY": "sk-of-the-test", "TRIAGE_CLAUDE_URL": stub.url}
        done = scored(*inputs, "--limit", "1", "--arms", "claude", "--rows", str(tmp_path / "nowhere" / "rows.jsonl"), env=env)
        assert done.returncode == 64 and "rows.jsonl" in done.stderr and "Traceback" not in done.stderr and stub.requests == []


def test_a_question_that_was_not_put_has_no_answer() -> None:
    asking: Any = ScriptedCritic()
    assert _RawComment(asking, load()).answer("a", "c1") == Answer("a", "none", "", failed="not_asked")


def test_a_model_s_arm_needs_its_settings(inputs: list[str]) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_CLAUDE")}
    done = scored(*inputs, "--arms", "claude", env=bare)
    assert done.returncode == 78 and "TRIAGE_CLAUDE_KEY" in done.stderr and "Traceback" not in done.stderr


def test_a_table_is_shown_and_few_cases_are_enough(inputs: list[str]) -> None:
    done = scored(*inputs, "--limit", "1", "--precedents", "none", "--against", "most_frequent")
    assert done.returncode == 0 and "on 1 labelled cases" in done.stdout, done.stderr
    assert "The same cases, against most_frequent" in done.stdout and "-1.000 to +1.000" in done.stdout  # one case says nothing
    assert "add_extraction_field" in done.stdout and "add_plan_branch" not in done.stdout


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        ('{"external_id": "nobody", "step": "none", "recipe": "one_off", "cluster_id": "k"}', (), "no case has a label"),
        ('{"external_id": "nsb-001", "step": "none", "recipe": "one_off"}', (), "label 1 of labels.jsonl has no 'cluster_id'"),
        ("\n[1]", (), "line 2 of labels.jsonl is no JSON object"),
        ("{", (), "line 1 of labels.jsonl is no JSON object"),
        ("", ("--only", "both"), "'both' is not one of"),
        ("", ("--against", "chance"), "'chance' is not one of"),
        ("", ("--precedents", "some"), "'some' is not one of"),
        ("", ("--limit", "-1"), "greater than or equal to 0"),
    ],
)
def test_inputs_that_do_not_fit_end_with_a_line(
    inputs: list[str], labels: str, more: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.jsonl").write_text(labels)
    assert cli.main(["critic", "score", *inputs, "--labels", str(tmp_path / "labels.jsonl"), *more]) == 64
    assert said in capsys.readouterr().err


CASE = {"external_id": "nsb-001", "note": "a\u2028b\u2029c\x85d"}
"""holds what ends a line for some readers, and not in JSON"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
def test_a_line_ends_where_json_lines_end(mark: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes((mark + end.join([json.dumps(CASE, ensure_ascii=False), "", "{}", ""])).encode())
    assert documents_of(tmp_path / "cases.jsonl") == [CASE, {}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[]", ""),
        (b'[["external_id", "nsb-001"]]', ""),
        (b"null", ""),
        (b'{"note": "\xff"}', ": it is not UTF-8 (byte 10)"),
        (b'{"a": 1, "a": 2}', ": the key 'a' stands twice in one object"),
        (b'{"a": NaN}', ": NaN is not a JSON number"),
        (b"[" * 5000, ": it is nested deeper than 32 levels"),
    ],
)
def test_a_line_that_is_no_object_is_named_with_its_file(line: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes(b"{}\n\n" + line + b"\n")
    with pytest.raises(typer.BadParameter) as caught:
        documents_of(tmp_path / "cases.jsonl")
    assert caught.value.message == f"line 3 of cases.jsonl is no JSON object{said}"


# ---- what a critic under test is shown

LABELS = {
    name: Label.of({"external_id": name, "step": "fetch", "recipe": "adjust_fetch_weight", "locus": "fetch:email", "cluster_id": cluster})
    for name, cluster in (("c1", "x"), ("c2", "x"), ("c3", "y"))
}


def shown(kind: Kind) -> list[list[str]]:
    """Ids of the precedents that are shown to each of three cases, scored one after another."""
    asked = ScriptedCritic()
    critic = _Precedents(asked, kind)
    critic.cluster.update({name: label.cluster for name, label in LABELS.items()})
    brief = small_brief()
    for name, label in LABELS.items():
        critic.draft(brief.model_copy(update={"case_id": name}))
        critic.learn(name, brief.case, label)
    return [[one.case_id for one in seen.precedents] for seen in asked.briefs]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Kind.progressive, [[], ["c1"], ["c1", "c2"]]), (Kind.other_clusters, [[], [], ["c1", "c2"]]), (Kind.none, [[], [], []])],
)
def test_a_label_is_shown_only_after_its_case_was_scored(kind: Kind, expected: list[list[str]]) -> None:
    assert shown(kind) == expected


def test_a_precedent_says_what_the_label_says() -> None:
    asked = ScriptedCritic()
    critic, brief = _Precedents(asked, Kind.progressive), small_brief()
    critic.learn("c1", brief.case, LABELS["c1"])
    critic.draft(Brief(**{**dict(brief), "case_id": "c2"}))
    ((told,),) = [seen.precedents for seen in asked.briefs]
    assert (told.comment, told.leaf, told.step, told.recipe) == (brief.case.comment, brief.case.plan.leaf, "fetch", "adjust_fetch_weight")
    assert told.record == record_of(brief.case.plan) == "rec_b"  # of the same customer's cases a model is shown none


def test_a_cluster_lies_on_one_side() -> None:
    labels = [Label("", "fetch", "x", "", f"k{number}") for number in range(200)]
    held = [label for label in labels if _side(label) is Counted.held_out]
    assert {label.cluster for label in held} == {label.cluster for label in labels if side(label.cluster, b"critic score") == "held_out"}
    assert 0 < len(held) < len(labels) and all(_side(label) in (Counted.dev, Counted.held_out) for label in labels)


# ---- the baselines that it is held against


def test_a_baseline_is_told_a_label_only_after_its_case() -> None:
    labels = {
        name: Label.of({"external_id": name, "step": step, "recipe": recipe, "locus": None, "cluster_id": name})
        for name, step, recipe in (
            ("a", "fetch", "adjust_fetch_weight"),
            ("b", "plan", "add_plan_branch"),
            ("c", "plan", "add_plan_branch"),
            ("d", "none", "x"),
        )
    }
    documents = [{"external_id": name, "rejection": {"comment": "Wrong person" if name == "b" else "hm"}} for name in labels]
    said = baseline_answers(Baseline.most_frequent, documents, labels, load())
    assert [(one.step, one.recipe) for one in said] == [
        ("none", "unclear_ask_back"), ("fetch", "adjust_fetch_weight"), ("fetch", "adjust_fetch_weight"), ("plan", "add_plan_branch"),
    ]  # fmt: skip
    by_words = baseline_answers(Baseline.keywords, documents, {}, load())
    assert by_words[:2] == [Answer("a", "none", "unclear_ask_back"), Answer("b", "fetch", "adjust_fetch_weight")]
